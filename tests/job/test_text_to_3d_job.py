"""The specification of a text-to-3D job and the published values behind its recipes."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import pytest

from csd_blender.backend.distillation.methods import ROWS
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder, read_coarse
from csd_blender.job.presets.recipes import OF_VIEWS, RECIPE_METHODS
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.scene_stages import CoarseStage
from csd_blender.job.spec.schedule import constant
from csd_blender.job.spec.text_to_3d import RECIPES, SUBJECTS, TextTo3DJob

LARGE = "some/folder"  # any model but the bundled one gets the published values
QUALITIES = ("draft", "normal", "best")


def refused(*arguments, **settings) -> str:
    """What is said about settings that are refused."""
    with pytest.raises(JobError) as caught:
        text_to_3d_job(*arguments, **settings)
    assert caught.value.code == "bad_setting"
    return caught.value.detail


def weights(job, stage, step):
    """Of the prompt's, the negative prompt's and the empty prompt's prediction; CSD has none for the noise."""
    found = ROWS[job.method].weights(stage.guidance, step, bool(job.negative_prompt))
    *weights, noise = (found[name] for name in ("positive", "negative", "null", "noise"))
    assert noise == 0 and sum(weights) == pytest.approx(0, abs=1e-12)
    return tuple(weights)


# ---- the specification ---------------------------------------------------------------------------------------------


#: Those whose configurations have a negative prompt.
WITH_NEGATIVE = ("csd", "csd-mvdream", "csd-mvdream-refine", "zero123-refine")


@pytest.mark.parametrize("model", ["mini", LARGE])
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_a_job_for_every_subject_and_survives_json(recipe, subject, quality, model):
    job = text_to_3d_job("a mug", quality, model, recipe, subject)
    assert (job.recipe, job.subject, job.quality, job.model) == (recipe, subject, quality, model)
    plain = model == "mini" and recipe in OF_VIEWS  # the bundled model's colors would get too strong
    assert job.method == ("csd" if plain else RECIPE_METHODS[recipe])
    assert bool(job.negative_prompt) == (recipe in WITH_NEGATIVE or (model == "mini" and recipe != "zero123"))
    assert job.steps > 0
    again = TextTo3DJob.from_json(json.loads(json.dumps(job.to_json())))
    assert again == job and again.spec_hash() == job.spec_hash()


def test_fields_that_were_set_by_hand_survive_json():
    job = text_to_3d_job(
        "a mug",
        coarse={"guidance": {"t_max": [5, 0.9, 0.5, 6], "grad_clip": 2}, "cameras": {"elevation": [0, 10]}},
        refine={"laplacian": 3},
        keep="all",
        height=2,
    )
    again = TextTo3DJob.from_json(json.loads(json.dumps(job.to_json())))
    assert again == job
    assert again.coarse.guidance.grad_clip == constant(2) and again.coarse.cameras.elevation == (0, 10)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"coarse": {"guidance": {"t_max": 1.5}}}, "coarse.guidance.t_max"),
        ({"coarse": {"guidance": {"t_max": [0, 0.5]}}}, "coarse.guidance.t_max"),
        ({"coarse": {"guidance": {"weighting": "none"}}}, "coarse.guidance.weighting"),
        ({"refine": {"cameras": {"distance": [3, 2]}}}, "refine.cameras.distance"),
        ({"refine": {"cameras": {"distance": 3}}}, "refine.cameras.distance"),
        ({"refine": {"tet_resolution": 4}}, "refine.tet_resolution"),
        ({"refine": {"views": 1.5}}, "refine.views"),
        ({"refine": {"views": True}}, "refine.views"),
        ({"coarse": {"textureless_normals": 1}}, "coarse.textureless_normals"),
        ({"coarse": {"sparsity": float("nan")}}, "coarse.sparsity"),
        ({"coarse": {"levels": 0}}, "coarse.levels"),
        ({"refine": {"colour_rate": 1}}, "refine.colour_rate"),
        ({"coarse": {"cameras": {"azimuth": 1}}}, "coarse.cameras.azimuth"),
        ({"coarse": 5}, "coarse"),
        ({"coarse": {"guidance": 5}}, "coarse.guidance"),
        ({"start": "sphere"}, "start"),
        ({"max_faces": 3}, "max_faces"),
        ({"device": "gpu"}, "device"),
        ({"subject": "landscape"}, "subject"),
        ({"recipe": "vsd"}, "recipe"),
        ({"coarse_steps": -5}, "coarse.steps"),
        ({"refine_steps": -5}, "refine.steps"),
        ({"coarse_steps": "many"}, "coarse.steps"),
        ({"coarse_steps": 2.5}, "coarse.steps"),
        ({"refine_steps": True}, "refine.steps"),
    ],
)
@pytest.mark.parametrize("model", ["mini", LARGE])
def test_a_bad_value_is_named_with_its_place(settings, name, model):
    assert name in refused("a mug", model=model, **settings).replace("'", "")


@pytest.mark.parametrize("steps", [{"coarse_steps": 0}, {"coarse": {"steps": 0}}])
def test_a_blob_without_coarse_steps_is_refused(steps):
    assert "coarse.steps" in refused("a mug", **steps)
    from_fog = text_to_3d_job("a mug", warm_start=0)
    assert text_to_3d_job("a mug", start="ellipsoid", **steps).steps == from_fog.refine.steps


def test_grids_that_end_before_they_begin_are_refused():
    assert "base_resolution" in refused("a mug", coarse={"base_resolution": 64, "finest_resolution": 32})


def test_an_empty_prompt_is_refused():
    assert "prompt" in refused("  ")


@pytest.mark.parametrize(
    "data", [None, [], {}, {"kind": "texture"}, {"prompt": "a mug"}, {"kind": "text-to-3d", "x": 1}]
)
def test_what_is_no_text_to_3d_job_is_refused(data):
    with pytest.raises(JobError) as caught:
        TextTo3DJob.from_json(data)
    assert caught.value.code == "bad_setting"


@pytest.mark.parametrize("make", [texture_job, partial(text_to_3d_job, recipe="csd-mvdream")])
def test_a_start_of_another_length_is_another_job(make):
    """Fingerprints leave out what has its default, which has to stay what the first jobs had."""
    first, preset = make("a mug", warm_steps=16), make("a mug")
    assert preset.warm_steps < 16 and preset.spec_hash() != first.spec_hash()
    untold = {name: value for name, value in first.to_json().items() if name != "warm_steps"}
    assert type(first).from_json(untold).spec_hash() == first.spec_hash()


def test_the_fingerprint_ignores_only_what_the_result_does_not_depend_on():
    job = text_to_3d_job("a mug", recipe="csd-mvdream", warm_start=0)
    same = {"preview_interval": 9.0, "checkpoint_interval": 9.0, "device": "cpu", "compile": True}
    assert dataclasses.replace(job, **same).spec_hash() == job.spec_hash()
    other = {
        "prompt": "a cup",
        "negative_prompt": "x",
        "method": "sds",
        "recipe": "magic3d",
        "subject": "sparse",
        "model": LARGE,
        "coarse_model": LARGE,
        "quality": "draft",
        "seed": 1,
        "start": "ellipsoid",
        "keep_colors": False,
        "coarse": dataclasses.replace(job.coarse, learning_rate=0.5),
        "refine": dataclasses.replace(job.refine, cameras=dataclasses.replace(job.refine.cameras, fov_y=(9.0, 10.0))),
        "texture_size": 64,
        "max_faces": 100,
        "height": 2.0,
        "picture_elevation": 10.0,
        "warm_start": 12,
        "warm_steps": 9,
        "warm_scale": 2.0,
        "keep": "all",
        "view_prompts": False,
        "control": "depth",
        "control_model": "depth=/nets",
        "control_strength": 0.5,
        "control_end": 0.5,
        "perp_neg": 1.0,
        "clip": "debiased",
        "noise": "surface",
        "times": "falling",
        "negative_course": "rising",
        "extra_words": "matte",
        "debias_prompt": "mini",
        "debias_words": "eyes",
        "lora": "style.safetensors",
        "lora_weight": 0.5,
        "rasterizer": "torch",
        "allow_noncommercial": True,
        "encoder": "small",
    }
    assert set(same) | set(other) == {f.name for f in dataclasses.fields(TextTo3DJob)}
    prints = [dataclasses.replace(job, **{name: value}).spec_hash() for name, value in other.items()]
    assert len({*prints, job.spec_hash()}) == len(other) + 1


def test_a_part_of_a_stage_leaves_the_rest_as_the_recipe_has_it():
    usual = text_to_3d_job("a mug", model=LARGE)
    job = text_to_3d_job(
        "a mug", model=LARGE, coarse={"guidance": {"grad_normalize": False}, "views": 2}, refine={"cameras": {}}
    )
    guidance = dataclasses.replace(usual.coarse.guidance, grad_normalize=False)
    assert job.coarse == dataclasses.replace(usual.coarse, views=2, guidance=guidance)
    assert job.refine == usual.refine


def test_a_whole_stage_replaces_the_recipe_s():
    stage = CoarseStage(steps=7)
    assert text_to_3d_job("a mug", coarse=stage).coarse == stage


# ---- CSD at the published length and at others; test_published_recipes.py has all values of all recipes --------------


def stretched(steps, **settings):
    """A job of the published recipe, and how much shorter than the published one it is."""
    return text_to_3d_job("a mug", model=LARGE, coarse_steps=steps, refine_steps=steps, **settings), steps / 10000


@pytest.mark.parametrize("steps", [10000, 2000, 15000])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_classifier_scores_are_weighted_as_published(subject, steps):
    job, factor = stretched(steps, subject=subject)
    for step, expected in {0: (1, 0, -1), 2500: (1, -0.5, -0.5), 5000: (1, -1, 0), 9999: (1, -1, 0)}.items():
        assert weights(job, job.coarse, step * factor) == pytest.approx(expected, abs=1e-9)
    for step, expected in {0: (1, -1, 0), 5000: (1, -0.75, -0.25), 10000: (1, -0.5, -0.5)}.items():
        assert weights(job, job.refine, step * factor) == pytest.approx(expected, abs=1e-9)


def test_without_a_negative_prompt_the_pure_classifier_score_is_left():
    job = text_to_3d_job("a mug", model=LARGE, negative_prompt="")
    assert weights(job, job.coarse, 5000) == weights(job, job.refine, 0) == (1, 0, -1)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_diffusion_times_are_drawn_as_published(subject):
    job, _ = stretched(10000, subject=subject)
    g = job.coarse.guidance
    assert (g.t_max.at(0), g.t_max.at(5000), g.t_max.at(5001), g.t_max.at(9999)) == (0.98, 0.98, 0.5, 0.5)
    assert g.t_min == job.refine.guidance.t_min == constant(0.02)
    assert job.refine.guidance.t_max == constant(0.5)
    assert (g.weighting, job.refine.guidance.weighting) == ("uniform", "sds")
    assert (g.grad_normalize, job.refine.guidance.grad_normalize) == (True, False)
    assert g.grad_clip is None and job.refine.guidance.grad_clip is None
    assert g.generative_weight == constant(0)


@pytest.mark.parametrize("steps", [100, 600, 2000, 15000])
def test_a_hard_switch_stays_one_at_any_length(steps):
    job, factor = stretched(steps)
    values = [job.coarse.guidance.t_max.at(step) for step in range(steps)]
    assert set(values) == {0.98, 0.5}
    assert values.index(0.5) == 5000 * factor + 1


def at(schedule, factor, *steps):
    return tuple(schedule.at(step * factor) for step in steps)


@pytest.mark.parametrize("steps", [10000, 2000])
def test_regularizers_are_weighted_as_published(steps):
    (character, factor), (thing, _), (sparse, _) = (stretched(steps, subject=s) for s in SUBJECTS)
    assert at(character.coarse.orientation, factor, 0, 2500, 5000, 9999) == pytest.approx((1, 50.5, 100, 100))
    for job in (thing, sparse):
        assert at(job.coarse.orientation, factor, 0, 5000, 5001, 9999) == (1, 1, 20, 20)
    for job in (character, sparse):
        assert at(job.coarse.sparsity, factor, 0, 2500, 5000, 9999) == pytest.approx((10, 5.5, 1, 1))
    assert thing.coarse.sparsity == constant(1)
    for job in (character, thing, sparse):
        assert job.coarse.opaque == constant(0)
        assert (job.refine.normal_consistency, job.refine.laplacian) == (1000, 0)


def test_subjects_differ_as_published():
    character, thing, sparse = (stretched(10000, subject=s)[0] for s in SUBJECTS)
    c = character.coarse
    assert (c.ambient_only_steps, c.views, c.radius, c.levels, c.finest_resolution) == (5001, 1, 1.0, 12, 512)
    assert (c.cameras.front_back_steps, c.cameras.elevation, c.guidance.perp_neg) == (1000, (-10, 45), 3)
    for job in (thing, sparse):
        c = job.coarse
        assert (c.ambient_only_steps, c.views, c.radius, c.levels, c.finest_resolution) == (2001, 4, 2.0, 16, 2048)
        assert (c.cameras.front_back_steps, c.cameras.elevation, c.guidance.perp_neg) == (0, (-10, 90), 0)


def test_what_all_subjects_share_is_as_published():
    for subject in SUBJECTS:
        job, _ = stretched(10000, subject=subject)
        c, r = job.coarse, job.refine
        assert job.negative_prompt == "oversaturated color, ugly, tiling, low quality, noisy"
        assert (c.steps, c.render_size, c.learning_rate, c.base_resolution, c.ray_samples) == (10000, 64, 1e-3, 16, 512)
        assert (c.blob_scale, c.blob_std, c.random_background) == (10, 0.5, 0.5)
        assert (c.shaded_share, c.textureless_share, c.textureless_normals) == (0.5, 1.0, True)
        assert c.cameras.distance == r.cameras.distance == (1.5, 2.0)
        assert c.cameras.fov_y == r.cameras.fov_y == (40, 70)
        assert (r.steps, r.views, r.render_size, r.tet_resolution, r.threshold) == (10000, 1, 512, 256, 10)
        assert (r.learning_rate, r.color_rate, r.normals_share, r.random_background) == (1e-3, 1e-3, 0.5, 0.5)
        assert (r.shaded_share, r.appearance_weighting) == (0, "")
        assert r.cameras.elevation == (-10, 45) and r.cameras.front_back_steps == 0


def test_counts_of_steps_are_stretched_too():
    character, thing = (stretched(2000, subject=s)[0] for s in ("character", "object"))
    assert (character.coarse.ambient_only_steps, character.coarse.cameras.front_back_steps) == (1000, 200)
    assert thing.coarse.ambient_only_steps == 400


def test_the_bundled_model_adds_some_of_the_prior_to_the_published_weights():
    """The prior is the prompt's prediction less the noise; it comes in from three tenths of a stage on."""
    job = text_to_3d_job("a mug", coarse_steps=1000, refine_steps=1000, warm_start=0)
    coarse = {0: (1, 0, -1), 250: (1, -0.5, -0.5), 500: (1, -1, 0), 700: (1, -1, 0)}
    refine = {0: (1, -1, 0), 500: (1, -0.75, -0.25), 1000: (1, -0.5, -0.5)}
    prior = {0: 0, 250: 0, 500: 0.2, 700: 0.4, 1000: 0.4}
    for stage, published in ((job.coarse, coarse), (job.refine, refine)):
        for step, (positive, negative, null) in published.items():
            found = ROWS["csd"].weights(stage.guidance, step, True)
            g = prior[step]
            expected = {"positive": positive + g, "negative": negative, "null": null, "noise": -g}
            assert found == pytest.approx(expected, abs=1e-9)


def test_the_bundled_model_loses_its_noisiest_times_little_by_little():
    job = text_to_3d_job("a mug", coarse_steps=1000, refine_steps=1000, warm_start=0)
    for stage, first in ((job.coarse, 0.98), (job.refine, 0.9)):
        times = [stage.guidance.t_max.at(step) for step in (0, 415, 830, 1000)]
        assert times == pytest.approx([first, (first + 0.5) / 2, 0.5, 0.5])
    other = text_to_3d_job("a mug", recipe="dreamfusion")
    assert other.coarse.guidance.t_max == constant(0.98)  # other recipes keep their own


def test_coarse_stage_that_cannot_be_read_is_named(tmp_path):
    source = JobFolder.create(tmp_path / "job", text_to_3d_job("a ball"))
    with pytest.raises(JobError, match="coarse.safetensors cannot be read") as caught:
        read_coarse(source)
    assert caught.value.code == "bad_job_folder"
