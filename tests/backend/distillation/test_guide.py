"""The guide with a method that keeps something between steps: what it may change, and that a checkpoint holds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation import gradient
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.methods import ROWS, Row
from csd_blender.backend.distillation.state import Prepared
from csd_blender.backend.distillation.view_prompts import Seen, encode_job_prompts
from csd_blender.backend.optimize.checkpoint import check_tensors
from csd_blender.backend.optimize.loop import NotFinite
from csd_blender.backend.pipelines.text_to_3d.job import make_object
from csd_blender.backend.pipelines.texture import texture_mesh
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.support.reporting import Stopped
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.guidance import Guidance
from tests.support.killed_jobs import STEPS, albedo, object_settings, reporter_until, square_folder, texture_settings

CPU = torch.device("cpu")


class Memory:
    """The mean of the prompt's predictions so far, as a branch of its own; its start depends on the seed."""

    def __init__(self, model, seed, guidance):
        side = model.native_size // model.latent_factor
        shape = (1, model.latent_channels, side, side)
        self.mean = torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def prepare(self, batch):
        return Prepared(batch.noise, {"memory": self.mean.expand_as(batch.noisy)})

    def learn(self, batch, predictions):
        self.mean.lerp_(predictions.branches["positive"].mean(0, keepdim=True), 0.3)

    def tensors(self):
        return {"mean": self.mean}

    def restore(self, tensors, step):
        check_tensors(self.tensors(), tensors)
        self.mean.copy_(tensors["mean"])


def remember(guidance, step, negative_prompt):
    return {"positive": 1.0, "memory": -1.0}


@pytest.fixture
def remembering(monkeypatch):
    """CSD's place in jobs, taken by a method with a state."""
    monkeypatch.setattr("csd_blender.backend.support.reporting.PROGRESS_INTERVAL", 0.0)  # every step tells
    monkeypatch.setitem(ROWS, "csd", Row(remember, Memory))


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), CPU)


def guide_of(model, seed=0):
    return Guide(model, {"color": encode_job_prompts(model, "a red mug")}, "csd", Guidance(), seed=seed)


def take(guide, step=0, seed=1):
    pictures = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(7))
    moment = guide.begin(2, step, torch.Generator().manual_seed(seed))
    return guide.gradient(pictures, Seen(orbit(2), ["front", "back"]), moment)


def test_a_stateless_method_adds_nothing_to_checkpoints(model):
    guide = guide_of(model)
    assert guide.tensors() == {}
    guide.restore({"field.table": torch.zeros(2)}, 3)  # what the stage keeps is none of its business
    with pytest.raises(ValueError, match="a method with a state, and csd has none"):
        guide.restore({"guide.mean": torch.zeros(2)}, 3)


def test_a_branch_of_the_method_s_own_counts_and_is_not_asked_of_the_network(model, remembering, monkeypatch):
    guide, asked = guide_of(model), []
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda x, t, c: asked.append(predict(x, t, c)) or asked[-1])
    caught, known = [], gradient.combine
    monkeypatch.setattr(gradient, "combine", lambda *a, **k: caught.append(known(*a, **k)) or caught[-1])
    before = guide.tensors()["guide.mean"].clone()
    take(guide)
    assert [len(x) for x in asked] == [2]
    assert torch.equal(caught[0].grad, asked[0] - before)
    assert torch.allclose(guide.tensors()["guide.mean"], 0.7 * before + 0.3 * asked[0].mean(0))


def test_a_branch_that_nobody_predicts_is_named(model, monkeypatch):
    monkeypatch.setitem(ROWS, "csd", Row(remember))
    with pytest.raises(ValueError, match="no prediction for the branch 'memory'"):
        take(guide_of(model))


def test_a_step_without_valid_numbers_teaches_nothing(model, remembering, monkeypatch):
    guide = guide_of(model)
    before = guide.tensors()["guide.mean"].clone()
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda *a: predict(*a) * float("nan"))
    with pytest.raises(NotFinite):
        take(guide)
    assert torch.equal(guide.tensors()["guide.mean"], before)


def test_a_state_put_back_takes_the_very_steps_of_the_first(model, remembering):
    guide, other = guide_of(model), guide_of(model, seed=9)
    take(guide)
    other.restore({name: value.clone() for name, value in guide.tensors().items()}, 1)
    assert torch.equal(take(guide, 1).pictures, take(other, 1).pictures)
    assert not torch.equal(take(guide, 2).pictures, take(guide_of(model), 2).pictures)
    with pytest.raises(ValueError, match="missing"):
        guide.restore({}, 1)


# ---- kill and resume -----------------------------------------------------------------------------------------------


def forget(monkeypatch):
    """A guide that leaves its state out of checkpoints would be this one."""
    monkeypatch.setattr(Memory, "tensors", lambda self: {})
    monkeypatch.setattr(Memory, "restore", lambda self, tensors, step: None)


@pytest.mark.parametrize("kept", [True, False])
def test_a_killed_texture_of_a_method_with_a_state_ends_bit_equal(
    tmp_path, tiny_folder, model, remembering, monkeypatch, kept
):
    if not kept:
        forget(monkeypatch)
    whole, killed = (
        square_folder(tmp_path / name, texture_job("a mug", **texture_settings(tiny_folder)))
        for name in ("whole", "killed")
    )
    texture_mesh(whole.spec, whole, reporter_until(), lambda *a: model)
    with pytest.raises(Stopped):
        texture_mesh(killed.spec, killed, reporter_until(4), lambda *a: model)
    stored = load_file(killed.path / "checkpoint" / "step_000004.safetensors")
    assert ("guide.mean" in stored) == kept
    texture_mesh(killed.spec, killed, reporter_until(), lambda *a: model, resume=True)
    assert np.array_equal(albedo(killed), albedo(whole)) == kept


@pytest.mark.parametrize("left_at", [4, STEPS + 3])
def test_a_killed_object_of_a_method_with_a_state_ends_bit_equal_in_both_stages(
    tmp_path, tiny_folder, model, remembering, left_at
):
    whole, killed = (
        JobFolder.create(tmp_path / name, text_to_3d_job("a mug", **object_settings(tiny_folder)))
        for name in ("whole", "killed")
    )
    make_object(whole.spec, whole, reporter_until(), lambda *a: model)
    with pytest.raises(Stopped):
        make_object(killed.spec, killed, reporter_until(left_at), lambda *a: model)
    stored = load_file(killed.path / "checkpoint" / f"step_{left_at:06d}.safetensors")
    assert "guide.mean" in stored
    make_object(killed.spec, killed, reporter_until(), lambda *a: model, resume=True)
    assert np.array_equal(albedo(killed), albedo(whole))
