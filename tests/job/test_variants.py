"""What may vary on any method: from a word in the job to values of the guidance, in textures and in both stages."""

from __future__ import annotations

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.picture import picture_job
from csd_blender.job.presets.recipes import RECIPE_METHODS
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.methods import METHODS
from csd_blender.job.spec.schedule import Schedule
from csd_blender.job.spec.text_to_3d import RECIPES

IF = "DeepFloyd/IF-I-XL-v1.0"


def guidances(model="mini", **settings):
    """Of a texture, and of both stages of an object, each with its number of steps."""
    texture = texture_job("a mug", "draft", model, **settings)
    thing = text_to_3d_job("a mug", "draft", model, "csd", "object", **settings)
    found = [(texture.guidance, texture.steps)]
    return found + [(stage.guidance, stage.steps) for stage in (thing.coarse, thing.refine)]


@pytest.mark.parametrize("method", METHODS)
def test_noise_and_times_arrive_with_every_method(method):
    for guidance, _ in guidances(method=method, noise="surface", times="falling"):
        assert (guidance.noise, guidance.times) == ("surface", "falling")
    for guidance, _ in guidances(method=method):
        assert (guidance.noise, guidance.times) == ("fresh", "uniform")


@pytest.mark.parametrize(("model", "bound"), [("mini", (0.1, 0.4)), ("sd15", (2.0, 8.0)), (IF, (0.5, 2.0))])
def test_the_clip_of_d_sds_rises_over_the_whole_stage(model, bound):
    for guidance, steps in guidances(model, clip="debiased"):
        assert guidance.grad_clip == Schedule(0, *bound, steps)
    assert all(guidance.grad_clip is None for guidance, _ in guidances(model, clip="off"))


def test_the_bundled_model_s_bound_goes_by_the_size_of_the_method_s_gradient():
    for guidance, steps in guidances(clip="debiased", method="sds"):
        assert guidance.grad_clip == Schedule(0, 0.4, 1.6, steps)


def test_each_stage_is_clipped_for_its_own_model():
    thing = text_to_3d_job("a mug", "draft", "sd15", "csd", "object", coarse_model=IF, clip="debiased")
    assert thing.coarse.guidance.grad_clip.end_value == 2.0 and thing.refine.guidance.grad_clip.end_value == 8.0


def test_the_negative_prompt_s_course_is_stretched_to_the_job():
    for guidance, steps in guidances(negative_course="rising"):
        assert guidance.negative_weight == Schedule(0, 0.0, 1.0, steps / 2)
    for guidance, steps in guidances(negative_course="falling"):
        assert guidance.negative_weight == Schedule(0, 1.0, 0.5, steps)


def test_perp_neg_is_counted_with_the_scale_where_there_is_one():
    assert [g.perp_neg for g, _ in guidances(perp_neg=2.0)] == [2.0, 2.0, 2.0]
    assert [g.perp_neg for g, _ in guidances(perp_neg=2.0, method="vsd")] == [15.0, 15.0, 15.0]
    assert [g.perp_neg for g, _ in guidances(perp_neg=0.0)] == [0.0, 0.0, 0.0]
    assert [g.perp_neg for g, _ in guidances("mini", perp_neg=20.0, method="sds")] == [150.0] * 3
    alone = {"coarse": {"cameras": {"ring": 0}}}  # a model that draws several views needs no words against the others
    character = text_to_3d_job("a cat", "draft", "mini", "csd", "character", **alone)
    assert character.coarse.guidance.perp_neg == 3.0, "without a word it is the approach's own"
    assert text_to_3d_job("a cat", "draft", subject="character", perp_neg=0.0).coarse.guidance.perp_neg == 0.0


@pytest.mark.parametrize("recipe", ["dreamfusion", "sjc"])
def test_perp_neg_carries_the_published_scale(recipe):
    thing = text_to_3d_job("a cat", "draft", "sd15", recipe, perp_neg=1.0)
    assert thing.coarse.guidance.guidance_scale == thing.coarse.guidance.perp_neg == 100.0
    most = texture_job("a cat", method="sds", guidance_scale=200.0, perp_neg=20.0)
    assert most.guidance.perp_neg == 4000.0, "whatever the two settings allow can be made"
    with pytest.raises(JobError) as caught:
        texture_job("a cat", method="sds", guidance={"perp_neg": 4001.0})
    assert "guidance.perp_neg is 4001" in caught.value.detail


def test_what_is_said_of_the_guidance_itself_comes_first():
    bound = Schedule(0, 1.0, 1.0, 0)
    job = texture_job("a mug", clip="debiased", guidance={"grad_clip": 1.0})
    assert job.guidance.grad_clip == bound
    thing = text_to_3d_job("a mug", clip="debiased", coarse={"guidance": {"grad_clip": 1.0}})
    assert thing.coarse.guidance.grad_clip == bound and thing.refine.guidance.grad_clip.end_value == 0.4


def test_a_scale_that_is_no_number_is_named_beside_perp_neg_too():
    with pytest.raises(JobError) as caught:
        texture_job("a mug", method="sds", perp_neg=1.0, guidance={"guidance_scale": "much"})
    assert "guidance_scale" in caught.value.detail


@pytest.mark.parametrize(
    "wrong",
    [{"noise": "loud"}, {"times": 3}, {"clip": []}, {"perp_neg": "a"}, {"perp_neg": 21}, {"perp_neg": 9999}],
)
def test_wrong_words_are_named(wrong):
    for make in (texture_job, text_to_3d_job):
        with pytest.raises(JobError) as caught:
            make("a mug", **wrong)
        assert next(iter(wrong)) in caught.value.detail


def test_a_job_without_such_words_has_the_fingerprint_it_always_had():
    plain = texture_job("a mug").to_json()
    older = {name: value for name, value in plain.items() if name not in ("perp_neg", "clip", "noise", "times")}
    older["guidance"] = {
        name: value for name, value in plain["guidance"].items() if not name.startswith(("lora", "bridge", "noise"))
    }
    kind = type(texture_job("a mug"))
    assert kind.from_json(older).spec_hash() == kind.from_json(plain).spec_hash()
    assert texture_job("a mug", noise="surface").spec_hash() != texture_job("a mug").spec_hash()


def test_sds_bridge_crosses_where_it_was_published_and_others_never():
    (texture, steps), (coarse, many), (refine, _) = guidances(method="bridge")
    assert (texture.bridge_start, coarse.bridge_start, refine.bridge_start) == (round(steps / 2), round(0.8 * many), 0)
    assert all(guidance.bridge_start == 0 for guidance, _ in guidances(method="sds"))


def test_every_recipe_has_its_method_unless_another_is_asked_for():
    assert tuple(RECIPE_METHODS) == RECIPES
    for recipe, method in RECIPE_METHODS.items():
        assert text_to_3d_job("a mug", model="some/folder", recipe=recipe).method == method
        assert text_to_3d_job("a mug", recipe=recipe, method="asd").method == "asd"


@pytest.mark.parametrize(
    ("times", "step"),
    [
        ({"t_min": 0.5, "t_max": 0.4}, 0),
        ({"t_max": [0, 0.9, 0.1, 100], "t_min": 0.3}, 100),
        ({"t_min": [50, 0.1, 0.7, 51], "t_max": 0.6}, 51),
    ],
)
def test_a_range_of_times_that_is_upside_down_is_refused(times, step):
    for make in (texture_job, picture_job):
        with pytest.raises(JobError, match=f"guidance.t_min is above guidance.t_max at step {step}[^0-9]"):
            make("a mug", guidance=times)
    with pytest.raises(JobError, match=f"coarse.guidance.t_min is above coarse.guidance.t_max at step {step}[^0-9]"):
        text_to_3d_job("a mug", coarse={"guidance": times})
    texture_job("a mug", guidance={"t_min": 0.4, "t_max": 0.4})


def test_an_edit_by_a_method_that_does_not_read_the_source_is_refused():
    with pytest.raises(JobError, match="one that reads the source; ISM"):
        edit_job("a blue mug", "a red mug", method="ism")
    assert edit_job("a blue mug", "a red mug", method="csm").method == "csm"


@pytest.mark.parametrize("method", ["ism", "csm"])
def test_pictures_of_a_method_that_draws_no_noise_have_times_that_are_drawn(method):
    def times(**settings):
        return picture_job("a mug", **settings).guidance.times

    assert times(method=method) == times(method=method, times="usual") == "uniform"
    assert times(method=method, times="falling") == times() == times(method="all") == "falling"


@pytest.mark.parametrize("strength", [-0.5, -1e-9, -0.999])
def test_a_strength_of_perp_neg_that_is_neither_of_the_preset_nor_one_is_refused(strength):
    for make in (texture_job, text_to_3d_job):
        with pytest.raises(JobError, match="perp_neg"):
            make("an owl", perp_neg=strength)
