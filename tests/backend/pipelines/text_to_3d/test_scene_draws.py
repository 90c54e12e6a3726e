"""Cameras, lamps and looks of scenes as published, and that shapes to start from are inside the pictures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh

from csd_blender.backend.pipelines.text_to_3d.coarse import (
    draw_cameras,
    draw_look,
    look_with_lamps,
    show,
    start_coarse,
)
from csd_blender.backend.pipelines.text_to_3d.refine import (
    ellipsoid_shape,
    make_optimizer,
    mesh_shape,
    set_rates,
    shape_from_field,
)
from csd_blender.backend.pipelines.text_to_3d.start_shapes import framed_radius, mean_density
from csd_blender.backend.render.camera_draws import Lamps, draw_lamps, draw_shake
from csd_blender.backend.render.cameras import Cameras, orbit, random_elevation
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.rasterizer.interface import cover
from csd_blender.backend.render.shading import Look, shade
from csd_blender.backend.render.volume.render import OccupancyGrid, render_volume
from csd_blender.job.presets.recipes import COARSE_ALONE
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.cameras import SceneCameras
from csd_blender.job.spec.scene_stages import CoarseStage, RefineStage
from csd_blender.job.spec.text_to_3d import RECIPES, SUBJECTS

COUNT = 20_000


# ---- unsteady cameras ----------------------------------------------------------------------------------------------


def test_steady_cameras_take_no_random_numbers():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert draw_shake(SceneCameras(), 4, generator) is None
    assert torch.equal(generator.get_state(), before)


def test_cameras_are_off_as_far_as_is_published():
    """Position: even within a cube; what is looked at, and up: normal."""
    ranges = SceneCameras(position_noise=0.1, center_noise=0.2, up_noise=0.02)
    shake = draw_shake(ranges, COUNT, torch.Generator().manual_seed(0))
    assert shake.position.shape == shake.center.shape == shake.up.shape == (COUNT, 3)
    assert 0.0999 < shake.position.abs().max() <= 0.1
    assert shake.position.std(0).tolist() == pytest.approx([0.1 / 3**0.5] * 3, rel=0.03)  # of an even distribution
    for value, deviation in ((shake.center, 0.2), (shake.up, 0.02)):
        assert value.std(0).tolist() == pytest.approx([deviation] * 3, rel=0.03)
        assert (value.abs() > 2 * deviation).float().mean().item() == pytest.approx(0.0455, abs=0.005)
        assert value.mean(0).tolist() == pytest.approx([0.0] * 3, abs=0.03 * deviation)


@pytest.mark.parametrize("law", ["batch", "csd"])
def test_a_scene_s_cameras_follow_its_law_of_elevation(law):
    ranges = SceneCameras(elevation=(-10.0, 45.0), elevation_law=law)
    for seed in range(20):
        cameras = draw_cameras(ranges, 4, 0, torch.Generator().manual_seed(seed))
        coin, _, u = torch.rand((5, 4), generator=torch.Generator().manual_seed(seed))[[0, 1, 2]]
        assert torch.equal(cameras.elevation, random_elevation((-10.0, 45.0), coin, u, law))


def test_a_scene_s_cameras_are_as_unsteady_as_it_says():
    ranges = SceneCameras(position_noise=0.1, center_noise=0.2, up_noise=0.02, front_back_steps=5)
    for step in (0, 5):
        cameras = draw_cameras(ranges, 4, step, torch.Generator().manual_seed(0))
        assert 0 < cameras.shake.position.abs().max() <= 0.1
        still = torch.linalg.vector_norm(cameras.positions() - cameras.shake.position, dim=1)
        torch.testing.assert_close(still, cameras.distance)


# ---- lamps ---------------------------------------------------------------------------------------------------------


def lamps_of(kind, elevation=20.0, soft=False, seed=0):
    """Many lamps for one camera: (the camera's position, positions of the lamps, ambient, diffuse)."""
    one = torch.ones(COUNT)
    cameras = Cameras(30 * one, elevation * one, 1.7 * one, 50 * one)
    lamps, ambient, diffuse = draw_lamps(kind, soft, COUNT, torch.Generator().manual_seed(seed))
    return cameras.positions()[0], lamps.positions(cameras), ambient, diffuse


@pytest.mark.parametrize("kind", ["dreamfusion", "magic3d"])
def test_lamps_stand_as_far_off_as_is_published_with_a_tenth_of_light_all_around(kind):
    _, places, ambient, diffuse = lamps_of(kind)
    distance = places.norm(dim=1)
    assert 0.799 < distance.min() < 0.81 and 1.49 < distance.max() < 1.501
    assert distance.mean().item() == pytest.approx(1.15, abs=0.01)
    assert set(ambient.tolist()) == {ambient[0].item()} and ambient[0].item() == pytest.approx(0.1)
    assert set(diffuse.tolist()) == {diffuse[0].item()} and diffuse[0].item() == pytest.approx(0.9)


def test_dreamfusion_s_lamps_are_in_the_camera_s_direction_plus_a_normal_deviation():
    eye, places, _, _ = lamps_of("dreamfusion")
    found = F.normalize(places, dim=1)
    other = torch.randn((COUNT, 3), generator=torch.Generator().manual_seed(77))
    expected = F.normalize(eye + other, dim=1)
    torch.testing.assert_close(found.mean(0), expected.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(found.T @ found / COUNT, expected.T @ expected / COUNT, atol=0.02, rtol=0)


@pytest.mark.parametrize("elevation", [-10.0, 20.0, 90.0])
def test_magic3d_s_lamps_are_within_60_degrees_of_the_camera_s_direction_and_as_often_at_any_angle(elevation):
    eye, places, _, _ = lamps_of("magic3d", elevation)
    back = eye / eye.norm()
    cosine = (F.normalize(places, dim=1) @ back).clamp(-1, 1)
    angle = torch.rad2deg(torch.acos(cosine))
    assert angle.max() <= 60.01
    for limit in (15.0, 30.0, 45.0):
        assert (angle < limit).float().mean().item() == pytest.approx(limit / 60, abs=0.015)
    around = F.normalize(places, dim=1) - cosine[:, None] * back
    assert around.mean(0).norm() < 0.02  # to all sides alike


def test_soft_shading_divides_the_light_by_chance_alike_for_a_batch():
    shares = []
    for seed in range(400):
        _, ambient, diffuse = draw_lamps("magic3d", True, 3, torch.Generator().manual_seed(seed))
        assert len(set(ambient.tolist())) == 1 and (ambient + diffuse).tolist() == pytest.approx([1.0] * 3)
        shares.append(diffuse[0].item())
    shares = torch.tensor(shares)
    assert shares.min() < 0.05 and shares.max() > 0.95 and shares.mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("kind", ["dreamfusion", "magic3d"])
def test_soft_shading_moves_no_other_random_number(kind):
    after = []
    for soft in (False, True):
        generator = torch.Generator().manual_seed(0)
        lamps, _, _ = draw_lamps(kind, soft, 2, generator)
        after.append((lamps.offset, lamps.distance, generator.get_state()))
    assert all(torch.equal(a, b) for a, b in zip(*after, strict=True))


def test_a_lamp_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="lamp"):
        draw_lamps("candle", False, 1, torch.Generator())


def test_looks_have_the_stage_s_lamps():
    generator = torch.Generator().manual_seed(0)
    for stage in (CoarseStage(lamp="magic3d", soft_shading=True), RefineStage(lamp="dreamfusion")):
        look = look_with_lamps("lit", torch.zeros(3, 3), stage, generator)
        assert look.lamps.kind == stage.lamp and len(look.lamps.offset) == 3
        assert (look.ambient[0] == pytest.approx(0.1)) != stage.soft_shading
    assert look_with_lamps("lit", torch.zeros(3, 3), CoarseStage(), generator).lamps is None
    assert draw_look(CoarseStage(lamp="magic3d"), 2, 0, generator).lamps.kind == "magic3d"


def test_a_lamp_with_a_place_lights_each_point_from_there():
    """Brightness = ambient + diffuse * max(0, normal . direction to the lamp), point by point."""
    cameras = Cameras(*(torch.tensor([v]) for v in (30.0, 10.0, 2.0, 40.0)))
    lamps = Lamps("dreamfusion", torch.tensor([[0.3, -0.2, 0.5]]), torch.tensor([1.2]))
    place = F.normalize(cameras.positions()[0] + lamps.offset[0], dim=0) * 1.2
    torch.testing.assert_close(lamps.positions(cameras)[0], place)
    generator = torch.Generator().manual_seed(1)
    normal = F.normalize(torch.randn((1, 3, 4, 4), generator=generator), dim=1)
    points = torch.randn((1, 3, 4, 4), generator=generator) * 0.5
    look = Look("lit", torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0.1]), torch.tensor([0.9]), lamps)
    found = shade(normal, look, cameras, points)[0, 0]
    for y in range(4):
        for x in range(4):
            toward = place - points[0, :, y, x]
            facing = float(normal[0, :, y, x] @ toward / toward.norm())
            assert float(found[y, x]) == pytest.approx(0.1 + 0.9 * max(0.0, facing), abs=1e-5)


def test_a_ball_of_fog_is_lit_from_where_its_lamp_is():
    stage = CoarseStage(blob_scale=100.0, blob_std=0.5, levels=2, finest_resolution=16, base_resolution=8)
    job = text_to_3d_job("x", model="a/folder", coarse=stage)
    state = start_coarse(job, torch.device("cpu"))
    occupancy = OccupancyGrid(1.0)
    occupancy.update(state.field.density, 0.02)
    cameras = orbit(1, elevation=0.0, distance=3.0)
    volume = render_volume(state.field, cameras, 32, occupancy, 0.02, torch.zeros(3), normals=True)
    sides = []
    for offset in (20.0, -20.0):  # the lamp far to the right, then to the left
        lamps = Lamps("dreamfusion", torch.tensor([[offset, 0.0, 0.0]]), torch.tensor([1.5]))
        look = Look("white", torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0.1]), torch.tensor([0.9]), lamps)
        picture = show(volume, look, cameras).detach()[0].mean(0)
        sides.append((float(picture[:, 16:].mean()), float(picture[:, :16].mean())))
    (right, left), (other_right, other_left) = sides
    assert right > 2 * left and other_left > 2 * other_right
    assert right == pytest.approx(other_left, rel=0.05)


# ---- shapes to start from ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("if")
    (folder / "model_index.json").write_text(json.dumps({"text_encoder": ["transformers", "T5EncoderModel"]}))
    return {"if": str(folder), "sd": "some/model"}


SHAPES = {  # in the unit ball, touching it
    "ball": trimesh.creation.icosphere(2),
    "stick": trimesh.creation.box((0.2, 0.2, 1.98)),
    "board": trimesh.creation.box((1.4, 1.4, 0.1)),
}


#: Recipes of the coarse stage alone have no stage that would take a mesh on, and refuse it.
STARTS = [(recipe, name) for recipe in RECIPES for name in SHAPES if recipe not in COARSE_ALONE]
STARTS += [(recipe, "ellipsoid") for recipe in RECIPES]


def shape_of(job, name):
    if name == "ellipsoid":
        return ellipsoid_shape(job)
    mesh = SHAPES[name]
    return mesh_shape(job, torch.from_numpy(np.float32(mesh.vertices)), torch.from_numpy(mesh.faces))


@pytest.mark.parametrize(("recipe", "name"), STARTS)
def test_a_shape_to_start_from_is_inside_every_picture(families, recipe, name):
    """No covered pixel on the border, and no camera within the shape's bounding sphere."""
    rasterizer, shapes = get_rasterizer(), {}
    for model in families.values():
        for subject in SUBJECTS:
            start = "ellipsoid" if name == "ellipsoid" else "mesh"
            grid = {"tet_resolution": 24}
            job = text_to_3d_job("x", model=model, recipe=recipe, subject=subject, start=start, refine=grid)
            ranges = job.refine.cameras
            key = (job.coarse.radius, ranges)
            if key in shapes:
                continue  # other subjects and models begin alike
            vertices, triangles = (x.detach() for x in shape_of(job, name)())
            shapes[key] = vertices
            assert float(vertices.norm(dim=1).max()) > 0.35  # and not as a speck
            generator = torch.Generator().manual_seed(0)
            cameras = draw_cameras(ranges, 64, 10**6, generator)
            assert cameras.positions().norm(dim=1).min() > vertices.norm(dim=1).max()
            raster = rasterizer.rasterize(cameras.clip(vertices).contiguous(), triangles, (96, 96))
            covered = cover(raster)[..., 0] > 0
            border = torch.cat([covered[:, 0], covered[:, -1], covered[:, :, 0], covered[:, :, -1]], dim=1)
            assert int(border.sum()) == 0 and covered.float().mean() > 0.02
    assert shapes


def test_the_ball_that_all_cameras_see_whole_touches_the_narrowest_picture():
    ranges = SceneCameras(distance=(3.0, 4.0), fov_y=(25.0, 45.0))
    radius = framed_radius(ranges)
    assert 0.94 < math.degrees(math.asin(radius / 3.0)) / 12.5 < 0.96
    noisy = SceneCameras(distance=(3.0, 4.0), fov_y=(25.0, 45.0), position_noise=0.1, center_noise=0.01)
    assert 0.05 < framed_radius(noisy) < radius
    assert framed_radius(SceneCameras(distance=(0.5, 1.0), center_noise=1.0)) == 0.05  # no ball is; a small one


# ---- optimizers ----------------------------------------------------------------------------------------------------

PUBLISHED = {  # beta 2 of the coarse and of the refine stage
    "csd": (0.999, 0.999),
    "dreamfusion": (0.99, 0.99),
    "magic3d": (0.99, 0.99),
    "fantasia3d": (None, 0.99),
    "prolificdreamer": (0.99, 0.99),
    "sjc": (0.99, 0.99),
    "dsd": (0.99, 0.99),
    "dsd-low": (0.99, 0.99),
    "csd-mvdream": (0.99, 0.99),
    "csd-mvdream-refine": (0.99, 0.999),
    "zero123": (0.99, 0.99),
    "zero123-refine": (0.99, 0.999),
}
SMALL_GRID = {"levels": 2, "finest_resolution": 32}


@pytest.mark.parametrize("recipe", RECIPES)
def test_adam_remembers_as_long_as_is_published(recipe):
    job = text_to_3d_job("x", model="some/model", recipe=recipe, coarse=SMALL_GRID, refine={"tet_resolution": 8})
    coarse, refine = PUBLISHED[recipe]
    if coarse is not None:
        optimizer = start_coarse(job, torch.device("cpu")).optimizer
        assert {g["betas"] for g in optimizer.param_groups} == {(0.9, coarse)}
        assert {g["eps"] for g in optimizer.param_groups} == {1e-15}
    parts = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    optimizer = make_optimizer(*parts, job.refine, torch.device("cpu"))
    assert {g["betas"] for g in optimizer.param_groups} == {(0.9, refine)}
    assert {g["eps"] for g in optimizer.param_groups} == {1e-15}


def test_rates_stay_as_they_are_where_they_are_not_to_fall():
    parts = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for falls, last in ((True, 0.05), (False, 1.0)):
        stage = RefineStage(steps=100, learning_rate=0.01, color_rate=0.1, rates_fall=falls)
        optimizer = make_optimizer(*parts, stage, torch.device("cpu"))
        for step, share in ((0, 1.0), (50, 1.0), (100, last)):
            set_rates(optimizer, stage, step)
            assert [g["lr"] for g in optimizer.param_groups[:2]] == pytest.approx([0.01 * share, 0.1 * share])


# ---- where a field's surface is -------------------------------------------------------------------------------------


def test_the_mean_density_is_that_of_a_box_tight_around_the_surface_at_the_mean_of_all_that_is_not_empty():
    """A ball whose density falls evenly from 60 at its center to 0 at a radius of one half, cut twice in double
    precision on a grid of another size."""

    def density(points):
        return F.softplus(60 * (1 - points.norm(dim=1) / 0.5))

    def cut(half):
        line = np.linspace(-half, half, 101)
        r = np.sqrt(line[:, None, None] ** 2 + line[None, :, None] ** 2 + line[None, None, :] ** 2)
        d = np.logaddexp(0, 60 * (1 - r / 0.5))
        return d[d > 1e-5].mean()

    first = cut(1.0)
    reach = 0.5 * (1 - first / 60)  # where the density is that mean
    expected = cut(1.2 * reach)
    assert expected > 1.07 * first
    assert mean_density(density, 1.0, torch.device("cpu")) == pytest.approx(expected, rel=0.03)


def test_an_empty_field_has_the_least_density():
    assert mean_density(lambda points: torch.zeros(len(points)), 1.0, torch.device("cpu")) == 0.01


def test_magic3d_cuts_its_field_at_the_mean_density():
    coarse = {"blob_scale": 60.0, "network_width": 0, "radius": 1.0, "start_level": 0, "normals": "taps"} | SMALL_GRID
    job = text_to_3d_job("x", model="some/model", recipe="magic3d", coarse=coarse, refine={"tet_resolution": 24})
    field = start_coarse(job, torch.device("cpu")).field
    geometry, threshold = shape_from_field(job, field)
    assert threshold == pytest.approx(mean_density(field.density, 1.0, torch.device("cpu")), rel=1e-6)
    distance = geometry()[0].detach().norm(dim=1)
    assert distance.mean().item() == pytest.approx(0.5 * (1 - threshold / 60), abs=0.02)
