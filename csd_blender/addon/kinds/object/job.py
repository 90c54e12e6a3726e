"""What is different when a job makes a new object: what is written into its folder, and what accepting it does."""

from __future__ import annotations

import math
from pathlib import Path

import bpy

from ....job.files import COARSE_SHAPE, INPUT_MESH, TARGETS
from ....job.folder import JobFolder, coarse_settings, read_coarse
from ... import folders
from ...preferences import jobs_folder
from ...process import backend
from ...scene import add_object, cover, export, targets
from ...scene.apply_texture import Applied
from ...scene.export import SceneError
from ...scene.stored_arrays import UNREADABLE, read_json
from ...session import Job
from ..texture import settings as texture_settings
from . import settings as object_settings


def write_job(context, overrides: dict) -> Job:
    """Write the folder of a job that makes an object at the 3D cursor.

    Raises:
        SceneError, JobError: with a sentence for the artist; nothing was written then.
    """
    chosen = object_settings.gather(context.scene, overrides)
    if not texture_settings.stripped(chosen["prompt"]):
        raise SceneError("The prompt is empty.", "Write what the object should be.")
    texture_settings.check_modifiers(chosen["modifiers"])
    modifiers, refine_from = chosen.pop("modifiers"), chosen.pop("refine_from", "")
    coarse = None
    if refine_from:
        source = JobFolder.open(bpy.path.abspath(refine_from))
        if chosen.get("start_from_mesh"):
            raise SceneError(
                "An object begins with a mesh or with an earlier object, not with both.", "Choose one of them."
            )
        chosen = coarse_settings(source, chosen["prompt"]) | chosen
        coarse = read_coarse(source)
    spec = object_settings.make_spec(chosen)
    mesh = None
    if spec.start == "mesh":
        selected = targets.selected_meshes(context)
        if not selected:
            raise SceneError("No mesh object is selected.", "Select the mesh to start from.")
        mesh = export_shape(selected, context.evaluated_depsgraph_get(), modifiers)
    backend.command()  # without a backend nothing is written
    job_id = folders.new_job_id(spec.prompt)
    folder = JobFolder.create(jobs_folder() / job_id, spec)
    if mesh is not None:
        folder.write_bytes(INPUT_MESH, mesh)
    if coarse is not None:
        folder.write_bytes(COARSE_SHAPE, coarse)
    place = tuple(context.scene.cursor.location)
    # Last, since a folder that has it is offered to be resumed.
    for name, data in export.targets_bytes([], bpy.data.filepath, place).items():
        folder.write_bytes(name, data)
    return Job(job_id, Path(folder.path), spec, [], bpy.data.filepath, place)


def export_shape(objects: list[bpy.types.Object], depsgraph, modifiers: str) -> bytes:
    """``mesh.npz`` as a texture job has it; there need be no way back to these objects, so any mesh will do."""
    return export.npz_bytes(export.export_shape(objects, depsgraph, modifiers))


def read_place(folder: Path) -> tuple[float, float, float]:
    """Where the job's object shall stand; the origin when that was lost."""
    try:
        x, y, z = (float(n) for n in read_json(folder / TARGETS)["place"])
    except UNREADABLE:
        return 0.0, 0.0, 0.0
    return (x, y, z) if all(math.isfinite(n) for n in (x, y, z)) else (0.0, 0.0, 0.0)


def check_mode(context) -> None:
    """Raise ``SceneError`` while an object cannot be added."""
    active = context.view_layer.objects.active
    if active is not None and active.mode != "OBJECT":
        raise SceneError(f"“{active.name}” is not in Object Mode.", "Go to Object Mode first.")


def accept(job: Job) -> list[Applied]:
    """Add the finished object to the scene. Raises ``SceneError``; the preview is untouched then."""
    context = bpy.context
    check_mode(context)
    result, mesh = add_object.read_result(job.folder)
    cover.uncover_all()
    return [add_object.add_object(context, result, mesh, job.place)]
