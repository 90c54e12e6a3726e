"""What is added to a prompt: nothing that published systems do not add, and nothing that cannot be seen and changed."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.view_prompts import job_prompts
from csd_blender.backend.pipelines.text_to_3d.job import scene_prompts
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.recipes import COARSE_ALONE
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.text_to_3d import RECIPES, TextTo3DJob
from csd_blender.job.spec.texture import TextureJob

CPU = torch.device("cpu")


@pytest.fixture
def large(tiny_folder):
    return load_model(str(tiny_folder), CPU)


def heard(model, make):
    """All texts that the text encoder gets in ``make``, and what it returns."""
    texts, encode = [], model.encode_prompts
    model.encode_prompts = lambda prompts: texts.extend(prompts) or encode(prompts)
    result = make()
    model.encode_prompts = encode
    return set(texts), result


def reporter():
    return Reporter(emit=lambda said: None)


def texts_of_texture(model, job):
    words = guidance_words(model, job.extra_words)
    return heard(model, lambda: job_prompts(model, job.prompt, job.negative_prompt, True, words, reporter()))[0]


def test_a_texture_asks_for_even_light_in_words_that_stand_in_the_job(large):
    job = texture_job("a mug", model=large.name)
    assert job.extra_words == "flat even lighting, no shadows"
    assert "a mug, front view, flat even lighting, no shadows" in texts_of_texture(large, job)
    chosen = texture_job("a mug", model=large.name, extra_words="matte,")
    assert "a mug, front view, matte" in texts_of_texture(large, chosen)
    without = texts_of_texture(large, texture_job("a mug", model=large.name, extra_words=""))
    assert "a mug, front view" in without and not any("light" in text for text in without)


@pytest.mark.parametrize("recipe", RECIPES)
def test_objects_after_published_systems_add_only_view_words(large, recipe):
    job = text_to_3d_job("a mug", model=large.name, recipe=recipe)
    assert job.extra_words == ""
    texts, _ = heard(large, lambda: scene_prompts(large, job, reporter()))
    plain = {"a mug", *(f"a mug, {view} view" for view in ("front", "side", "back", "overhead"))}
    near = {text + ", close-up" for text in plain}
    assert texts <= plain | near | {job.negative_prompt, ""}


@pytest.mark.parametrize("recipe", RECIPES)
def test_so_do_they_where_the_bundled_model_has_the_other_stage(large, recipe):
    alone, _ = heard(large, lambda: scene_prompts(large, text_to_3d_job("a mug", model=large.name), reporter()))
    for names in ({"model": "mini", "coarse_model": large.name}, {"model": large.name, "coarse_model": "mini"}):
        if recipe not in COARSE_ALONE:
            job = text_to_3d_job("a mug", recipe=recipe, **names)
            texts, _ = heard(large, lambda job=job: scene_prompts(large, job, reporter()))
            assert texts <= alone | {job.negative_prompt}


def test_pictures_of_normals_never_get_words_about_light_or_color(large):
    for model, job in (
        (large, text_to_3d_job("a mug", model=large.name, extra_words="matte")),
        (load_model("mini", CPU), text_to_3d_job("a mug")),
    ):
        prompts = scene_prompts(model, job, reporter())
        bare, flat = model.encode_prompts(
            ["a mug, front view", f"a mug, front view, {'matte' if model is large else 'flat colors'}"]
        ).text
        assert torch.equal(prompts["normal"].branches["positive"].far["front"].text[0], bare)
        assert torch.equal(prompts["color"].branches["positive"].far["front"].text[0], flat)
        assert torch.equal(
            prompts["white"].branches["positive"].far["front"].text[0],
            prompts["lit"].branches["positive"].far["front"].text[0],
        )


def test_the_mini_model_keeps_its_own_words_unless_others_are_chosen():
    mini = load_model("mini", CPU)
    texts = texts_of_texture(mini, texture_job("a red mug"))
    assert {"a red mug, front view, flat colors", "a red mug, flat colors, close-up"} <= texts
    assert "a red mug, front view" in texts_of_texture(mini, texture_job("a red mug", extra_words=""))


def test_a_job_that_says_nothing_about_words_is_the_job_it_always_was():
    for cls in (TextureJob, TextTo3DJob):
        old = {k: v for k, v in cls(prompt="a mug").to_json().items() if k != "extra_words"}
        assert cls.from_json(old).extra_words == "auto"
        assert cls.from_json(old).spec_hash() == cls(prompt="a mug").spec_hash()
        assert cls(prompt="a mug", extra_words="").spec_hash() != cls(prompt="a mug").spec_hash()
