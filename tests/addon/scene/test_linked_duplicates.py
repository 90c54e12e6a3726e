"""Objects that share one mesh: the preview shows what accepting will do to each, and leaves nothing behind."""

import shutil

import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob, look, temporary

preview = module("addon.scene.preview.temporary")
PREVIEW_MAP, ADDED = module("addon.scene.uv_maps").PREVIEW_NAME, module("addon.scene.uv_maps").ADDED


def twin_of(obj):
    twin = bpy.data.objects.new("Twin", obj.data)
    bpy.context.collection.objects.link(twin)
    bpy.context.view_layer.update()
    return twin


def materials(obj):
    return [slot.material and slot.material.name for slot in obj.material_slots]


@pytest.mark.parametrize("source", ["user", "new"])
@pytest.mark.parametrize("slots", [0, 1, 2])
def test_both_are_covered_and_discard_leaves_both_as_they_were(by_hand, source, slots):
    obj = cube()
    obj.data.materials.clear()
    for i in range(slots):
        obj.data.materials.append(bpy.data.materials.new(f"Own {i}"))
    twin = twin_of(obj)
    before = look(obj), look(twin)
    job = by_hand()
    job.write_uv([source])
    job.preview()
    assert materials(obj) == materials(twin) == [preview.MATERIAL_NAME, f"{preview.MATERIAL_NAME}.001"][: max(1, slots)]
    job.finish([source])
    bpy.ops.csd.discard()
    assert (look(obj), look(twin)) == before and temporary() == []


@pytest.mark.parametrize("source", ["user", "new"])
@pytest.mark.parametrize("slots", [0, 1])
@pytest.mark.parametrize("when", ["during the job", "when it has finished"])
def test_deleting_one_leaves_nothing_on_the_other(by_hand, source, slots, when):
    obj = cube()
    if not slots:
        obj.data.materials.clear()
    twin = twin_of(obj)
    before = look(twin)
    job = by_hand()
    job.write_uv([source])
    job.preview()
    if when == "when it has finished":
        job.finish([source])
    bpy.data.objects.remove(obj)
    if when == "during the job":
        job.finish([source])
    bpy.ops.csd.discard()
    assert look(twin) == before and temporary() == [] and ADDED not in twin.data


def test_a_mesh_that_lost_all_its_objects_keeps_nothing_of_the_preview(by_hand):
    mesh = cube().data
    mesh.use_fake_user = True
    mesh.materials.clear()
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    assert PREVIEW_MAP in mesh.uv_layers and len(mesh.materials) == 1
    bpy.data.objects.remove(cube())
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert [u.name for u in mesh.uv_layers] == ["UVMap"] and not mesh.materials and ADDED not in mesh


def test_what_is_seen_in_the_preview_is_what_accepting_does(by_hand):
    obj = cube()
    twin, other = twin_of(obj), twin_of(obj)
    other.material_slots[0].link = "OBJECT"
    other.material_slots[0].material = bpy.data.materials.new("Of its own")
    job = by_hand()
    job.preview()
    assert materials(twin) == [preview.MATERIAL_NAME] and materials(other) == ["Of its own"]
    job.finish()
    bpy.ops.csd.accept()
    assert materials(obj) == materials(twin) == ["Red brick"] and materials(other) == ["Of its own"]


def test_a_twin_with_a_material_of_its_own_goes_on_to_be_rendered_through_the_same_map(by_hand):
    obj = cube()
    twin = twin_of(obj)
    twin.material_slots[0].link = "OBJECT"
    twin.material_slots[0].material = bpy.data.materials.new("Of its own")
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    assert look(obj)[1] == [("UVMap", False, True), (PREVIEW_MAP, True, False)]
    job.finish(["new"])
    bpy.ops.csd.accept()
    assert look(obj)[1] == [("UVMap", False, True), ("CSD", True, False)] and materials(twin) == ["Of its own"]


def test_applied_modifiers_make_a_mesh_of_its_own_and_the_twin_is_not_touched(by_hand):
    obj = cube()
    twin = twin_of(obj)
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    before = look(twin)
    job = by_hand(modifiers="apply", uv="new")
    job.write_uv(["new"])
    job.preview()
    job.finish(["new"])
    assert look(twin) == before
    bpy.ops.csd.accept()
    assert look(twin) == before and twin.data != obj.data and materials(obj) == ["Red brick"]


def test_duplicates_made_during_the_preview_get_their_materials_back_too(by_hand):
    obj = cube()
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    copies = [twin_of(obj), obj.copy()]
    copies[1].data = obj.data.copy()
    for copy in copies[1:]:
        bpy.context.collection.objects.link(copy)
    job.preview()
    job.finish(["new"])
    bpy.ops.csd.discard()
    for copy in copies:
        assert materials(copy) == ["Material"] and [u.name for u in copy.data.uv_layers] == ["UVMap"]
        assert look(copy)[2] == ""
    assert temporary() == []


@pytest.mark.parametrize("material_stays", [True, False])
@pytest.mark.parametrize("source", ["user", "new"])
def test_joining_a_covered_object_to_another_one_leaves_its_material_and_no_map(by_hand, source, material_stays):
    job = by_hand()
    job.write_uv([source])
    job.preview()
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    own = plane.data.uv_layers.new(name="CSD")  # as an accepted texture leaves it
    own.uv.foreach_set("vector", [0.25] * 8)
    select(plane, cube())
    bpy.ops.object.join()
    assert (PREVIEW_MAP in plane.data.uv_layers) == (source == "new")
    if not material_stays:
        plane.data.materials.clear()
    job.finish([source])
    bpy.ops.csd.discard()
    assert [u.name for u in plane.data.uv_layers] == ["UVMap", "CSD"] and temporary() == []
    assert plane.data.uv_layers["CSD"].uv[0].vector[:] == (0.25, 0.25)
    assert ("Material" in materials(plane)) == material_stays


@pytest.mark.parametrize("steps", ["undo", "undo redo", "undo redo undo"])
def test_undo_of_a_deletion_during_the_preview_leaves_no_trace_after_discard(by_hand, steps):
    twin_of(cube())
    bpy.ops.ed.undo_push(message="Twin")
    before = look(cube()), look(bpy.data.objects["Twin"])
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    bpy.data.objects.remove(cube())
    bpy.ops.ed.undo_push(message="Delete")
    for step in steps.split():
        getattr(bpy.ops.ed, step)()
        job.preview() if "Cube" in bpy.data.objects else None
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert look(bpy.data.objects["Twin"]) == before[1] and temporary() == []
    if "Cube" in bpy.data.objects:
        assert look(cube()) == before[0]


def test_a_file_saved_in_edit_mode_during_the_preview_holds_none_of_it(by_hand, tmp_path):
    twin_of(cube())
    before = look(cube()), look(bpy.data.objects["Twin"])
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    bpy.ops.object.mode_set(mode="EDIT")
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    copy = shutil.copy(path, tmp_path / "copy.blend")  # read as Blender without the extension does
    with bpy.data.libraries.load(str(copy)) as (source, target):
        target.meshes = source.meshes
    for mesh in target.meshes:
        assert PREVIEW_MAP not in mesh.uv_layers and ADDED not in mesh and preview.KEY not in mesh
    module("addon.session").session.job = None
    bpy.ops.wm.open_mainfile(filepath=path)
    if cube().mode == "EDIT":
        bpy.ops.object.mode_set(mode="OBJECT")
    assert (look(cube()), look(bpy.data.objects["Twin"])) == before and temporary() == []
    assert ADDED not in cube().data


@pytest.mark.parametrize("previews", [False, True])
def test_objects_that_come_to_share_a_mesh_during_the_job_show_one_texture_and_say_so(monkeypatch, previews):
    first, second = cube(), cube().copy()
    second.data, second.name = first.data.copy(), "Second"
    bpy.context.collection.objects.link(second)
    bpy.context.view_layer.update()
    select(first, second)
    job = HandJob(monkeypatch)
    second.data = first.data
    if previews:
        job.preview(0)
        job.preview(1)
        job.preview(0)
    job.finish(["user", "user"])
    kept, image = job.jobs.accept()
    assert kept.object == first and not kept.message and image.object is None
    assert "“Second” shares its mesh with “Cube” by now" in image.message and image.image.name in image.message
    assert materials(first) == materials(second) == [kept.material.name] and image.image.use_fake_user
    assert temporary() == [] and look(first)[2] == look(second)[2] == ""
