"""Every method goes through a texture and both stages of an object, with everything that may vary; and Perp-Neg reaches
what a method asks of the model by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation.dsd import guided
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.score import perp_neg_term, perpendicular_component
from csd_blender.backend.distillation.state import NoisyBatch
from csd_blender.backend.distillation.view_prompts import encode_job_prompts
from csd_blender.backend.pipelines.text_to_3d.job import make_object
from csd_blender.backend.pipelines.texture import texture_mesh
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import METHODS
from tests.support.killed_jobs import albedo, object_settings, reporter_until, square_folder, texture_settings

VARIED = {"noise": "surface", "times": "falling", "perp_neg": 1.0, "clip": "debiased"}


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), torch.device("cpu"))


@pytest.mark.parametrize("method", METHODS)
def test_a_texture_by_every_method(tmp_path, tiny_folder, model, method):
    settings = texture_settings(tiny_folder) | {"method": method, "steps": 2, **VARIED}
    folder = square_folder(tmp_path / "job", texture_job("a mug", **settings))
    result = texture_mesh(folder.spec, folder, reporter_until(), lambda *a: model)
    assert result.stats["network_calls"] > 0 and albedo(folder).std() > 0.5, "it painted something"


@pytest.mark.parametrize("method", METHODS)
def test_an_object_by_every_method(tmp_path, tiny_folder, model, method):
    settings = object_settings(tiny_folder) | {"method": method, "coarse_steps": 2, "refine_steps": 2, **VARIED}
    folder = JobFolder.create(tmp_path / "job", text_to_3d_job("a mug", **settings))
    result = make_object(folder.spec, folder, reporter_until(), lambda *a: model)
    assert result.stats["network_calls"] > 0 and result.stats["steps"] == 4


@pytest.mark.parametrize("varied", [{"noise": "surface"}, {"times": "falling"}, {"clip": "debiased"}])
def test_each_of_what_may_vary_makes_another_texture(tmp_path, tiny_folder, model, varied):
    made = []
    for name, more in (("plain", {}), ("varied", varied)):
        job = texture_job("a mug", **texture_settings(tiny_folder) | {"steps": 3, **more})
        if "clip" in more:  # the tiny network's predictions are small
            job = texture_job("a mug", **texture_settings(tiny_folder) | {"steps": 3, "guidance": {"grad_clip": 0.01}})
        folder = square_folder(tmp_path / name, job)
        texture_mesh(folder.spec, folder, reporter_until(), lambda *a: model)
        made.append(albedo(folder))
    assert not np.array_equal(*made)


def test_perp_neg_is_in_what_a_method_asks_for_by_itself():
    model = load_model("mini", torch.device("cpu"))  # the tiny network hardly hears a prompt
    prompts = encode_job_prompts(model, "a red mug")
    guide = Guide(model, {"color": prompts}, "asd", Guidance(perp_neg=15.0, guidance_scale=7.5))
    asked = prompts.batch(["front", "back"], torch.tensor([20.0, 170.0]), perp_neg=True)
    x, t = torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(1)), torch.tensor([300, 700])
    found = guide._ask(asked, guide.guidance)(["positive"], x, t)
    assert list(found) == ["positive"]
    plain, null = (model.predict_noise(x, t, asked.branches[name]) for name in ("positive", "null"))
    expected = plain.clone()
    for b in range(2):
        for k in range(2):
            row = slice(2 * b + k, 2 * b + k + 1)
            view = model.predict_noise(x[b : b + 1], t[b : b + 1], asked.views.select(row))
            away = perpendicular_component(view - null[b : b + 1], (plain - null)[b : b + 1])
            expected[b : b + 1] += 2.0 * asked.view_weights[b, k] * away
    torch.testing.assert_close(found["positive"], expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found["positive"], plain, atol=1e-2)


@pytest.mark.parametrize("convention", ["s", "1+s"])
def test_perp_neg_counts_along_the_path_of_dsd_as_in_its_row(convention):
    model = load_model("mini", torch.device("cpu"))
    guidance = Guidance(perp_neg=7.5, guidance_scale=7.5, scale_convention=convention)
    guide = Guide(model, {"color": encode_job_prompts(model, "a red mug")}, "dsd", guidance)
    asked = guide.prompts["color"].batch(["side"], torch.tensor([100.0]), perp_neg=True)
    x, t = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(1)), torch.tensor([500])
    found = guide._predict(x, t, asked, {"positive", "null"}, True)
    term = perp_neg_term(found, replace(guidance, perp_neg=1.0))
    batch = NoisyBatch(x, x, x, t, 0, torch.Generator(), model.schedule, guidance, False, guide._ask(asked, guidance))
    positive, null = found.branches["positive"], found.branches["null"]
    scale = 7.5 if convention == "s" else 8.5
    torch.testing.assert_close(guided(batch, x, t), null + scale * (positive - null) + 7.5 * term, rtol=1e-4, atol=1e-4)
    assert float(term.norm()) > 0.01
