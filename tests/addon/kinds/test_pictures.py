"""Pictures from a prompt: the panel, the operator, the API, and where they land."""

import json

import numpy as np
import pytest

from tests.support.blender import bpy, module, start_job, turn_pump
from tests.support.by_hand import HandJob, png
from tests.support.fake_layout import panel_text

session = module("addon.session").session
COUNT = 3


class PictureHandJob(HandJob):
    """A job whose backend is the test."""

    def start(self, settings):
        return start_job({"prompt": "a red mug", "count": COUNT} | settings, kind="image")

    def finish(self, sheet=True):
        write_result(self.job.folder, self.job.spec, sheet)
        self.say("result", files={}, stats={})
        self.pump.work(10**9)


def write_result(folder, spec, sheet=True):
    names = [f"result/picture_{k:02d}.png" for k in range(1, spec.count + 1)]
    for k, name in enumerate(names):
        (folder / name).write_bytes(png(16, 16, (50 * k, 30, 10)))
    if sheet:
        (folder / "result" / "sheet.png").write_bytes(png(48, 16, (1, 2, 3)))
    record = {"settings": spec.to_json(), "kind": "image", "complete": True, "licences": {}}
    record["parts"] = [{"name": name[-6:-4], "albedo": name} for name in names]
    (folder / "result" / "result.json").write_text(json.dumps(record))


@pytest.fixture
def by_hand(monkeypatch):
    return lambda **settings: PictureHandJob(monkeypatch, **settings)


@pytest.fixture
def editor():
    """An Image Editor that shows nothing, in place of the screen's first other area."""
    area = next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type != "VIEW_3D")
    before, area.type = area.type, "IMAGE_EDITOR"
    area.spaces.active.image = None
    yield area.spaces.active
    area.type = before


def images():
    return {image.name for image in bpy.data.images if not image.name.startswith(".")} - {"Render Result"}


def test_the_panel_has_the_settings_of_pictures_and_nothing_of_meshes():
    csd = bpy.context.scene.csd
    csd.kind, csd.prompt = "image", "a red mug"
    text = panel_text()
    assert {"Generate Picture", "Method", "Optimize", "Start", "Pictures", "Picture Size"} <= set(text)
    assert not {"UV Map", "Modifiers", "Views", "Name the Side"} & set(text)
    assert text[text.index("Guidance Scale") + 1] == "CSD has none"
    assert any(t.startswith("Takes about") for t in text)
    csd.picture_method = "all"
    assert {"Guidance Scale", "Tame Colors"} <= set(panel_text()) and "CSD has none" not in panel_text()
    csd.picture_method = "sds"
    text = panel_text()
    assert text[text.index("Tame Colors") + 1] == "SDS goes by its scale" and "CSD has none" not in text
    assert csd.method == "csd", "the other kinds keep theirs, and cannot be made by all methods"
    csd.property_unset("picture_method")


def test_accepted_pictures_are_packed_images_that_stay_in_the_file(by_hand):
    before = images()
    job = by_hand()
    job.finish()
    assert panel_text()[0:1] and "Accept" in panel_text()
    assert bpy.ops.csd.accept() == {"FINISHED"}
    names = ["A red mug", *(f"A red mug 0{k}" for k in range(1, COUNT + 1))]
    assert images() - before == set(names)
    for name in names:
        image = bpy.data.images[name]
        assert image.packed_file is not None and image.use_fake_user
        assert json.loads(image["csd_settings"])["kind"] == "image"
    assert tuple(bpy.data.images["A red mug"].size) == (48, 16)
    assert bpy.data.images["A red mug 02"].pixels[0] == pytest.approx(50 / 255)
    assert session.job is None and not any("gone" in t for t in panel_text())


def test_one_picture_is_not_on_a_sheet_as_well(by_hand):
    before = images()
    job = by_hand(count=1)
    job.finish()
    bpy.ops.csd.accept()
    assert images() - before == {"A red mug"} and tuple(bpy.data.images["A red mug"].size) == (16, 16)


def test_they_grow_in_an_image_editor_that_is_free_and_are_gone_from_it_when_discarded(by_hand, editor):
    job = by_hand()
    job.preview(size=32)
    assert editor.image is not None and tuple(editor.image.size) == (32, 32)
    assert np.allclose(editor.image.pixels[:4], (0.5776, 0.0130, 0.0030, 1), atol=1e-3)
    job.finish()
    assert tuple(editor.image.size) == (48, 16), "the finished sheet"
    bpy.ops.csd.discard()
    assert editor.image is None and not [i for i in bpy.data.images if "csd_preview" in i]


def test_an_image_editor_with_something_of_the_artist_s_is_left_alone_until_pictures_are_accepted(by_hand, editor):
    own = bpy.data.images.new("My drawing", 8, 8)
    own.use_fake_user = False
    editor.image = own
    job = by_hand()
    job.say("preview", path="preview/texture_0.rgba", kind="texture", part=0, width=4, height=4, pixels=bytes(64))
    turn_pump(lambda: not job.live.pictures.busy())
    job.finish()
    assert editor.image == own
    bpy.ops.csd.accept()
    assert editor.image.name == "A red mug"
    assert own.use_fake_user, "nothing else uses it: without that it would not be saved"


def test_an_image_that_a_material_uses_keeps_its_flags_and_a_pinned_editor_its_image(by_hand, editor):
    own = bpy.data.images.new("My texture", 8, 8)
    material = bpy.data.materials.new("Mine")
    material.use_nodes = True
    material.node_tree.nodes.new("ShaderNodeTexImage").image = own
    editor.image = own
    job = by_hand()
    job.finish()
    bpy.ops.csd.accept()
    assert editor.image != own and not own.use_fake_user
    editor.image, editor.use_image_pin = own, True
    again = by_hand()
    again.finish()
    bpy.ops.csd.accept()
    assert editor.image == own
    editor.use_image_pin = False


def test_images_of_the_same_name_are_not_overwritten(by_hand):
    mine = bpy.data.images.new("A red mug 01", 8, 8)
    job = by_hand()
    job.finish()
    bpy.ops.csd.accept()
    assert bpy.data.images["A red mug 01"] == mine and tuple(mine.size) == (8, 8)
    assert "A red mug 01.001" in bpy.data.images


def test_undo_takes_accepted_pictures_back(by_hand):
    before = images()
    job = by_hand()
    bpy.ops.ed.undo_push(message="before")
    job.finish()
    bpy.ops.csd.accept()
    bpy.ops.ed.undo_push(message="Accept")
    bpy.ops.ed.undo()
    assert images() == before


def test_a_result_that_lacks_a_file_is_told_in_a_sentence(by_hand):
    job = by_hand()
    job.finish(sheet=False)
    assert job.job.phase == "failed" and "The finished pictures cannot be read." in " ".join(panel_text())


@pytest.mark.parametrize(
    ("given", "word"),
    [({"prompt": " "}, "prompt"), ({"count": 0}, "count"), ({"size": 1025}, "size"), ({"method": "alchemy"}, "method")],
)
def test_bad_settings_are_refused_in_a_sentence_before_anything_is_written(given, word):
    with pytest.raises((module("addon.errors").SceneError, module("job.errors").JobError)) as caught:
        module("addon.api").image(**({"prompt": "a red mug"} | given))
    assert word in f"{caught.value} {getattr(caught.value, 'detail', '')}"


def test_a_setting_that_there_is_not_is_named():
    with pytest.raises(TypeError, match="colour"):
        module("addon.api").image("a red mug", colour="red")


def test_the_function_and_the_operator_give_the_images(monkeypatch):
    api = module("addon.api")
    lifecycle = module("addon.run.lifecycle")

    def write_at_once(_client, job, _resume):
        write_result(job.folder, job.spec)

    def end(job):
        lifecycle.end(job, module("job.process.bodies").Finished())

    monkeypatch.setattr(module("addon.process.backend"), "submit", write_at_once)
    monkeypatch.setattr(module("addon.run.pump"), "run_to_end", end)
    found = api.image("a red mug", count=2, method="all", seed=4)
    assert [image.name for image in found] == ["A red mug 01", "A red mug 02"]
    plain = json.loads(found[0]["csd_settings"])
    assert (plain["method"], plain["seed"], plain["count"]) == ("all", 4, 2)
    assert bpy.ops.csd.image(prompt="an owl", count=1, space="pixels") == {"FINISHED"}
    assert json.loads(bpy.data.images["An owl"]["csd_settings"])["space"] == "pixels"
