"""Unwrap one mesh with xatlas, in a process of its own that can be killed at any moment.

Run by path: ``python xatlas_child.py IN.npz OUT.npz SECONDS RESOLUTION PADDING``. IN holds positions ``[V, 3]`` and
triangles ``[F, 3]``; OUT gets corners ``[F, 3, 2]`` in 0..1.
"""

import faulthandler
import sys


def end_with_parent() -> None:
    """Ask Linux to end this process when its parent is gone (elsewhere the time limit does)."""
    if sys.platform.startswith("linux"):
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)


def main(source: str, target: str, seconds: str, resolution: str, padding: str) -> None:
    end_with_parent()
    # A watchdog in C: it fires even while xatlas holds the interpreter.
    faulthandler.dump_traceback_later(float(seconds), exit=True)
    import numpy as np
    import xatlas

    with np.load(source, allow_pickle=False) as arrays:
        positions, triangles = arrays["positions"], arrays["triangles"].astype(np.uint32)
    atlas = xatlas.Atlas()
    atlas.add_mesh(positions, triangles)
    charts = xatlas.ChartOptions()
    pack = xatlas.PackOptions()
    pack.resolution = int(resolution)
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
    uv = uv * np.float32([atlas.width, atlas.height]) / max(atlas.width, atlas.height)
    np.savez(target, corners=uv[indices].astype(np.float32))


if __name__ == "__main__":
    main(*sys.argv[1:])
