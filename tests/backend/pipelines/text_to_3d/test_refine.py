"""The refine stage's parts: where it starts, what a step looks at, and that gradients are those of the pictures."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation import score
from csd_blender.backend.geometry.tet_geometry import TetGeometry
from csd_blender.backend.optimize.loop import NotFinite
from csd_blender.backend.pipelines.text_to_3d.coarse import make_radiance_field
from csd_blender.backend.pipelines.text_to_3d.refine import (
    ELLIPSOID,
    SEEN_SHARE,
    draw_look,
    ellipsoid_shape,
    inherit_colors,
    make_color_field,
    mesh_shape,
    refine_step,
    render_mesh,
    restore_refine,
    seen_density,
    set_rates,
    shape_from_field,
    start_refine,
)
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.shading import Look
from csd_blender.job.errors import JobError
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.scene_stages import CoarseStage, RefineStage
from tests.support.network_jobs import prompts_of, refine_guide

GRID = {"network_width": 0, "normals": "taps"}  # colors in the grid itself, as with the bundled model
COARSE = {"levels": 2, "base_resolution": 8, "finest_resolution": 16, "ray_samples": 64, "radius": 1.0, **GRID}
REFINE = {"views": 2, "tet_resolution": 8, "render_size": 16, "threshold": 0.0, "background": "colors"}
DRAWS = 1500
CPU = torch.device("cpu")


def job_of(coarse=None, refine=None, **settings):
    stages = {"coarse": COARSE | (coarse or {}), "refine": REFINE | (refine or {})}
    return text_to_3d_job("a red mug", model="a/folder", **stages, **settings)


def small(size=16):  # all that shapes need to know of a model
    return SimpleNamespace(native_size=size, device=CPU)


def near(count, share):  # within 5 binomial deviations (1 in 2 million fails)
    return abs(count / DRAWS - share) <= 5 * (share * (1 - share) / DRAWS) ** 0.5


# ---- colors of the coarse stage ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "coarse",
    [
        {},
        {"levels": 4, "finest_resolution": 64},  # the finest level is hashed in the one field and dense in the other
        {"levels": 3, "finest_resolution": 120},
        {"levels": 4, "finest_resolution": 50, "radius": 2.0},
        {"levels": 1},
    ],
    ids=["dense", "bundled", "hashed", "odd", "single"],
)
def test_colors_of_the_coarse_field_are_taken_over(coarse):
    job = job_of(coarse, {"render_size": 64})
    field = make_radiance_field(job.coarse)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        field.table.copy_(torch.randn(field.table.shape, generator=generator))
    colors = make_color_field(job, small())
    assert len(colors.levels) >= len(field.levels)
    inherit_colors(colors, field)
    points = (torch.rand((5000, 3), generator=generator) * 2 - 1) * job.coarse.radius
    torch.testing.assert_close(colors(points / job.coarse.radius), field.color(points), rtol=0, atol=2e-5)


def test_finer_levels_are_added_until_a_cell_is_half_a_pixel():
    for size, levels in ((16, 3), (32, 4), (64, 5)):
        colors = make_color_field(job_of(refine={"render_size": size}), small())
        assert [level.resolution for level in colors.levels] == [8 * 2**i for i in range(levels)]
    assert len(make_color_field(job_of(refine={"render_size": 0}), small(32)).levels) == 4  # the model's own size


def test_added_levels_leave_the_published_grid_as_it_is():
    job = text_to_3d_job("a mug", model="a/folder", subject="character", coarse=GRID)
    colors, field = make_color_field(job, small()), make_radiance_field(job.coarse)
    assert len(colors.levels) > len(field.levels) == 12
    assert colors.levels[: len(field.levels)] == field.levels


# ---- shapes to start from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [20.0, 60.0])
def test_the_density_that_is_seen_in_an_even_fog_is_its_own(raw):
    job = job_of({"blob_scale": 0.0})
    field = make_radiance_field(job.coarse)
    with torch.no_grad():
        field.table[field.levels[0].offset : field.levels[0].offset + field.levels[0].rows, 0] = raw
    assert seen_density(job, field) == pytest.approx(SEEN_SHARE * raw, rel=1e-3)


def test_where_no_ray_is_stopped_the_least_density_counts():
    job = job_of({"blob_scale": -50.0, "blob_std": 10.0})
    assert seen_density(job, make_radiance_field(job.coarse)) == 0.01


def test_a_ball_of_fog_becomes_a_ball():
    job = job_of({"blob_scale": 200.0 / 4, "blob_std": 0.5}, {"tet_resolution": 24})
    shape, threshold = shape_from_field(job, make_radiance_field(job.coarse))
    vertices, triangles = (x.detach().numpy() for x in shape())
    distance = np.linalg.norm(vertices, axis=1)
    # Density is 50 (1 - r / 0.5) there (softplus adds nothing that far up).
    assert threshold > 1 and distance == pytest.approx(0.5 * (1 - threshold / 50), abs=0.025)
    assert trimesh.Trimesh(vertices, triangles, process=False).is_watertight


def test_a_threshold_of_one_s_own_is_kept():
    job = job_of({"blob_scale": 50.0}, {"threshold": 25.0, "tet_resolution": 24})
    shape, threshold = shape_from_field(job, make_radiance_field(job.coarse))
    assert threshold == 25.0
    assert np.linalg.norm(shape()[0].detach().numpy(), axis=1) == pytest.approx(0.25, abs=0.02)


def test_a_field_without_anything_in_it_is_an_empty_scene():
    job = job_of({"blob_scale": -50.0, "blob_std": 10.0})
    with pytest.raises(JobError) as caught:
        shape_from_field(job, make_radiance_field(job.coarse))
    assert caught.value.code == "empty_scene"


@pytest.mark.parametrize("radius", [1.0, 2.0])
def test_the_ellipsoid_grows_with_the_scene(radius):
    vertices, _ = ellipsoid_shape(job_of({"radius": radius}, {"tet_resolution": 32}))()
    half = vertices.detach().abs().amax(0) / radius
    assert half.tolist() == pytest.approx(ELLIPSOID, abs=0.03)


def test_a_mesh_keeps_its_shape_and_fills_most_of_the_scene():
    ball = trimesh.creation.icosphere(3)
    vertices, _ = mesh_shape(
        job_of({"radius": 2.0}, {"tet_resolution": 24}),
        torch.from_numpy(np.float32(ball.vertices)),
        torch.from_numpy(ball.faces),
    )()
    assert np.linalg.norm(vertices.detach().numpy(), axis=1) == pytest.approx(1.6, abs=0.03)


# ---- pictures and their gradients ----------------------------------------------------------------------------------


def state_of(job, **settings):
    shape = TetGeometry.from_ellipsoid((0.5, 0.5, 0.7), job.refine.tet_resolution, job.coarse.radius)
    return start_refine(job, small(), shape, None)


def look_of(kind, background=0.0, views=4):
    lamp = torch.tensor([0.3, 0.5, 1.0]).expand(views, 3)
    return Look(kind, torch.full((views, 3), background), lamp, torch.full((views,), 0.4), torch.full((views,), 0.5))


def picture(state, kind, size=48, background=0.0, views=4):
    vertices, triangles = state.geometry()
    cameras = orbit(views, elevation=20.0, distance=2.6)
    look = look_of(kind, background, views)
    return render_mesh(state, vertices, triangles, cameras, size, look, get_rasterizer())[0]


@pytest.mark.parametrize("kind", ["color", "normal", "lit", "white"])
def test_pictures_are_colors_with_the_background_where_nothing_is(kind):
    shown = picture(state_of(job_of()), kind, background=0.25).detach()
    assert shown.shape == (4, 3, 48, 48) and shown.min() >= 0 and shown.max() <= 1
    corners = shown[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.equal(corners, torch.full_like(corners, 0.25))
    assert ((shown[:, :, 24, 24] - 0.25).abs().amax(1) > 0.05).all()


def test_bare_color_is_the_color_field_s():
    shown = picture(state_of(job_of()), "color").detach()
    torch.testing.assert_close(shown[:, :, 24, 24], torch.full((4, 3), 0.5))  # a fresh field is gray


def slope(loss, move, step):
    """Central difference of a loss while ``move`` shifts what it depends on."""
    values = []
    for shift in (step, -step):
        with torch.no_grad():
            move(shift)
        values.append(float(loss().detach()))  # with a graph: without one, silhouettes are not smoothed
        with torch.no_grad():
            move(-shift)
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("kind", ["color", "white"])
@pytest.mark.parametrize("course", ["growing", "moving", "lengthening"])
def test_the_shape_s_gradient_through_its_silhouette_is_that_of_the_pictures(kind, course):
    """Mean brightness before black: the gradient of the distances agrees with finite differences.

    Light on the surface is left even, so that the silhouette is all that changes.
    """
    state = state_of(job_of())
    sdf, points = state.geometry.sdf, state.geometry.grid.points(torch.arange(len(state.geometry.sdf))).float()
    direction = {
        "growing": -torch.ones_like(sdf),
        "moving": points[:, 0],
        "lengthening": -points[:, 2].abs(),
    }[course]
    weight = torch.linspace(0, 1, 96)[None, None, None, :]  # brighter to the right, so that moving tells

    def loss():
        vertices, triangles = state.geometry()
        look = look_of(kind, views=1)
        look.diffuse.zero_()
        cameras = orbit(1, elevation=0.0, distance=2.6)
        pictures, _ = render_mesh(state, vertices, triangles, cameras, 96, look, get_rasterizer())
        return (pictures.double() * weight).mean()

    loss().backward()
    found = float((sdf.grad * direction).sum())
    expected = slope(loss, lambda shift: sdf.add_(shift * direction), 0.05)
    assert found == pytest.approx(expected, rel=0.04) and abs(expected) > 1e-4


def test_vertices_that_move_change_the_pictures_as_their_gradient_says():
    state = state_of(job_of())
    deformation = state.geometry.deformation

    def loss():
        return picture(state, "color", 48)[:, :, :24].double().mean()  # the upper half

    loss().backward()
    found = float(deformation.grad[:, 2].sum())
    expected = slope(loss, lambda shift: deformation[:, 2].add_(shift), 0.1)
    assert found == pytest.approx(expected, rel=0.08) and expected > 1e-4


def test_the_color_field_s_gradient_is_exact():
    state = state_of(job_of())
    table = state.colors.table

    def loss():
        return picture(state, "color", 16).double().sum()

    loss().backward()
    row, column = divmod(int(table.grad.abs().argmax()), 3)
    expected = slope(loss, lambda shift: table[row, column].add_(shift), 1e-2)
    assert float(table.grad[row, column]) == pytest.approx(expected, rel=2e-3)


# ---- what a step looks at ------------------------------------------------------------------------------------------


def kinds(step=5, normals=True, **settings):
    stage, coarse = RefineStage(**settings), CoarseStage(textureless_normals=normals)
    generator = torch.Generator().manual_seed(0)
    return [draw_look(stage, coarse, 2, step, generator).kind for _ in range(DRAWS)]


@pytest.mark.parametrize(("normals", "other"), [(True, "normal"), (False, "lit")])
def test_pictures_show_the_shape_in_the_asked_share(normals, other):
    found = kinds(normals=normals, normals_share=0.3)
    assert set(found) == {"color", other} and near(found.count(other), 0.3)


@pytest.mark.parametrize(("normals", "only"), [(True, "normal"), (False, "white")])
def test_the_first_steps_show_nothing_but_the_shape(normals, only):
    settings = {"normals": normals, "normals_share": 0.0, "normals_only_steps": 5}
    assert set(kinds(4, **settings)) == {only}
    assert set(kinds(5, **settings)) == {"color"}


def test_a_fixed_shape_is_not_looked_at_any_more():
    settings = {"normals_share": 1.0, "normals_only_steps": 9, "fixed_shape_after": 5}
    assert set(kinds(4, **settings)) == {"normal"} and set(kinds(5, **settings)) == {"color"}


def test_a_lamp_shines_on_the_asked_share_of_the_other_pictures():
    found = kinds(normals_share=0.2, shaded_share=0.5, textureless_share=0.25)
    shares = {"normal": 0.2, "color": 0.4, "lit": 0.3, "white": 0.1}
    assert set(found) == set(shares) and all(near(found.count(kind), share) for kind, share in shares.items())


def test_a_fixed_shape_is_never_shown_white():
    assert set(kinds(shaded_share=1.0, textureless_share=1.0, fixed_shape_after=5)) == {"lit"}


# ---- a step --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder), CPU)


@pytest.fixture(scope="module")
def prompts(model):
    return prompts_of(model)


def step(state, job, model, prompts):
    """One step; what moved: (shape, colors)."""
    before = state.geometry.sdf.detach().clone(), state.colors.table.detach().clone()
    metrics = refine_step(state, job, refine_guide(job, model, prompts), get_rasterizer(), job.refine.views)
    state.step += 1
    after = state.geometry.sdf.detach(), state.colors.table.detach()
    assert all(torch.isfinite(x).all() for x in after) and metrics["faces"] > 10
    return tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_step_moves_shape_and_colors(model, prompts):
    job = job_of(refine={"normals_share": 0.0})
    assert step(state_of(job), job, model, prompts) == (True, True)


def test_steps_of_normals_move_the_shape_alone(model, prompts):
    job = job_of(refine={"normals_only_steps": 2, "normals_share": 0.0, "fixed_shape_after": 2})
    state = state_of(job)
    assert [step(state, job, model, prompts) for _ in range(4)] == [(True, False)] * 2 + [(False, True)] * 2


def test_a_fixed_shape_stays_as_it_is_whatever_is_asked_for(model, prompts):
    job = job_of(refine={"fixed_shape_after": 1, "normals_share": 1.0, "laplacian": 5.0})
    state = state_of(job)
    assert [step(state, job, model, prompts)[0] for _ in range(3)] == [True, False, False]


def test_the_appearance_stage_weights_times_in_its_own_way(model, prompts, monkeypatch):
    weightings = {"guidance": {"weighting": "fantasia3d"}, "appearance_weighting": "sds"}
    job = job_of(refine={"fixed_shape_after": 1} | weightings)
    used, known = [], score.weight
    monkeypatch.setattr(score, "weight", lambda word, bar: used.append(word) or known(word, bar))
    state = state_of(job)
    for _ in range(3):
        step(state, job, model, prompts)
    assert used == ["fantasia3d", "sds", "sds"]


def test_a_network_s_answer_that_is_no_number_ends_the_step_and_does_not_spread(model, prompts, monkeypatch):
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda *a: predict(*a) * float("nan"))
    for share in (0.0, 1.0):
        job = job_of(refine={"normals_share": share})
        state = state_of(job)
        before = {name: value.clone() for name, value in state.tensors().items() if name != "generator"}
        for _ in range(2):
            with pytest.raises(NotFinite):
                step(state, job, model, prompts)
        after = state.tensors()
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_state_put_back_takes_the_very_steps_of_the_first(model, prompts):
    job = job_of()
    state = state_of(job)
    step(state, job, model, prompts)
    stored = {name: value.clone() for name, value in state.tensors().items()}
    other = restore_refine(job, model, stored, 1)
    for each in (state, other):
        step(each, job, model, prompts)
    one, two = state.tensors(), other.tensors()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(a, b) for a, b in zip(state.geometry(), other.geometry(), strict=True))


def test_a_shape_that_vanished_ends_the_job_with_a_sentence(model, prompts):
    job = job_of()
    state = state_of(job)
    with torch.no_grad():
        state.geometry.sdf.fill_(1.0)
    with pytest.raises(JobError) as caught:
        refine_step(state, job, refine_guide(job, model, prompts), get_rasterizer(), 1)
    assert caught.value.code == "diverged"


def test_rates_are_constant_for_half_of_the_stage_and_then_fall_to_a_twentieth():
    job = job_of(refine={"steps": 100, "learning_rate": 0.01, "color_rate": 0.1, "rates_fall": True})
    optimizer = state_of(job).optimizer
    for at, share in {0: 1, 50: 1, 75: 0.525, 100: 0.05}.items():
        set_rates(optimizer, job.refine, at)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.01 * share, 0.1 * share])
    assert math.isclose(optimizer.param_groups[0]["initial_lr"], 0.01)
