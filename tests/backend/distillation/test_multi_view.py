"""Steps with a model that sees several views at once: cameras, one time, and the rows that go with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from csd_blender.backend.diffusion.conditions import cat
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.views.mvdream import camera_numbers
from csd_blender.backend.distillation.gradient import gradient_for_predictions
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import Seen, encode_job_prompts
from csd_blender.backend.render.cameras import Cameras
from csd_blender.backend.support.draws import normal
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.schedule import constant
from tests.support.ldm import write_folder

CPU = torch.device("cpu")
SIDE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model = load_model(str(write_folder(tmp_path_factory.mktemp("views") / "mvdream", "mvdream")), CPU, told="views")
    model.native_size = SIDE
    return model


def orbit(first, things=1):
    around = (torch.arange(4.0) * 90 + first).repeat(things) + 7.0 * torch.arange(things).repeat_interleave(4)
    return Cameras(around, *(torch.full_like(around, value) for value in (10.0, 2.0, 40.0)))


def guide_of(model, method, **settings):
    prompts = encode_job_prompts(model, "a red mug", "ugly", view_dependent=False)
    return Guide(model, {"color": prompts}, method, Guidance(**settings), steps=10)


def take(guide, cameras, seed=3):
    pictures = torch.rand((len(cameras), 3, SIDE, SIDE), generator=torch.Generator().manual_seed(7))
    draws = torch.Generator().manual_seed(seed)
    moment = guide.begin(len(cameras), 0, draws)
    return pictures, moment, guide.gradient(pictures, Seen(cameras, [""] * len(cameras)), moment).pictures


@pytest.mark.parametrize("things", [1, 2])
def test_all_pictures_of_a_step_have_one_time(model, things):
    _, moment, _ = take(guide_of(model, "csd-mvdream"), orbit(0.0, things))
    assert len(moment.t) == 4 * things and len(set(moment.t.tolist())) == 1


@pytest.mark.parametrize(
    ("method", "settings"),
    [("csd-mvdream", {}), ("mvdream", {"guidance_scale": 50.0, "rescale": 0.5}), ("csd", {"negative_weight": 1.0})],
)
def test_a_step_is_the_row_of_what_the_network_says_of_four_views_and_their_cameras(model, method, settings):
    guide, cameras = guide_of(model, method, **settings_of(settings)), orbit(20.0, things=2)
    pictures, moment, found = take(guide, cameras)
    draws = torch.Generator().manual_seed(3)
    guide.begin(8, 0, draws)
    leaf = pictures.clone().requires_grad_(True)
    latents = model.encode_images(leaf, draws)
    noise = normal(latents.shape, draws)
    noisy = model.schedule.add_noise(latents.detach(), noise, moment.t)
    numbers = camera_numbers(cameras.axes(), cameras.positions())
    texts = {"positive": "a red mug", "negative": "ugly", "null": ""}
    told = {k: replace(model.encode_prompts([text]).repeat(8), cameras=numbers) for k, text in texts.items()}
    eps = dict(
        zip(told, model.predict_noise(noisy.repeat(3, 1, 1, 1), moment.t.repeat(3), cat(list(told.values()))).chunk(3))
    )
    wanted = gradient_for_predictions(
        method, guide.guidance, eps, noise, moment.t, negative_prompt=True, views_per_object=4,
        alpha=model.schedule.alpha_bar(moment.t).sqrt().flatten(), latents=latents.detach(),
    ).grad  # fmt: skip
    (expected,) = torch.autograd.grad(latents, leaf, torch.as_tensor(wanted).float() / len(latents))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5 * float(expected.abs().max()))
    assert float(expected.abs().max()) > 0


def settings_of(settings):
    return {name: constant(value) if name.endswith("_weight") else value for name, value in settings.items()}


def test_another_way_around_gives_another_gradient(model):
    guide = guide_of(model, "csd-mvdream")
    assert not torch.allclose(take(guide, orbit(0.0))[2], take(guide, orbit(45.0))[2])
