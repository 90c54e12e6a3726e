"""The live preview leaves no trace, and a texture is accepted in one undo step."""

import json
import shutil

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob, census, look, temporary


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return HandJob(monkeypatch, **settings)

    return make


def shown_image(obj):
    nodes = obj.material_slots[0].material.node_tree.nodes
    return nodes.active.image


def test_a_preview_is_on_the_mesh_through_the_active_texture_node_in_scene_linear_light(by_hand):
    job = by_hand()
    job.preview(color=(188, 0, 255))
    image = shown_image(cube())
    assert image.is_float and tuple(image.size) == (64, 64)
    assert np.allclose(image.pixels[:4], [0.5029, 0.0, 1.0, 1.0], atol=1e-3)


def test_the_finished_texture_itself_is_on_the_mesh_while_it_waits_for_an_answer(by_hand):
    job = by_hand()
    job.preview(color=(0, 0, 255))
    job.finish(color=(200, 30, 10))
    image = shown_image(cube())
    assert tuple(image.size) == (16, 16) and [round(v * 255) for v in image.pixels[:3]] == [200, 30, 10]
    assert image.colorspace_settings.name == "sRGB"


@pytest.mark.parametrize("source", ["user", "new"])
def test_discard_restores_materials_and_uv_maps_exactly(by_hand, source):
    before = look(cube())
    job = by_hand()
    job.write_uv([source])
    job.preview()
    assert look(cube()) != before
    job.finish([source])
    assert bpy.ops.csd.discard() == {"FINISHED"}
    assert look(cube()) == before and temporary() == []


def test_cancel_without_a_result_restores_materials_at_once(by_hand):
    before = look(cube())
    job = by_hand()
    job.preview()
    bpy.ops.csd.cancel()
    assert job.client.sent[-1][0] == "cancel"
    job.say("cancelled", kept=False, files={})
    assert look(cube()) == before and temporary() == []


def test_hidden_object_materials_and_mixed_links_come_back(by_hand):
    obj = cube()
    own, other = bpy.data.materials.new("Own"), bpy.data.materials.new("Other")
    obj.data.materials.append(other)
    obj.material_slots[0].link = "OBJECT"
    obj.material_slots[0].material = own
    before = look(obj)
    job = by_hand()
    job.preview()
    job.finish()
    bpy.ops.csd.discard()
    assert look(obj) == before


def test_nothing_of_ours_stays_on_objects_where_exporters_would_write_it(by_hand, tmp_path):
    """Custom properties go into glTF and its like."""
    job = by_hand()
    job.preview()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.ed.undo_push(message="Something")
    bpy.ops.ed.undo()
    job.finish()
    bpy.ops.csd.discard()
    for obj in bpy.data.objects:
        assert not obj.keys() and not obj.is_property_set("csd"), obj.name


def test_a_mesh_without_slots_has_none_after_discard(by_hand):
    obj = cube()
    obj.data.materials.clear()
    job = by_hand()
    job.preview()
    assert len(obj.material_slots) == 1
    job.finish()
    bpy.ops.csd.discard()
    assert len(obj.material_slots) == 0


def test_a_material_that_the_artist_assigns_during_the_job_stays_after_discard(by_hand):
    obj = cube()
    job = by_hand()
    job.preview()
    obj.material_slots[0].material = bpy.data.materials.new("Meanwhile")
    job.finish()
    bpy.ops.csd.discard()
    assert obj.material_slots[0].material.name == "Meanwhile"


def test_new_uvs_of_the_backend_are_shown_on_a_layer_of_their_own_corner_by_corner(by_hand):
    obj = cube()
    own = np.array([u.vector[:] for u in obj.data.uv_layers["UVMap"].uv])
    job = by_hand()
    uv = job.write_uv(["new"])
    job.preview()
    layer = obj.data.uv_layers["CSD Preview"]
    assert layer.active and layer.active_render
    corners = job.job.targets[0].corners
    written = np.array([u.vector[:] for u in layer.uv])
    last = {int(c): uv[f, k] for f, triangle in enumerate(corners) for k, c in enumerate(triangle)}
    assert all(np.allclose(written[c], value) for c, value in last.items())
    assert np.array_equal(own, np.array([u.vector[:] for u in obj.data.uv_layers["UVMap"].uv]))


@pytest.mark.parametrize("source", ["user", "new"])
def test_accept_leaves_a_packed_srgb_image_in_an_ordinary_material_named_after_the_prompt(by_hand, source):
    obj = cube()
    job = by_hand(prompt="red brick", seed=7)
    job.write_uv([source])
    job.finish([source], color=(200, 30, 10))
    assert bpy.ops.csd.accept() == {"FINISHED"}
    material = obj.material_slots[0].material
    image = material.node_tree.nodes.active.image
    assert material.name == image.name == "Red brick"
    assert {n.type for n in material.node_tree.nodes} == {"OUTPUT_MATERIAL", "BSDF_PRINCIPLED", "TEX_IMAGE", "UVMAP"}
    assert image.packed_file is not None and image.colorspace_settings.name == "sRGB"
    assert image.filepath == "//Red_brick.png"
    assert [round(v * 255) for v in image.pixels[:3]] == [200, 30, 10]
    assert json.loads(obj["csd_settings"])["seed"] == json.loads(image["csd_settings"])["seed"] == 7
    assert bpy.data.materials["Material"].use_fake_user
    assert obj.data.uv_layers.active.name == ("CSD" if source == "new" else "UVMap")
    assert temporary() == []


@pytest.mark.parametrize("step_between", [False, True])
def test_one_undo_after_accept_brings_the_old_material_back_and_redo_the_new_one(by_hand, step_between):
    before = look(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    if step_between:  # the undo history then holds a state with the preview in it
        cube().location.x = 3
        bpy.ops.ed.undo_push(message="Move")
    job.finish(["new"])
    bpy.ops.csd.accept("EXEC_DEFAULT", True)
    accepted = look(cube())
    bpy.ops.ed.undo()
    assert look(cube()) == before and temporary() == []
    assert cube().location.x == (3 if step_between else 0)
    bpy.ops.ed.redo()
    assert look(cube()) == accepted


def test_undo_and_redo_during_a_job_keep_the_preview_on_the_mesh(by_hand):
    job = by_hand()
    job.preview()
    cube().location.x = 3
    bpy.ops.ed.undo_push(message="Move")
    for step in (bpy.ops.ed.undo, bpy.ops.ed.redo):
        step()
        assert look(cube())[2].startswith(job.job.id)
        assert np.allclose(shown_image(cube()).pixels[0], 0.578, atol=1e-2)
    job.finish()
    bpy.ops.csd.discard()
    assert look(cube())[2] == ""


def test_a_saved_file_holds_no_preview_and_the_screen_still_does(by_hand, tmp_path):
    before = look(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    assert look(cube())[2].startswith(job.job.id)
    module("addon.session").session.job = None  # as another Blender would read the file
    copy = shutil.copy(path, tmp_path / "copy.blend")
    with bpy.data.libraries.load(str(copy)) as (source, _target):
        assert not [name for name in (*source.materials, *source.images) if name.startswith(".CSD")]
    bpy.ops.wm.open_mainfile(filepath=path)
    assert look(cube()) == before


def test_a_file_that_was_saved_in_a_crash_is_cleaned_when_it_is_opened(by_hand, tmp_path):
    before = look(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    saving = module("addon.run.handlers").before_save
    bpy.app.handlers.save_pre.remove(saving)  # autosave and the recovery file do not call it
    try:
        path = str(tmp_path / "recovery.blend")
        bpy.ops.wm.save_as_mainfile(filepath=path, copy=True)
    finally:
        bpy.app.handlers.save_pre.append(saving)
    module("addon.session").session.job = None
    bpy.ops.wm.open_mainfile(filepath=path)
    assert look(cube()) == before and temporary() == []


def test_loading_the_same_file_again_finds_the_object_and_the_job_goes_on(by_hand, tmp_path):
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    job = by_hand()
    job.preview()
    bpy.ops.wm.open_mainfile(filepath=path)
    job.preview()
    assert look(cube())[2].startswith(job.job.id)
    job.finish()
    bpy.ops.csd.accept()
    assert cube().material_slots[0].material.name == "Red brick"


def test_a_result_waits_for_its_own_file_while_another_one_is_open(by_hand, tmp_path):
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    job = by_hand()
    job.preview()
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    job.preview()
    assert look(cube())[2] == "", "the cube of another file is not the job's cube"
    job.finish()
    before = look(cube()), census()
    assert module("addon.run.belonging").accept_problem(job.job) == "It belongs to scene.blend; open that file"
    with pytest.raises(RuntimeError, match="belongs to scene.blend"):
        bpy.ops.csd.accept()
    assert (look(cube()), census()) == before and module("addon.session").session.job is job.job
    bpy.ops.wm.open_mainfile(filepath=path)
    assert module("addon.run.belonging").accept_problem(job.job) == ""
    assert bpy.ops.csd.accept() == {"FINISHED"}
    assert cube().material_slots[0].material.name == "Red brick"


def test_a_result_of_a_file_that_was_never_saved_goes_into_no_other_file(by_hand):
    job = by_hand()
    job.finish()
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    with pytest.raises(RuntimeError, match="never saved"):
        bpy.ops.csd.accept()
    assert "Red brick" not in bpy.data.images and module("addon.session").session.job is job.job


def test_deleting_the_object_during_the_job_keeps_the_texture_as_an_image(by_hand):
    job = by_hand()
    job.preview()
    bpy.data.objects.remove(cube())
    job.preview()
    job.finish()
    assert bpy.ops.csd.accept() == {"FINISHED"}
    assert "“Cube” is gone" in module("addon.session").session.notice
    assert bpy.data.images["Red brick"].packed_file is not None


@pytest.mark.parametrize("gone", ["collections", "scenes"])
def test_an_object_that_lost_its_scene_during_the_job_is_named_and_its_texture_kept(by_hand, gone):
    job = by_hand()
    job.preview()
    bpy.data.scenes.new("Other")
    getattr(bpy.data, gone).remove(getattr(bpy.data, gone)["Collection" if gone == "collections" else "Scene"])
    job.preview()
    job.finish()
    assert bpy.ops.csd.accept() == {"FINISHED"}
    assert "“Cube” is in no scene. Its texture is kept as" in module("addon.session").session.notice
    assert bpy.data.images["Red brick"].use_fake_user


def test_renaming_the_object_during_the_job_does_not_lose_it(by_hand):
    job = by_hand()
    cube().name = "Renamed"
    job.preview()
    job.finish()
    bpy.ops.csd.accept()
    assert bpy.data.objects["Renamed"].material_slots[0].material.name == "Red brick"


def test_a_mesh_that_was_changed_during_the_job_is_left_alone_with_a_message(by_hand):
    job = by_hand()
    job.write_uv(["new"])
    job.finish(["new"])
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.csd.accept()
    assert "changed" in module("addon.session").session.notice
    assert cube().material_slots[0].material.name == "Material" and len(cube().data.uv_layers) == 1


def test_accept_in_edit_mode_is_refused_with_a_sentence_and_works_afterwards(by_hand):
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    bpy.ops.object.mode_set(mode="EDIT")
    job.preview()
    job.finish(["new"])
    with pytest.raises(RuntimeError):
        bpy.ops.csd.accept()
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.csd.accept()
    assert cube().data.uv_layers.active.name == "CSD"


def test_several_objects_get_a_texture_each(by_hand):
    first = cube()
    bpy.ops.mesh.primitive_uv_sphere_add(location=(3, 0, 0), segments=8, ring_count=6)
    second = bpy.context.object
    select(first, second)
    job = by_hand()
    assert [t.name for t in job.job.targets] == ["Cube", "Sphere"]
    job.preview(part=0, color=(255, 0, 0))
    job.preview(part=1, color=(0, 0, 255))
    assert shown_image(first) != shown_image(second)
    job.finish(["user", "user"])
    bpy.ops.csd.accept()
    names = [o.material_slots[0].material.name for o in (first, second)]
    assert names == ["Red brick Cube", "Red brick Sphere"]


def test_reuse_settings_reads_them_back_from_the_textured_object(by_hand):
    job = by_hand(prompt="blue marble", quality="best", seed=99, steps=17, texture_size="512")
    job.finish()
    bpy.ops.csd.accept()
    settings = bpy.context.scene.csd
    settings.prompt, settings.seed, settings.quality = "something else", 1, "draft"
    select(cube())
    bpy.ops.csd.reuse_settings()
    assert (settings.prompt, settings.seed, settings.quality) == ("blue marble", 99, "best")
    assert settings.use_steps and settings.steps == 17 and settings.texture_size == "512"
    assert not settings.use_views and not settings.use_learning_rate
    again = module("addon.kinds.texture.settings").make_spec(
        {
            k: v
            for k, v in module("addon.kinds.texture.settings").gather(bpy.context.scene, {}).items()
            if k != "modifiers"
        }
    )
    assert again == job.job.spec


VALUES = {
    "deep": "[" * 100_000,
    "half": '{"guidance": 5}',
    "huge": '{"seed": 1' + "0" * 400 + "}",
    "text": "x",
    "number": 5,
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_settings_of_an_object_that_cannot_be_read_are_one_sentence(value):
    cube()["csd_settings"] = value
    with pytest.raises(RuntimeError, match="cannot be read. Enter them by hand") as caught:
        bpy.ops.csd.reuse_settings()
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("case", ["deleted", "taken out", "deleted at the end"])
def test_a_preview_material_that_was_taken_away_does_not_take_the_old_one_along(by_hand, case):
    clean = look(cube())
    job = by_hand()
    job.preview()
    if case == "taken out":
        cube().material_slots[0].material = None
    elif case == "deleted":
        bpy.data.materials.remove(cube().material_slots[0].material)
    if case != "deleted at the end":
        job.preview()
    job.finish()
    assert "csd_preview" in cube().material_slots[0].material
    if case == "deleted at the end":
        bpy.data.materials.remove(cube().material_slots[0].material)
    bpy.ops.csd.discard()
    assert look(cube()) == clean and temporary() == []


def test_a_covered_slot_that_is_moved_behind_a_new_one_gets_its_material_back(by_hand):
    job = by_hand()
    job.preview()
    cube().data.materials.append(bpy.data.materials.new("New"))
    cube().active_material_index = 0
    bpy.ops.object.material_slot_move(direction="DOWN")
    job.preview()
    job.finish()
    bpy.ops.csd.discard()
    assert look(cube())[0] == [("DATA", "New", "New"), ("DATA", "Material", "Material")]
