"""Finding a job's objects again: after renaming, undo, and the loading of a file."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from . import export, uv_maps
from .target import Target


def uv_state(target: Target) -> str:
    """``same``, ``changed`` or ``missing``: the UV map of the target's object that the job was made for.

    Renamed maps count as the same; an object that is gone has nothing that changed. Reads all UVs of the mesh (a
    millisecond for 100,000 corners), so do not ask with every redraw.
    """
    obj = find_object(target)
    return "same" if obj is None else uv_maps.state_of(obj.data, target)


def bind(targets: Sequence[Target], strictly: bool = False) -> None:
    """Find the objects of a job by name; only meshes with the same faces count.

    One that was renamed since is the only one in the file with the same faces, UVs and vertices that was not there
    under another name when the job began. A job that makes an object has no targets.

    Args:
        strictly: only by name, and the UV maps must be the same as well.
    """
    for target in targets:
        # What it was called without being saved is forgotten with the file that was open.
        found = bpy.data.objects.get(target.saved_name or target.name)
        if not suits(found, target, strictly):
            found = None if strictly else renamed(target)
        target.name, target.saved_name = target.saved_name or target.name, ""
        target.uid = found.session_uid if found is not None else 0


def renamed(target: Target) -> bpy.types.Object | None:
    if not target.own_shape:
        return None  # a folder of an older version, which does not say enough: cubes are many
    rest = [o for o in bpy.data.objects if o.type == "MESH" and o.name not in target.others]
    same = [o for o in rest if suits(o, target, strictly=True) and export.shape_of(o.data) == target.own_shape]
    return same[0] if len(same) == 1 else None


def suits(obj: bpy.types.Object | None, target: Target, strictly: bool = False) -> bool:
    if obj is None or obj.type != "MESH" or not (obj.is_editable and obj.data.is_editable):
        return False  # what is linked from another file cannot be textured
    if strictly and uv_maps.state_of(obj.data, target) != "same":
        return False
    if target.own_topology:
        applied = [target.topology] if target.replaces_mesh else []  # by hand, since the job began
        return export.fingerprint(obj.data) in (target.own_topology, *applied)
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
    if obj.name != target.name:
        target.saved_name, target.name = target.saved_name or target.name, obj.name
    return obj


def selected_meshes(context) -> list[bpy.types.Object]:
    """The selected mesh objects, the active one first."""
    active = context.view_layer.objects.active
    chosen = [o for o in context.view_layer.objects.selected if o.type == "MESH"]
    if active in chosen:
        chosen.remove(active)
        chosen.insert(0, active)
    return chosen


def mesh_is_selected(context) -> bool:
    """Whether :func:`selected_meshes` has any; cheap enough for ``poll``, and where there is no selection at all."""
    return any(o.type == "MESH" for o in context.selected_objects or ())
