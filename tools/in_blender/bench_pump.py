"""How long the extension holds Blender's main thread while a texture grows, measured in Blender without a window.

    python tools/in_blender/bench_pump.py [SIZE ...]       in an environment with Blender as a module

Previews of the given sizes land on a mesh of 100,000 faces that gets a new UV map; every tick of the pump is timed.
Prints one line of JSON: milliseconds of ticks without and with a picture, by size.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.blender_profile import MODULE, link_extension  # noqa: E402

SIZES = (512, 1024, 2048)
PICTURES = 30
FACES_A_SIDE = 316
LIMITS_MS = {"tick": 5.0, "picture": 10.0}


class Backend:
    """Stands in for the client: a progress message for every poll, a picture now and then."""

    def __init__(self, message, job_id: str, size: int):
        self.message, self.job_id, self.size = message, job_id, size
        self.state, self.hello, self.job = "busy", {}, job_id
        self.polls = 0

    def poll(self, budget: float = 0.0) -> list:
        self.polls += 1
        body: dict[str, Any] = {"stage": "paint", "step": self.polls, "total": 1000, "seconds_left": 10.0}
        body["memory_mb"] = 100
        news = [self.message("progress", self.job_id, self.polls, body)]
        if self.polls % 5 == 1:
            pixels = os.urandom(4096) * (self.size * self.size // 1024)
            body = {"path": "preview/texture_0.rgba", "kind": "texture", "part": 0}
            body.update(width=self.size, height=self.size, pixels=pixels)
            news.append(self.message("preview", self.job_id, self.polls, body))
        return news

    def submit(self, *_job, **_settings) -> None:
        pass

    def shutdown(self, timeout: float) -> None:
        pass


def measure(sizes=SIZES, pictures: int = PICTURES) -> dict:
    """Install the extension into a throw-away profile and time its pump.

    Returns:
        For every size the median and the worst milliseconds of ``tick`` (no picture) and ``picture``; the first
        picture, which also adds the UV map, apart as ``first_picture``.
    """
    profile = tempfile.TemporaryDirectory(prefix="csd-bench-")
    link_extension(Path(profile.name))
    os.environ["BLENDER_USER_RESOURCES"] = profile.name  # before bpy is imported
    import bpy

    from tools.in_blender import extension

    extension.enable(profile.name, sys.executable)
    try:
        return {size: measure_size(bpy, size, pictures) for size in sizes}
    finally:
        extension.disable()
        profile.cleanup()


def measure_size(bpy, size: int, pictures: int) -> dict:
    import numpy as np

    names = ("addon.run.lifecycle", "addon.kinds.choose", "addon.run.pump", "addon.session", "job.process.messages")
    jobs, kinds, pump, session, client_module = (importlib.import_module(f"{MODULE}.{name}") for name in names)
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=FACES_A_SIDE, y_subdivisions=FACES_A_SIDE)
    backend = Backend(client_module.Message, "", size)
    process: Any = importlib.import_module(f"{MODULE}.addon.process.backend")
    process.client = lambda: backend
    job = jobs.start(bpy.context, kinds.KINDS["texture"], {"prompt": "bench"})
    uv = np.random.default_rng(0).random((len(job.targets[0].corners), 3, 2), np.float32)
    np.savez(job.folder / "result" / "uv.npz", uv=uv, source=np.array(["new"]))
    backend.job_id = backend.job = job.id
    session.session.client = backend
    pump.durations.clear()
    landed = 0
    while landed < pictures:
        pump.tick()
        landed += pump.durations[-1][1]
        time.sleep(0.005)
    assert "CSD Preview" in bpy.context.object.data.uv_layers, "the preview did not reach the mesh"
    session.session.client = None
    jobs.end_without_result(job, "cancelled")
    ticks = [seconds * 1000 for seconds, picture in pump.durations if not picture]
    landing = [seconds * 1000 for seconds, picture in pump.durations if picture]
    return {
        "tick": {"median": round(float(np.median(ticks)), 3), "worst": round(max(ticks), 3)},
        "picture": {"median": round(float(np.median(landing[1:])), 3), "worst": round(max(landing[1:]), 3)},
        "first_picture": round(landing[0], 3),
    }


def main() -> int:
    sizes = tuple(int(a) for a in sys.argv[1:]) or SIZES
    print(json.dumps({"limits_ms": LIMITS_MS, "measured_ms": measure(sizes)}), flush=True)
    return 0


if __name__ == "__main__":
    status = main()
    atexit._run_exitfuncs()
    os._exit(status)  # Blender as a module can hang while the interpreter winds down
