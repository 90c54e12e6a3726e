"""A texture from the selected meshes to its place on them: the job's folder, and what accepting it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import bpy

from ....job.files import INPUT_MESH
from ...job import Job
from ...scene import apply_texture, checks, export
from ...scene.apply_texture import Applied
from ...scene.preview import cover
from ...scene.targets import find_object, mesh_is_selected, selected_meshes
from .. import common

#: It lies on objects of a file, and is shown and accepted only where that is open.
BELONGS_TO_FILE = True


def write(
    settings: ModuleType,
    context,
    overrides: dict,
    objects: Sequence[bpy.types.Object] | None = None,
    more: Callable[[Sequence[bpy.types.Object], export.Export], dict[str, bytes]] = lambda objects, exported: {},
) -> Job:
    """Export ``objects``, the selected meshes when None, and write the job's folder.

    Args:
        settings: those of the kind, any whose spec has a texture's ``uv``.
        more: further files that the job begins with, by name.

    Raises:
        SceneError, JobError: with a sentence for the artist; nothing was written then.
    """
    objects = selected_meshes(context) if objects is None else objects
    checks.check_no_previews(objects)
    chosen = common.asked(settings, context, overrides)
    cover.uncover_all()  # the export must not see a preview's UV map
    exported = export.export_objects(objects, context.evaluated_depsgraph_get(), chosen["modifiers"], chosen["uv"])
    spec = settings.make_spec(chosen | {"uv": exported.uv})
    inputs = {INPUT_MESH: exported.mesh_bytes()} | more(objects, exported)
    job = common.write_job(spec, inputs, exported.targets)
    job.warnings = exported.warnings
    return job


def restore(job: Job) -> None:
    """Fill in what only the folder of an earlier job tells; nothing here, its targets are read for every kind."""


def check_result(folder: Path) -> None:
    """Raise ``SceneError`` when what the job left cannot be used."""
    apply_texture.read_result(folder)


def check_mode(context, objects: Sequence[bpy.types.Object] | None = None) -> None:
    """Raise ``SceneError`` while a texture of ``objects``, the selected ones when None, could not be accepted."""
    for obj in selected_meshes(context) if objects is None else [o for o in objects if o.type == "MESH"]:
        checks.check_is_here(obj, "before a texture is made for it")


def why_not_start(context) -> str:
    """Why it cannot begin, as a sentence without its full stop; empty when it can."""
    return "" if mesh_is_selected(context) else "Select a mesh object"


def why_not_accept(context) -> str:
    """As :func:`why_not_start`, for accepting."""
    if context.mode == "SCULPT" and context.active_object.use_dynamic_topology_sculpting:
        return "Leave Sculpt Mode first"
    return "Leave Edit Mode first" if context.mode == "EDIT_MESH" else ""


def accept(job: Job, new_map: bool, keeps_finish: bool = False) -> list[Applied]:
    """Put the textures on their objects. Raises ``SceneError``; nothing was changed then, but previews are gone.

    keeps_finish: see :func:`...scene.apply_texture.apply_result`.
    """
    objects = [find_object(t) for t in job.targets]
    for obj in objects:
        if obj is not None:
            checks.check_is_here(obj)
    result = apply_texture.read_result(job.folder)
    cover.uncover_all()
    return apply_texture.apply_result(result, job.targets, objects, new_map, keeps_finish)


def follow_up(job: Job) -> tuple[str, dict] | None:
    """Text and arguments of the operator for another job that begins with this one's result; None when none can."""
    return None
