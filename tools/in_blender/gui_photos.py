"""Photographs of the panel in a real Blender window, by way of a real job.

Runs inside Blender; see gui_photos.sh.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import bpy
from mathutils import Euler, Vector

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.in_blender.extension import addon, install, preferences  # noqa: E402
from tools.in_blender.window import drive, in_view, redraw, show_tab, view  # noqa: E402

ENV = os.environ
OUT = Path(ENV["CSD_PHOTOS"])
SUBJECT = ENV.get("CSD_SUBJECT", "")  # character, object or sparse: an object is made from the prompt


def photograph(name: str) -> None:
    """The whole screen; Blender's own screenshot is black on a software display."""
    subprocess.run(["import", "-window", "root", str(OUT / f"{name}.png")], check=True)


def bring_in_mesh() -> bpy.types.Object | None:
    """The scene's only object; none where the job is to make one."""
    bpy.ops.object.select_all(action="DESELECT")
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    if SUBJECT:
        return None
    if ENV.get("CSD_MESH"):
        bpy.ops.wm.obj_import(filepath=ENV["CSD_MESH"])
        obj = bpy.context.selected_objects[0]
    else:
        bpy.ops.mesh.primitive_monkey_add()
        obj = bpy.context.object
    bpy.context.view_layer.objects.active = obj
    bpy.ops.object.shade_smooth_by_angle(angle=0.6)
    return obj


def aim(obj: bpy.types.Object | None) -> None:
    """Look at the object from the front and a little above, without the clutter of overlays."""
    space = view()[1].spaces.active
    space.shading.type = ENV.get("CSD_SHADING", "MATERIAL")
    space.shading.color_type = "TEXTURE"
    bpy.context.scene.view_settings.view_transform = "Standard"  # colors as the texture has them
    space.overlay.show_overlays = False
    space.show_gizmo = False
    region = space.region_3d
    region.view_perspective = "PERSP"
    with in_view():
        bpy.ops.view3d.view_axis(type="FRONT")
    turn = Euler((math.radians(72), 0, math.radians(24)))
    region.view_rotation = turn.to_quaternion()
    if obj is None:  # one meter high at the cursor
        region.view_distance, region.view_location = 2.5, (0, 0, 0.5)
    else:
        region.view_distance = max(obj.dimensions) * 2.5
        center = sum((obj.matrix_world @ Vector(c) for c in obj.bound_box), start=region.view_location * 0)
        region.view_location = center / 8
    space.lens = 60


def steps():
    yield 1.0
    bpy.context.preferences.use_preferences_save = False
    install(ENV["CSD_ZIP"], ENV["CSD_DATA_FOLDER"], "")
    obj = bring_in_mesh()
    yield from show_tab()
    aim(obj)
    redraw()
    yield 2.0
    photograph("1_not_set_up")

    preferences().backend_python = ENV["CSD_BACKEND_PYTHON"]
    settings = bpy.context.scene.csd
    settings.prompt = ENV.get("CSD_PROMPT", "red brick")
    settings.quality = ENV.get("CSD_QUALITY", "normal")
    if SUBJECT:
        settings.kind, settings.subject = "text-to-3d", SUBJECT
    if ENV.get("CSD_STEPS"):
        settings.use_steps, settings.steps = True, int(ENV["CSD_STEPS"])
    redraw()
    session = addon("session").session
    pump = addon("run.pump")
    end = time.monotonic() + 90
    while (session.client is None or session.client.state != "ready") and time.monotonic() < end:
        yield 0.5  # the prompt has started it
    yield 8.0
    photograph("2_idle")

    bpy.ops.ed.undo_push(message="Prepared")
    with in_view():
        generate = bpy.ops.csd.text_to_3d if SUBJECT else bpy.ops.csd.texture
        print("generate", generate("EXEC_DEFAULT"), flush=True)
    clicked, first = time.monotonic(), 0.0
    pump.durations.clear()
    half = False
    while session.job is not None and session.job.active:
        yield 0.2
        if not first and (session.job.has_view if SUBJECT else obj.csd.preview_job):
            first = time.monotonic() - clicked
            yield 1.0
            photograph("3_first_picture")
        if not half and session.job.fraction() > 0.55:
            half = True
            photograph("4_running")
    yield 4.0
    photograph("5_finished")
    print("job", session.job.phase, session.job.problem, flush=True)
    facts = {
        "blender": bpy.app.version_string,
        "first_picture_s": round(first, 2),
        "seconds": round(time.monotonic() - clicked, 1),
        "tick_ms": middle_and_worst([d for d, landed in pump.durations if not landed]),
        "picture_ms": middle_and_worst([d for d, landed in pump.durations if landed]),
    }
    (OUT / "facts.json").write_text(json.dumps(facts, indent=1))
    print(facts, flush=True)

    with in_view():
        bpy.ops.csd.accept("INVOKE_DEFAULT", True)  # True: with the undo step that a click makes
    yield 3.0
    photograph("6_accepted")
    with in_view():
        bpy.ops.ed.undo()
    yield 3.0
    print("after undo", [s.material.name for o in bpy.data.objects for s in o.material_slots if s.material], flush=True)
    photograph("7_undone")
    with in_view():
        bpy.ops.csd.resume("INVOKE_DEFAULT", folder=results()[0].folder, go_on="show")
    yield 3.0
    photograph("8_shown_again")
    with in_view():
        bpy.ops.csd.discard("INVOKE_DEFAULT", True)
    open_sub_panels({"CSD_PT_results"})
    yield 2.0
    photograph("9_results")
    open_sub_panels({"CSD_PT_guidance", "CSD_PT_output", "CSD_PT_backend"})
    yield 2.0
    photograph("10_sub_panels")
    if not SUBJECT:
        yield from another_file()


def another_file():
    """A finished result while another file is open, and in its own file again."""
    path = str(OUT / "own file.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    with in_view():
        bpy.ops.csd.resume("INVOKE_DEFAULT", folder=results()[0].folder, go_on="show")
    yield 1.0
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_splash=False)
    yield 1.0
    yield from show_tab()
    yield 2.0
    photograph("11_another_file")
    bpy.ops.wm.open_mainfile(filepath=path)
    yield 3.0
    photograph("12_own_file_again")


def results() -> list:
    return addon("session").session.results


def middle_and_worst(seconds: list[float]) -> list[float]:
    ordered = sorted(seconds) or [0.0]
    return [round(1000 * ordered[len(ordered) // 2], 3), round(1000 * ordered[-1], 3)]


def open_sub_panels(names: set[str]) -> None:
    """Whether a panel is open is kept by its name, so open or closed ones of new names take the places of all."""
    panels, listed = (addon(f"ui.{name}") for name in ("panels", "results_panel"))
    for cls in (*panels.CLASSES[1:], listed.CSD_PT_results):
        for old in [t for t in bpy.types.Panel.__subclasses__() if t.__name__.startswith(f"{cls.__name__}_")]:
            bpy.utils.unregister_class(old)
        if hasattr(bpy.types, cls.__name__):
            bpy.utils.unregister_class(cls)
        parts = {name: getattr(cls, name) for name in ("bl_label", "bl_parent_id", "bl_translation_context", "draw")}
        parts["bl_order"] = cls.bl_order
        if cls.__name__ not in names:
            parts["bl_options"] = {"DEFAULT_CLOSED"}
        number = next(_numbers)
        bpy.utils.register_class(type(f"{cls.__name__}_{number}", cls.__bases__, parts))
    redraw()


_numbers = itertools.count()


def photographed_steps():
    """The steps, with a picture of what stands there when one fails."""
    try:
        yield from steps()
    except Exception:
        photograph("error")
        raise


bpy.context.preferences.view.show_splash = False
drive(photographed_steps(), bpy.ops.wm.quit_blender)
