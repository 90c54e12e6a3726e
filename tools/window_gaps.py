"""Run by bench_window.py inside a Blender with a window: gaps between ticks of a 10 ms timer, without and with a job.

The steps are a generator turned by a timer of its own, so that Blender's event loop runs between them:
``yield seconds``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import bpy

MODULE = "bl_ext.user_default.csd_blender"
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


def view():
    window = bpy.context.window_manager.windows[0]
    areas = [a for a in window.screen.areas if a.type == "VIEW_3D"]
    return window, max(areas, key=lambda a: a.width * a.height)


def steps():
    yield 1.0
    bpy.context.preferences.use_preferences_save = False
    bpy.ops.preferences.addon_enable(module=MODULE)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.backend_python, preferences.data_folder = ENV["CSD_BACKEND_PYTHON"], ENV["CSD_DATA_FOLDER"]
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.ops.mesh.primitive_monkey_add()
    bpy.ops.object.shade_smooth()
    bpy.context.object.modifiers.new("Subdivision", "SUBSURF").levels = 2
    _window, area = view()
    area.spaces.active.show_region_ui = True
    yield 1.0
    ui = next(r for r in area.regions if r.type == "UI")
    ui.active_panel_category = "CSD"
    area.tag_redraw()
    settings = bpy.context.scene.csd
    settings.prompt, settings.quality = "red brick", "draft"
    settings.use_steps, settings.steps = True, int(ENV["CSD_STEPS"])
    yield 1.0
    session = importlib.import_module(f"{MODULE}.addon.session").session
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
        window, area = view()
        region = next(r for r in area.regions if r.type == "WINDOW")
        with bpy.context.temp_override(window=window, area=area, region=region):
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


_steps = steps()


def turn() -> float | None:
    try:
        return next(_steps)
    except StopIteration:
        bpy.ops.wm.quit_blender()
    except Exception:
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(3)  # never leave a window behind
    return None


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(turn, first_interval=0.5, persistent=True)
