"""Schedules whose last time has nothing left of the picture (``rescale_betas_zero_snr``)."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation import inversion
from csd_blender.backend.distillation.score import weight
from csd_blender.backend.distillation.times import falling_time
from csd_blender.job.models.contents import read_json
from tests.support.damage import edit_json
from tests.support.tiny_models import write_sd21

CPU = torch.device("cpu")
LAST = torch.tensor([999])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_sd21(tmp_path_factory.mktemp("models") / "zero", sample_size=8)
    edit_json(folder / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_model(str(folder), CPU)


def noises(count):
    return torch.randn((count, 1, 4, 8, 8), generator=torch.Generator().manual_seed(0))


def test_the_schedule_is_the_librarys(folder, model):
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    expected = DDIMScheduler.from_config(config).alphas_cumprod
    assert float(expected[-1]) == 0.0
    torch.testing.assert_close(model.schedule.alphas_cumprod[:-1], expected[:-1], rtol=1e-6, atol=1e-7)
    euler = EulerDiscreteScheduler.from_config(config).alphas_cumprod
    assert float(model.schedule.alphas_cumprod[-1]) == float(euler[-1]) > 0


def test_at_the_last_time_v_is_the_negative_picture_and_the_noise_is_all_there_is(model):
    noisy, v = noises(2)
    found = model.schedule.to_noise(v, noisy, LAST)
    torch.testing.assert_close(found, noisy, rtol=0, atol=2e-3)
    picture = inversion.ddim_move(model.schedule, noisy, found, LAST, torch.tensor([0]))
    alpha, sigma = model.schedule.alpha_sigma(torch.tensor([0]))
    torch.testing.assert_close(picture, alpha * -v + sigma * found, rtol=0, atol=5e-3)


def test_no_way_between_pictures_and_noise_gives_invalid_numbers(model):
    noisy, noise = noises(2)
    schedule = model.schedule
    for there, back in ((LAST, torch.tensor([500])), (torch.tensor([500]), LAST)):
        assert bool(torch.isfinite(inversion.ddim_move(schedule, noisy, noise, there, back)).all())
    assert bool(torch.isfinite(inversion._ddim_deviation(schedule, torch.tensor([500]), LAST)).all())
    for weighting in ("uniform", "sds", "fantasia3d", "x0"):
        assert bool(torch.isfinite(weight(weighting, schedule.alphas_cumprod)).all())
    times = [falling_time(p, 0.02, 1.0, schedule.alphas_cumprod) for p in (0.0, 0.3, 0.6, 1.0)]
    assert times == sorted(times, reverse=True) and times[1] < 999 and times[2] < times[1]


def test_the_network_may_be_asked_at_the_last_time(model):
    found = model.predict_noise(noises(1)[0], LAST, model.encode_prompts(["a mug"]))
    assert bool(torch.isfinite(found).all()) and model.refused_predictions == 0
