"""The public gradient of a row for given predictions, and that rows and what people read of them go together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from csd_blender.backend.distillation import gradient_for_predictions
from csd_blender.backend.distillation.methods import ROWS
from csd_blender.job.spec.fields import check
from csd_blender.job.spec.guidance import WEIGHTINGS, Guidance
from csd_blender.job.spec.methods import KNOWN_METHODS, METHODS, find_method
from csd_blender.job.spec.schedule import Schedule, constant

SHAPE = (2, 4, 3, 3)
T = [200, 700]


@pytest.fixture
def eps():
    numbers = np.random.default_rng(5)
    names = ("positive", "negative", "null", "noise")
    found = {name: numbers.standard_normal(SHAPE).astype(np.float32) for name in names}
    return found | {"views": numbers.standard_normal((2, 2, *SHAPE[1:])).astype(np.float32)}


def gradient(method, guidance, eps, **more):
    branches = {name: value for name, value in eps.items() if name in ("positive", "negative", "null")}
    return gradient_for_predictions(method, guidance, branches, eps["noise"], T, **more).grad.numpy()


def alphas():
    schedule = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return schedule.alphas_cumprod.numpy().astype(np.float64)[T].reshape(-1, 1, 1, 1)


def test_each_method_has_one_row_and_one_text():
    assert tuple(ROWS)[: len(METHODS)] == METHODS == tuple(method.id for method in KNOWN_METHODS)
    for method in KNOWN_METHODS:
        assert method.label and method.source and method.help and not method.help.endswith(".")
        assert method.mini_weighting in WEIGHTINGS
    assert find_method("sds").id == "sds" and find_method(None) is KNOWN_METHODS[0]


@pytest.mark.parametrize("step", [0, 2500, 5000])
def test_csd_is_read_off_its_schedules_at_the_step(eps, step):
    guidance = Guidance(negative_weight=Schedule(0, 0.0, 1.0, 5000), generative_weight=Schedule(0, 0.0, 0.4, 5000))
    share = step / 5000
    expected = (eps["positive"] - eps["null"]) - share * (eps["negative"] - eps["null"])
    expected = expected + 0.4 * share * (eps["positive"] - eps["noise"])
    assert gradient("csd", guidance, eps, step=step) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("convention", "scale"), [("s", 7.5), ("1+s", 8.5)])
def test_sds_guides_from_the_negative_prompt_or_the_empty_one(eps, convention, scale):
    guidance = Guidance(guidance_scale=7.5, scale_convention=convention)
    for branch, more in (("negative", {}), ("null", {"negative_prompt": False})):
        expected = eps[branch] + scale * (eps["positive"] - eps[branch]) - eps["noise"]
        assert gradient("sds", guidance, eps, **more) == pytest.approx(expected, abs=1e-5)
    without = {name: value for name, value in eps.items() if name != "negative"}
    assert np.array_equal(gradient("sds", guidance, without), gradient("sds", guidance, eps, negative_prompt=False))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_times_weigh_as_in_stable_diffusion_unless_told_otherwise(eps, weighting):
    plain = gradient("csd", Guidance(), eps)
    for bar, more in ((alphas(), {}), (np.array([0.9, 0.2]).reshape(-1, 1, 1, 1), {"alpha": [0.9**0.5, 0.2**0.5]})):
        factor = {"uniform": np.ones_like(bar), "sds": 1 - bar, "fantasia3d": bar**0.5 * (1 - bar)}
        factor = (factor | {"x0": ((1 - bar) / bar) ** 0.5})[weighting]
        expected = plain * factor
        assert gradient("csd", Guidance(weighting=weighting), eps, **more) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("origin", ["empty", "negative"])
def test_perp_neg_clip_and_norm_of_given_views(eps, origin):
    weights = np.array([[-1.0, -0.5], [-0.2, -1.5]], np.float32)
    settings = {"perp_neg": 3.0, "perp_neg_from": origin, "grad_normalize": True}
    settings["grad_clip"] = Schedule(0, 0.5, 2.0, 100)
    more = {"view_predictions": eps["views"], "view_weights": weights}
    start = eps["null" if origin == "empty" else "negative"]
    whole = eps["positive"] - 0.5 * eps["negative"] - 0.5 * eps["null"]
    for b in range(2):
        toward = (eps["positive"] - start)[b].ravel().astype(np.float64)
        for k in range(2):
            away = (eps["views"][b, k] - start[b]).ravel()
            part = away - (away @ toward) / (toward @ toward) * toward
            whole[b] += (3.0 * weights[b, k] * part).reshape(SHAPE[1:])
    whole = np.clip(whole, -0.5 - 1.5 * 0.4, 0.5 + 1.5 * 0.4)  # of 0.5 to 2 in 100 steps
    expected = whole / np.linalg.norm(whole)
    found = gradient("csd", Guidance(**settings), eps, step=40, **more)
    assert found == pytest.approx(expected, abs=2e-6)
    off = Guidance(**settings | {"perp_neg": 0.0})
    assert np.array_equal(gradient("csd", off, eps, **more), gradient("csd", off, eps))


def test_branches_without_a_weight_may_be_left_out_and_others_are_named(eps):
    only = {"positive": eps["positive"], "null": eps["null"], "noise": eps["noise"]}
    assert np.array_equal(gradient("csd", Guidance(), only), eps["positive"] - eps["null"])
    with pytest.raises(ValueError, match="no prediction for the branch 'negative'"):
        gradient("csd", Guidance(), only, negative_prompt=True)
    with pytest.raises(ValueError, match="there is no method 'magic'; known are csd, sds"):
        gradient("magic", Guidance(), eps)
    check(Guidance(negative_weight=constant(0.5)))


def test_a_tensor_of_any_precision_keeps_it(eps):
    double = {name: torch.from_numpy(value).double() for name, value in eps.items() if name != "views"}
    branches = {name: double[name] for name in ("positive", "null")}
    found = gradient_for_predictions("csd", Guidance(weighting="sds"), branches, double["noise"], torch.tensor(T)).grad
    assert found.dtype == torch.float64
    expected = (double["positive"] - double["null"]).numpy() * (1 - alphas())
    assert found.numpy() == pytest.approx(expected, rel=1e-5)
