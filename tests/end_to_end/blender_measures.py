"""Runs in Blender: imports mesh files with Blender's own importers and writes what they measure.

``python blender_measures.py FILES.json OUT.json``: a list of paths; for each the area, volume, box and UV area of all
that the importer made, as it stands in the world, or the importer's refusal.
"""

import json
import sys

import bpy
import numpy as np


def importer(path: str):
    suffix = path.lower().rsplit(".", 1)[1]
    if suffix in ("glb", "gltf"):
        return bpy.ops.import_scene.gltf
    return {"obj": bpy.ops.wm.obj_import, "ply": bpy.ops.wm.ply_import, "stl": bpy.ops.wm.stl_import}[suffix]


def measure(path: str) -> dict:
    for things in (bpy.data.objects, bpy.data.meshes, bpy.data.armatures, bpy.data.collections, bpy.data.actions):
        bpy.data.batch_remove(list(things))
    try:
        importer(path)(filepath=path)
    except Exception as error:
        return {"refused": str(error).strip().splitlines()[-1][:200]}
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    found = {"area": 0.0, "volume": 0.0, "uv": None, "low": [], "high": []}
    for instance in graph.object_instances:
        thing = instance.object
        if thing.type == "MESH" and not thing.original.name.startswith("Icosphere"):  # a bone's shape
            add(found, thing.to_mesh(), np.array(instance.matrix_world))
    if not found["low"]:
        return {"refused": "nothing was made"}
    low, high = np.min(found.pop("low"), axis=0).tolist(), np.max(found.pop("high"), axis=0).tolist()
    return found | {"box": [low, high]}


def add(found: dict, mesh, place: np.ndarray) -> None:
    """Add one mesh to the sums; a mirrored object shows its faces turned round."""
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    if not count:
        return
    corners = read(mesh.loop_triangles, "vertices", count * 3, np.int32)
    loops = read(mesh.loop_triangles, "loops", count * 3, np.int32)
    points = read(mesh.vertices, "co", len(mesh.vertices) * 3, np.float32).reshape(-1, 3).astype(float)
    points = points @ place[:3, :3].T + place[:3, 3]
    a, b, c = (points[corners.reshape(-1, 3)[:, i]] for i in range(3))
    found["area"] += float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    middle = points.mean(axis=0)
    volume = float((np.cross(a - middle, b - middle) * (c - middle)).sum() / 6)
    found["volume"] += volume * (1 if np.linalg.det(place[:3, :3]) > 0 else -1)
    found["low"].append(points.min(axis=0))
    found["high"].append(points.max(axis=0))
    if mesh.uv_layers.active is not None:
        uv = read(mesh.uv_layers.active.uv, "vector", len(mesh.loops) * 2, np.float32).reshape(-1, 2)
        p, q, r = (uv[loops.reshape(-1, 3)[:, i]].astype(float) for i in range(3))
        one, two = q - p, r - p
        found["uv"] = (found["uv"] or 0.0) + float((one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).sum() / 2)


def read(things, name: str, count: int, kind) -> np.ndarray:
    values = np.zeros(count, kind)
    things.foreach_get(name, values)
    return values


if __name__ == "__main__":
    bpy.ops.wm.read_factory_settings(use_empty=True)
    names = json.load(open(sys.argv[-2]))
    json.dump([measure(name) for name in names], open(sys.argv[-1], "w"))
