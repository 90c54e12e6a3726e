"""Modifiers that name no UV map go by the active one: what makes another map the active one holds them to theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import bpy

#: By the property that names a map, the one that says whether any map is read at all, where there is such.
COORDINATES = {"uv_layer": "texture_coords", "mask_tex_uv_layer": "mask_tex_mapping"}
#: What they change are UV maps: without any they do nothing, and there is no name that would say so.
OF_MAPS = ("UV_WARP", "UV_PROJECT")
NOTE = "csd_preview_pinned"  # custom property of an object: what was changed for a time, as JSON


def pin(mesh: bpy.types.Mesh, before: str, for_a_time: bool = False) -> list[str]:
    """Let the modifiers of all objects that show ``mesh`` go on as they do while ``before`` is the active map, empty
    where there is none; to be called when another one is about to be.

    Args:
        for_a_time: each object has a note of what was changed, which goes with it and its copies: see :func:`unpin`.

    Returns:
        Names of the modifiers that had no map to go by, and shall have none.
    """
    mapless = []
    for obj in _users(mesh):
        changed = _noted(obj)
        for modifier in obj.modifiers:
            for name, value in list(_held(modifier, before)):
                old = getattr(modifier, name)
                try:
                    setattr(modifier, name, value)
                except (AttributeError, RuntimeError, TypeError):
                    continue  # of a library override, as the library has it
                changed.append([modifier.name, _number(modifier), name, old, value])
                mapless += [modifier.name] if not before and modifier.name not in mapless else []
        if for_a_time and changed:
            obj[NOTE] = json.dumps(changed)
    return mapless


def would_begin(mesh: bpy.types.Mesh) -> bool:
    """Whether modifiers of objects that show ``mesh``, which has no map, would begin to go by one that is added."""
    return any(True for obj in _users(mesh) for modifier in obj.modifiers for _ in _held(modifier, ""))


def unpin(obj: bpy.types.Object, stays: bool = False) -> None:
    """Take back what :func:`pin` changed for a time on ``obj``, but for what the artist set to something else since.

    stays: only forget that it was for a time.
    """
    if NOTE not in obj:
        return
    for label, number, name, old, new in [] if stays else _noted(obj):
        modifier = next((m for m in obj.modifiers if number and _number(m) == number), obj.modifiers.get(label))
        if modifier is not None and getattr(modifier, name, None) == new:
            setattr(modifier, name, old)
    del obj[NOTE]


def unpin_all(mesh: bpy.types.Mesh, stays: bool = False) -> None:
    """:func:`unpin` for all objects that show ``mesh``."""
    for obj in _users(mesh):
        unpin(obj, stays)


def goes_by_active(mesh: bpy.types.Mesh) -> bool:
    """Whether particles of an object with ``mesh`` go by the active map, by settings that other objects may have, too:
    that map had better stay the active one."""
    systems = [system for obj in bpy.data.objects if obj.data == mesh for system in obj.particle_systems]
    slots = [slot for system in systems for slot in system.settings.texture_slots if slot is not None]
    return any(slot.texture_coords == "UV" and not slot.uv_layer for slot in slots)


def moves_maps(modifier: bpy.types.Modifier) -> bool:
    """Whether a Data Transfer modifier writes UV maps."""
    return modifier.use_loop_data and "UV" in modifier.data_types_loops


def _noted(obj: bpy.types.Object) -> list[list]:
    """What the note on ``obj`` says; nothing where it is none of ours."""
    try:
        found = json.loads(obj.get(NOTE, "[]"))
        return [row for row in found if len(row) == 5]
    except (ValueError, TypeError):
        return []


def _users(mesh: bpy.types.Mesh) -> list[bpy.types.Object]:
    return [o for o in bpy.data.objects if o.data == mesh and o.is_editable]


def _number(modifier: bpy.types.Modifier) -> int:
    """Of a modifier among its object's, also after it was renamed or the object copied; 0 where Blender has none."""
    return getattr(modifier, "persistent_uid", 0)


def _held(modifier: bpy.types.Modifier, before: str) -> Iterator[tuple[str, object]]:
    """The properties to set, each with its value."""
    names = [p.identifier for p in modifier.bl_rna.properties if p.type == "STRING" and p.identifier in COORDINATES]
    for name in names:
        coordinates = COORDINATES[name]
        if getattr(modifier, name) or getattr(modifier, coordinates, "UV") != "UV":
            continue
        if before:
            yield name, before
        elif hasattr(modifier, coordinates):
            yield coordinates, "LOCAL"  # which is what they do for want of a map
        elif modifier.type in OF_MAPS:
            yield from ((shown, False) for shown in ("show_viewport", "show_render") if getattr(modifier, shown))
