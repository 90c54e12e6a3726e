"""What is said to have no effect has none in the rows, and what is not said has one."""

from __future__ import annotations

import dataclasses

import pytest

from csd_blender.backend.distillation.methods import ROWS
from csd_blender.job.kinds import KINDS
from csd_blender.job.presets.effects import absent, without_effect
from csd_blender.job.presets.recipes import usual_method
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.common import CONTROL_DETAILS
from csd_blender.job.spec.edit import EditJob
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import KNOWN_METHODS, METHODS, find_method
from csd_blender.job.spec.picture import PictureJob
from csd_blender.job.spec.schedule import constant
from csd_blender.job.spec.text_to_3d import RECIPES, TextTo3DJob
from csd_blender.job.spec.texture import TextureJob

SCALES = {"guidance_scale": 31.0, "negative_weight": constant(3.0), "generative_weight": constant(0.7)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "value"), SCALES.items())
def test_a_weight_without_an_effect_is_in_no_row_and_others_are(method, name, value):
    usual = Guidance()

    def weights(guidance: Guidance) -> dict:
        found = ROWS[method].weights(guidance, 0, True)
        return {branch: weight for branch, weight in found.items() if not callable(weight)}

    same = weights(usual) == weights(dataclasses.replace(usual, **{name: value}))
    assert same == (name in without_effect(TextureJob, {"method": method}))


@pytest.mark.parametrize("method", KNOWN_METHODS, ids=lambda method: method.id)
def test_noise_and_times_are_found_by_the_methods_that_say_so(method):
    idle, row = without_effect(TextureJob, {"method": method.id}), ROWS[method.id]
    assert ("times" in idle) == (row.time is not None)
    assert "noise" not in idle or row.prepare is not None or row.start is not None


def test_a_sheet_of_all_methods_has_use_for_what_one_of_them_has_use_for():
    of_mini = {"lora", "lora_weight", "encoder"}  # (the latter in the space of latents, the usual one)
    assert set(without_effect(PictureJob, {"method": "csd"})) == {"guidance_scale"} | of_mini
    assert set(without_effect(PictureJob, {"method": "all"})) == of_mini


@pytest.mark.parametrize(
    ("chosen", "idle"),
    [
        ({}, False), ({"method": "sds"}, True), ({"method": "sds", "warm_start": 8}, False), ({"warm_start": 0}, True),
        ({"model": "sd15"}, True), ({"model": "sd15", "warm_start": 8}, False),
    ],
)  # fmt: skip
def test_details_of_a_start_that_a_preset_does_not_have_are_idle(chosen, idle):
    assert ("warm_scale" in without_effect(TextureJob, chosen)) == idle
    of_preset = texture_job("a mug", **({"warm_start": 8} if chosen.get("warm_start") else chosen)).warm_start
    assert bool(of_preset) != idle


def test_a_frozen_shape_has_no_use_for_its_rate():
    idle = without_effect(EditJob, {})
    assert idle["shape_rate"] == idle["shape_resolution"] == "The shape stays"
    assert "shape_rate" not in without_effect(EditJob, {"shape": "free"})


def test_words_that_there_are_not_hide_nothing_and_break_nothing():
    for wrong in ("loud", [], {}, 3, None):
        for kind in KINDS:
            found = without_effect(
                kind.spec, {"method": wrong, "recipe": wrong, "start": wrong, "debias_prompt": wrong}
            )
            others = {"guidance_scale", "debias_words", "method", "coarse_steps", "coarse_model", "lora", "lora_weight"}
            others |= {"encoder", "shape_rate", "shape_resolution"}
            assert set(found) <= others | {*CONTROL_DETAILS}


def test_an_object_s_method_is_the_recipe_s_unless_one_is_given():
    for recipe in RECIPES:
        idle = without_effect(TextTo3DJob, {"recipe": recipe})
        assert ("method" in idle) == (recipe != "csd")
        fixed = not find_method(usual_method(recipe, "mini")).uses_prompt_weights
        assert ("negative_course" in idle) == fixed
        assert "method" not in without_effect(TextTo3DJob, {"recipe": recipe, "method": "csd"})
    assert without_effect(TextTo3DJob, {"recipe": "prolificdreamer"})["method"] == "VSD by ProlificDreamer"


def test_every_reason_is_short_enough_for_the_panel_and_ends_without_a_full_stop():
    reasons = [reason for kind in KINDS for _setting, reason in absent(kind.spec)]
    for method in METHODS:
        for kind in KINDS:
            for more in ({}, {"negative_prompt": "", "view_prompts": False}, {"start": "mesh"}):
                reasons += without_effect(kind.spec, {"method": method, **more}).values()
    for recipe in RECIPES:
        reasons += without_effect(TextTo3DJob, {"recipe": recipe}).values()
    for reason in reasons:
        assert len(reason) <= 24 and reason[0].isupper() and not reason.endswith("."), reason


def test_what_is_absent_is_not_there():
    for kind in KINDS:
        names = {path.removeprefix("guidance.") for path in kind.spec.shown}
        assert not names & {setting.name for setting, _ in absent(kind.spec)}
