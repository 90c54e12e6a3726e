"""Cameras: where they stand, what their matrices do, and what they are called."""

from __future__ import annotations

import math

import pytest
import torch

from csd_blender.backend.render.cameras import Cameras, orbit, sample_cameras, view_names


def one(azimuth: float, elevation: float = 0.0, distance: float = 3.0, fov_y: float = 40.0) -> Cameras:
    return Cameras(*(torch.tensor([x]) for x in (azimuth, elevation, distance, fov_y)))


def ndc(camera: Cameras, point: list[float], **options) -> torch.Tensor:
    clip = camera.clip(torch.tensor([point]), **options)[0, 0]
    return clip[:3] / clip[3]


def test_the_front_camera_stands_at_minus_y_and_azimuth_90_at_plus_x():
    torch.testing.assert_close(one(0).positions(), torch.tensor([[0.0, -3.0, 0.0]]))
    torch.testing.assert_close(one(90).positions(), torch.tensor([[3.0, 0.0, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(one(0, 90).positions(), torch.tensor([[0.0, 0.0, 3.0]]), atol=1e-6, rtol=0)


def test_from_the_front_plus_x_is_on_the_right_and_plus_z_in_the_upper_rows():
    assert ndc(one(0), [0.5, 0, 0])[0] > 0.1
    assert ndc(one(0), [0, 0, 0.5])[1] < -0.1  # row 0 is ndc y = -1


def test_from_behind_plus_x_is_on_the_left():
    assert ndc(one(180), [0.5, 0, 0])[0] < -0.1


def test_straight_above_the_picture_is_upright_with_the_back_at_the_top():
    assert ndc(one(0, 90), [0, 0.5, 0])[1] < -0.1
    assert ndc(one(0, 90), [0.5, 0, 0])[0] > 0.1


def test_nearer_points_have_smaller_depth():
    assert ndc(one(0), [0, -1, 0])[2] < ndc(one(0), [0, 1, 0])[2]


def test_the_field_of_view_is_vertical_and_exact():
    half = 3 * math.tan(math.radians(20))
    assert ndc(one(0), [0, 0, half])[1].item() == pytest.approx(-1, abs=1e-5)
    assert ndc(one(0), [2 * half, 0, 0], aspect=2.0)[0].item() == pytest.approx(1, abs=1e-5)


def test_an_orthographic_camera_shows_the_target_plane_at_the_same_size_and_ignores_depth():
    here, deep = (ndc(one(30, 20), p, orthographic=True) for p in ([0.0, 0.0, 0.4], [0.0, 0.0, 0.4]))
    torch.testing.assert_close(here, deep)
    flat = one(0)
    near, far = (ndc(flat, [0.3, y, 0.4], orthographic=True) for y in (-1.0, 1.0))
    torch.testing.assert_close(near[:2], far[:2])
    torch.testing.assert_close(near[:2], ndc(flat, [0.3, 0.0, 0.4])[:2])
    assert near[2] < far[2]


def test_rays_hit_the_pixels_their_points_project_to():
    cameras = Cameras(
        torch.tensor([20.0, -140.0]), torch.tensor([35.0, -10.0]), torch.tensor([2.0, 3.0]), torch.tensor([50.0, 30.0]),
        torch.tensor([[0.1, 0.2, -0.3], [0.0, 0.0, 0.4]]),
    )  # fmt: skip
    height, width = 6, 10
    rays = cameras.directions((height, width))
    points = cameras.positions()[:, None, None] + 1.7 * rays
    clip = cameras.clip(points.reshape(2, -1, 3), aspect=width / height)
    seen = (clip[..., :2] / clip[..., 3:]).view(2, height, width, 2)
    x, y = (2 * torch.arange(width) + 1) / width - 1, (2 * torch.arange(height) + 1) / height - 1
    torch.testing.assert_close(seen[..., 0], x.expand(2, height, width), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[..., 1], y[:, None].expand(2, height, width), atol=1e-5, rtol=0)


def test_views_turn_without_mirroring():
    axes = sample_cameras(torch.Generator().manual_seed(0), 50, (-90, 90)).axes()
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(50), atol=1e-5, rtol=0)


def test_an_orbit_starts_at_the_front_and_goes_around_evenly():
    assert orbit(4).azimuth.tolist() == [0, 90, 180, 270]
    assert view_names(orbit(4).azimuth, orbit(4).elevation) == ["front", "side", "back", "side"]


def test_stratified_azimuths_put_one_camera_in_each_sector():
    azimuth = sample_cameras(torch.Generator().manual_seed(3), 8).azimuth
    assert ((azimuth + 180) // 45).tolist() == list(range(8))


def test_sampled_elevations_are_half_uniform_in_degrees_and_half_uniform_on_the_sphere():
    low, high = -10.0, 90.0
    elevation = sample_cameras(torch.Generator().manual_seed(0), 200_000, (low, high)).elevation
    assert elevation.min() >= low and elevation.max() <= high
    for limit in (0.0, 30.0, 60.0, 80.0):
        by_degrees = (limit - low) / (high - low)
        sines = [math.sin(math.radians(x)) for x in (low, limit, high)]
        on_sphere = (sines[1] - sines[0]) / (sines[2] - sines[0])
        share = (elevation < limit).float().mean().item()
        assert share == pytest.approx((by_degrees + on_sphere) / 2, abs=0.005)


def test_the_same_seed_gives_the_same_cameras():
    first, second = (sample_cameras(torch.Generator().manual_seed(5), 3) for _ in range(2))
    assert torch.equal(first.positions(), second.positions())


def test_a_range_upside_down_is_refused_by_name():
    with pytest.raises(ValueError, match="distance range"):
        sample_cameras(None, 1, distance=(3.0, 2.0))


@pytest.mark.parametrize(
    ("azimuth", "elevation", "name"),
    [
        (0, 0, "front"), (44.9, 0, "front"), (45, 0, "side"), (-45, 0, "side"), (90, 0, "side"), (135, 0, "side"),
        (135.1, 0, "back"), (180, 0, "back"), (-180, 0, "back"), (360, 0, "front"), (315.1, 0, "front"),
        (540, 0, "back"), (0, 60, "front"), (0, 60.1, "overhead"), (180, 90, "overhead"), (90, -80, "side"),
    ],
)  # fmt: skip
def test_view_names_change_exactly_at_the_strict_thresholds(azimuth, elevation, name):
    assert view_names(torch.tensor([azimuth]), torch.tensor([elevation])) == [name]
