"""Finding a job's objects again: after renaming, undo, and the loading of a file; and whether they still suit it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import bpy

from ...job.errors import JobError
from ...job.files import TARGETS
from ...job.folder import write_atomic
from ..session import Job
from . import apply_texture, export, open_file, uv_maps
from .export import SceneError, Target
from .stored_arrays import read_json


def follow_file(job: Job | None) -> None:
    """After a file was loaded: find the job's objects if it is the one that the job belongs to."""
    open_file.another_is_open()
    if job is None:
        return
    job.in_file = open_file.is_same(job.blend_file, bpy.data.filepath)
    if job.in_file:
        bind(job)
    else:
        let_go(job)


def resume_here(job: Job) -> None:
    """Find the objects of a job that is taken up again from its folder.

    The open file is the job's own when it is that file, or is still the unsaved one in which the job was started. When
    the job's file is gone or never was saved, objects of the same names, faces and UV maps do as well: the file was
    moved or recovered.
    """
    same_unsaved = not job.blend_file and export.read_opening(job.folder) == open_file.opening()
    job.in_file = same_unsaved or open_file.is_same(job.blend_file, bpy.data.filepath)
    if job.in_file:
        bind(job)
    elif job.blend_file and os.path.isfile(job.blend_file):
        let_go(job)
    else:
        bind(job, strictly=True)
        job.in_file = bool(job.targets) and all(t.uid for t in job.targets)


def remember_file(job: Job) -> None:
    """After a save: note the file, and what the objects are called now, for later sessions."""
    if not job.in_file:
        return
    job.blend_file = bpy.data.filepath
    for target in job.targets:
        find_object(target)
    place = job.place if job.makes_object else ()
    data = export.targets_bytes(job.targets, job.blend_file, place)[TARGETS]
    try:
        write_atomic(job.folder / TARGETS, data)
    except (JobError, OSError):
        pass  # a later session then looks for the objects by what it knows


def move_to_file(folder: Path) -> None:
    """Note in the folder of a job that is not the session's that its file has the open one's name now."""
    try:
        record = read_json(folder / TARGETS)
        record["blend_file"] = bpy.data.filepath
        write_atomic(folder / TARGETS, json.dumps(record, indent=1).encode())
    except (JobError, OSError, ValueError, RecursionError, TypeError):
        pass  # it was deleted or damaged; a later session then looks for the objects by what it knows


def let_go(job: Job) -> None:
    for target in job.targets:
        target.uid = 0


def accept_problem(job: Job) -> str:
    """Why the open file is not the place for the job's result, as a sentence without full stop; empty when it is.

    Cheap enough for ``poll``. A new object belongs to no file and can be added to any.
    """
    if job.makes_object or job.in_file:
        return ""
    if job.blend_file:
        return f"It belongs to {Path(job.blend_file).name}; open that file"
    return "It belongs to a file that was never saved and is no longer open"


def check_accept(job: Job) -> None:
    """Raise :class:`SceneError` with the sentences of :func:`accept_problem`."""
    if accept_problem(job) and job.blend_file:
        raise SceneError(
            f"The result belongs to {Path(job.blend_file).name}.", f"Open {job.blend_file} and accept it there."
        )
    if accept_problem(job):
        raise SceneError(
            "The result belongs to a file that was never saved and is no longer open.",
            "Open the file that has its objects and press Resume, or discard it.",
        )


def uv_state(target: Target) -> str:
    """``same``, ``changed`` or ``missing``: the UV map of the target's object that the job was made for.

    Renamed maps count as the same; an object that is gone has nothing that changed. Reads all UVs of the mesh (a
    millisecond for 100,000 corners), so do not ask with every redraw.
    """
    obj = find_object(target)
    return "same" if obj is None else uv_maps.state_of(obj.data, target)


def changed_maps(job: Job) -> list[str]:
    """Names of the objects whose own UV map the finished result needs and which changed or went since.

    Where this is not empty, accepting needs the artist's choice: the result on a new map
    (``scene_import.apply_result(..., new_map=True)``), or nothing.
    """
    sources = apply_texture.uv_sources(job.folder)
    kept = [t for i, t in enumerate(job.targets) if not (i < len(sources) and sources[i] == "new")]
    return [t.name for t in kept if uv_state(t) != "same"]


def bind(job: Job, strictly: bool = False) -> None:
    """Find the job's objects by name; only meshes with the same faces count.

    One that was renamed since is the only one in the file with the same faces and UVs; for a job of one object it may
    also be the active one. A job that makes an object has no targets.

    Args:
        strictly: only by name, and the UV maps must be the same as well.
    """
    for target in job.targets:
        found = bpy.data.objects.get(target.name)
        if not suits(found, target, strictly):
            found = None if strictly else renamed(target, alone=len(job.targets) == 1)
        target.uid = found.session_uid if found is not None else 0


def renamed(target: Target, alone: bool) -> bpy.types.Object | None:
    active = bpy.context.view_layer.objects.active
    if alone and suits(active, target):
        return active
    if not len(target.own_uv):
        return None
    same = [o for o in bpy.data.objects if o.type == "MESH" and len(o.data.loops) == len(target.own_uv)]
    same = [o for o in same if suits(o, target, strictly=True)]
    return same[0] if len(same) == 1 else None


def suits(obj: bpy.types.Object | None, target: Target, strictly: bool = False) -> bool:
    if obj is None or obj.type != "MESH":
        return False
    if strictly and uv_maps.state_of(obj.data, target) != "same":
        return False
    if target.own_topology:
        return export.fingerprint(obj.data) == target.own_topology
    if target.maps_back:  # a folder of an older version
        return export.fingerprint(obj.data) == target.topology
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    try:
        return export.fingerprint(evaluated.to_mesh()) == target.topology
    finally:
        evaluated.to_mesh_clear()


def find_object(target: Target) -> bpy.types.Object | None:
    """The target's object; None when it was deleted, or is in another file."""
    if not target.uid:
        return None
    obj = bpy.data.objects.get(target.name)
    if obj is None or obj.session_uid != target.uid:
        obj = next((o for o in bpy.data.objects if o.session_uid == target.uid), None)
    if obj is None or obj.type != "MESH":
        return None
    target.name = obj.name
    return obj


def selected_meshes(context) -> list[bpy.types.Object]:
    """The selected mesh objects, the active one first."""
    active = context.view_layer.objects.active
    chosen = [o for o in context.view_layer.objects.selected if o.type == "MESH"]
    if active in chosen:
        chosen.remove(active)
        chosen.insert(0, active)
    return chosen
