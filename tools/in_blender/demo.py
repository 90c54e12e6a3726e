"""The demo's part inside Blender: install the built zip as a person would, texture, save, film.

    python demo.py PLAN.json                (Blender as a module)
    blender -b -P demo.py -- PLAN.json      (a real Blender)

With `make_object` in the plan there is no mesh: the extension makes one from the prompt.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tools.in_blender import studio  # noqa: E402
from tools.in_blender.extension import Sentence, addon, install, run_plan, tell  # noqa: E402

IMPORTERS = {
    ".obj": lambda path: bpy.ops.wm.obj_import(filepath=path),
    ".ply": lambda path: bpy.ops.wm.ply_import(filepath=path),
    ".stl": lambda path: bpy.ops.wm.stl_import(filepath=path),
    ".glb": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    ".gltf": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    ".fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    ".usd": lambda path: bpy.ops.wm.usd_import(filepath=path),
    ".usdc": lambda path: bpy.ops.wm.usd_import(filepath=path),
    ".usdz": lambda path: bpy.ops.wm.usd_import(filepath=path),
    ".abc": lambda path: bpy.ops.wm.alembic_import(filepath=path),
}
SMOOTH_ANGLE = 0.6  # radians; flatter edges of the bundled meshes are shaded smooth


def bring_in(mesh: Path, smooth: bool) -> list[bpy.types.Object]:
    """Import a file by Blender's own importer; its meshes come back selected, the first one active."""
    if mesh.suffix.lower() not in IMPORTERS:
        raise Sentence(f"{mesh.name} is of a kind that is not known; known are {', '.join(IMPORTERS)}.")
    try:
        IMPORTERS[mesh.suffix.lower()](str(mesh))
    except RuntimeError as error:
        raise Sentence(f"Blender cannot import {mesh.name}: {error}") from error
    meshes = [o for o in bpy.context.scene.objects if o.type == "MESH"]
    if not meshes:
        raise Sentence(f"{mesh.name} has no mesh in it.")
    select(meshes)
    if smooth:
        bpy.ops.object.shade_smooth_by_angle(angle=SMOOTH_ANGLE)
    return meshes


def select(meshes: list[bpy.types.Object]) -> None:
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj in meshes)
    bpy.context.view_layer.objects.active = meshes[0]


def texture(plan: dict) -> None:
    """Press *Generate Texture* (or *Generate Object*), so to speak, and report its progress."""
    session = addon("session").session

    def listen(message) -> None:
        body = message.body
        if message.type == "stage":
            tell("progress", text=body.get("label", "Working"))
        elif message.type == "warning":
            tell("warning", text=body.get("text", ""))
        elif message.type == "progress":
            label = session.job.stage_label if session.job else "Painting"
            fraction = body["step"] / body["total"] if body.get("total") else None
            text = f"{label}, step {body.get('step')} of {body.get('total')}"
            tell("progress", text=text, fraction=fraction, seconds_left=body.get("seconds_left"), films_follow=True)

    session.listeners.append(listen)
    try:
        settings = {name: plan[name] for name in ("prompt", "seed", "quality")}
        if plan.get("make_object"):
            bpy.ops.csd.text_to_3d(subject=plan["subject"], **settings)
        else:
            bpy.ops.csd.texture(**settings)
    except RuntimeError as error:  # how Blender hands over an operator's error report
        raise Sentence(str(error).replace("Error: ", "", 1).strip()) from error
    finally:
        session.listeners.remove(listen)


def textures_of(meshes: list[bpy.types.Object]) -> list[bpy.types.Image]:
    """The images in the objects' materials, each once."""
    found = []
    for slot in (s for o in meshes for s in o.material_slots if s.material and s.material.use_nodes):
        for node in slot.material.node_tree.nodes:
            if node.type == "TEX_IMAGE" and node.image and node.image not in found:
                found.append(node.image)
    return found


def run(plan: dict) -> None:
    out = Path(plan["out"])
    times = {}
    started = time.monotonic()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    tell("progress", text="Installing the extension into Blender")
    install(plan["zip"], plan["data_folder"], plan["backend_python"])
    meshes = [] if plan.get("make_object") else bring_in(Path(plan["mesh"]), smooth=plan["bundled"])
    times["install"] = time.monotonic() - started

    started = time.monotonic()
    texture(plan)
    times["texture"] = time.monotonic() - started
    meshes = meshes or [o for o in bpy.context.selected_objects if o.type == "MESH"]
    images = textures_of(meshes)
    if not images:
        raise Sentence("the job ended, but no object has a texture.")
    files = []
    for index, image in enumerate(images):
        files.append(out / ("texture.png" if len(images) == 1 else f"texture_{index}.png"))
        image.save(filepath=str(files[-1]))
        if not image.packed_file:
            image.pack()

    started = time.monotonic()
    studio.build(meshes, plan["frames"])
    select(meshes)
    # Cycles is set before the .blend is saved, so that a person who renders there gets the same picture
    frame_folder = Path(plan["frame_folder"])
    blend = out / "demo.blend"

    def progress(done: int, total: int) -> None:
        each = (time.monotonic() - started) / done if done else plan["seconds_a_frame"]
        text = f"Filming, frame {min(done + 1, total)} of {total}"
        tell("progress", text=text, fraction=done / total, seconds_left=each * (total - done))

    pictures = studio.shoot(frame_folder, plan["size"], plan["samples"], progress)
    bpy.context.scene.render.filepath = "//"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
    step = len(pictures) // 8
    studio.contact_sheet(pictures[: 8 * step : step], out / "turntable.png", columns=4)
    filmed = studio.film(pictures, out / "turntable.mp4", plan["size"], plan["frames_per_second"], rounds=2)
    times["film"] = time.monotonic() - started
    tell(
        "done",
        blend=str(blend),
        textures=[str(f) for f in files],
        sheet=str(out / "turntable.png"),
        film=str(out / "turntable.mp4") if filmed else "",
        times=times,
        blender=bpy.app.version_string,
    )


if __name__ == "__main__":
    run_plan(run)
