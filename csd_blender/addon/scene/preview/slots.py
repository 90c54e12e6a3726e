"""Covered slots of an object: what each was, and giving it back."""

from __future__ import annotations

from typing import Any

import bpy

from .temporary import HIDES, NUMBER, is_temporary, numbered


def preview_of(obj: bpy.types.Object) -> str:
    """Whose preview ``obj`` carries. To read it of an object that never had one would leave settings there for good."""
    return obj.csd.preview_job if obj.is_property_set("csd") else ""


def can_be_covered(obj: bpy.types.Object) -> bool:
    """Not what is linked from another file, nor a library override, which has no place for what is hidden."""
    return obj.is_editable and obj.override_library is None


def users_of(mesh: bpy.types.Mesh) -> list[bpy.types.Object]:
    """The objects that show ``mesh`` and can be covered: one, or linked duplicates."""
    return [o for o in bpy.data.objects if o.data == mesh and can_be_covered(o)]


def cover_slots(obj: bpy.types.Object, material: bpy.types.Material, every: bool) -> None:
    """Cover the slots of ``obj`` with ``material``, or with what looks like it: each slot gets one of its own, by which
    its record is found again wherever the slot is moved to."""
    changed, first = False, not obj.csd.slots
    settle(obj)
    for i, slot in enumerate(obj.material_slots):
        hidden = record_of(obj, i, slot)
        if hidden is None and slot.link == "OBJECT" and not every:
            if first:
                obj.csd.slots.add().number = i
            continue  # a material of the twin's own, which stays
        if hidden is None or not (is_temporary(slot.material) or is_empty(slot)):
            hidden = note(obj, i, slot, hidden)
        own = numbered(material, hidden.number)
        covered = hidden.own_material if hidden.link == "OBJECT" else hidden.data_material
        new = own.get(HIDES) != covered if every else HIDES not in own
        if new and covered is not None and not is_temporary(covered):
            own[HIDES] = covered
        if slot.material != own:
            slot.material, changed = own, True
    if changed:
        obj.update_tag()


def record_of(obj: bpy.types.Object, i: int, slot: bpy.types.MaterialSlot) -> Any | None:
    """What the slot of ``obj`` at ``i`` was before it was covered; None for one that is not.

    Where the artist put something else into it since, or nothing, its place tells which it was, as long as no slot was
    moved or removed; added ones come last.
    """
    if slot.link != "OBJECT":
        return None
    records = {hidden.number: hidden for hidden in obj.csd.slots}
    if is_temporary(slot.material):
        return records.get(slot.material.get(NUMBER, -1))
    seen = [s.material.get(NUMBER, -1) if is_temporary(s.material) else k for k, s in enumerate(obj.material_slots)]
    found = records.get(i) if seen[: len(records)] == list(range(len(records))) else None
    return found if found is not None and found.link else None


def note(obj: bpy.types.Object, i: int, slot: bpy.types.MaterialSlot, before: Any) -> Any:
    """Record the slot of ``obj`` at ``i`` as it is, and have it show what the object holds itself. What the artist put
    into a covered slot counts as put there where its material was ``before``: mostly the mesh."""
    if before is not None:
        hidden = before
        if hidden.link == "DATA":
            put_into_mesh(slot, hidden.own_material)
    else:
        numbers = {h.number for h in obj.csd.slots}
        hidden = obj.csd.slots.add()
        hidden.number = i if i not in numbers else max(numbers) + 1
        # A covered slot that got to a new place had its material from the mesh, as nearly all have.
        hidden.link = "DATA" if is_temporary(slot.material) else slot.link
    slot.link = "OBJECT"  # the mesh itself is left as it is
    hidden.own_material = None if is_temporary(slot.material) else slot.material
    hidden.data_material = obj.data.materials[i]
    return hidden


def settle(obj: bpy.types.Object) -> None:
    """Put what is in slots that the artist added under the preview into the mesh: Blender links a new slot as the one
    before it, and that one is covered on the object."""
    if not obj.csd.slots or any(hidden.link != "DATA" for hidden in obj.csd.slots):
        return
    for i, slot in enumerate(obj.material_slots):
        new = slot.link == "OBJECT" and not is_temporary(slot.material) and record_of(obj, i, slot) is None
        if new and obj.data.materials[i] is None:
            put_into_mesh(slot)


def put_into_mesh(slot: bpy.types.MaterialSlot, own: bpy.types.Material | None = None) -> None:
    """Put what the artist chose for a slot whose material is the mesh's into the mesh; ``own``: what the object itself
    had there."""
    chosen = slot.material
    slot.material = own
    slot.link = "DATA"
    slot.material = chosen


def is_empty(slot: bpy.types.MaterialSlot) -> bool:
    """Whether the material that covered ``slot`` was deleted, or taken out of it."""
    return slot.link == "OBJECT" and slot.material is None


def uncover(obj: bpy.types.Object) -> None:
    """Give ``obj`` back every slot that :func:`cover` covered."""
    if not preview_of(obj):
        return
    settle(obj)
    records = [record_of(obj, i, slot) for i, slot in enumerate(obj.material_slots)]  # as they are, not half given back
    for slot, hidden in zip(obj.material_slots, records, strict=True):
        if hidden is None:
            continue
        if is_temporary(slot.material) or is_empty(slot):
            slot.material = hidden.own_material
            slot.link = hidden.link
        elif hidden.link == "DATA":
            put_into_mesh(slot, hidden.own_material)  # the artist assigned something else meanwhile; that stays
    obj.property_unset("csd")
    obj.update_tag()
