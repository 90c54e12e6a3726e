"""Each material slot that a preview covers comes back as it was, wherever the artist moves it meanwhile."""

import pytest

from tests.support.blender import bpy, cube, select
from tests.support.by_hand import look, temporary


def new(name):
    return bpy.data.materials.new(name)


def give_slots(obj, own="ABC", data="   "):
    """A slot for each letter: materials of the object's own, and below them the mesh's; a blank for none."""
    obj.data.materials.clear()
    for name in data:
        obj.data.materials.append(new(name) if name.strip() else None)
    for slot, name in zip(obj.material_slots, own, strict=True):
        if name.strip():
            slot.link = "OBJECT"
            slot.material = new(name)


def slots(obj):
    return [(slot.link, slot.material and slot.material.name) for slot in obj.material_slots]


def remove_slot(index):
    cube().active_material_index = index
    bpy.ops.object.material_slot_remove()


def move_slot(index, direction):
    cube().active_material_index = index
    bpy.ops.object.material_slot_move(direction=direction)


CHANGES = {
    "the first is removed": lambda: remove_slot(0),
    "the middle one is removed": lambda: remove_slot(1),
    "the first is moved down": lambda: move_slot(0, "DOWN"),
    "the last is moved up": lambda: move_slot(2, "UP"),
    "unused ones are removed": bpy.ops.object.material_slot_remove_unused,
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("own, data", [("ABC", "   "), (" B ", "X Z"), ("A C", "XYZ"), ("   ", "XYZ")])
@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("twin", [False, True])
def test_slots_moved_or_removed_under_a_preview_have_their_own_materials(by_hand, case, own, data, pictures, twin):
    """Without a preview the same is done to the same object: that is what it must look like."""
    select(cube())
    give_slots(cube(), own, data)
    for polygon in cube().data.polygons:
        polygon.material_index = polygon.index % 2 + 1
    if twin:
        bpy.context.collection.objects.link(cube().copy())
    bpy.ops.ed.undo_push(message="Slots")
    CHANGES[case]()
    right = [slots(obj) for obj in bpy.data.objects if obj.type == "MESH"]
    bpy.ops.ed.undo_push(message="Change")
    bpy.ops.ed.undo()
    job = by_hand()
    job.preview()
    CHANGES[case]()
    if pictures == 2:
        job.preview()
        assert all(name.startswith(".CSD Preview") for _, name in slots(cube()))
    job.finish()
    bpy.ops.csd.discard()
    assert [slots(obj) for obj in bpy.data.objects if obj.type == "MESH"] == right and temporary() == []


def test_a_slot_that_is_added_under_a_preview_and_moved_is_none_of_the_others(by_hand):
    give_slots(cube(), " B ", "X Z")
    job = by_hand()
    job.preview()
    bpy.ops.object.material_slot_add()
    move_slot(3, "UP")
    job.preview()
    job.finish()
    bpy.ops.csd.discard()
    assert [name for _, name in slots(cube())] == ["X", "B", None, "Z"] and temporary() == []


@pytest.mark.parametrize("pictures", [1, 2])
def test_what_is_put_into_a_slot_of_the_mesh_goes_into_the_mesh(by_hand, pictures):
    twin = cube().copy()
    bpy.context.collection.objects.link(twin)
    job = by_hand()
    job.preview()
    cube().active_material = new("Meanwhile")
    if pictures == 2:
        job.preview()
    job.finish()
    bpy.ops.csd.discard()
    assert slots(cube()) == slots(twin) == [("DATA", "Meanwhile")] and temporary() == []


def test_materials_linked_from_a_covered_object_are_those_it_has_itself(by_hand):
    give_slots(cube(), "A  ", "XYZ")
    bpy.ops.mesh.primitive_cube_add()
    other = bpy.context.object
    before = look(cube())
    job = by_hand()
    job.preview()
    select(cube(), other)
    bpy.ops.object.make_links_data(type="MATERIAL")
    job.finish()
    bpy.ops.csd.discard()
    assert [name for _, name in slots(other)] == ["A", "Y", "Z"]
    assert look(cube()) == before and temporary() == []


def test_a_linked_duplicates_own_material_that_is_moved_does_not_get_into_the_mesh(by_hand):
    select(cube())
    give_slots(cube(), "  ", "XY")
    twin = cube().copy()
    bpy.context.collection.objects.link(twin)
    twin.material_slots[0].link = "OBJECT"
    twin.material_slots[0].material = new("Own")
    job = by_hand()
    job.preview()
    select(twin)
    twin.active_material_index = 0
    bpy.ops.object.material_slot_move(direction="DOWN")
    job.finish()
    bpy.ops.csd.discard()
    assert slots(cube()) == [("DATA", "Y"), ("DATA", "X")] and slots(twin) == [("DATA", "Y"), ("OBJECT", "Own")]


def test_materials_linked_from_a_covered_object_are_those_that_it_has_by_then(by_hand):
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    select(cube())
    job = by_hand()
    job.preview()
    cube().active_material = new("Meanwhile")
    job.preview()
    select(cube(), plane)
    bpy.ops.object.make_links_data(type="MATERIAL")
    job.finish()
    bpy.ops.csd.discard()
    assert slots(cube()) == slots(plane) == [("DATA", "Meanwhile")] and temporary() == []


@pytest.mark.parametrize("fill", [True, False])
@pytest.mark.parametrize("when", ["before another picture", "after the last one"])
def test_a_slot_that_is_added_under_a_preview_is_the_meshs_as_it_is_without_one(by_hand, fill, when):
    give_slots(cube(), " ", "X")
    twin = cube().copy()
    bpy.context.collection.objects.link(twin)
    job = by_hand()
    job.preview()
    bpy.ops.object.material_slot_add()
    if fill:
        cube().active_material = new("Trim")
    if when == "before another picture":
        job.preview()
    job.finish()
    bpy.ops.csd.discard()
    assert slots(cube()) == slots(twin) == [("DATA", "X"), ("DATA", "Trim" if fill else None)] and temporary() == []


def test_what_is_put_into_a_slot_of_the_mesh_goes_there_where_another_slot_was_added_too(by_hand):
    give_slots(cube(), "  ", "XY")
    job = by_hand()
    job.preview()
    cube().active_material_index = 1
    cube().active_material = new("Meanwhile")
    bpy.ops.object.material_slot_add()
    job.finish()
    bpy.ops.csd.discard()
    assert slots(cube()) == [("DATA", "X"), ("DATA", "Meanwhile"), ("DATA", None)] and temporary() == []
