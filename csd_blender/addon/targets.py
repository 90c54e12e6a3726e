"""Finding a job's objects again: after renaming, undo, and the loading of a file."""

from __future__ import annotations

import bpy

from . import scene_export
from .scene_export import Target
from .session import Job


def bind(job: Job) -> None:
    """Find the job's objects by name after a file was loaded; only meshes with the same faces count.

    A job of one object that was renamed since also takes the active object. A job that makes an object has no targets.
    """
    for target in job.targets:
        candidates = [bpy.data.objects.get(target.name)]
        if len(job.targets) == 1:
            candidates.append(bpy.context.view_layer.objects.active)
        found = next((o for o in candidates if suits(o, target)), None)
        target.uid = found.session_uid if found is not None else 0


def suits(obj: bpy.types.Object | None, target: Target) -> bool:
    if obj is None or obj.type != "MESH":
        return False
    if target.maps_back:
        return scene_export.fingerprint(obj.data) == target.topology
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    try:
        return scene_export.fingerprint(evaluated.to_mesh()) == target.topology
    finally:
        evaluated.to_mesh_clear()


def find_object(target: Target) -> bpy.types.Object | None:
    """The target's object; None when it was deleted."""
    obj = bpy.data.objects.get(target.name)
    if obj is not None and obj.session_uid == target.uid:
        return obj
    obj = next((o for o in bpy.data.objects if o.session_uid == target.uid), None) if target.uid else None
    if obj is not None:
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
