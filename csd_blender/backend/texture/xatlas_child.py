"""Unwrap one mesh with xatlas, in a process of its own that can be killed at any moment.

Run by path: ``python xatlas_child.py IN.npz OUT.npz SECONDS SIZE PADDING [CPU_SECONDS]``; with the last it leaves the
processor to others, and ends after so much of its time. IN holds triangles ``[F, 3]`` and either
positions ``[V, 3]`` of a mesh to be unwrapped for a texture of about SIZE texels, or uvs ``[V, 2]`` and islands ``[F]``
that are only to be packed, at SIZE texels a unit. OUT gets corners ``[F, 3, 2]`` in 0..1 and the atlas size in texels.
"""

import faulthandler
import sys

ZOOM = 65536.0
NICENESS = 10


def end_with_parent() -> None:
    """Ask Linux to end this process when its parent is gone (elsewhere the time limit does)."""
    if sys.platform.startswith("linux"):
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)


def stand_back(cpu_seconds: int) -> None:
    """Take the processor when nobody else wants it, for so many seconds altogether; where a system knows of such."""
    if sys.platform != "win32":
        import os
        import resource

        os.nice(NICENESS)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))


def edges(corners):
    """Lengths ``[F, 3]`` of the edges of ``corners [F, 3, 2]``."""
    return ((corners - corners[:, [1, 2, 0]]) ** 2).sum(axis=2) ** 0.5


def main(source: str, target: str, seconds: str, size: str, padding: str, cpu_seconds: str = "") -> None:
    end_with_parent()
    if cpu_seconds:
        stand_back(int(cpu_seconds))
    # A watchdog in C: it fires even while xatlas holds the interpreter.
    faulthandler.dump_traceback_later(float(seconds), exit=True)
    import numpy as np
    import xatlas

    with np.load(source, allow_pickle=False) as arrays:
        arrays = dict(arrays)
    triangles = arrays["triangles"].astype(np.uint32)
    atlas, charts, pack = xatlas.Atlas(), xatlas.ChartOptions(), xatlas.PackOptions()
    if "uvs" in arrays:
        # xatlas leaves out faces with an area below 1e-7 units
        pack.texels_per_unit = float(size) / ZOOM
        atlas.add_uv_mesh(arrays["uvs"] * np.float32(ZOOM), triangles, arrays["islands"].astype(np.uint32)[:, None])
    else:
        pack.resolution = int(size)
        atlas.add_mesh(arrays["positions"], triangles)
    pack.padding = int(padding)
    pack.bilinear = True
    pack.rotate_charts = True
    pack.create_image = False
    atlas.generate(charts, pack, verbose=False)
    if atlas.atlas_count != 1:
        raise SystemExit(f"xatlas made {atlas.atlas_count} pages instead of one")
    vertex, indices, uv = atlas[0]
    # xatlas keeps the order of faces; checked, since everything depends on it
    if indices.shape != triangles.shape or not np.array_equal(vertex[indices], triangles):
        raise SystemExit("xatlas changed the faces")
    # the page need not be square, the texture is
    widest = max(atlas.width, atlas.height)
    uv = uv * np.float32([atlas.width, atlas.height]) / widest
    if "uvs" in arrays:
        # islands are stretched a little, to whole texels; a face that was left out keeps the other unit
        before, after = edges(arrays["uvs"][triangles]) * float(size), edges(uv[indices]) * widest
        if (np.abs(after - before) > 2 + 0.5 * before).any():
            raise SystemExit("xatlas left out a face")
    np.savez(target, corners=uv[indices].astype(np.float32), size=widest)


if __name__ == "__main__":
    main(*sys.argv[1:])
