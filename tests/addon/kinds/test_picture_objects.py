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


def test_the_bundled_model_makes_objects_after_a_picture_where_its_networks_for_that_are_there(
    by_hand, monkeypatch, tmp_path
):
    picture = tmp_path / "ring.png"
    picture.write_bytes(PNG)
    bpy.context.scene.csd.kind = "text-to-3d"
    with monkeypatch.context() as without:
        without.setattr(module("job.models.places"), "BUNDLED_PICTURE", tmp_path)
        with pytest.raises(RuntimeError, match="told a prompt and no picture"):
            bpy.ops.csd.text_to_3d(prompt="ring", recipe="zero123", picture=str(picture), model="mini")
    job = by_hand(prompt="", recipe="zero123", picture=str(picture), model="mini")
    assert job.job.spec.needs_picture and job.job.spec.model == "mini"


def test_a_picture_of_another_recipe_is_not_looked_at(by_hand, tmp_path):
    job = by_hand(recipe="csd", picture=str(tmp_path / "none.png"))
    assert not (job.job.folder / "picture").exists() and not job.job.spec.needs_picture


@pytest.mark.parametrize("model,coarse_model", [("mini", "some/zero123"), ("some/zero123", "mini")])
def test_a_coarse_model_that_is_left_from_another_recipe_counts_for_nothing(by_hand, tmp_path, model, coarse_model):
    """The approach has one stage; every redraw asks for the preset's values."""
    (tmp_path / "ring.png").write_bytes(PNG)
    csd, settings = bpy.context.scene.csd, module("addon.kinds.object.settings")
    csd.kind, csd.recipe, csd.model, csd.coarse_model = "text-to-3d", "zero123", model, coarse_model
    csd.picture = str(tmp_path / "ring.png")
    try:
        assert settings.usual(csd)["coarse_model"] == ""
        assert module("addon.kinds.common").unused(settings.SPEC, csd)["coarse_model"] == "There is one stage"
        job = by_hand(prompt="")
        assert job.job.spec.model == model and job.job.spec.coarse_model == ""
    finally:
        for name in ("coarse_model", "model", "recipe", "picture"):
            csd.property_unset(name)


def test_refining_a_shape_again_is_by_a_recipe_that_refines(tmp_path):
    csd, settings = bpy.context.scene.csd, module("addon.kinds.object.settings")
    chosen = {}
    for recipe in ("zero123", "dreamfusion", "magic3d", "csd"):
        csd.recipe = recipe
        values = settings.gather(bpy.context.scene, {"refine_from": str(tmp_path), "prompt": "a golden owl"})
        chosen[recipe] = values["recipe"]
    assert chosen == {"zero123": "csd", "dreamfusion": "csd", "magic3d": "magic3d", "csd": "csd"}
    given = {"refine_from": str(tmp_path), "prompt": "a golden owl", "picture": "ring.png"}
    assert settings.gather(bpy.context.scene, given)["recipe"] == "csd"


def test_the_panel_tells_how_long_one_stage_takes():
    csd, settings = bpy.context.scene.csd, module("addon.kinds.object.settings")
    taken = {}
    for recipe in ("csd", "zero123", "zero123-refine"):
        csd.recipe = recipe
        taken[recipe] = settings.expected_seconds(csd)
    assert taken["zero123"] < taken["csd"] < taken["zero123-refine"]
