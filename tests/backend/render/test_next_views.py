"""Cameras that look where it is needed, and an end when nothing changes any more."""

from __future__ import annotations

import pytest
import torch
import trimesh

from csd_blender.backend.fields.texture_field import TextureField
from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.render.camera_draws import Shots
from csd_blender.backend.render.cameras import Cameras, orbit
from csd_blender.backend.render.next_views import SAMPLES, cells_of, looked_at, start_watch
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job


def surface_of(shape, folder):
    folder.mkdir(exist_ok=True)
    job = JobFolder.create(folder / "job", texture_job("a ball", texture_size=64))
    save_npz(job.mesh_path, Mesh(shape.vertices, shape.faces))
    return prepare_surface(job.spec, job, Reporter(emit=lambda said: None))


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    return surface_of(trimesh.creation.icosphere(3), tmp_path_factory.mktemp("ball"))


def gray(points):
    return torch.full_like(points, 0.5)


def shots_at(azimuths, elevation=0.0, zoom=3.0):
    count = len(azimuths)
    ring = (torch.full((count,), value) for value in (elevation, zoom, 40.0))
    cameras = Cameras(torch.tensor(azimuths, dtype=torch.float32), *ring)
    return Shots(cameras, torch.zeros(count, 3), [False] * count, [False] * count)


def looked(watch, surface, cameras):
    white = torch.ones(len(cameras), 3)
    watch.learn(surface.render_step(gray, cameras, 64, white, places=True).places, gray)


def test_samples_lie_on_the_surface_evenly_and_outwards_also_of_a_mesh_that_is_turned_inside_out(ball, tmp_path):
    turned = trimesh.creation.icosphere(3)
    turned.invert()
    for surface in (ball, surface_of(turned, tmp_path)):
        watch = start_watch(surface, gray)
        assert len(watch.points) == SAMPLES and float((watch.points.norm(dim=1) - 1).abs().max()) < 0.02
        assert float(watch.points.mean(0).abs().max()) < 0.05, "as much on each side"
        assert float((watch.points * watch.normals).sum(1).min()) > 0.9
        assert float(watch.share.sum()) == pytest.approx(1)
        assert torch.equal(watch.cell, cells_of(watch.points))


def test_each_closed_piece_is_seen_from_outside_and_an_open_one_from_both_sides(tmp_path):
    inner = trimesh.creation.icosphere(2, radius=0.4)
    inner.apply_translation((2.5, 0, 0))
    inner.invert()
    both = trimesh.util.concatenate([trimesh.creation.icosphere(2), inner])
    watch = start_watch(surface_of(both, tmp_path), gray)
    small = watch.points[:, 0] > 0.4
    middle = watch.points[small].mean(0)
    assert small.any() and float(((watch.points[small] - middle) * watch.normals[small]).sum(1).min()) > 0
    assert not watch.two_sided.any()
    plane = trimesh.Trimesh([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    flat = start_watch(surface_of(plane, tmp_path / "plane"), gray)
    above, below = looked_at(
        Shots(Cameras(torch.zeros(2), torch.tensor([60.0, -60.0]), torch.full((2,), 3.0), torch.full((2,), 40.0)),
              torch.zeros(2, 3), [False] * 2, [False] * 2),
        flat.points, flat.normals, flat.two_sided,
    )  # fmt: skip
    assert flat.two_sided.all() and above.sum() == pytest.approx(float(below.sum()), rel=0.05) and above.sum() > 0


def test_half_of_a_ball_faces_a_camera_and_none_of_it_is_shown_beside_the_picture(ball):
    watch = start_watch(ball, gray)
    sight = looked_at(shots_at([0.0, 180.0]), watch.points, watch.normals, watch.two_sided)
    front = watch.points[:, 1] < -0.36  # seen from three radii away
    assert float(((sight[0] > 0) == front).float().mean()) > 0.98
    assert not (sight[0] * sight[1] > 0).any()
    beside = shots_at([0.0])
    beside = Shots(beside.cameras, torch.tensor([[3.0, 0.0, 0.0]]), [False], [False])
    assert not looked_at(beside, watch.points, watch.normals, watch.two_sided).any()


def test_of_some_cameras_the_one_is_taken_that_sees_what_was_not_seen(ball):
    watch = start_watch(ball, gray)
    for _ in range(3):
        looked(watch, ball, orbit(1, elevation=0.0, distance=3.0, fov_y=40.0))  # from the front
    mean = float((watch.seen * watch.share).sum())
    assert 2.4 < mean < 3.01, "each look sees as much as all of the surface, but for cells without a sample"
    found = watch.choose(shots_at([10.0, 175.0, -20.0, 30.0]), 1, by_change=False)
    assert found.cameras.azimuth.tolist() == [175.0]


def test_several_cameras_do_not_look_at_the_same(ball):
    watch = start_watch(ball, gray)
    found = watch.choose(shots_at([0.0, 5.0, -5.0, 120.0, 125.0, 240.0, 235.0]), 3, by_change=False)
    thirds = sorted(round(a / 120) % 3 for a in found.cameras.azimuth.tolist())
    assert thirds == [0, 1, 2]


def test_what_changes_is_looked_at_again(ball):
    watch = start_watch(ball, gray)
    watch.change.zero_()

    def redder(points):
        return torch.where(points[:, 1:2] > 0, torch.tensor([0.9, 0.5, 0.5]), torch.tensor([0.5, 0.5, 0.5]))

    watch.learn(torch.zeros(1, 4, 4, 4), redder)
    assert float(watch.change.mean()) == pytest.approx(0.5 * 0.4 / 3, rel=0.05), "half of it, one of three channels"
    assert watch.choose(shots_at([0.0, 90.0, 180.0]), 1, by_change=True).cameras.azimuth.tolist() == [180.0]


def test_how_much_changes_is_a_mean_that_forgets_and_is_said_when_it_is_known(ball):
    watch = start_watch(ball, gray)
    told = []
    for level in (0.6, 0.8, 0.8, 0.8, 0.8, 0.8):
        watch.learn(torch.zeros(1, 4, 4, 4), lambda points, level=level: torch.full_like(points, level))
        told.append((watch.restless, float(watch.change.mean())))
    assert [restless for restless, _ in told[:4]] == [1.0] * 4 and told[4][0] == told[4][1]
    means = [0.1, 0.15, 0.1, 0.075, 0.06, 0.048]  # of all so far, from the fifth on with a fifth of the new one
    assert [mean for _, mean in told] == pytest.approx(means, abs=1e-5)


def test_a_field_is_watched_without_a_graph(ball):
    field = TextureField(levels=1, finest_resolution=8)
    watch = start_watch(ball, field)
    watch.learn(torch.zeros(1, 4, 4, 4), field)
    assert not watch.color.requires_grad
