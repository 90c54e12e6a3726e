"""Cameras: where they stand, what their matrices do, and what they are called."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from csd_blender.backend.render.cameras import Cameras, Shake, orbit, random_elevation, sample_cameras, view_names


def one(azimuth: float, elevation: float = 0.0, distance: float = 3.0, fov_y: float = 40.0) -> Cameras:
    return Cameras(*(torch.tensor([x]) for x in (azimuth, elevation, distance, fov_y)))


def ndc(camera: Cameras, point: list[float]) -> torch.Tensor:
    clip = camera.clip(torch.tensor([point]))[0, 0]
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


def test_rays_hit_the_pixels_their_points_project_to():
    cameras = Cameras(
        torch.tensor([20.0, -140.0]), torch.tensor([35.0, -10.0]), torch.tensor([2.0, 3.0]), torch.tensor([50.0, 30.0]),
    )  # fmt: skip
    size = 6
    rays = cameras.directions(size)
    points = cameras.positions()[:, None, None] + 1.7 * rays
    clip = cameras.clip(points.reshape(2, -1, 3))
    seen = (clip[..., :2] / clip[..., 3:]).view(2, size, size, 2)
    at = (2 * torch.arange(size) + 1) / size - 1
    torch.testing.assert_close(seen[..., 0], at.expand(2, size, size), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[..., 1], at[:, None].expand(2, size, size), atol=1e-5, rtol=0)


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


@pytest.mark.parametrize("rings", [1, 3])
def test_a_ring_of_cameras_goes_around_evenly_and_is_alike_in_all_else(rings):
    cameras = sample_cameras(
        torch.Generator().manual_seed(1), 4 * rings, (0.0, 30.0), (0.8, 1.0), (15.0, 60.0), "csd", 4
    )
    azimuth = cameras.azimuth.view(rings, 4)
    torch.testing.assert_close(azimuth - azimuth[:, :1], torch.tensor([0.0, 90.0, 180.0, 270.0]).expand(rings, 4))
    assert (azimuth[:, 0] >= -180).all() and (azimuth[:, 0] < -90).all() and len(azimuth[:, 0].unique()) == rings
    for numbers in (cameras.elevation, cameras.distance, cameras.fov_y):
        assert len(numbers.unique()) == rings and (numbers.view(rings, 4) == numbers.view(rings, 4)[:, :1]).all()


def test_cameras_that_make_no_whole_ring_are_refused():
    with pytest.raises(ValueError, match="6 cameras make no rings of 4"):
        sample_cameras(None, 6, ring=4)


def test_distances_in_frames_show_things_equally_large():
    """What is as high as half the frame at distance 1 there fills the picture from top to bottom."""
    given = ((0.0, 0.0), (1.0, 1.0), (15.0, 60.0))
    cameras = sample_cameras(torch.Generator().manual_seed(1), 8, *given, distance_unit="frame")
    assert cameras.fov_y.max() > 1.5 * cameras.fov_y.min()
    top = cameras.clip(torch.tensor([[0.0, 0.0, 1.0]]))[:, 0]
    torch.testing.assert_close(top[:, 1] / top[:, 3], torch.full((8,), -1.0))


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


@pytest.mark.parametrize(
    ("azimuth", "name"),
    [(29.9, "front"), (30, "side"), (-30, "side"), (150, "side"), (150.1, "back"), (-150.1, "back"), (-150, "side")],
)
def test_how_far_the_front_and_the_back_reach_can_be_set(azimuth, name):
    assert view_names(torch.tensor([azimuth]), torch.tensor([0.0]), front_angle=30.0) == [name]


# ---- laws of elevation ---------------------------------------------------------------------------------------------


def elevations(law, heads, limits=(-10.0, 45.0), count=40_000):
    u = torch.rand(count, generator=torch.Generator().manual_seed(1))
    return random_elevation(limits, torch.full((count,), 0.2 if heads else 0.8), u, law)


@pytest.mark.parametrize("law", ["camera", "batch", "csd"])
def test_half_of_all_elevations_are_uniform_in_degrees_by_any_law(law):
    found = elevations(law, heads=True)
    for limit in (0.0, 17.5, 30.0):
        assert (found < limit).float().mean().item() == pytest.approx((limit + 10) / 55, abs=0.01)


@pytest.mark.parametrize("law", ["camera", "batch"])
@pytest.mark.parametrize("limits", [(-10.0, 45.0), (-10.0, 90.0)])
def test_the_others_are_uniform_on_the_sphere(law, limits):
    found = elevations(law, heads=False, limits=limits)
    low, high = (math.sin(math.radians(e)) for e in limits)
    for limit in (0.0, 20.0, 40.0):
        share = (math.sin(math.radians(limit)) - low) / (high - low)
        assert (found < limit).float().mean().item() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("limits", "reached"),
    [((-10.0, 45.0), (-6.3794, 30.0)), ((-10.0, 90.0), (-6.3794, 90.0)), ((0.0, 30.0), (0.0, 19.4712))],
)
def test_csd_s_second_law_is_narrower_than_its_limits(limits, reached):
    """As its public code has it: the sine is uniform between the limits over 90 degrees."""
    found = elevations("csd", heads=False, limits=limits)
    assert (float(found.min()), float(found.max())) == pytest.approx(reached, abs=0.3)
    assert found.min() >= reached[0] - 1e-3 and found.max() <= reached[1] + 1e-3
    sine = torch.sin(torch.deg2rad(found))
    middle = (limits[0] + limits[1]) / 180
    assert (sine < middle).float().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("law", "kinds"), [("camera", 4), ("batch", 2), ("csd", 2)])
def test_one_coin_decides_for_the_batch_where_it_is_published_so(law, kinds):
    coin = torch.tensor([[0.2, 0.8], [0.8, 0.2], [0.2, 0.2], [0.8, 0.8]])
    u = torch.tensor([0.5, 0.5])
    found = {tuple(random_elevation((-10.0, 45.0), c, u, law).tolist()) for c in coin}
    assert len(found) == kinds


def test_a_law_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="law"):
        random_elevation((0.0, 1.0), torch.zeros(1), torch.zeros(1), "other")


# ---- unsteady cameras ----------------------------------------------------------------------------------------------


def shaken(count=6, **off):
    generator = torch.Generator().manual_seed(2)
    cameras = sample_cameras(generator, count, (-10.0, 90.0), (1.5, 2.0))
    noise = {k: off.get(k, 0.0) * torch.randn((count, 3), generator=generator) for k in ("position", "center", "up")}
    return cameras, Cameras(**vars(cameras) | {"shake": Shake(**noise)})


def test_a_shake_of_nothing_changes_nothing():
    steady, same = shaken()
    torch.testing.assert_close(same.mvp(), steady.mvp(), atol=2e-6, rtol=2e-6)
    assert torch.equal(same.positions(), steady.positions())


def test_a_shaken_camera_looks_from_where_it_is_to_where_it_looks():
    steady, cameras = shaken(position=0.1, center=0.2, up=0.02)
    torch.testing.assert_close(cameras.positions(), steady.positions() + cameras.shake.position)
    inside = cameras.clip(cameras.shake.center[:, None, :])[:, 0]
    torch.testing.assert_close(inside[:, :2], torch.zeros(6, 2), atol=1e-5, rtol=0)  # the middle of the picture
    # The upward direction has no part to the right, and points up.
    upward = torch.einsum("bij,bj->bi", cameras.axes(), cameras.shake.up + torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(upward[:, 0], torch.zeros(6), atol=1e-6, rtol=0)
    assert (upward[:, 1] > 0).all()
    axes = cameras.axes()
    torch.testing.assert_close(axes @ axes.transpose(1, 2), torch.eye(3).expand(6, 3, 3), atol=1e-6, rtol=0)
    assert torch.linalg.det(axes).min() > 0.999


def test_straight_from_above_a_shaken_camera_still_has_axes():
    flat = torch.zeros(1, 3)
    cameras = Cameras(*(torch.tensor([v]) for v in (30.0, 90.0, 2.0, 40.0)), shake=Shake(flat, flat, flat))
    axes = cameras.axes()[0]
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(axes[2], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_some_of_the_cameras_see_what_they_saw_among_all():
    numbers = torch.Generator().manual_seed(0)
    shake = Shake(*torch.randn((3, 4, 3), generator=numbers) * 0.1)
    cameras = Cameras(*(torch.rand((4, 4), generator=numbers) * 20 + 10), shake)
    for whole in (cameras, replace(cameras, shake=None)):
        some = whole.select(slice(1, 3))
        assert len(some) == 2 and torch.equal(some.mvp(), whole.mvp()[1:3])
