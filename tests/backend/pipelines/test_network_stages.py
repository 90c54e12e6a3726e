"""Both stages with published fields: networks, levels that come one by one, learned backgrounds, a shape network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from csd_blender.backend.diffusion.guidance_words import guidance_words
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation.guided import job_prompts
from csd_blender.backend.geometry import sdf_network
from csd_blender.backend.geometry.network_field import NetworkField
from csd_blender.backend.geometry.sdf_network import NetworkGeometry
from csd_blender.backend.pipelines import refine
from csd_blender.backend.pipelines.coarse import (
    Look,
    ScenePrompts,
    active_levels,
    coarse_step,
    make_radiance_field,
    start_coarse,
)
from csd_blender.backend.pipelines.refine import (
    ellipsoid_shape,
    inherit_colors,
    make_color_field,
    refine_step,
    render_mesh,
    restore_refine,
    shape_from_field,
    start_refine,
)
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.rasterizer import get_rasterizer
from csd_blender.backend.reporting import Reporter
from csd_blender.job.errors import JobError
from csd_blender.job.presets_3d import text_to_3d_job
from csd_blender.job.spec_3d import CoarseStage, TextTo3DJob

COARSE = {
    "views": 1,
    "levels": 3,
    "base_resolution": 4,
    "finest_resolution": 24,
    "ray_samples": 32,
    "render_size": 16,
    "radius": 1.0,
    "learning_rate": 0.01,
    "network_width": 8,
    "normals": "analytic",
    "background": "learned",
    "random_background": 0.0,
}
REFINE = {
    "views": 2,
    "tet_resolution": 12,
    "render_size": 32,
    "threshold": 0.0,
    "background": "learned",
    "random_background": 0.0,
    "normals_share": 0.0,
}


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), torch.device("cpu"))


@pytest.fixture(scope="module")
def prompts(model):
    reporter = Reporter(emit=lambda kind, body: None)
    words = guidance_words(model)
    return ScenePrompts(*(job_prompts(model, "a red mug", "", True, words, reporter, lit=lit) for lit in (False, True)))


@pytest.fixture(autouse=True)
def quick_fit(monkeypatch):
    monkeypatch.setattr(sdf_network, "FIT_STEPS", 60)
    monkeypatch.setattr(sdf_network, "FIT_POINTS", 2000)
    monkeypatch.setattr(sdf_network, "FIT_RATE", 1e-2)
    monkeypatch.setattr(sdf_network, "POOL", 20000)


def job_of(model, coarse=None, refine=None, **more) -> TextTo3DJob:
    return text_to_3d_job(
        "a red mug",
        model=model.name,
        coarse_steps=6,
        refine_steps=6,
        coarse=COARSE | (coarse or {}),
        refine=REFINE | (refine or {}),
        **more,
    )


def copy_of(state) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.tensors().items()}


def moved(before, state) -> set[str]:
    after = state.tensors()
    return {name for name in before if name in after and not torch.equal(before[name], after[name])}


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
    coarse_step(state, job, model, prompts, 1)
    parts = {"table", "density_hidden", "density_out", "color_hidden", "color_out"}
    assert {f"coarse.network.{name}" for name in parts} <= moved(before, state)
    assert {f"background.weight{i}" for i in (1, 2, 3)} <= moved(before, state)
    assert state.field.network.active == 2
    first = state.field.network.levels[2].offset
    assert torch.equal(state.field.table[first:], before["coarse.network.table"][first:])
    state.step = 2
    coarse_step(state, job, model, prompts, 1)
    assert state.field.network.active == 3
    assert not torch.equal(state.field.table[first:], before["coarse.network.table"][first:])


@pytest.mark.parametrize("kind", [{"textureless_normals": True}, {"textureless_normals": False}])
def test_pictures_of_the_shape_alone_do_not_move_its_color(model, prompts, kind):
    shaded = {"ambient_only_steps": 0, "shaded_share": 1.0, "textureless_share": 1.0, "orientation": 10.0}
    job = job_of(model, coarse=shaded | kind)
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, model, prompts, 1)
    names = moved(before, state)
    assert "coarse.network.density_out" in names and "coarse.network.color_out" not in names
    assert "background.weight3" in names


def test_steps_of_random_colors_leave_the_background_alone(model, prompts):
    job = job_of(model, coarse={"random_background": 1.0})
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, model, prompts, 1)
    assert not any(name.startswith("background.") for name in moved(before, state))


def test_the_background_has_a_rate_of_its_own(model, prompts):
    """Adam's first step is the rate itself, whatever the gradient."""
    job = job_of(model, coarse={"learning_rate": 0.02, "background_rate": 0.003})
    state = start_coarse(job, model.device)
    before = copy_of(state)
    coarse_step(state, job, model, prompts, 1)
    for name, rate in (("background.weight3", 0.003), ("coarse.network.color_out", 0.02)):
        step = (state.tensors()[name] - before[name]).abs().max()
        assert float(step) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("coarse", [{}, {"network_width": 0}, {"background": "white", "start_level": 1}])
def test_a_coarse_state_put_back_takes_the_very_steps_of_the_first(model, prompts, coarse):
    job = job_of(model, coarse={"random_background": 0.5, **coarse})
    state = start_coarse(job, model.device)
    for _ in range(3):
        coarse_step(state, job, model, prompts, 1)
        state.step += 1
    stored = copy_of(state)
    other = start_coarse(job, model.device)
    other.restore(stored, 3)
    for _ in range(3):
        for each in (state, other):
            coarse_step(each, job, model, prompts, 1)
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
    coarse_step(state, job, model, prompts, 1)
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


# ---- the refine stage ----------------------------------------------------------------------------------------------


def state_of(job, model):
    return start_refine(job, model, ellipsoid_shape(job), None)


def test_a_step_moves_shape_colors_and_background(model, prompts):
    job = job_of(model)
    state = state_of(job, model)
    before = copy_of(state)
    refine_step(state, job, model, prompts, get_rasterizer(), 2)
    expected = {"geometry.sdf", "geometry.deformation", "colors.network.table", "colors.network.color_out"}
    assert expected | {f"background.weight{i}" for i in (1, 2, 3)} <= moved(before, state)


def test_the_shape_network_takes_the_ellipsoid_on(model, monkeypatch):
    monkeypatch.setattr(sdf_network, "FIT_STEPS", 300)
    job = job_of(model, refine={"shape": "network", "tet_resolution": 24})
    start = ellipsoid_shape(job)
    state = start_refine(job, model, start, None)
    assert isinstance(state.geometry, NetworkGeometry)
    assert state.geometry.grid.low == (-1.0,) * 3 and state.geometry.grid.high == (1.0,) * 3
    axes = start()[0].detach().abs().amax(0)
    inside = (state.geometry.distances() < 0).float()
    wanted = ((state.geometry.grid.vertices / axes).norm(dim=1) < 1).float()
    assert (inside * wanted).sum() / torch.maximum(inside, wanted).sum() > 0.9
    vertices, triangles = state.geometry()
    assert ((vertices.detach() / axes).norm(dim=1) - 1).abs().mean() < 0.05
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert (torch.unique(edges.sort(1).values, dim=0, return_counts=True)[1] == 2).all()  # closed


def test_a_shape_that_the_network_cannot_take_on_is_said(model, monkeypatch):
    monkeypatch.setattr(sdf_network, "FIT_STEPS", 0)
    monkeypatch.setattr(NetworkGeometry, "distances", lambda self: torch.ones(self.grid.vertex_count))
    with pytest.raises(JobError, match="too thin") as caught:
        state_of(job_of(model, refine={"shape": "network"}), model)
    assert caught.value.code == "mesh_unusable"


def test_the_shape_network_s_gradient_agrees_with_finite_differences(model):
    """Of the vertices' mean, along a random direction of all weights, as long as no edge begins or ends to be cut."""
    job = job_of(model, refine={"shape": "network", "tet_resolution": 8})
    geometry = state_of(job, model).geometry
    with torch.no_grad():
        geometry.network.deformation_out.normal_(generator=torch.Generator().manual_seed(3))
    vertices, triangles = geometry()
    weight = torch.randn(vertices.shape, generator=torch.Generator().manual_seed(4))
    parameters = list(geometry.parameters())
    grads = torch.autograd.grad((vertices * weight).sum(), parameters)
    scale = 1e-4
    moves = [
        torch.randn(p.shape, generator=torch.Generator().manual_seed(5)) * scale * p.abs().mean() for p in parameters
    ]
    along = sum(float((g.double() * m.double()).sum()) for g, m in zip(grads, moves, strict=True))
    ends = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for p, m in zip(parameters, moves, strict=True):
                p += sign * m
            there, same = geometry()
            assert torch.equal(same, triangles)
            ends.append(float((there.double() * weight.double()).sum()))
            for p, m in zip(parameters, moves, strict=True):
                p -= sign * m
    assert along == pytest.approx((ends[0] - ends[1]) / 2, rel=0.02)


@pytest.mark.parametrize("shape", ["vertices", "network"])
def test_a_refine_state_put_back_takes_the_very_steps_of_the_first(model, prompts, shape):
    settings = {"shape": shape, "random_background": 0.5, "normals_only_steps": 4, "latent_steps": 2}
    job = job_of(model, refine=settings | {"fixed_shape_after": 4, "normals_background": "black"})
    state = state_of(job, model)

    def take(each):
        refine_step(each, job, model, prompts, get_rasterizer(), 2)
        each.step += 1

    take(state)
    other = restore_refine(job, model, copy_of(state), 1)
    for each in (state, other):
        for _ in range(4):
            take(each)
    one, two = state.tensors(), other.tensors()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_job_with_a_shape_network_does_not_fit_it_again_when_it_is_resumed(model, monkeypatch):
    job = job_of(model, refine={"shape": "network"})
    state = state_of(job, model)
    monkeypatch.setattr(NetworkGeometry, "fit", lambda *a: pytest.fail("fitted again"))
    other = restore_refine(job, model, copy_of(state), 0)
    assert all(torch.equal(a, b) for a, b in zip(state.geometry(), other.geometry(), strict=True))


# ---- Fantasia3D's warm-up ------------------------------------------------------------------------------------------


def normal_look(views=2):
    one = torch.ones(views)
    return Look("normal", torch.zeros(views, 3), torch.tensor([[0.0, 0, 1]]).expand(views, 3), one, one)


def test_latents_of_the_warm_up_are_normals_and_mask(model):
    job = job_of(model)
    state, cameras = state_of(job, model), orbit(2, distance=3.0)
    vertices, triangles = state.geometry()
    arguments = (state, vertices, triangles, cameras, 32, normal_look(), get_rasterizer())
    pictures, latents = render_mesh(*arguments), render_mesh(*arguments, as_latents=True)
    assert latents.shape == (2, 4, 32, 32)
    assert torch.allclose(latents[:, :3], pictures * 2 - 1, atol=1e-5)
    mask = latents[:, 3].detach()
    assert mask.min() == 0 and mask.max() == 1 and 0.02 < float(mask.mean()) < 0.9
    assert torch.allclose(latents[:, :3].detach().permute(0, 2, 3, 1)[mask == 0], torch.tensor(-1.0))
    latents[:, 3].sum().backward()
    assert state.geometry.sdf.grad.any()  # the silhouette alone moves the shape


def test_the_warm_up_passes_the_encoder_by_and_ends_in_time(model, prompts, monkeypatch):
    settings = {"normals_only_steps": 4, "latent_steps": 2, "normals_background": "black"}
    job = job_of(model, refine=settings)
    state, seen, encoded = state_of(job, model), [], []
    encode, score = model.encode_images, refine.distill.__globals__["score_gradient"]
    monkeypatch.setattr(model, "encode_images", lambda *a: encoded.append(a[0].shape) or encode(*a))

    def look(model, latents, *rest, **more):
        seen.append(latents)
        return score(model, latents, *rest, **more)

    monkeypatch.setitem(refine.distill.__globals__, "score_gradient", look)
    for _ in range(3):
        before = copy_of(state)
        refine_step(state, job, model, prompts, get_rasterizer(), 2)
        assert "geometry.sdf" in moved(before, state)
        state.step += 1
    side = model.native_size // model.latent_factor
    assert [tuple(x.shape) for x in seen] == [(2, 4, side, side)] * 3
    assert len(encoded) == 1  # the third step's
    assert all(x.min() >= -1 and x.max() <= 1 and (x[:, 3] >= 0).all() for x in seen[:2])


def test_latents_are_the_pictures_resized_without_smoothing_as_published(model, prompts, monkeypatch):
    from csd_blender.backend.distillation import guided

    pictures = torch.rand(1, 4, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    caught = {}

    def score(model, latents, *rest, **more):
        caught["latents"] = latents
        grad = torch.ones_like(latents)
        return type("Score", (), {"grad": grad, "metrics": {}})()

    monkeypatch.setattr(guided, "score_gradient", score)
    job = job_of(model)
    g = job.refine.guidance
    clock = refine.StepClock()
    weights = guided.guidance_coefficients("csd", g, 0, False)
    t, numbers = torch.tensor([500]), torch.Generator().manual_seed(1)
    guided.distill(model, pictures, t, None, weights, g, 0, numbers, clock, as_latents=True)
    side = model.native_size // model.latent_factor
    expected = F.interpolate(pictures.detach(), (side, side), mode="bilinear", align_corners=False)
    assert torch.equal(caught["latents"], expected)
    assert float(pictures.grad.sum()) == pytest.approx(4 * side * side, rel=1e-4)  # every latent's gradient arrives


def test_models_without_four_latents_see_pictures_from_the_start(model, monkeypatch):
    job = job_of(model, refine={"latent_steps": 5})
    look = normal_look()
    assert refine.normals_as_latents(job.refine, model, look, 4)
    assert not refine.normals_as_latents(job.refine, model, look, 5)
    monkeypatch.setattr(model, "vae", None)
    assert not refine.normals_as_latents(job.refine, model, look, 0)
