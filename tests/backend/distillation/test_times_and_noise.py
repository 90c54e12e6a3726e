"""When a step looks, and through which noise: laws of falling times, noise found by inversion, noise on the surface."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from csd_blender.backend.diffusion.model import NoiseSchedule
from csd_blender.backend.distillation import asynchronous, inversion
from csd_blender.backend.distillation.state import NoisyBatch
from csd_blender.backend.distillation.surface_noise import fix_to_surface, fixed_noise
from csd_blender.backend.distillation.times import falling_time, linear_time, square_root_time
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.schedule import constant

MEANS = {"positive": 1.5, "negative": -0.5, "null": 0.25}


@pytest.fixture(scope="module")
def schedule():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return NoiseSchedule((1 - betas).cumprod(0), "epsilon", torch.device("cpu"))


# ---- times ---------------------------------------------------------------------------------------------------------


def test_dsd_s_times_are_the_published_ones():
    at = {0: 980, 100: 913, 771: None, 1000: 771, 2500: 649, 5000: 513, 7500: 408, 10000: 320, 10500: 320}
    for step, expected in at.items():
        if expected is not None:
            assert abs(square_root_time(step / 10000, 0.32, 0.98, 1000) - expected) <= 1


def test_sdi_s_times_fall_evenly():
    assert [linear_time(p, 0.25, 0.98, 1000) for p in (0.0, 0.5, 1.0, 1.7)] == [980, 615, 250, 250]


def test_falling_times_never_rise_and_stay_within_their_range(schedule):
    found = [falling_time(step / 200, 0.02, 0.98, schedule.alphas_cumprod) for step in range(201)]
    assert found == sorted(found, reverse=True)
    assert found[0] >= 970 and found[-1] <= 40 and min(found) >= 20 and max(found) <= 980


def test_falling_times_pass_slowly_where_the_weight_is_large(schedule):
    """By the paper's sum, once more by hand: after a share p of the steps, the share p of the weight lies above."""
    bar = schedule.alphas_cumprod

    def weight(t):
        flank = math.exp(-((t - 800) ** 2) / (2 * 300**2)) if t > 800 else 1.0
        flank = math.exp(-((t - 500) ** 2) / (2 * 100**2)) if t < 500 else flank
        return math.sqrt((1 - bar[t]) / bar[t]) * flank

    weights = {t: weight(t) for t in range(20, 981)}
    whole = sum(weights.values())
    for progress in (0.1, 0.35, 0.6, 0.9):
        t = falling_time(progress, 0.02, 0.98, bar)
        above = sum(w for u, w in weights.items() if u > t) / whole
        assert above <= progress + 1e-9 < above + weights[t] / whole + 1e-6


# ---- noise that is found -------------------------------------------------------------------------------------------


def gaussian_ask(schedule, calls=None):
    """Exact predictions for pictures ~ N(mean(prompt), 1): eps = sigma (x - alpha mean)."""

    def ask(names, noisy, t):
        if calls is not None:
            calls.append((tuple(names), t.tolist()))
        alpha, sigma = schedule.alpha_sigma(t)
        return {name: sigma * (noisy - alpha * MEANS[name]) for name in names}

    return ask


def batch_of(schedule, t, negative=False, calls=None, **settings):
    drawn = torch.Generator().manual_seed(5)
    latents, noise = torch.randn((2, len(t), 4, 3, 3), generator=drawn, dtype=torch.float64)
    t = torch.tensor(t)
    return NoisyBatch(
        latents, noise, schedule.add_noise(latents, noise, t), t, 0, torch.Generator().manual_seed(1), schedule,
        Guidance(**settings), negative, gaussian_ask(schedule, calls),
    )  # fmt: skip


def angle(schedule, t):
    alpha, sigma = schedule.alpha_sigma(torch.as_tensor(t).view(-1))
    return torch.atan2(sigma, alpha)


def test_the_way_back_of_ddim_shrinks_a_gaussian_by_the_cosines_of_its_strides(schedule):
    """For N(m, 1) a move by DDIM turns x - alpha m by an angle and keeps its cosine: a closed form for any strides."""
    batch = batch_of(schedule, [400, 731])
    found = inversion.walk(
        schedule, batch.latents, batch.t, 3, lambda x, t: gaussian_ask(schedule)(["null"], x, t)["null"]
    )
    expected = batch.latents - schedule.alpha_sigma(torch.zeros(2, dtype=torch.long))[0] * MEANS["null"]
    marks = [[0, 400 // 3, 800 // 3, 400], [0, 731 // 3, 1462 // 3, 731]]
    for b, times in enumerate(marks):
        turned = [angle(schedule, t) for t in times]
        expected[b] *= torch.stack([(v - u).cos() for u, v in zip(turned, turned[1:], strict=False)]).prod()
    expected = expected + schedule.alpha_sigma(batch.t)[0] * MEANS["null"]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_ism_compares_the_two_ends_of_its_last_stride(schedule):
    calls = []
    batch = batch_of(schedule, [500, 730], calls=calls)
    found = inversion.prepare_ism(batch)
    assert [t for _, t in calls] == [[0, 0], [105, 162], [210, 325], [315, 487], [420, 650]]
    assert all(names == ("null",) for names, _ in calls)
    earlier = torch.tensor([420, 650])
    # from the noise at t back to s, by the prediction there: the two noisy pictures lie on one stride of DDIM
    alpha, sigma = schedule.alpha_sigma(batch.t)
    at_t = alpha * batch.latents + sigma * found.noise
    back = inversion.ddim_move(schedule, at_t, found.branches["before"], batch.t, earlier)
    torch.testing.assert_close(gaussian_ask(schedule)(["null"], back, earlier)["null"], found.branches["before"])


def test_csm_takes_two_strides_at_most(schedule):
    for t, strides in (([300, 450], 1), ([300, 980], 2)):
        calls = []
        found = inversion.prepare_csm(batch_of(schedule, t, calls=calls))
        assert len(calls) == strides and not found.branches


@pytest.mark.parametrize("perp_neg", [0.0, 7.5])
def test_sdi_walks_against_the_prompt_and_ends_a_little_beyond(schedule, monkeypatch, perp_neg):
    monkeypatch.setattr(inversion, "SDI_ETA", 0.0)
    calls = []
    batch = batch_of(schedule, [250, 430], negative=True, calls=calls)
    batch = replace(batch, guidance=replace(batch.guidance, perp_neg=perp_neg))
    found = inversion.prepare_sdi(batch)
    assert [t for _, t in calls][:3] == [[0, 0], [100, 100], [200, 200]]
    assert all(names == ("positive", "negative") for names, _ in calls)
    # by hand: the guided prediction is that of a Gaussian around 1.5 - 7.5 * 2, with Perp-Neg around -0.5 - 7.5 * 2
    mean = MEANS["negative" if perp_neg else "positive"] + inversion.SDI_SCALE * (MEANS["positive"] - MEANS["negative"])
    u = torch.rand(2, generator=torch.Generator().manual_seed(1))
    for b, marks in enumerate(([0, 100, 200], [0, 100, 200, 300, 400])):
        times = [*marks, int(batch.t[b]) + int(u[b] * 100)]
        turned = [angle(schedule, t) for t in times]
        x = batch.latents[b] - schedule.alpha_sigma(torch.tensor([0]))[0] * mean
        x = x * torch.stack([(v - w).cos() for w, v in zip(turned, turned[1:], strict=False)]).prod()
        alpha, sigma = schedule.alpha_sigma(torch.tensor(times[-1:]))
        expected = (x + alpha * mean - alpha * batch.latents[b]) / sigma
        torch.testing.assert_close(found.noise[b : b + 1], expected, rtol=1e-5, atol=1e-5)


def test_sdi_s_fresh_noise_is_ddim_s_at_three_tenths(schedule):
    from diffusers import DDIMScheduler

    known = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    found = inversion._ddim_deviation(schedule, torch.tensor([100]), torch.tensor([200]))
    assert float(found) == pytest.approx(float(known._get_variance(200, 100)) ** 0.5, rel=1e-5)


def test_asd_looks_a_little_later_with_the_same_noise(schedule):
    calls = []
    batch = batch_of(schedule, [20, 500, 900, 999], calls=calls, t_min=constant(0.02))
    found = asynchronous.prepare(batch)
    assert found.noise is batch.noise and calls[0][0] == ("positive",)
    later = torch.tensor(calls[0][1])
    shift = later - batch.t
    assert shift[0] == 0 and bool((shift >= 0).all()) and bool((shift <= 0.1 * (batch.t - 20)).all())
    assert int(later.max()) <= 999 and int(shift.max()) > 0
    expected = gaussian_ask(schedule)(["positive"], schedule.add_noise(batch.latents, batch.noise, later), later)
    torch.testing.assert_close(found.branches["later"], expected["positive"])


# ---- noise on the surface ------------------------------------------------------------------------------------------


def plane(size, shift=0.0, width=1.0, mask=None):
    """What a camera sees that looks straight at the plane z = 0, ``width`` wide."""
    line = (torch.arange(size) + 0.5) / size * width
    x, y = torch.meshgrid(line + shift, line, indexing="xy")
    seen = torch.ones_like(x) if mask is None else mask
    return torch.stack([x, y, torch.zeros_like(x), seen], -1)[None]


def fixed(surface, seed=0, side=16):
    return fix_to_surface(torch.zeros(1, 4, side, side), surface, seed)


def test_noise_on_the_surface_is_standard_gaussian_and_white():
    values = fixed(plane(256), side=64)
    assert float(values.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(values.std()) == pytest.approx(1.0, abs=0.03)
    assert float((values**4).mean()) == pytest.approx(3.0, abs=0.3)
    neighbors = (values[..., 1:] * values[..., :-1]).mean()
    channels = (values[:, 1:] * values[:, :-1]).mean()
    assert abs(float(neighbors)) < 0.25 and abs(float(channels)) < 0.05


def test_a_place_has_the_same_noise_from_another_camera_and_another_seed_has_other_noise():
    here = fixed(plane(64))
    there = fixed(plane(64, shift=1 / 16))  # the camera moved by one latent pixel
    assert torch.allclose(here[..., 1:], there[..., :-1])
    half = fixed(plane(64, shift=0.5 / 16))
    same = (here[..., 1:] * half[..., :-1]).mean() + (here[..., :-1] * half[..., :-1]).mean()
    assert float(same) > 0.5, "half a pixel on, most cells are still seen"
    assert abs(float((here * fixed(plane(64), seed=1)).mean())) < 0.1


def test_noise_stays_fresh_beside_the_surface_and_on_its_edge():
    mask = torch.zeros(64, 64)
    mask[:, :30] = 1.0
    fresh = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(3))
    found = fix_to_surface(fresh, plane(64, mask=mask), 0)
    assert torch.equal(found[..., 7:], fresh[..., 7:]) and not bool((found[..., :7] == fresh[..., :7]).any())


def test_pictures_of_no_object_keep_noise_of_their_own():
    a, b = (fixed_noise(torch.randn(3, 4, 8, 8), None, 7) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a[0], a[1])
