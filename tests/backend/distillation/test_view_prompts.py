"""View words and the Perp-Neg table."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.distillation.view_prompts import encode_job_prompts, perp_neg_mix, view_prompt


class TextOnly:
    """Encodes a prompt as its length, so that a wrong prompt is seen."""

    def __init__(self):
        self.asked: list[str] = []

    def encode_prompts(self, prompts):
        self.asked += list(prompts)
        return torch.stack([torch.full((2, 3), float(len(p))) for p in prompts])


def test_view_and_extra_words_follow_the_prompt():
    assert view_prompt("a red mug", "side", "flat colors") == "a red mug, side view, flat colors"
    assert view_prompt("a red mug,", None) == "a red mug"


def test_each_camera_gets_the_prompt_of_its_view_and_distance():
    prompts = encode_job_prompts(TextOnly(), "a mug", "bad", extra="flat", close_up="close-up")
    batch = prompts.batch(["front", "back", ""], torch.tensor([0.0, 180.0, 0.0]), [False, True, False])
    expected = [len("a mug, front view, flat"), len("a mug, back view, flat, close-up"), len("a mug, flat")]
    assert batch.positive[:, 0, 0].tolist() == expected
    assert batch.negative[:, 0, 0].tolist() == [3, 3, 3]
    assert batch.null[:, 0, 0].tolist() == [0, 0, 0]


def test_view_words_can_be_switched_off():
    prompts = encode_job_prompts(TextOnly(), "a mug", view_dependent=False)
    batch = prompts.batch(["front", "back"], torch.tensor([0.0, 180.0]))
    assert batch.positive[:, 0, 0].tolist() == [5, 5]


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
