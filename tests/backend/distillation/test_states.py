"""VSD's network that is trained along and DSD's noise that stays: what they change, what they keep, and kill and resume
with the very methods."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import Seen, encode_job_prompts
from csd_blender.backend.distillation.vsd import camera_numbers
from csd_blender.backend.pipelines.text_to_3d.job import make_object
from csd_blender.backend.pipelines.texture import texture_mesh
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.support.reporting import Stopped
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.guidance import Guidance
from tests.support.killed_jobs import albedo, object_settings, reporter_until, square_folder, texture_settings

CPU = torch.device("cpu")
STATEFUL = ("vsd", "dsd")


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), CPU)


@pytest.fixture(autouse=True)
def every_step_tells(monkeypatch):
    monkeypatch.setattr("csd_blender.backend.support.reporting.PROGRESS_INTERVAL", 0.0)


def guide_of(model, method, seed=0, steps=10, **settings):
    guidance = Guidance(**{"weighting": "sds", "lora_rate": 1e-3, **settings})
    return Guide(model, {"color": encode_job_prompts(model, "a red mug")}, method, guidance, seed=seed, steps=steps)


def take(guide, step=0, seed=1):
    pictures = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(7))
    moment = guide.begin(2, step, torch.Generator().manual_seed(seed))
    return guide.gradient(pictures, Seen(orbit(2), ["front", "back"]), moment)


def test_vsd_begins_as_guidance_alone_and_leaves_the_model_as_it_was(model):
    before = copy.deepcopy(model.unet.state_dict())
    guide = guide_of(model, "vsd")
    x = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    asked = guide.prompts["color"].batch(["front", "back"], torch.zeros(2))
    t, plain = torch.tensor([300, 600]), asked.plain
    alone = model.predict_noise(x, t, plain)
    state = guide._states["vsd"]
    assert torch.equal(state._predict(x, t, plain, camera_numbers(orbit(2), x)), alone), "no change at first"
    for step in range(3):
        take(guide, step)
    changed = state._predict(x, t, plain, camera_numbers(orbit(2), x))
    assert not torch.allclose(changed, alone) and torch.equal(model.predict_noise(x, t, plain), alone)
    assert all(torch.equal(before[name], value) for name, value in model.unet.state_dict().items())
    turned = state._predict(x, t, plain, camera_numbers(orbit(2), x).flip(0))
    assert not torch.equal(turned, changed), "the camera is told"


def test_vsd_s_network_learns_what_the_pictures_look_like(model):
    """On one picture for ever, its prediction comes nearer to the noise that was added than the model's own."""
    guide = guide_of(model, "vsd", lora_rate=1e-2, lora_rank=8)
    pictures = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(7))
    seen = Seen(orbit(2), ["front", "back"])
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        guide.gradient(pictures, seen, guide.begin(2, 0, generator))
    latents = model.encode_images(pictures).detach()
    asked = guide.prompts["color"].batch(["front", "back"], torch.zeros(2))
    own, known = 0.0, 0.0
    for t in range(50, 1000, 100):
        noise = torch.randn(latents.shape, generator=generator)
        times = torch.full((2,), t)
        noisy = model.schedule.add_noise(latents, noise, times)
        with torch.no_grad():
            found = guide._states["vsd"]._predict(noisy, times, asked.plain, camera_numbers(orbit(2), noisy))
            own += float((found - noise).square().mean())
            known += float((model.predict_noise(noisy, times, asked.plain) - noise).square().mean())
    assert own < 0.9 * known


def test_vsd_on_a_network_of_its_own_gives_the_same_numbers(model):
    shared, own = guide_of(model, "vsd"), guide_of(model, "vsd", lora_network="own")
    for step in range(2):
        assert torch.equal(take(shared, step).pictures, take(own, step).pictures)
    assert own._states["vsd"].unet is not model.unet


def test_vsd_s_gradient_without_guidance_is_none_before_it_has_learned(model):
    """Scale 1 on the prompt without a view word is what the second network says, until that is trained."""
    prompts = {"color": encode_job_prompts(model, "a red mug", view_dependent=False)}
    guide = Guide(model, prompts, "vsd", Guidance(guidance_scale=1.0), steps=10)
    assert float(take(guide).pictures.abs().max()) < 1e-6
    assert float(take(guide).pictures.abs().max()) > 1e-6


def test_dsd_s_noise_belongs_to_the_seed_and_does_not_change(model):
    one, same, other = guide_of(model, "dsd"), guide_of(model, "dsd"), guide_of(model, "dsd", seed=1)
    assert torch.equal(take(one).pictures, take(same).pictures)
    assert not torch.equal(take(one).pictures, take(other).pictures)
    assert torch.equal(one.tensors()["guide.noise"], same.tensors()["guide.noise"])


def test_dsd_asks_for_both_ends_of_the_path_alone(model):
    """At the last time nothing is left of the shift, and the path has seven strides: 2 x 2 rows each, then 2 x 2 for
    its end, 2 for the second term, 2 x 2 for the first."""
    guide = guide_of(model, "dsd")
    take(guide, step=10)
    assert guide.calls == 7 * 4 + 4 + 2 + 4


@pytest.mark.parametrize("method", STATEFUL)
def test_a_state_that_does_not_fit_is_refused(model, method):
    guide = guide_of(model, method)
    take(guide)
    kept = {name: value.clone() for name, value in guide.tensors().items()}
    with pytest.raises(ValueError, match="missing|unknown"):
        guide_of(model, method).restore(dict(list(kept.items())[1:]), 1)
    broken = dict(kept)
    broken[next(iter(kept))] = torch.full_like(next(iter(kept.values())), float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        guide_of(model, method).restore(broken, 1)


@pytest.mark.parametrize("method", STATEFUL)
def test_a_killed_texture_ends_bit_equal(tmp_path, tiny_folder, model, method):
    settings = texture_settings(tiny_folder) | {"method": method}
    whole, killed = (square_folder(tmp_path / name, texture_job("a mug", **settings)) for name in ("whole", "killed"))
    texture_mesh(whole.spec, whole, reporter_until(), lambda *a: model)
    with pytest.raises(Stopped):
        texture_mesh(killed.spec, killed, reporter_until(4), lambda *a: model)
    texture_mesh(killed.spec, killed, reporter_until(), lambda *a: model, resume=True)
    assert np.array_equal(albedo(killed), albedo(whole))


@pytest.mark.parametrize("left_at", [4, 11, 14])
def test_a_killed_object_of_two_methods_ends_bit_equal_in_each_stage(tmp_path, tiny_folder, model, left_at):
    """ProlificDreamer: VSD, then SDS on the shape, then VSD on the colors."""
    settings = object_settings(tiny_folder) | {"recipe": "prolificdreamer"}
    job = text_to_3d_job("a mug", **settings)
    assert (job.method, job.refine.geometry_method, job.refine.fixed_shape_after) == ("vsd", "sds", 3)
    whole, killed = (JobFolder.create(tmp_path / name, job) for name in ("whole", "killed"))
    make_object(whole.spec, whole, reporter_until(), lambda *a: model)
    with pytest.raises(Stopped):
        make_object(killed.spec, killed, reporter_until(left_at), lambda *a: model)
    make_object(killed.spec, killed, reporter_until(), lambda *a: model, resume=True)
    assert np.array_equal(albedo(killed), albedo(whole))
