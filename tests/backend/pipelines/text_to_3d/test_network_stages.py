"""The coarse stage with published fields: networks, levels that come one by one, learned backgrounds."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.fields.network_field import NetworkField
from csd_blender.backend.pipelines.text_to_3d.coarse import (
    active_levels,
    coarse_step,
    make_radiance_field,
    start_coarse,
)
from csd_blender.backend.pipelines.text_to_3d.refine import (
    inherit_colors,
    make_color_field,
    shape_from_field,
    start_refine,
)
from csd_blender.job.spec.scene_stages import CoarseStage
from tests.support.network_jobs import coarse_guide, copy_of, job_of, moved, prompts_of


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), torch.device("cpu"))


@pytest.fixture(scope="module")
def prompts(model):
    return prompts_of(model)


# ---- the coarse stage ----------------------------------------------------------------------------------------------


def test_levels_come_one_by_one_as_published():
    stage = CoarseStage(network_width=64, levels=16, start_level=8, level_start=2000, level_interval=500)
    found = {step: active_levels(stage, step) for step in (0, 2000, 2499, 2500, 3000, 5999, 6000, 9999)}
    assert found == {0: 8, 2000: 8, 2499: 8, 2500: 9, 3000: 10, 5999: 15, 6000: 16, 9999: 16}
    assert active_levels(CoarseStage(levels=12), 0) == 12


def test_a_step_moves_density_color_and_background(model, prompts):
    job = job_of(model, coarse={"start_level": 2, "level_start": 0, "level_interval": 2})
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, coarse_guide(job, model, prompts), 1)
    parts = {"table", "density_hidden", "density_out", "color_hidden", "color_out"}
    assert {f"coarse.network.{name}" for name in parts} <= moved(before, state)
    assert {f"background.weight{i}" for i in (1, 2, 3)} <= moved(before, state)
    assert state.field.network.active == 2
    first = state.field.network.levels[2].offset
    assert torch.equal(state.field.table[first:], before["coarse.network.table"][first:])
    state.step = 2
    coarse_step(state, job, coarse_guide(job, model, prompts), 1)
    assert state.field.network.active == 3
    assert not torch.equal(state.field.table[first:], before["coarse.network.table"][first:])


@pytest.mark.parametrize("kind", [{"textureless_normals": True}, {"textureless_normals": False}])
def test_pictures_of_the_shape_alone_do_not_move_its_color(model, prompts, kind):
    shaded = {"ambient_only_steps": 0, "shaded_share": 1.0, "textureless_share": 1.0, "orientation": 10.0}
    job = job_of(model, coarse=shaded | kind)
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, coarse_guide(job, model, prompts), 1)
    names = moved(before, state)
    assert "coarse.network.density_out" in names and "coarse.network.color_out" not in names
    assert "background.weight3" in names


def test_steps_of_random_colors_leave_the_background_alone(model, prompts):
    job = job_of(model, coarse={"random_background": 1.0})
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, coarse_guide(job, model, prompts), 1)
    assert not any(name.startswith("background.") for name in moved(before, state))


def test_the_background_has_a_rate_of_its_own(model, prompts):
    """Adam's first step is the rate itself, whatever the gradient."""
    job = job_of(model, coarse={"learning_rate": 0.02, "background_rate": 0.003})
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, coarse_guide(job, model, prompts), 1)
    for name, rate in (("background.weight3", 0.003), ("coarse.network.color_out", 0.02)):
        step = (state.tensors()[name] - before[name]).abs().max()
        assert float(step) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("coarse", [{}, {"network_width": 0}, {"background": "white", "start_level": 1}])
def test_a_coarse_state_put_back_takes_the_very_steps_of_the_first(model, prompts, coarse):
    job = job_of(model, coarse={"random_background": 0.5, **coarse})
    state = start_coarse(job, model.device)
    for _ in range(3):
        coarse_step(state, job, coarse_guide(job, model, prompts), 1)
        state.step += 1
    stored = copy_of(state)
    other = start_coarse(job, model.device)
    other.restore(stored, 3)
    for _ in range(3):
        for each in (state, other):
            coarse_step(each, job, coarse_guide(job, model, prompts), 1)
            each.step += 1
    one, two = state.tensors(), other.tensors()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_linear_field_may_have_its_exact_slope_too(model, prompts, monkeypatch):
    """`normals` reaches the renderer: the taps of the field are not asked for."""
    job = job_of(model, coarse={"network_width": 0, "orientation": 1.0})
    state = start_coarse(job, model.device)
    asked = []
    known = type(state.field).normals
    monkeypatch.setattr(type(state.field), "normals", lambda s, p, eps=None: asked.append(eps) or known(s, p, eps))
    coarse_step(state, job, coarse_guide(job, model, prompts), 1)
    assert asked == [0.0]


# ---- from one stage to the next ------------------------------------------------------------------------------------


def trained(job) -> NetworkField:
    """A ball whose colors vary, with features as large as after some training."""
    field = make_radiance_field(job.coarse, job.seed)
    with torch.no_grad():
        field.table.copy_(torch.randn(field.table.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
        field.network.color_out *= 20
    return field


def test_shape_and_colors_are_taken_over_from_the_network(model):
    job = job_of(model)
    field = trained(job)
    field.network.active = 2
    geometry, threshold = shape_from_field(job, field)
    assert threshold > 0
    vertices, triangles = geometry()
    assert len(triangles) > 50 and 0.3 < float(vertices.detach().norm(dim=1).mean()) < 0.7
    state = start_refine(job, model, geometry, field)
    points = vertices.detach()
    assert torch.allclose(state.color(points), field.color(points), atol=1e-5)
    assert float(state.color(points).detach().std()) > 0.02
    assert not torch.allclose(start_refine(job, model, geometry, None).color(points), field.color(points), atol=1e-3)


def test_colors_have_the_coarse_grid_itself(model):
    """Finer levels, which a sum of levels gets, would not fit the network's weights."""
    job = job_of(model, refine={"render_size": 512})
    colors, field = make_color_field(job, model), make_radiance_field(job.coarse)
    assert colors.network.levels == field.network.levels
    inherit_colors(colors, field)
