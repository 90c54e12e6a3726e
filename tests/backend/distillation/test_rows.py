"""The field's methods as rows: each gradient for given predictions against its paper's formula, and the identities
that hold between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from csd_blender.backend.diffusion.model import NoiseSchedule
from csd_blender.backend.distillation import gradient_for_predictions
from csd_blender.backend.distillation.inversion import ddim_move
from csd_blender.backend.distillation.methods import ROWS
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import METHODS

SHAPE = (4, 4, 5, 5)
T = [100, 199, 200, 700]
NAMES = (
    "positive", "negative", "null", "lora", "later", "before", "good", "bad", "ahead_positive", "ahead_negative",
    "ahead_null",
)  # fmt: skip
UNIFORM = {"weighting": "uniform"}


@pytest.fixture
def eps():
    numbers = np.random.default_rng(11)
    return {name: torch.from_numpy(numbers.standard_normal(SHAPE)) for name in (*NAMES, "noise", "latents")}


def gradient(method, eps, settings=None, **more):
    guidance = Guidance(**(UNIFORM if settings is None else settings))
    branches = {name: eps[name] for name in NAMES}
    return gradient_for_predictions(method, guidance, branches, eps["noise"], T, **more).grad


def schedule():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return NoiseSchedule((1 - betas).cumprod(0), "epsilon", torch.device("cpu"))


def alpha_sigma():
    alpha, sigma = schedule().alpha_sigma(torch.tensor(T))
    return alpha.double(), sigma.double()


def guided(eps, scale, background="negative", branch=""):
    start = eps[branch + background]
    return start + scale * (eps[branch + "positive"] - start)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5 * float(expected.abs().max()))


def test_sjc_is_sds_with_all_levels_alike_whatever_the_weighting_says(eps):
    close(gradient("sjc", eps, {"weighting": "sds"}), gradient("sds", eps, UNIFORM))
    close(gradient("sjc", eps, {"weighting": "sds"}), guided(eps, 7.5) - eps["noise"])


@pytest.mark.parametrize(("method", "other"), [("vsd", "lora"), ("asd", "later")])
def test_vsd_and_asd_have_another_prediction_in_the_noise_s_place(eps, method, other):
    close(gradient(method, eps), guided(eps, 7.5) - eps[other])
    expected = guided(eps, 7.5, "null") - eps[other]
    close(gradient(method, eps, negative_prompt=False), expected)
    unweighted = gradient(method, eps, {"weighting": "uniform", "scale_convention": "1+s"})
    close(unweighted, guided(eps, 8.5) - eps[other])
    _, sigma = alpha_sigma()
    close(gradient(method, eps, {"weighting": "sds"}), sigma**2 * (guided(eps, 7.5) - eps[other]))


@pytest.mark.parametrize("negative", [True, False])
def test_nfsd_takes_the_bad_part_away_at_noisy_times_alone(eps, negative):
    # by hand, item by item: d is the empty prompt's prediction below 200, and at 200 and above its way from the bad one
    expected = 7.5 * (eps["positive"] - eps["null"])
    expected[:2] += eps["null"][:2]
    if negative:
        expected[2:] += (eps["null"] - eps["negative"])[2:]
    close(gradient("nfsd", eps, negative_prompt=negative), expected)


def test_nfsd_counts_its_times_as_fractions_of_the_schedule(eps):
    found = gradient("nfsd", eps, time=[0.5, 0.5, 0.5, 0.5])
    close(found, 7.5 * (eps["positive"] - eps["null"]) + eps["null"] - eps["negative"])


def test_ism_compares_two_neighbors_and_weighs_them_by_noise_over_signal(eps):
    alpha, sigma = alpha_sigma()
    expected = sigma / alpha * (guided(eps, 7.5, "null") - eps["before"])
    close(gradient("ism", eps, {"weighting": "uniform"}), expected)


def test_sdi_leads_to_the_predicted_clean_picture(eps):
    alpha, sigma = alpha_sigma()
    noisy = alpha * eps["latents"] + sigma * eps["noise"]
    clean = (noisy - sigma * guided(eps, 7.5)) / alpha
    close(gradient("sdi", eps, {"weighting": "uniform"}), eps["latents"] - clean)


def test_csm_is_csd_at_another_noisy_picture(eps):
    assert torch.equal(gradient("csm", eps), gradient("csd", eps))


def test_bridge_is_sds_and_then_a_good_wording_against_a_bad_one(eps):
    settings = {"weighting": "uniform", "bridge_start": 50}
    close(gradient("bridge", eps, settings, step=49), guided(eps, 7.5) - eps["noise"])
    close(gradient("bridge", eps, settings, step=50), 7.5 * (eps["good"] - eps["bad"]))


def test_dsd_guides_by_scale_in_the_first_term_and_by_one_in_the_second(eps):
    close(gradient("dsd", eps), guided(eps, 7.5) - eps["ahead_positive"])
    counted = gradient("dsd", eps, {"weighting": "uniform", "scale_convention": "1+s"})
    close(counted, guided(eps, 8.5) - guided(eps, 2.0, branch="ahead_"))
    alone = gradient("dsd", eps, {"weighting": "uniform", "scale_convention": "1+s"}, negative_prompt=False)
    close(alone, guided(eps, 8.5, "null") - guided(eps, 2.0, "null", "ahead_"))


def test_dsd_walks_the_way_of_ddim_where_it_may():
    """On one path from one noise, both terms by the same guidance, from each time of a grid to the next: the latents
    end where DDIM's sampling does (arXiv 2412.06780)."""
    noise, torch_seed = schedule(), torch.Generator().manual_seed(4)
    mixing = torch.randn(4, 4, generator=torch_seed, dtype=torch.float64) * 0.5

    def network(x, t):  # any function will do, so let it not be a linear one
        return torch.tanh(torch.einsum("oc,bchw->bohw", mixing, x) + t.view(-1, 1, 1, 1) / 1000)

    z = torch.randn((1, 4, 3, 3), generator=torch_seed, dtype=torch.float64)
    grid = torch.linspace(999, 0, 11).long()
    latents = None
    for before, after in zip(grid[:-1], grid[1:], strict=True):
        d, t = before.view(1), after.view(1)
        found = network(z, d)
        alpha, sigma = (v.double() for v in noise.alpha_sigma(d))
        latents = (z - sigma * found) / alpha if latents is None else latents
        branches = {"positive": network(ddim_input(noise, latents, found, t), t)}
        branches["ahead_positive"] = network(ddim_input(noise, latents, found, d), d)
        guidance = Guidance(guidance_scale=1.0, weighting="sds")
        grad = gradient_for_predictions("dsd", guidance, branches, found, t, negative_prompt=False).grad
        alpha, sigma = (v.double() for v in noise.alpha_sigma(t))
        latents = latents - grad / (alpha * sigma)
        z = ddim_move(noise, z, found, d, t)
    alpha, sigma = (v.double() for v in noise.alpha_sigma(grid[-1:]))
    torch.testing.assert_close(latents, (z - sigma * network(z, grid[-1:])) / alpha, rtol=1e-6, atol=1e-6)


def ddim_input(noise, latents, eps, t):
    alpha, sigma = (v.double() for v in noise.alpha_sigma(t))
    return alpha * latents + sigma * eps


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("views", [None, 2])
def test_mvdream_leads_to_the_clean_picture_held_back_to_the_prompt_s_own_contrast(eps, share, views):
    alpha, sigma = alpha_sigma()
    noisy = alpha * eps["latents"] + sigma * eps["noise"]
    clean = (noisy - sigma * guided(eps, 50.0)) / alpha
    plain = (noisy - sigma * eps["positive"]) / alpha
    size = views or 4
    for first in range(0, 4, size):
        part = slice(first, first + size)
        factor = (plain[part].std() + 1e-8) / (clean[part].std() + 1e-8)  # unbiased, over all views of one object
        clean[part] = share * factor * clean[part] + (1 - share) * clean[part]
    settings = {"guidance_scale": 50.0, "rescale": share}
    found = gradient("mvdream", eps, settings, latents=eps["latents"], views_per_object=views)
    close(found, eps["latents"] - clean)


def test_mvdream_without_rescaling_is_noise_over_signal_times_the_difference(eps):
    alpha, sigma = alpha_sigma()
    close(gradient("mvdream", eps, {"guidance_scale": 50.0}), sigma / alpha * (guided(eps, 50.0) - eps["noise"]))
    with pytest.raises(ValueError, match="rescale needs the latents"):
        gradient("mvdream", eps, {"rescale": 0.5})


def test_csd_mvdream_divides_nine_tenths_by_each_channel_s_deviation(eps):
    difference = eps["positive"] - eps["negative"]
    expected = torch.empty_like(difference)
    for b in range(4):
        for c in range(4):
            one = difference[b, c]
            expected[b, c] = 0.9 * one / (one.numpy().std(ddof=1) + 1e-8) + 0.1 * one
    close(gradient("csd-mvdream", eps, {"weighting": "sds"}), expected)
    alone = eps["positive"] - eps["null"]
    found = gradient("csd-mvdream", eps, negative_prompt=False)
    close(found, 0.9 * alone / (alone.std(dim=(2, 3), keepdim=True) + 1e-8) + 0.1 * alone)


@pytest.mark.parametrize("method", METHODS)
def test_the_classifier_s_part_of_every_method_sums_to_what_it_should(eps, method):
    """Equal predictions leave nothing to follow, whatever the guidance: all weights together are zero."""
    same = {name: torch.ones(SHAPE, dtype=torch.float64) for name in (*NAMES, "noise", "latents")}
    for negative in (True, False):
        found = gradient(method, same, negative_prompt=negative)
        # NFSD alone has a prediction left at small times: that of the clean picture's own detail
        expected = torch.zeros(SHAPE, dtype=torch.float64)
        if method == "nfsd":
            expected[:2] = 1.0
        close(found + 1, expected + 1)


@pytest.mark.parametrize("method", ["vsd", "asd", "ism", "dsd", "bridge"])
def test_what_a_method_needs_and_is_not_given_is_named(eps, method):
    usual = {name: eps[name] for name in ("positive", "negative", "null")}
    with pytest.raises(ValueError, match="there is no prediction for the branch"):
        gradient_for_predictions(method, Guidance(), usual, eps["noise"], T)


def test_a_clip_bounds_any_row(eps):
    from csd_blender.job.spec.schedule import Schedule

    for method in ROWS:
        found = gradient(method, eps, {"weighting": "uniform", "grad_clip": Schedule(0, 0.5, 2.0, 100)}, step=50)
        if ROWS[method].finish.channel_share == 0.0:  # there the deviation comes after
            assert float(found.abs().max()) == pytest.approx(1.25)
