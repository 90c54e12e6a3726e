"""The object that grows in the scene leaves no trace, and is accepted in one undo step."""

import json
import shutil

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select, turn_pump
from tests.support.by_hand import ObjectHandJob, census, cone, growing, temporary
from tests.support.fake_layout import panel_text

session = module("addon.session").session


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return ObjectHandJob(monkeypatch, **settings)

    return make


def test_the_growing_object_stands_at_the_cursor_unseen_by_renders_and_clicks(by_hand):
    bpy.context.scene.cursor.location = (1, 2, 3)
    job = by_hand()
    bpy.context.scene.cursor.location = (0, 0, 0)
    job.preview(segments=9, color=(188, 0, 255))
    obj = growing()
    assert tuple(obj.location) == (1, 2, 3) and obj.hide_render and obj.hide_select
    assert len(obj.data.polygons) == 18 and len(obj.data.edges) == 27 and not obj.data.validate()
    color = obj.data.color_attributes.active_color
    assert np.allclose(color.data[0].color, [0.5029, 0.0, 1.0, 1.0], atol=1e-3)
    assert "VERTEX_COLOR" in {n.type for n in obj.data.materials[0].node_tree.nodes}
    assert obj not in bpy.context.view_layer.objects.selected[:]


@pytest.fixture
def override(tmp_path):
    """A collection of another file, overridden here and active."""
    inside = bpy.data.collections.new("Set")
    bpy.context.scene.collection.children.link(inside)
    inside.objects.link(bpy.data.objects.new("Prop", bpy.data.meshes.new("Prop")))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, loaded):
        loaded.collections = ["Set"]
    made = loaded.collections[0].override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    layers = [bpy.context.view_layer.layer_collection]
    while layers[-1].collection != made:
        layers[:0] = layers.pop().children
    bpy.context.view_layer.active_layer_collection = layers[-1]
    return made


def test_an_object_is_accepted_where_the_active_collection_is_an_override(override, by_hand):
    job = by_hand()
    job.preview()
    job.finish()
    assert bpy.ops.csd.accept() == {"FINISHED"}
    [made] = [o for o in bpy.context.scene.collection.objects if "csd_settings" in o]
    assert made.name not in override.objects


def test_previews_replace_each_other_without_leaving_anything_behind(by_hand):
    before = census()
    job = by_hand()
    job.preview()
    first = census(), len(temporary())
    for segments in range(5, 15):
        job.preview(segments=segments)
        assert len(growing().data.polygons) == 2 * segments
    assert (census(), len(temporary())) == first
    job.finish()
    bpy.ops.csd.discard()
    assert census() == before and temporary() == []


def test_the_finished_object_is_shown_with_its_texture_until_the_answer(by_hand):
    job = by_hand()
    job.preview()
    job.finish(segments=20)
    obj = growing()
    assert len(obj.data.polygons) == 40 and obj.data.uv_layers.active.name == "UVMap"
    assert obj.data.materials[0].node_tree.nodes.active.image.filepath.endswith("albedo.png")


@pytest.mark.parametrize("name", ["nothing", "garbage", "outside", "bad index", "not finite"])
def test_a_preview_that_cannot_be_read_is_passed_over(by_hand, name, tmp_path):
    job = by_hand()
    positions, triangles, _uv = cone(5)
    path = job.job.folder / "preview" / "mesh.npz"
    said = "preview/mesh.npz"
    if name == "garbage":
        path.write_bytes(b"PK\x03\x04 not a zip")
    elif name == "outside":
        said = str(tmp_path / "mesh.npz")
        np.savez(said, positions=positions, triangles=triangles)
    elif name == "bad index":
        np.savez(path, positions=positions, triangles=triangles + 5)
    elif name == "not finite":
        np.savez(path, positions=positions * np.nan, triangles=triangles)
    job.say("preview", path=said, kind="mesh", part=0, step=1)
    turn_pump(lambda: not job.live.pictures.busy())
    assert growing() is None
    job.preview()
    assert growing() is not None and session.problem is None


def test_accept_leaves_one_ordinary_object_named_after_the_prompt(by_hand):
    bpy.context.scene.cursor.location = (1, 2, 0)
    collection = bpy.data.collections.new("Things")
    bpy.context.scene.collection.children.link(collection)
    layer = bpy.context.view_layer
    layer.active_layer_collection = layer.layer_collection.children["Things"]
    before = set(bpy.data.objects)
    job = by_hand(seed=7)
    job.preview()
    job.finish(segments=12)
    assert bpy.ops.csd.accept() == {"FINISHED"}
    [obj] = set(bpy.data.objects) - before
    assert obj.name == obj.data.name == "Small robot" and obj.users_collection == (collection,)
    assert obj.select_get() and layer.objects.active == obj and not cube().select_get()
    assert tuple(obj.location) == (1, 2, 0) and tuple(obj.scale) == (1, 1, 1)
    heights = [v.co.z for v in obj.data.vertices]
    assert min(heights) == 0 and max(heights) == 1
    _positions, _triangles, uv = cone(12)
    written = np.array([u.vector[:] for u in obj.data.uv_layers.active.uv])
    assert np.allclose(written, uv.reshape(-1, 2))
    [material] = obj.data.materials
    nodes = material.node_tree.nodes
    image = nodes.active.image
    assert {n.type for n in nodes} == {"OUTPUT_MATERIAL", "BSDF_PRINCIPLED", "TEX_IMAGE", "UVMAP"}
    assert np.isclose(nodes["Principled BSDF"].inputs["Roughness"].default_value, 0.7)
    assert image.packed_file is not None and image.colorspace_settings.name == "sRGB"
    assert json.loads(obj["csd_settings"])["seed"] == 7 and json.loads(obj["csd_settings"])["kind"] == "text-to-3d"
    assert temporary() == [] and session.job is None
    assert not obj.hide_render and not obj.hide_select


def test_edges_are_smooth_up_to_thirty_degrees(by_hand):
    job = by_hand()
    job.finish(segments=24)
    bpy.ops.csd.accept()
    mesh = bpy.context.view_layer.objects.active.data
    assert all(p.use_smooth for p in mesh.polygons)
    sharp = [e for e in mesh.edges if e.use_edge_sharp]
    assert len(sharp) == 24 and all(24 not in e.vertices and 25 not in e.vertices for e in sharp)


def test_degenerate_triangles_of_the_backend_do_no_harm(by_hand):
    job = by_hand()
    job.write_result(segments=6)
    path = job.job.folder / "result" / "mesh.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["triangles"][0] = 0
    np.savez(path, **arrays)
    job.say("result", files={}, stats={})
    job.work_until_it_lands()
    bpy.ops.csd.accept()
    mesh = bpy.context.view_layer.objects.active.data
    assert len(mesh.polygons) == 11 and np.allclose(mesh.uv_layers[0].uv[0].vector, arrays["uv"][1, 0])


@pytest.mark.parametrize("step_between", [False, True])
def test_one_undo_after_accept_removes_the_object_and_redo_brings_it_back(by_hand, step_between):
    before = census()
    job = by_hand()
    job.preview()
    if step_between:  # the undo history then holds a state with the preview in it
        cube().location.x = 3
        bpy.ops.ed.undo_push(message="Move")
        job.preview(segments=11)
    job.finish()
    bpy.ops.csd.accept("EXEC_DEFAULT", True)
    assert "Small robot" in bpy.data.objects
    bpy.ops.ed.undo()
    assert "Small robot" not in bpy.data.objects and temporary() == []
    assert census()["objects"] == before["objects"] and cube().location.x == (3 if step_between else 0)
    bpy.ops.ed.redo()
    assert len(bpy.data.objects["Small robot"].data.polygons) == 24 and temporary() == []


def test_undo_and_redo_during_a_job_keep_one_preview(by_hand):
    job = by_hand()
    job.preview(segments=7)
    bpy.ops.ed.undo_push(message="With a preview in it")
    cube().location.x = 3
    bpy.ops.ed.undo_push(message="Move")
    job.preview(segments=9)
    present = census()
    for step in (bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.redo):
        step()
        assert len(growing().data.polygons) == 18 and census() == present
    job.finish()
    bpy.ops.csd.discard()
    bpy.ops.ed.undo()
    assert growing() is None and temporary() == []


def test_a_saved_file_holds_no_preview_and_the_screen_still_does(by_hand, tmp_path):
    before = census()
    job = by_hand()
    job.preview()
    path = str(tmp_path / "scene.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    assert growing() is not None
    copy = shutil.copy(path, tmp_path / "copy.blend")
    with bpy.data.libraries.load(str(copy)) as (source, _target):
        assert "CSD Preview" not in source.objects and not [n for n in source.meshes if n.startswith(".CSD")]
    bpy.ops.wm.open_mainfile(filepath=path)
    assert growing() is not None, "the job goes on in the file that was loaded"
    job.finish()
    bpy.ops.csd.discard()
    assert census() == before


def test_a_file_that_was_saved_in_a_crash_is_cleaned_when_it_is_opened(by_hand, tmp_path):
    before = census()
    job = by_hand()
    job.preview()
    saving = module("addon.run.handlers").before_save
    bpy.app.handlers.save_pre.remove(saving)  # autosave and the recovery file do not call it
    try:
        path = str(tmp_path / "recovery.blend")
        bpy.ops.wm.save_as_mainfile(filepath=path, copy=True)
    finally:
        bpy.app.handlers.save_pre.append(saving)
    session.job = None
    bpy.ops.wm.open_mainfile(filepath=path)
    assert growing() is None and temporary() == [] and census() == before


def test_a_preview_that_the_artist_renamed_or_deleted_comes_back_once(by_hand):
    job = by_hand()
    job.preview()
    growing().name = "Mine"
    job.preview(segments=9)
    assert growing() is None and len(bpy.data.objects["Mine"].data.polygons) == 18
    bpy.data.objects.remove(bpy.data.objects["Mine"])
    job.preview()
    assert growing() is not None
    bpy.ops.csd.cancel()
    job.say("cancelled", kept=False, files={})
    assert temporary() == []


def test_cancel_offers_the_best_so_far(by_hand):
    job = by_hand()
    job.preview()
    bpy.ops.csd.cancel()
    job.write_result(segments=5, complete=False)
    job.say("cancelled", kept=True, files={"mesh": "result/mesh.npz"})
    job.work_until_it_lands()
    assert any("Stopped early" in t for t in panel_text())
    bpy.ops.csd.accept()
    assert len(bpy.context.view_layer.objects.active.data.polygons) == 10


@pytest.mark.parametrize("missing", ["mesh.npz", "albedo.png"])
def test_an_incomplete_result_is_one_sentence_and_leaves_no_preview(by_hand, missing):
    job = by_hand()
    job.preview()
    job.write_result()
    (job.job.folder / "result" / missing).unlink()
    job.say("result", files={}, stats={})
    assert job.job.phase == "failed" and "cannot be read" in job.job.problem.text
    assert growing() is None and temporary() == []


def test_a_result_that_was_damaged_since_is_refused_at_accept_and_the_scene_stays(by_hand):
    job = by_hand()
    job.finish()
    (job.job.folder / "result" / "mesh.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(RuntimeError, match="cannot be read"):
        bpy.ops.csd.accept()
    assert growing() is not None and session.job is job.job


def test_accept_waits_for_object_mode(by_hand):
    job = by_hand()
    job.finish()
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="Object Mode"):
        bpy.ops.csd.accept()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.csd.accept() == {"FINISHED"}


def test_a_texture_for_the_preview_of_an_object_is_refused_and_the_object_still_waits(by_hand):
    job = by_hand()
    job.finish()
    preview = growing()
    preview.hide_select = False
    select(preview)
    with pytest.raises(RuntimeError, match="“CSD Preview” is only a preview. Accept the object first") as caught:
        bpy.ops.csd.texture(prompt="red brick")
    assert "Traceback" not in str(caught.value) and growing() is not None
    assert bpy.ops.csd.accept() == {"FINISHED"}


class Noting:
    """An object that notes the 3D views it is to be seen in; without a display Blender itself does not."""

    def __init__(self):
        self.seen_in = []

    def local_view_set(self, space, state):
        assert state
        self.seen_in.append(space)
        if len(self.seen_in) > 1:
            raise RuntimeError("Object not in view layer")


def test_in_local_view_the_new_object_is_seen_as_one_added_by_hand(by_hand, monkeypatch):
    add_object, preview = module("addon.scene.add_object"), module("addon.kinds.object.preview")
    window = bpy.context.window_manager.windows[0]
    area = next(a for a in window.screen.areas if a.type == "VIEW_3D")
    obj = Noting()
    add_object.join_local_views(obj)
    assert obj.seen_in == []
    with bpy.context.temp_override(window=window, area=area, region=area.regions[-1]):
        bpy.ops.view3d.localview()
    add_object.join_local_views(obj)
    add_object.join_local_views(obj)
    assert obj.seen_in == [area.spaces.active] * 2
    joined = []
    for place in (add_object, preview):
        monkeypatch.setattr(place, "join_local_views", lambda obj: joined.append((obj.name, bool(obj.users_scene))))
    job = by_hand()
    job.preview()
    job.preview(segments=9)
    job.finish()
    assert joined == [("CSD Preview", True)]
    bpy.ops.csd.accept()
    assert joined[1:] == [("Small robot", True)]
