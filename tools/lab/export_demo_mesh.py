"""Run by the backend's Python: write a bundled mesh as an .obj file for Blender's importer."""

from __future__ import annotations

import sys
from pathlib import Path

from .demo_meshes import demo_mesh


def obj_text(name: str) -> str:
    mesh = demo_mesh(name)
    lines = [f"o {name}"]
    # .obj files are Y up by custom: (x, y, z) of Blender's world is (x, z, -y) there
    lines += [f"v {x:.6f} {z:.6f} {-y:.6f}" for x, y, z in mesh.positions.tolist()]
    if mesh.uv is not None:
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uv.reshape(-1, 2).tolist()]
    for index, triangle in enumerate(mesh.triangles.tolist()):
        corners = [str(vertex + 1) for vertex in triangle]
        if mesh.uv is not None:
            corners = [f"{corner}/{3 * index + k + 1}" for k, corner in enumerate(corners)]
        lines.append("f " + " ".join(corners))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    name, path = sys.argv[1:]
    Path(path).write_text(obj_text(name), encoding="utf-8")
