"""View words and the Perp-Neg table."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.diffusion.conditions import Conditions
from csd_blender.backend.distillation.view_prompts import encode_job_prompts, perp_neg_mix, view_prompt


class TextOnly:
    """Encodes a prompt as its length, so that a wrong prompt is seen."""

    def __init__(self):
        self.asked: list[str] = []

    def encode_prompts(self, prompts):
        self.asked += list(prompts)
        return Conditions(torch.stack([torch.full((2, 3), float(len(p))) for p in prompts]))


def lengths(batch, branch):
    """Of the prompts that the pictures of a batch get, row by row."""
    return batch.branches[branch].text[:, 0, 0].tolist()


def test_view_and_extra_words_follow_the_prompt():
    assert view_prompt("a red mug", "side", "flat colors") == "a red mug, side view, flat colors"
    assert view_prompt("a red mug,", None) == "a red mug"


def test_each_camera_gets_the_prompt_of_its_view_and_distance():
    prompts = encode_job_prompts(TextOnly(), "a mug", "bad", extra="flat", close_up="close-up")
    batch = prompts.batch(["front", "back", ""], torch.tensor([0.0, 180.0, 0.0]), [False, True, False])
    expected = [len("a mug, front view, flat"), len("a mug, back view, flat, close-up"), len("a mug, flat")]
    assert lengths(batch, "positive") == expected
    assert lengths(batch, "negative") == [3, 3, 3]
    assert lengths(batch, "null") == [0, 0, 0]


def test_view_words_can_be_switched_off():
    prompts = encode_job_prompts(TextOnly(), "a mug", view_dependent=False)
    batch = prompts.batch(["front", "back"], torch.tensor([0.0, 180.0]))
    assert lengths(batch, "positive") == [5, 5]


@pytest.mark.parametrize(
    ("azimuth", "positive", "negative"),
    [
        (0.0, {"front": 1.0, "side": 0.0}, {"front": -0.00012, "side": -1.574}),
        (45.0, {"front": 0.5, "side": 0.5}, {"front": -0.689, "side": -0.689}),
        (-90.0, {"side": 1.0, "back": 0.0}, {"side": -0.00053, "front": -1.5735}),
        (180.0, {"side": 0.0, "back": 1.0}, {"side": -0.394, "front": -1.967}),
    ],
)
def test_perp_neg_weights_at_the_check_points(azimuth, positive, negative):
    mix = perp_neg_mix(azimuth, "side")
    assert dict(mix.positive) == pytest.approx(positive, abs=1e-9)
    assert dict(mix.negative) == pytest.approx(negative, abs=1e-3)


def test_perp_neg_leaves_the_overhead_view_alone():
    assert [w for _, w in perp_neg_mix(10.0, "overhead").negative] == [0.0, 0.0]


def test_perp_neg_mixes_neighbours_and_lists_its_views_picture_by_picture():
    prompts = encode_job_prompts(TextOnly(), "a mug")
    batch = prompts.batch(["side", "overhead"], torch.tensor([45.0, 0.0]), perp_neg=True)
    front, side = len("a mug, front view"), len("a mug, side view")
    assert lengths(batch, "positive") == [(front + side) / 2, len("a mug, overhead view")]
    assert batch.views.text[:, 0, 0].tolist() == [front, side, side, front]
    assert batch.view_weights.shape == (2, 2) and batch.view_weights[1].tolist() == [0.0, 0.0]


def test_whether_there_is_a_negative_prompt_is_known():
    assert encode_job_prompts(TextOnly(), "a mug", "bad").has_negative
    assert not encode_job_prompts(TextOnly(), "a mug").has_negative
