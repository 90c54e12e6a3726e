"""A new object from the prompt to its place in the scene: the job's folder, and what accepting it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import bpy

from ....job.files import COARSE_SHAPE, INPUT_MESH, INPUT_PICTURE, TARGETS
from ....job.folder import JobFolder, coarse_settings, read_coarse
from ....job.picture_file import picture_of
from ....job.spec.common import QUALITIES
from ...errors import SceneError
from ...job import Job
from ...scene import add_object, export
from ...scene.apply_texture import Applied
from ...scene.preview import cover
from ...scene.stored_arrays import UNREADABLE, read_json
from ...scene.targets import selected_meshes
from .. import common

#: It can be added to any file.
BELONGS_TO_FILE = False


def write(settings: ModuleType, context, overrides: dict, objects: Sequence[bpy.types.Object] | None = None) -> Job:
    """Write the folder of a job that makes an object at the 3D cursor.

    Args:
        settings: those of the kind.
        objects: the meshes to start from where that is asked for; the selected ones when None.

    Raises:
        SceneError, JobError: with a sentence for the artist; nothing was written then.
    """
    chosen = common.asked(settings, context, overrides)
    cover.uncover_all()  # the export must not see a preview's UV map
    refine_from, inputs = chosen.get("refine_from", ""), {}
    if refine_from:
        source = JobFolder.open(bpy.path.abspath(refine_from))
        if chosen.get("start_from_mesh"):
            raise SceneError(
                "An object begins with a mesh or with an earlier object, not with both.", "Choose one of them."
            )
        chosen = coarse_settings(source, chosen["prompt"]) | chosen
        inputs[COARSE_SHAPE] = read_coarse(source)
    spec = settings.make_spec(chosen)
    picture = picture_of(spec, bpy.path.abspath(chosen.get("picture", "")), "Choose one in the panel.")
    if picture is not None:
        inputs[INPUT_PICTURE] = picture
    if spec.start == "mesh":
        objects = selected_meshes(context) if objects is None else objects
        if not objects:
            raise SceneError("No mesh object is selected.", "Select the mesh to start from.")
        shape = export.export_shape(objects, context.evaluated_depsgraph_get(), chosen["modifiers"])
        inputs[INPUT_MESH] = shape.mesh_bytes()
    place = tuple(context.scene.cursor.location)
    job = common.write_job(spec, inputs, [], place)
    job.place = place
    return job


def restore(job: Job) -> None:
    """Fill in what only the folder of an earlier job tells: where the object shall stand."""
    job.place = read_place(job.folder)


def read_place(folder: Path) -> tuple[float, float, float]:
    """Where the job's object shall stand; the origin when that was lost."""
    try:
        x, y, z = (float(n) for n in read_json(folder / TARGETS)["place"])
    except UNREADABLE:
        return 0.0, 0.0, 0.0
    return (x, y, z) if all(math.isfinite(n) for n in (x, y, z)) else (0.0, 0.0, 0.0)


def check_result(folder: Path) -> None:
    """Raise ``SceneError`` when what the job left cannot be used."""
    add_object.check_result(folder)


def check_mode(context, objects: Sequence[bpy.types.Object] | None = None) -> None:
    """Raise ``SceneError`` while an object cannot be added."""
    active = context.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        raise SceneError(f"“{active.name}” is not in Object Mode.", "Go to Object Mode first.")


def why_not_start(context) -> str:
    """Why it cannot begin, as a sentence without its full stop; empty when it can, which is always."""
    return ""


def why_not_accept(context) -> str:
    """As :func:`why_not_start`, for accepting."""
    return "" if context.mode == "OBJECT" else "Go to Object Mode first"


def accept(job: Job, new_map: bool) -> list[Applied]:
    """Add the finished object to the scene. Raises ``SceneError``; the preview is untouched then."""
    context = bpy.context
    check_mode(context)
    result, mesh = add_object.read_result(job.folder)
    cover.uncover_all()
    return [add_object.add_object(context, result, mesh, job.place)]


def follow_up(job: Job) -> tuple[str, dict] | None:
    """Text and arguments of the operator for another job that refines this one's coarse shape; None without one."""
    if job.spec.start not in ("blob", "coarse"):
        return None
    quality = job.spec.quality if job.spec.quality in QUALITIES else "normal"
    given = {"refine_from": str(job.folder), "prompt": job.spec.prompt, "quality": quality}
    if not job.spec.needs_picture:  # such a job has no negative prompt of its own
        given["negative_prompt"] = job.spec.negative_prompt
    return "Refine Again …", given
