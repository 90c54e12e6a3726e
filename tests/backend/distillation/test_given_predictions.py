"""The public gradient for arrays of any origin: what is computed of them, and what is said of those that do not fit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from csd_blender.backend.distillation import gradient_for_predictions
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.schedule import constant

SHAPE = (2, 4, 3, 3)
T = [20, 700]


@pytest.fixture
def eps():
    numbers = np.random.default_rng(3)
    names = ("positive", "negative", "null", "noise", "lora")
    return {name: numbers.standard_normal(SHAPE).astype(np.float32) for name in names}


def gradient(method, eps, guidance=None, t=T, **more):
    branches = {name: value for name, value in eps.items() if name != "noise"}
    return gradient_for_predictions(method, guidance or Guidance(), branches, eps["noise"], t, **more).grad


def same(found, expected, share=2e-7):
    assert float((found.double() - expected.double()).abs().max()) <= share * float(expected.abs().max())


def test_alike_predictions_lose_no_digits_under_a_large_scale(eps):
    for name in ("positive", "negative", "lora"):
        eps[name] = eps["noise"] + np.float32(1e-3) * eps[name]
    wide = {name: torch.from_numpy(value).double() for name, value in eps.items()}
    guided = wide["negative"] + 101 * (wide["positive"] - wide["negative"])
    settings = Guidance(guidance_scale=100, scale_convention="1+s")
    found = gradient("sds", eps, settings)
    assert found.dtype == torch.float32
    same(found, guided - wide["noise"])
    same(gradient("vsd", eps, settings), guided - wide["lora"])


@pytest.mark.parametrize("weighting", ["sds", "fantasia3d", "x0"])
def test_w_of_small_times_keeps_its_digits(eps, weighting):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    bar = (1 - betas).cumprod(0).double()[[0, 1]].view(-1, 1, 1, 1)
    by_hand = {"sds": 1 - bar, "fantasia3d": bar.sqrt() * (1 - bar), "x0": ((1 - bar) / bar).sqrt()}[weighting]
    unweighted = gradient("csd", {k: v.astype(np.float64) for k, v in eps.items()})
    same(gradient("csd", eps, Guidance(weighting=weighting), t=[0, 1]), by_hand * unweighted)


def test_what_has_no_weight_is_not_read(eps):
    nothing = np.full(SHAPE, np.nan, np.float32)
    expected = gradient("csd", eps)
    assert float(expected.abs().min()) > 0
    for unread in (nothing, np.full(SHAPE, np.inf), None, np.zeros((1, 2)), "words"):
        assert torch.equal(gradient("csd", eps | {"lora": unread}), expected)
    assert torch.equal(gradient("csd", eps | {"noise": nothing}), expected)
    without = gradient("sds", eps, negative_prompt=False)
    assert torch.equal(gradient("sds", eps | {"negative": nothing}, negative_prompt=False), without)


def test_values_that_are_no_numbers_become_zero_and_the_others_stay(eps):
    expected = gradient("csd", eps)
    eps["positive"][0, 0, 0] = (np.nan, np.inf, -np.inf)
    found = gradient("csd", eps)
    assert float(found[0, 0, 0].abs().max()) == 0
    assert torch.equal(found[0, 1:], expected[0, 1:]) and torch.equal(found[1], expected[1])
    for method in ("mvdream", "csd-mvdream"):  # their deviations are of many values
        assert bool(torch.isfinite(gradient(method, eps, Guidance(rescale=0.5), latents=eps["noise"])).all())


@pytest.mark.parametrize("weighting", ["uniform", "sds"])
def test_arrays_of_any_real_type_and_order_serve(eps, weighting):
    guidance, whole = Guidance(weighting=weighting), {k: np.round(4 * v) for k, v in eps.items()}
    expected = gradient("sds", whole, guidance)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for change in (
            lambda a: a.astype(np.int16), lambda a: a.astype(">f4"), lambda a: a.tolist(), torch.from_numpy,
            lambda a: a[::-1].copy()[::-1], lambda a: a.astype(np.float16), lambda a: torch.from_numpy(a).bfloat16(),
            lambda a: torch.from_numpy(a).requires_grad_(),
        ):  # fmt: skip
            found = gradient("sds", {k: change(v) for k, v in whole.items()}, guidance)
            same(found, expected)
            assert found.dtype in (torch.float32, torch.float64) and not found.requires_grad
        fixed = np.broadcast_to(whole["positive"][:1], SHAPE)  # it cannot be written to
        assert gradient("sds", whole | {"positive": fixed}, guidance).shape == SHAPE


def test_half_precision_is_neither_overflown_nor_rounded(eps):
    half = {name: (1000 * value).astype(np.float16) for name, value in eps.items()}
    wide = {name: value.astype(np.float64) for name, value in half.items()}
    settings = Guidance(guidance_scale=100, grad_normalize=True)
    same(gradient("sds", half, settings), gradient("sds", wide, settings))


def test_without_a_negative_prompt_both_origins_of_perp_neg_are_the_empty_one(eps):
    numbers = np.random.default_rng(4)
    views = {"view_predictions": numbers.standard_normal((2, 2, *SHAPE[1:])), "view_weights": -numbers.random((2, 2))}
    alone = {name: eps[name] for name in ("positive", "null", "noise")}
    expected = gradient("csd", alone, Guidance(perp_neg=3.0), **views)
    assert not torch.equal(expected, gradient("csd", alone))
    negative = Guidance(perp_neg=3.0, perp_neg_from="negative")
    assert torch.equal(gradient("csd", alone, negative, **views), expected)
    assert torch.equal(gradient("csd", eps, negative, negative_prompt=False, **views).float(), expected.float())


def test_alpha_makes_times_needless(eps):
    assert torch.equal(gradient("sds", eps, t=None, alpha=[0.5, 0.6]), gradient("sds", eps))


PERP = Guidance(perp_neg=1.0)
RESCALE = Guidance(rescale=0.5)


@pytest.mark.parametrize(
    ("method", "changes", "more", "said"),
    [
        ("csd", {}, {"t": [20, 1000]}, "t must be whole numbers from 0 to 999"),
        ("csd", {}, {"t": [-1, 20]}, "t must be whole numbers"),
        ("csd", {}, {"t": [0.5, 20]}, "t must be whole numbers"),
        ("csd", {}, {"t": None}, "t holds no real numbers"),
        ("csd", {}, {"t": [1, 2, 3]}, "alpha has the shape"),
        ("csd", {}, {"alpha": [0.5, 1.5]}, "must lie from 0 to 1"),
        ("csd", {}, {"alpha": [0.5, float("nan")]}, "must lie from 0 to 1"),
        ("nfsd", {}, {"time": [0.1, 0.2, 0.3]}, "time has the shape"),
        ("csd", {}, {"step": float("nan")}, "step is nan"),
        ("csd", {"positive": np.zeros((2, 4, 5, 5))}, {}, r"one shape \[B, C, h, w\]"),
        ("csd", {name: np.zeros(SHAPE[1:]) for name in ("positive", "negative", "null", "noise")}, {}, "one shape"),
        ("csd", {"positive": None}, {}, "positive holds no real numbers"),
        ("csd", {"noise": None}, {}, "noise holds no real numbers"),
        ("csd", {"null": "words"}, {}, "null holds no real numbers"),
        ("csd", {"null": np.zeros(SHAPE, complex)}, {}, "null holds no real numbers"),
        ("csd", {"null": torch.zeros(SHAPE, dtype=torch.complex64)}, {}, "null holds no real numbers"),
        ("csd", {"null": [[1, 2], [3]]}, {}, "null is no array"),
        ("csd", {}, {"guidance": PERP, "view_predictions": np.zeros((2, 2, 4, 3, 3))}, "need view_weights"),
        (
            "csd",
            {},
            {"guidance": PERP, "view_predictions": np.zeros((2, 2, 4, 3, 3)), "view_weights": np.zeros((2, 3))},
            "view_weights has the shape",
        ),
        (
            "csd",
            {},
            {"guidance": PERP, "view_predictions": np.zeros((3, 2, 4, 3, 3)), "view_weights": np.zeros((3, 2))},
            "view_predictions has the shape",
        ),
        ("mvdream", {}, {"guidance": RESCALE}, "needs the latents"),
        ("mvdream", {}, {"guidance": RESCALE, "latents": np.zeros((2, 4, 1, 2))}, "latents has the shape"),
        *[
            ("mvdream", {}, {"guidance": RESCALE, "latents": np.ones(SHAPE), "views_per_object": n}, "of each object")
            for n in (0, 3, -1)
        ],
        (
            "csd-mvdream",
            {name: np.zeros((1, 1, 1, 1)) for name in ("positive", "negative", "null", "noise")},
            {"t": [1]},
            "more than one number",
        ),
    ],
)
def test_what_does_not_go_together_is_told(eps, method, changes, more, said):
    with pytest.raises(ValueError, match=said):
        gradient(method, eps | changes, **more)


@pytest.mark.parametrize("method", [None, [], "CSD"])
def test_what_is_no_method_is_told(eps, method):
    with pytest.raises(ValueError, match="there is no method"):
        gradient(method, eps)


def test_clips_count_in_single_precision_too(eps):
    found = gradient("sds", eps, Guidance(grad_clip=constant(0.5)))
    assert float(found.abs().max()) == 0.5
