"""Modifiers that name no UV map go by the active one: what makes another map the active one holds them to theirs."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

#: By the property that names a map, the one that says whether any map is read at all, where there is such.
COORDINATES = {"uv_layer": "texture_coords", "mask_tex_uv_layer": "mask_tex_mapping"}
#: What they change are UV maps: without any they do nothing, and there is no name that would say so.
OF_MAPS = ("UV_WARP", "UV_PROJECT")


def pin(mesh: bpy.types.Mesh, before: str) -> list[list]:
    """Let the modifiers of all objects that show ``mesh`` go on as they do while ``before`` is the active map, empty
    where there is none; to be called when another one is about to be.

    Returns:
        What was changed: object's name, modifier's name, property, its value before and after. See :func:`unpin`.
    """
    changed = []
    for obj in [o for o in bpy.data.objects if o.data == mesh and o.is_editable]:
        for modifier in obj.modifiers:
            for name, value in list(_held(modifier, before)):
                old = getattr(modifier, name)
                try:
                    setattr(modifier, name, value)
                except (AttributeError, RuntimeError, TypeError):
                    continue  # of a library override, as the library has it
                changed.append([obj.name, modifier.name, name, old, value])
    return changed


def unpin(changed: list[list]) -> None:
    """Take back what :func:`pin` changed, but for what the artist set to something else since."""
    for owner, modifier_name, name, old, new in changed:
        obj = bpy.data.objects.get(owner)
        modifier = obj.modifiers.get(modifier_name) if obj is not None and obj.is_editable else None
        if modifier is not None and getattr(modifier, name, None) == new:
            setattr(modifier, name, old)


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
