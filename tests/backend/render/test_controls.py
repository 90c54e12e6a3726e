"""Pictures of the shape for ControlNets: depth, normals and edges against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from csd_blender.backend.render.cameras import Cameras, orbit
from csd_blender.backend.render.controls import (
    ShownShape,
    canny,
    control_pictures,
    control_rows,
    depths_as_gray,
    normal_colors,
)
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.surface import Surface

SIDE = 64
ALL = (("depth",), ("normal",), ("canny",), ("depth", "normal"))


def camera(azimuth=0.0, elevation=0.0, distance=3.0, fov=40.0) -> Cameras:
    return Cameras(*(torch.tensor([float(v)]) for v in (azimuth, elevation, distance, fov)))


def ball(cameras: Cameras, size: int, radius: float = 0.8) -> ShownShape:
    """A ball around the origin, by the rays of the pixels: exact points and normals."""
    eyes, rays = cameras.positions(), cameras.directions(size)
    along = torch.einsum("bhwi,bi->bhw", rays, eyes)
    room = along**2 - (eyes.square().sum(1) - radius**2)[:, None, None]
    covered = room > 0
    reach = -along[covered] - room[covered].sqrt()
    points = eyes[covered.nonzero()[:, 0]] + rays[covered] * reach[:, None]
    return ShownShape(covered, points, points / radius)


@pytest.mark.parametrize("cameras", [camera(), camera(130.0, 35.0, 2.5), orbit(3)])
def test_the_depth_of_a_ball_is_white_at_its_nearest_point_and_black_at_its_outline(cameras):
    shape = ball(cameras, SIDE)
    depth = control_pictures([("depth",)], shape, cameras, SIDE)
    assert depth.shape == (len(cameras), 3, SIDE, SIDE) and torch.equal(depth[:, 0], depth[:, 2])
    # Seen from the distance D, a point of the ball whose normal has the slant z to the camera lies D - r z away.
    back = cameras.axes()[:, 2][shape.covered.nonzero()[:, 0]]
    slant = (shape.normals * back).sum(1)
    for i in range(len(cameras)):
        own = shape.covered.nonzero()[:, 0] == i
        low, high = slant[own].min(), slant[own].max()
        expected = (slant[own] - low) / (high - low)
        torch.testing.assert_close(depth[i, 0][shape.covered[i]], expected, atol=1e-4, rtol=0)
    assert not depth[:, 0][~shape.covered].any()


def test_the_range_of_depths_is_that_of_each_picture_alone():
    near, far = camera(distance=2.0), camera(distance=6.0)
    names = ("azimuth", "elevation", "distance", "fov_y")
    both = Cameras(*(torch.cat([getattr(c, name) for c in (near, far)]) for name in names))
    depth = control_pictures([("depth",)], ball(both, SIDE), both, SIDE)
    assert depth[0].max() == 1 and depth[1].max() == 1


def test_what_has_no_depth_is_white_and_an_empty_picture_black():
    covered = torch.tensor([[[True, True]], [[False, False]]])
    assert torch.equal(depths_as_gray(torch.tensor([2.0, 2.0 + 1e-6]), covered), torch.ones(2))
    empty = ShownShape(torch.zeros(1, 8, 8, dtype=torch.bool), torch.zeros(0, 3), torch.zeros(0, 3))
    pictures = control_pictures(ALL, empty, camera(), 8)
    assert pictures.shape == (1, 13, 8, 8)
    assert not pictures[:, :3].any() and not pictures[:, 6:].any()
    assert torch.equal(pictures[0, 3:6, 4, 4], torch.tensor([0.5, 0.5, 1.0]))


@pytest.mark.parametrize("azimuth", [0.0, 90.0, 200.0])
def test_normals_have_the_colors_of_normalbae_red_to_the_left_green_up_blue_to_the_camera(azimuth):
    cameras = camera(azimuth, elevation=20.0)
    shape = ball(cameras, SIDE)
    bae = control_pictures([("normal",)], shape, cameras, SIDE)[0]
    own = control_pictures([("depth", "normal")], shape, cameras, SIDE)[0, 1:]
    middle = SIDE // 2
    assert bae[:, middle, middle].tolist() == pytest.approx([0.5, 0.5, 1.0], abs=0.05)
    row, column = shape.covered[0, middle], shape.covered[0, :, middle]
    left, top = int(row.nonzero().min()), int(column.nonzero().min())
    assert bae[0, middle, left] > 0.9 and bae[0, middle, -1 - left] < 0.1
    assert bae[1, top, middle] > 0.9 and bae[1, -1 - top, middle] < 0.1
    # exactly: the picture's x to the left, y to the top, and the rest to the camera
    right, up, back = (shape.normals @ cameras.axes()[0].T).unbind(1)
    expected = torch.stack([-right, up, back], 1) * 0.5 + 0.5
    torch.testing.assert_close(bae[:, shape.covered[0]].T, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(own[:, shape.covered[0]].T, expected)
    beside = ~shape.covered[0]
    assert torch.equal(bae[:, beside].T, torch.tensor([0.5, 0.5, 1.0]).expand(int(beside.sum()), 3))
    assert not own[:, beside].any()


def test_normals_that_look_away_from_the_camera_are_turned():
    cameras, shape = camera(), ball(camera(), SIDE)
    inside = ShownShape(shape.covered, shape.points, -shape.normals)
    for kinds in (("normal",), ("depth", "normal")):
        turned = control_pictures([kinds], inside, cameras, SIDE)
        assert torch.equal(turned, control_pictures([kinds], shape, cameras, SIDE))
    # what counts is the ray to the place, not the camera's axis
    tilted = F.normalize(torch.tensor([[0.8, 0.0, -0.2]]), dim=1)  # away from the axis, but toward a point to its left
    seen = torch.tensor([[-2.0, 0.0, -3.0]])
    assert torch.equal(normal_colors(tilted, seen), tilted * torch.tensor([-0.5, 0.5, 0.5]) + 0.5)


def test_supersampled_pictures_have_soft_edges_of_the_mean():
    cameras = camera()
    fine, coarse = ball(cameras, 2 * SIDE), control_pictures(ALL, ball(cameras, 2 * SIDE), cameras, SIDE)
    whole = control_pictures(ALL, fine, cameras, 2 * SIDE)
    torch.testing.assert_close(coarse[:, :6], F.avg_pool2d(whole, 2)[:, :6])
    torch.testing.assert_close(coarse[:, 9:], F.avg_pool2d(whole, 2)[:, 9:])
    assert set(coarse[:, 6:9].unique().tolist()) == {0.0, 1.0}  # edges are found in the finished picture


def plane_surface(tilt: float) -> Surface:
    """A large square through the origin, turned about the vertical axis by ``tilt`` degrees from facing -Y."""
    sine, cosine = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * 0.7
    points = torch.stack([corners[:, 0] * cosine, corners[:, 0] * sine, corners[:, 1]], 1)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    return Surface(
        None, points, triangles, torch.zeros(2, 3, 2), torch.zeros(2, dtype=torch.int64), ("new",), get_rasterizer()
    )


@pytest.mark.parametrize("target", [None, [0.2, -0.1, 0.1]])
def test_a_tilted_plane_in_the_step_s_own_raster(target):
    """Depth falls linearly in 1 / z over the picture, normals are one color, and the close-up's target counts."""
    surface, cameras, calls = plane_surface(30.0), camera(distance=2.5), []
    target = None if target is None else torch.tensor([target])
    rasterize = surface.rasterizer.rasterize

    class Counted:
        def rasterize(self, *given):
            calls.append(1)
            return rasterize(*given)

    surface.rasterizer = Counted()
    made = surface.render_step(
        lambda points: points * 0 + 0.25, cameras, SIDE, torch.zeros(1, 3), target, layout=ALL, side=SIDE
    )
    assert len(calls) == 1
    inside = made.pictures[0, 0] == 0.25
    eye, rays = cameras.positions()[0], cameras.directions(SIDE)[0]
    eye = eye if target is None else eye + target[0]
    normal = torch.tensor([-math.sin(math.radians(30)), math.cos(math.radians(30)), 0.0])
    reach = -(eye @ normal) / (rays @ normal)
    depth = reach * (rays @ -cameras.axes()[0, 2])
    found = made.control[0, 0][inside]
    low, high = found.argmin(), found.argmax()
    slope = (found - found[low]) / (found[high] - found[low])
    own = depth[inside]
    expected = (own - own[low]) / (own[high] - own[low])
    torch.testing.assert_close(slope, expected, atol=5e-3, rtol=0)
    assert found.max() > 0.97 and found.min() < 0.03
    right, up, back = (cameras.axes()[0] @ -normal).tolist()
    colors = made.control[0, 3:6][:, inside].T
    assert colors.std(0).max() < 1e-4
    assert colors[0].tolist() == pytest.approx([0.5 - right / 2, 0.5 + up / 2, 0.5 + back / 2], abs=1e-4)


def test_edges_are_one_pixel_lines_where_a_step_is():
    picture = torch.zeros(1, 3, 32, 32)
    picture[:, 1, :, 16:] = 0.8  # of one channel alone
    edges = canny(picture)
    assert edges.shape == (1, 1, 32, 32) and set(edges.unique().tolist()) == {0.0, 1.0}
    # The mean of five makes a slope over the step, which is flat over four pixels; of these one counts.
    assert torch.equal(edges[0, 0].sum(1), torch.ones(32)) and edges[0, 0, 5].argmax() in range(14, 18)
    slanted = torch.zeros(1, 1, 32, 32)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    slanted[0, 0][rows + columns > 31] = 1.0
    count = canny(slanted)[0, 0, 4:-4].sum(1)  # at the border it bends
    assert count.max() <= 2 and count.min() >= 1
    assert not canny(torch.rand(1, 3, 16, 16) * 0.02).any()  # noise is none


def test_a_weak_edge_counts_only_where_it_is_connected_to_a_strong_one():
    strength = torch.linspace(1.0, 0.0, 64)[:, None]
    fading = torch.zeros(1, 1, 64, 32)
    fading[0, 0, :, 16:] = strength
    edges = canny(fading)[0, 0]
    weakest = int(edges.any(1).nonzero().max())
    assert 40 < weakest < 62  # it goes on below the high threshold, and ends at the low one
    alone = torch.zeros(1, 1, 64, 32)
    alone[..., 16:] = 0.15  # 8 / 5 of that, 0.24, by Sobel after the mean of five: between both thresholds
    assert not canny(alone).any() and canny(alone * 1.7).any() and not canny(alone * 1.6).any()


def test_the_outline_of_a_ball_is_an_edge_and_its_inside_is_none():
    cameras = camera()
    shape = ball(cameras, 128)
    edges = control_pictures([("canny",)], shape, cameras, 128)[0, 0] > 0
    covered = shape.covered.float()
    grown = F.max_pool2d(covered, 5, 1, 2)[0] > 0
    inner = -F.max_pool2d(-covered, 9, 1, 4)[0] > 0
    assert edges.sum() > 150 and not edges[~grown].any() and not edges[inner].any()


def test_the_sheet_has_a_row_for_each_thing_that_is_followed():
    cameras = orbit(2)
    pictures = control_pictures(ALL, ball(cameras, 16), cameras, 16)
    rows = control_rows(ALL, pictures)
    assert rows.shape == (10, 3, 16, 16)
    assert torch.equal(rows[0:2], pictures[:, :3]) and torch.equal(rows[2:4], pictures[:, 3:6])
    assert torch.equal(rows[6:8], pictures[:, :3]) and torch.equal(rows[8:10], pictures[:, 10:13])
