"""Objects that are made after one picture: from the panel, the operator and a script."""

import pytest

from tests.support.blender import bpy, module
from tests.support.by_hand import ObjectHandJob


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return ObjectHandJob(monkeypatch, **settings)

    return make


PNG = b"\x89PNG\r\n\x1a\n and so on"


def test_a_picture_from_the_panel_goes_into_the_folder_and_names_the_object(by_hand, tmp_path):
    (tmp_path / "red ring.png").write_bytes(PNG)
    csd = bpy.context.scene.csd
    csd.prompt, csd.recipe, csd.picture, csd.model = "", "zero123", str(tmp_path / "red ring.png"), "some/zero123"
    csd.kind = "text-to-3d"
    poll = module("addon.ui.poll")
    ready = poll.why_not_press(bpy.context)
    csd.picture = ""
    assert poll.why_not_press(bpy.context) == "Write a prompt" != ready
    csd.picture = str(tmp_path / "red ring.png")
    job = by_hand(prompt="")
    assert (job.job.folder / "picture").read_bytes() == PNG
    assert job.job.spec.prompt == "red ring" and job.job.spec.needs_picture


def test_a_script_that_gives_a_picture_means_the_recipe_for_it(by_hand, tmp_path):
    (tmp_path / "ring.png").write_bytes(PNG)
    job = by_hand(prompt="", picture=str(tmp_path / "ring.png"), model="some/zero123", picture_elevation=15.0)
    assert job.job.spec.recipe == "zero123" and job.job.spec.picture_elevation == 15.0
    assert (job.job.folder / "picture").is_file()


def test_a_recipe_of_pictures_without_one_or_with_another_file_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "ring.txt").write_text("no picture")
    bpy.context.scene.csd.kind = "text-to-3d"
    given = {"prompt": "ring", "recipe": "zero123", "model": "some/zero123"}
    for picture, words in (("", "begins with a picture"), (str(tmp_path / "ring.txt"), "no PNG, JPEG or WebP")):
        with pytest.raises(RuntimeError, match=words):
            bpy.ops.csd.text_to_3d(**given, picture=picture)
    picture = tmp_path / "ring.png"
    picture.write_bytes(PNG)
    with pytest.raises(RuntimeError, match="told a prompt and no picture"):
        bpy.ops.csd.text_to_3d(prompt="ring", recipe="zero123", picture=str(picture), model="mini")


def test_a_picture_of_another_recipe_is_not_looked_at(by_hand, tmp_path):
    job = by_hand(recipe="csd", picture=str(tmp_path / "none.png"))
    assert not (job.job.folder / "picture").exists() and not job.job.spec.needs_picture
