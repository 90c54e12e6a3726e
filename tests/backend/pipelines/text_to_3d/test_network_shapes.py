"""The refine stage with published fields: colors and shape out of networks, a learned background, the warm-up."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation.guide import Guide, Moment
from csd_blender.backend.distillation.score import ScoreGradient
from csd_blender.backend.distillation.view_prompts import Seen
from csd_blender.backend.fields import sdf_network
from csd_blender.backend.fields.sdf_network import NetworkGeometry, whole_scene
from csd_blender.backend.geometry.tet_geometry import TetGeometry
from csd_blender.backend.pipelines.text_to_3d import refine
from csd_blender.backend.pipelines.text_to_3d.refine import (
    ellipsoid_shape,
    refine_step,
    render_mesh,
    restore_refine,
    start_refine,
)
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.shading import Look
from csd_blender.job.errors import JobError
from tests.support.network_jobs import copy_of, job_of, moved, prompts_of, refine_guide


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), torch.device("cpu"))


@pytest.fixture(scope="module")
def prompts(model):
    return prompts_of(model)


@pytest.fixture(autouse=True)
def quick_fit(monkeypatch):
    monkeypatch.setattr(sdf_network, "FIT_STEPS", 60)
    monkeypatch.setattr(sdf_network, "FIT_POINTS", 2000)
    monkeypatch.setattr(sdf_network, "FIT_RATE", 1e-2)
    monkeypatch.setattr(sdf_network, "POOL", 20000)


# ---- the refine stage ----------------------------------------------------------------------------------------------


def state_of(job, model):
    return start_refine(job, model, ellipsoid_shape(job), None)


def test_a_step_moves_shape_colors_and_background(model, prompts):
    job = job_of(model)
    state = state_of(job, model)
    before = copy_of(state)
    refine_step(state, job, refine_guide(job, model, prompts), get_rasterizer(), 2)
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


def test_levels_finer_than_the_tetrahedra_take_no_part_in_the_fit():
    """They would leave dents; afterwards they count like all others."""
    shape = {"levels": 3, "base_resolution": 4, "finest_resolution": 64, "width": 8}
    start, geometry = (
        TetGeometry.from_ellipsoid([0.5, 0.5, 0.6], 16),
        NetworkGeometry(whole_scene(16, 1.0), 1.0, **shape),
    )
    before, first = geometry.network.table.detach().clone(), geometry.network.levels[2].offset
    vertices, triangles = start()
    geometry.fit(vertices.detach(), triangles, seed=0)
    table = geometry.network.table.detach()
    assert torch.equal(table[first:], before[first:]) and not torch.equal(table[:first], before[:first])
    assert geometry.network.active == 3
    geometry()[0].sum().backward()
    assert geometry.network.table.grad[first:].any()


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
    along = sum(float((g.double() * m.detach().double()).sum()) for g, m in zip(grads, moves, strict=True))
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
        refine_step(each, job, refine_guide(job, model, prompts), get_rasterizer(), 2)
        each.step += 1

    take(state)
    with torch.no_grad():  # as after steps in which it was seen
        for weight in state.background.parameters():
            weight *= 3
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
    pictures, latents = render_mesh(*arguments)[0], render_mesh(*arguments, as_latents=True)[0]
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
    encode, score = model.encode_images, Guide.score
    monkeypatch.setattr(model, "encode_images", lambda *a: encoded.append(a[0].shape) or encode(*a))

    def look(guide, batch, *rest):
        seen.append(batch.latents)
        return score(guide, batch, *rest)

    monkeypatch.setattr(Guide, "score", look)
    for _ in range(3):
        before = copy_of(state)
        refine_step(state, job, refine_guide(job, model, prompts), get_rasterizer(), 2)
        assert "geometry.sdf" in moved(before, state)
        state.step += 1
    side = model.native_size // model.latent_factor
    assert [tuple(x.shape) for x in seen] == [(2, 4, side, side)] * 3
    assert len(encoded) == 1  # the third step's
    assert all(x.min() >= -1 and x.max() <= 1 and (x[:, 3] >= 0).all() for x in seen[:2])


def test_latents_are_the_pictures_resized_without_smoothing_as_published(model, prompts, monkeypatch):
    pictures = torch.rand(1, 4, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    caught = {}

    def score(guide, batch, *rest):
        caught["latents"] = batch.latents
        return ScoreGradient(torch.ones_like(batch.latents)), None

    monkeypatch.setattr(Guide, "score", score)
    guide = refine_guide(job_of(model), model, prompts)
    moment = Moment(0, torch.tensor([500]), torch.Generator().manual_seed(1))
    found = guide.gradient(pictures, Seen(orbit(1), ["front"]), moment, as_latents=True)
    side = model.native_size // model.latent_factor
    expected = F.interpolate(pictures.detach(), (side, side), mode="bilinear", align_corners=False)
    assert torch.equal(caught["latents"], expected)
    assert float(found.pictures.sum()) == pytest.approx(4 * side * side, rel=1e-4)  # every latent's gradient arrives
    assert pictures.grad is None


def test_models_without_four_latents_see_pictures_from_the_start(model, monkeypatch):
    job = job_of(model, refine={"latent_steps": 5})
    look = normal_look()
    assert refine.normals_as_latents(job.refine, model, look, 4)
    assert not refine.normals_as_latents(job.refine, model, look, 5)
    monkeypatch.setattr(model, "on_pixels", True)
    assert not refine.normals_as_latents(job.refine, model, look, 0)
