"""The UV maps of a mesh: what they hold, whether they are still what a job was made for, and adding one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import bmesh
import bpy
import numpy as np

from .checks import is_away, is_computed
from .export import fingerprint
from .pinned_modifiers import moves_maps
from .target import Target

NAME = "CSD"  # of the maps that this extension adds
USUAL_NAME = "UVMap"  # of Blender's own
PREVIEW_NAME = "CSD Preview"  # of those that a preview adds, so that joining objects mixes them with no other map
ADDED = "csd_preview_added"  # custom property of a mesh: what a preview added to it


def added_uv(mesh: bpy.types.Mesh) -> str:
    """Name of the UV map that a preview added, found by what it holds if it was renamed; empty when there is none."""
    name = mesh[ADDED].get("uv", "") if ADDED in mesh else ""
    if not name or name in mesh.uv_layers:
        return name
    found = [u.name for u in mesh.uv_layers if sum_of(mesh, u.name) == mesh[ADDED].get("sum", "")]
    if found:
        mesh[ADDED]["uv"] = found[0]
    return found[0] if found else ""


def sum_of(mesh: bpy.types.Mesh, name: str) -> str:
    """Equal for two states of a map of ``mesh`` that hold the same, in Edit Mode as well: corners, then a checksum."""
    if mesh.is_editmode:
        edited = bmesh.from_edit_mesh(mesh)
        layer = edited.loops.layers.uv.get(name)
        corners = (loop[layer].uv for face in edited.faces for loop in face.loops) if layer is not None else ()
        values = np.array([tuple(uv) for uv in corners], np.float32)
    else:
        values = read_map(mesh.uv_layers[name])
    return f"{len(values)} {hashlib.sha1(values.tobytes(), usedforsecurity=False).hexdigest()}"


def has_empty_faces(mesh: bpy.types.Mesh, name: str) -> bool:
    """Whether there are faces with all corners at zero, as joining leaves them in a map that one of two meshes had."""
    if mesh.is_editmode:
        edited = bmesh.from_edit_mesh(mesh)
        layer = edited.loops.layers.uv.get(name)
        return layer is not None and any(all(not any(c[layer].uv) for c in face.loops) for face in edited.faces)
    values, starts = read_map(mesh.uv_layers[name]), np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_start", starts)
    return bool(len(starts)) and not np.add.reduceat(values.any(1).astype(np.int32), starts).all()


def was_edited(mesh: bpy.types.Mesh, name: str, before: str) -> bool:
    """Whether a map holds something else than ``before`` (:func:`sum_of`), on the same corners: where faces came or
    went, nobody can tell."""
    now = sum_of(mesh, name)
    return now != before and now.partition(" ")[0] == before.partition(" ")[0]


def read_map(layer: bpy.types.MeshUVLoopLayer) -> np.ndarray:
    """float32 ``[corners, 2]``."""
    values = np.empty((len(layer.uv), 2), np.float32)
    layer.uv.foreach_get("vector", values.ravel())
    return values


def find_map(mesh: bpy.types.Mesh, target: Target) -> str:
    """Name of the map of ``mesh``, the object's own, that holds the UVs the job was made for; empty when none does.

    A map that was renamed is found by what it holds. A map that the object's modifiers make is taken by its name, also
    where they were to be applied and somebody did so by hand.
    """
    if not len(target.own_uv):
        return target.uv_layer
    if target.replaces_mesh and own_faces_changed(mesh, target):
        return target.uv_layer if target.uv_layer in mesh.uv_layers else ""
    added = added_uv(mesh)
    names = [u.name for u in mesh.uv_layers if u.name != added]
    for name in sorted(names, key=lambda name: name != target.uv_layer):  # the one of that name first
        if np.array_equal(read_map(mesh.uv_layers[name]), target.own_uv, equal_nan=True):
            return name
    return ""


def state_of(mesh: bpy.types.Mesh, target: Target) -> str:
    """``same``, ``changed`` or ``missing``: the map that the job was made for, in the object's own mesh."""
    if not target.uv_layer or find_map(mesh, target):
        return "same"
    return "changed" if target.uv_layer in mesh.uv_layers and target.uv_layer != added_uv(mesh) else "missing"


def own_faces_changed(mesh: bpy.types.Mesh, target: Target) -> bool:
    """Whether the faces of the object's own mesh are others than when the job began."""
    return bool(target.own_topology) and fingerprint(mesh) != target.own_topology


def free_name(obj: bpy.types.Object, name: str) -> str:
    """``name``, or that with a number where it would be taken for another map: by a modifier of an object with this
    mesh that makes a map of that name, or by a Data Transfer, which finds maps by their names in two meshes."""
    taken = set()
    if any(m.type == "DATA_TRANSFER" and moves_maps(m) for o in bpy.data.objects for m in o.modifiers):
        taken = {layer.name for mesh in bpy.data.meshes for layer in mesh.uv_layers}
    depsgraph = bpy.context.evaluated_depsgraph_get()
    own = {attribute.name for attribute in obj.data.attributes}
    for user in [o for o in bpy.data.objects if o.data == obj.data and o.modifiers and is_computed(o, depsgraph)]:
        taken |= {attribute.name for attribute in user.evaluated_get(depsgraph).data.attributes} - own
    return numbered(name, taken | own)  # else Blender adds a number, which may be taken


def numbered(name: str, taken: Collection[str]) -> str:
    """``name``, or that with the first number that is free."""
    numbers = (f"{name}.{i:03}" for i in range(1, len(taken) + 2))
    return name if name not in taken else next(n for n in numbers if n not in taken)


def new_map(mesh: bpy.types.Mesh, values: np.ndarray, name: str = NAME) -> str:
    """Add a UV map with ``values`` ``[corners, 2]``; its name, or empty when it cannot be (Edit Mode, eight maps)."""
    if is_away(mesh) or len(mesh.loops) != len(values):
        return ""
    try:
        layer = mesh.uv_layers.new(name=name, do_init=False)
    except RuntimeError:
        return ""
    if layer is None:
        return ""
    name = layer.name
    mesh.uv_layers[name].uv.foreach_set("vector", np.ascontiguousarray(values, np.float32).ravel())
    mesh.update()
    return name


def is_overwritten(obj: bpy.types.Object, name: str, wanted: np.ndarray | None) -> bool:
    """Whether the object's modifiers give its map ``name`` other values than ``wanted``, or remove it. Not said where
    they change the faces, since nobody can tell.

    Args:
        wanted: float32 ``[corners, 2]`` of the mesh as it is seen, which a texture is for; None for what the object's
            own mesh has.
    """
    depsgraph = bpy.context.evaluated_depsgraph_get()
    if not name or is_away(obj.data) or not is_computed(obj, depsgraph):
        return False
    if wanted is None and (name not in obj.data.uv_layers or not obj.modifiers):
        return False
    wanted = read_map(obj.data.uv_layers[name]) if wanted is None else wanted
    shown = obj.evaluated_get(depsgraph).data
    if len(shown.loops) != len(wanted):
        return False
    seen = read_map(shown.uv_layers[name]) if name in shown.uv_layers else None
    return seen is None or not np.allclose(seen, wanted, atol=1e-4, equal_nan=True)


def chosen(mesh: bpy.types.Mesh) -> tuple[str, str]:
    """Names of the map that is edited and of the one that is rendered; empty where there is none."""
    active = mesh.uv_layers.active
    return active.name if active else "", next((u.name for u in mesh.uv_layers if u.active_render), "")


def select(mesh: bpy.types.Mesh, active: str, render: str) -> None:
    """Choose the map that is edited and seen in Solid shading, and the one that is rendered."""
    if active in mesh.uv_layers:
        mesh.uv_layers.active = mesh.uv_layers[active]
    if render in mesh.uv_layers:
        mesh.uv_layers[render].active_render = True
