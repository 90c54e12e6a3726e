"""Sampling, against data whose noise is known in closed form, and against diffusers."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.diffusion.model import NoiseSchedule
from csd_blender.backend.diffusion.sampling import implied_noise, sample_latents, sampling_times

CPU = torch.device("cpu")
STEPS = 1000


def diffusion() -> NoiseSchedule:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return NoiseSchedule((1 - betas).cumprod(0).float(), "epsilon", CPU)


def flow() -> NoiseSchedule:
    sigmas = (torch.arange(STEPS) + 1) / STEPS
    alpha, sigma = 1 - sigmas, sigmas
    return NoiseSchedule(alpha**2 / (alpha**2 + sigma**2), "flow_prediction", CPU, sigmas)


def draw(seed: int, count: int = 3) -> torch.Tensor:
    return torch.randn((count, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", [diffusion(), flow()], ids=["diffusion", "flow"])
@pytest.mark.parametrize("strides", [1, 2, 7])
@pytest.mark.parametrize("order", [1, 2])
def test_where_there_is_one_picture_only_sampling_ends_at_it(schedule, strides, order):
    picture = draw(0)
    found = sample_latents(schedule, draw(1), lambda x, t: implied_noise(schedule, picture, x, t), strides, order=order)
    torch.testing.assert_close(found, picture, rtol=0, atol=2e-4)


def gaussian_end(strides: int, order: int, spread: float = 0.3) -> float:
    """How far from the flow's own end sampling comes out for pictures that are normal with that deviation: their noise
    is ``sigma x / (alpha² spread² + sigma²)``, and along the ODE ``x_t`` keeps its place in units of its deviation."""
    schedule, noise = diffusion(), draw(2).double()

    def predict(x, t):
        alpha, sigma = schedule.alpha_sigma(t)
        return sigma * x / (alpha**2 * spread**2 + sigma**2)

    found = sample_latents(schedule, noise, predict, strides, order=order)
    alpha, sigma = schedule.alpha_sigma(torch.tensor([sampling_times(schedule, strides)[0]]))
    exact = noise * spread / (alpha**2 * spread**2 + sigma**2).sqrt()
    return float((found - exact).abs().max() / exact.abs().max())


def test_pictures_of_a_gaussian_come_out_where_the_ode_ends_the_nearer_the_more_strides():
    errors = [gaussian_end(strides, order=1) for strides in (5, 20, 80, 320)]
    assert errors[-1] < 0.04 and all(few > 2 * many for few, many in zip(errors, errors[1:], strict=False))


def test_the_second_order_needs_less_than_half_of_the_strides():
    """Of pictures as spread as latents are: of narrow ones the last stride is wrong by most, and it is the same."""
    for strides in (6, 12, 24):
        assert gaussian_end(strides, order=2, spread=1.5) < gaussian_end(2 * strides, order=1, spread=1.5)


@pytest.mark.parametrize("order", [1, 2])
def test_it_is_the_sampler_of_diffusers(order):
    from diffusers import DPMSolverMultistepScheduler

    schedule, noise = diffusion(), draw(7)
    times = sampling_times(schedule, 6)
    theirs = DPMSolverMultistepScheduler(
        STEPS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", solver_order=order,
        lower_order_final=True,
    )  # fmt: skip
    theirs.set_timesteps(timesteps=times)

    def predict(x, t):
        return torch.sin(3 * x) + x.flip(-1) * t.view(-1, 1, 1, 1) / STEPS

    x = noise
    for t in theirs.timesteps:
        x = theirs.step(predict(x, t.repeat(len(x))), t, x).prev_sample
    found = sample_latents(schedule, noise, predict, 6, order=order)
    torch.testing.assert_close(found, x, rtol=2e-4, atol=2e-4)


def test_what_is_foreseen_may_be_revised_and_the_noise_follows():
    schedule, noise, other = diffusion(), draw(3), draw(4)
    seen = []

    def revise(clean, done):
        seen.append((done, clean.clone()))
        return other if done == 1 else clean

    def predict(x, t):
        return torch.zeros_like(x)

    found = sample_latents(schedule, noise, predict, 2, revise, order=1)
    times = sampling_times(schedule, 2)
    (a, s), (a2, s2) = (schedule.alpha_sigma(torch.tensor([t])) for t in times)
    moved = a2 * other + s2 * (noise - a * other) / s
    assert [done for done, _ in seen] == [1, 2]
    torch.testing.assert_close(seen[0][1], noise / a)
    torch.testing.assert_close(found, moved / a2)


def test_times_fall_evenly_from_the_last_and_leave_the_clean_end_out():
    assert sampling_times(diffusion(), 4) == [999, 749, 499, 249]
    assert sampling_times(diffusion(), 1) == [999]


def test_a_schedule_that_ends_in_noise_alone_is_begun_before_its_end():
    alphas = diffusion().alphas_cumprod.clone()
    alphas[-3:] = 0.0
    schedule = NoiseSchedule(alphas, "v_prediction", CPU)
    assert sampling_times(schedule, 2)[0] == 996
    found = sample_latents(schedule, draw(5), lambda x, t: schedule.to_noise(torch.zeros_like(x), x, t), 3)
    assert bool(torch.isfinite(found).all())


def test_a_revision_does_not_count_as_a_change_of_what_is_foreseen():
    """What is revised takes its place at once; what is followed is how the network's own foresight moves."""
    schedule, other, own = diffusion(), draw(8), draw(9)

    def predict(x, t):
        return implied_noise(schedule, own, x, t)

    def end(order):
        return sample_latents(
            schedule, draw(3), predict, 4, lambda clean, done: other if done < 3 else clean, order=order
        )

    torch.testing.assert_close(end(2), end(1), rtol=0, atol=2e-4)


def test_there_may_be_more_strides_than_times():
    whole = diffusion()
    schedule = NoiseSchedule(whole.alphas_cumprod[::20].clone(), "epsilon", CPU)
    picture = draw(0)
    found = sample_latents(schedule, draw(1), lambda x, t: implied_noise(schedule, picture, x, t), 80)
    torch.testing.assert_close(found, picture, rtol=0, atol=2e-4)


def test_no_stride_at_all_and_unknown_orders_are_refused():
    with pytest.raises(ValueError, match="one stride"):
        sample_latents(diffusion(), draw(6), lambda x, t: x, 0)
    with pytest.raises(ValueError, match="order is 1 or 2"):
        sample_latents(diffusion(), draw(6), lambda x, t: x, 4, order=3)
