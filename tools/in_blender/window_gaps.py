"""Run by bench_window.py inside a Blender with a window: gaps between ticks of a 10 ms timer, without and with a job.

The steps are turned by a timer of their own, see window.py.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.in_blender import extension  # noqa: E402
from tools.in_blender.window import drive, in_view, show_tab, view  # noqa: E402

ENV = os.environ
IDLE_SECONDS = 6.0
# name: shading of the 3D view while a job runs
VIEWS = {
    "job, Solid as Blender starts": ("SOLID", "MATERIAL"),
    "job, Solid with Texture": ("SOLID", "TEXTURE"),
    "job, Material Preview": ("MATERIAL", "MATERIAL"),
}
ticks: list[float] = []


def tick() -> float:
    ticks.append(time.perf_counter())
    return 0.01


def gaps() -> dict:
    """Of the ticks since the last call: milliseconds, and the share of the time that passed in gaps above 50 ms."""
    found = sorted(1000 * (b - a) for a, b in zip(ticks, ticks[1:], strict=False))
    ticks.clear()
    if not found:
        return {"median": 0.0, "p95": 0.0, "worst": 0.0, "above_50": 0.0, "count": 0}
    return {
        "median": round(found[len(found) // 2], 1),
        "p95": round(found[int(len(found) * 0.95)], 1),
        "worst": round(found[-1], 1),
        "above_50": round(sum(g for g in found if g > 50) / sum(found), 4),
        "count": len(found),
    }


def steps():
    yield 1.0
    extension.enable(ENV["CSD_DATA_FOLDER"], ENV["CSD_BACKEND_PYTHON"])
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.object.shade_smooth()
    bpy.context.object.modifiers.new("Subdivision", "SUBSURF").levels = 2
    yield from show_tab()
    settings = bpy.context.scene.csd
    settings.prompt, settings.quality = "red brick", "draft"
    settings.use_steps, settings.steps = True, int(ENV["CSD_STEPS"])
    yield 1.0
    session = extension.addon("session").session
    end = time.monotonic() + 120
    while (session.client is None or session.client.state != "ready") and time.monotonic() < end:
        yield 0.5
    yield 3.0
    rows = {}
    bpy.app.timers.register(tick, persistent=True)
    gaps()
    yield IDLE_SECONDS
    rows["no job"] = gaps()
    for name, (kind, color) in VIEWS.items():
        shading = view()[1].spaces.active.shading
        shading.type, shading.color_type = kind, color
        yield 6.0  # the first picture in a new shading compiles
        with in_view():
            bpy.ops.csd.texture("EXEC_DEFAULT")
        began = time.monotonic()
        while session.job.active and not session.job.step:
            yield 0.2
        gaps()
        while session.job.active:
            yield 0.5
        rows[name] = gaps() | {"job_seconds": round(time.monotonic() - began, 1)}
        yield 2.0
        bpy.ops.csd.discard()
        yield 1.0
    facts = {"blender": bpy.app.version_string, "rows": rows}
    Path(ENV["CSD_GAPS"]).write_text(json.dumps(facts))


bpy.context.preferences.view.show_splash = False
drive(steps(), bpy.ops.wm.quit_blender)
