"""An object's own mesh, replaced by what its modifiers make of it; all else that belongs to the mesh goes along."""

from __future__ import annotations

import bpy

from ..errors import SceneError
from .export import fingerprint
from .target import Target


def apply_modifiers(obj: bpy.types.Object, target: Target) -> None:
    """Replace the object's mesh by its evaluated one; the old mesh is kept with a fake user.

    Where no other object shows the old mesh, what refers to it, such as drivers, refers to the new one. Raises
    :class:`SceneError` where it has other faces than the job was made for; nothing was changed then.
    """
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated = obj.evaluated_get(depsgraph)
    mesh = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=depsgraph)
    if fingerprint(mesh) != target.topology:
        bpy.data.meshes.remove(mesh)
        raise SceneError(f"The faces of “{obj.name}” changed since the job began.")
    old = obj.data
    mesh.name = old.name
    copy_properties(old, mesh)
    copy_animation(old, mesh)
    obj.data = mesh  # first: Blender takes the levels of Multires and the radii of Skin off a mesh with its modifier
    for modifier in [m for m in obj.modifiers if m.show_viewport]:  # those for renders only were not applied
        obj.modifiers.remove(modifier)
    if not any(o.data == old for o in bpy.data.objects):
        old.user_remap(mesh)
    mesh.use_fake_user, old.use_fake_user = False, True  # not before: a fake user is handed on, too


def copy_properties(old: bpy.types.ID, new: bpy.types.ID) -> None:
    """Custom properties, with their ranges and descriptions."""
    for key, value in old.items():
        new[key] = value.to_dict() if hasattr(value, "to_dict") else value
        path = f'["{bpy.utils.escape_identifier(key)}"]'
        if old.is_property_overridable_library(path):
            new.property_overridable_library_set(path, True)
        try:
            new.id_properties_ui(key).update(**old.id_properties_ui(key).as_dict())
        except TypeError:
            continue  # of a kind that has none


def copy_animation(old: bpy.types.ID, new: bpy.types.ID) -> None:
    """Keyframes, which both share then, and drivers; not the strips of the NLA, see `movement.dropped_by_applying`."""
    moved = old.animation_data
    if moved is None:
        return
    own = new.animation_data_create()
    own.action = moved.action
    if getattr(moved, "action_slot", None) is not None:
        own.action_slot = moved.action_slot
    for name in ("action_influence", "action_blend_type", "action_extrapolation"):
        setattr(own, name, getattr(moved, name))
    for driver in moved.drivers:
        own.drivers.from_existing(src_driver=driver)
