"""Random cameras of a texture job."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from csd_blender.backend.render.camera_draws import NEAREST, draw_shots
from csd_blender.job.spec.cameras import CameraRange

COUNT = 4000


def shots(seed=0, count=COUNT, **changes):
    ranges = dataclasses.replace(CameraRange(), **changes)
    return draw_shots(ranges, count, torch.Generator().manual_seed(seed))


def test_azimuths_are_spread_evenly_over_a_batch():
    azimuth = shots(count=8).cameras.azimuth
    sector = ((azimuth + 180) / 45).floor()
    assert sector.tolist() == list(range(8))


def test_elevation_is_half_uniform_in_degrees_and_half_uniform_on_the_sphere():
    drawn = shots(elevation=(0.0, 90.0), below_share=0.0).cameras.elevation
    assert drawn.min() >= 0 and drawn.max() <= 90
    # P(elevation < 30) is 1/3 for the one law and sin 30 = 1/2 for the other
    assert (drawn < 30).float().mean().item() == pytest.approx((1 / 3 + 1 / 2) / 2, abs=0.03)


def test_the_asked_share_looks_from_below_without_a_view_word():
    drawn = shots(elevation=(-15.0, 60.0), below_share=0.2)
    below = torch.tensor(drawn.below)
    assert below.float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert (drawn.cameras.elevation[below] <= -15).all() and (drawn.cameras.elevation[~below] >= -15.001).all()


def test_zoom_is_the_apparent_radius_of_the_unit_ball():
    drawn = shots(zoom=(0.8, 0.8), close_share=0.0)
    half = (drawn.cameras.fov_y * torch.pi / 360).tan()
    apparent = torch.asin(1 / drawn.cameras.distance).tan() / half
    torch.testing.assert_close(apparent, torch.full((COUNT,), 0.8), rtol=1e-4, atol=1e-4)


def test_close_ups_are_nearer_but_never_inside_the_mesh():
    drawn = shots(close_share=0.5)
    close = torch.tensor(drawn.close)
    assert close.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert drawn.cameras.distance[close].mean() < drawn.cameras.distance[~close].mean()
    assert drawn.cameras.distance.min() >= NEAREST


def test_the_same_seed_draws_the_same_cameras():
    a, b = shots(seed=5), shots(seed=5)
    assert torch.equal(a.cameras.distance, b.cameras.distance) and torch.equal(a.target, b.target)
    assert not torch.equal(a.target, shots(seed=6).target)
