"""Whole jobs with the published fields: stopped anywhere they come to the same end, and refined anew they go on. And
what a refine stage does once its shape is fixed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csd_blender.backend.distillation.methods import ROWS
from csd_blender.backend.fields import sdf_network
from csd_blender.backend.geometry.tet_geometry import TetGeometry
from csd_blender.backend.pipelines.text_to_3d.refine import front_angle, later_guidance, set_rates, start_refine
from csd_blender.job.files import COARSE_SHAPE
from csd_blender.job.folder import read_coarse
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.result import read_result
from tests.support.tiny_jobs import (
    COARSE,
    REFINE,
    after,
    albedo,
    answer,
    mesh_of,
    run,
    same_result,
)

NETWORKS = {
    "coarse": {
        "network_width": 8,
        "start_level": 1,
        "level_start": 0,
        "level_interval": 2,
        "normals": "analytic",
        "background": "learned",
        "random_background": 0.5,
        "orientation": 1.0,
    },
    "refine": {"background": "learned", "random_background": 0.5, "normals_share": 0.5},
}
SHAPE = {
    "recipe": "fantasia3d",
    "refine": {"shape": "network", "latent_steps": 2, "normals_background": "black", "background": "white"},
    "coarse": {"network_width": 8},
}


@pytest.fixture(autouse=True)
def quick_fit(monkeypatch):
    for name, value in {"FIT_STEPS": 40, "FIT_POINTS": 1000, "FIT_RATE": 1e-2, "POOL": 10000}.items():
        monkeypatch.setattr(sdf_network, name, value)


@pytest.mark.parametrize("settings", [NETWORKS, SHAPE], ids=["networks", "shape"])
def test_a_job_that_was_left_in_either_stage_resumes_to_exactly_the_same_object(make_job, models, settings):
    whole = make_job("whole", **settings)
    outcome, _ = run(whole, models)
    assert outcome.type == "result", outcome
    left = make_job("left", **settings)
    for resume, steps in ((False, 3), (True, 1), (True, COARSE)):
        assert answer(run(left, models, resume=resume, stop=after(steps, "leave"))[0]) == ("error", "interrupted")
    assert run(left, models, resume=True)[0].type == "result"
    assert read_result(left.path).timings["steps"] == COARSE + REFINE
    assert same_result(whole, left) and len(mesh_of(left).triangles) > 10


def test_a_network_s_coarse_stage_is_refined_anew_with_its_colors(make_job, models):
    first = make_job("first", **NETWORKS)
    assert run(first, models)[0].type == "result"
    stored = load_file(first.path / COARSE_SHAPE)
    assert int(stored["network._extra_state"]) == 2  # of the levels that counted at the last step
    again = make_job("again", start="coarse", **NETWORKS)
    again.write_bytes(COARSE_SHAPE, read_coarse(first))
    assert run(again, models)[0].type == "result"
    assert same_result(first, again) and np.ptp(albedo(again)) > 0


def test_a_coarse_stage_of_another_kind_of_field_is_refused_with_a_sentence(make_job, models):
    first = make_job("first", refine_steps=0)
    assert run(first, models)[0].type == "result"
    other = make_job("other", start="coarse", **NETWORKS)
    other.write_bytes(COARSE_SHAPE, read_coarse(first))
    assert answer(run(other, models)[0]) == ("error", "bad_job_folder")


def test_prolificdreamer_s_texture_is_vsd_s_own_and_its_times_begin_anew():
    """threestudio's prolificdreamer-texture: 7.5, 30 degrees, times up to 0.98 for its own first 5,000 of 30,000."""
    job = text_to_3d_job("a mug", model="a/folder", recipe="prolificdreamer", refine_steps=45000, perp_neg=1.0)
    stage = job.refine
    later = later_guidance(stage, job.method)
    row = ROWS[later.method].weights(later.guidance, 20000, False)
    assert (row["positive"], row["null"], row["lora"]) == (7.5, -6.5, -1.0)
    assert (stage.guidance.perp_neg, later.guidance.perp_neg) == (100.0, 7.5)
    assert [stage.guidance.t_max.at(step) for step in (0, 5000, 5001, 14999)] == [0.98, 0.98, 0.5, 0.5]
    assert [later.guidance.t_max.at(step) for step in (15000, 20000, 20001, 44999)] == [0.98, 0.98, 0.5, 0.5]
    assert [front_angle(stage, step) for step in (0, 14999, 15000)] == [45.0, 45.0, 30.0]


def test_the_network_of_the_colors_may_have_a_rate_of_its_own():
    rates = {"color_rate": 0.02, "color_network_rate": 0.003, "learning_rate": 0.5, "background_rate": 0.07}
    decays = {"background": "learned", "color_decay": 0.25, "shape_decay": 0.125}
    coarse = {"levels": 2, "base_resolution": 8, "finest_resolution": 16, "radius": 1.0, "network_width": 8}
    refine = {"tet_resolution": 8, "render_size": 16} | rates | decays
    job = text_to_3d_job("a red mug", model="a/folder", coarse=coarse, refine=refine)
    model = SimpleNamespace(native_size=16, device=torch.device("cpu"))  # all that it needs to know of one
    state = start_refine(job, model, TetGeometry.from_ellipsoid((0.5, 0.5, 0.5), 8, 1.0), None)
    set_rates(state.optimizer, job.refine, 0)
    found = {
        id(p): (group["lr"], group["weight_decay"]) for group in state.optimizer.param_groups for p in group["params"]
    }
    assert {found[id(p)] for p in state.geometry.parameters()} == {(0.5, 0.125)}
    table = state.colors.network.table
    assert found[id(table)] == (0.02, 0.25)
    assert {found[id(p)] for p in state.colors.parameters() if p is not table} == {(0.003, 0.25)}
    assert {found[id(p)] for p in state.background.parameters()} == {(0.07, 0.25)}
    assert len(found) == sum(len(list(m.parameters())) for m in (state.geometry, state.colors, state.background))
