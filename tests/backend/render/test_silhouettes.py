"""Gradients of moving silhouettes: edge-driven antialiasing against finite differences of a supersampled picture.

The loss is linear in the picture with smooth weights, so its derivative along a motion of the vertices is the sum,
over the silhouette, of how fast the edge sweeps over pixels. Supersampling measures that independently.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from csd_blender.backend.render.cameras import Cameras
from csd_blender.backend.render.rasterizer.interface import cover
from csd_blender.backend.render.rasterizer.topology import topology

SIZE, FINE = 96, 12  # pixels, and samples a pixel and axis for the measured derivative
STEP = 4e-3
CAMERAS = Cameras(
    torch.tensor([25.0, 140.0]), torch.tensor([20.0, -35.0]), torch.tensor([3.4, 3.0]), torch.tensor([45.0, 50.0])
)
CUBE = torch.tensor([[x, y, z] for x in (-0.6, 0.6) for y in (-0.6, 0.6) for z in (-0.6, 0.6)])
CUBE_FACES = torch.tensor(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]], dtype=torch.int32,
)  # fmt: skip


def smooth_weights(channels: int, seed: int = 0) -> torch.Tensor:
    coarse = torch.randn(len(CAMERAS), channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)


def motions(points: torch.Tensor) -> list[torch.Tensor]:
    """Three shifts, growing, stretching, turning, and a bump."""
    turn = torch.stack([-points[:, 1], points[:, 0], torch.zeros(len(points))], 1)
    bump = points * torch.exp(-4 * (points - torch.tensor([0.5, -0.5, 0.3])).square().sum(1, keepdim=True))
    stretch = points * torch.tensor([1.0, 0.0, 0.0])
    return [*torch.eye(3)[:, None].expand(-1, len(points), -1), points, stretch, turn, bump]


def picture(rasterizer, points, triangles, colors, size, links=None, cameras=CAMERAS) -> torch.Tensor:
    clip = cameras.clip(points)
    raster = rasterizer.rasterize(clip, triangles, (size, size))
    color = cover(raster) if colors is None else rasterizer.interpolate(colors, raster, triangles)
    return color if links is None else rasterizer.antialias(color, raster, clip, triangles, links)


def slopes(
    rasterizer, points, triangles, colors=None, directions=None, cameras=CAMERAS
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of the loss along each motion: by the gradient, and measured."""
    weights = smooth_weights(1 if colors is None else colors.shape[1])
    leaf = points.clone().requires_grad_()
    links = topology(triangles, points)
    (picture(rasterizer, leaf, triangles, colors, SIZE, links, cameras) * weights).sum().backward()
    analytic, measured = [], []
    for direction in directions or motions(points):
        analytic.append((leaf.grad * direction).sum())
        ends = []
        for sign in (1, -1):
            fine = picture(
                rasterizer, points + sign * STEP * direction, triangles, colors, SIZE * FINE, cameras=cameras
            )
            pixels = F.avg_pool2d(fine.permute(0, 3, 1, 2), FINE).permute(0, 2, 3, 1)
            ends.append((pixels.double() * weights).sum())
        measured.append((ends[0] - ends[1]) / (2 * STEP))
    return torch.stack(analytic).double(), torch.stack(measured)


def regression(analytic: torch.Tensor, measured: torch.Tensor) -> float:
    return ((analytic * measured).sum() / measured.square().sum()).item()


def merge(*meshes: tuple[torch.Tensor, torch.Tensor, list[float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One mesh of several, each in its own flat color."""
    points, faces, colors, count = [], [], [], 0
    for p, f, color in meshes:
        points.append(p)
        faces.append(f + count)
        colors.append(torch.tensor(color).expand(len(p), -1))
        count += len(p)
    return torch.cat(points), torch.cat(faces).int(), torch.cat(colors)


def test_the_slope_of_a_cubes_mask_is_true(warp_rasterizer):
    assert regression(*slopes(warp_rasterizer, CUBE, CUBE_FACES)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("steps", [7, 18, 50], ids=["168 faces", "1,224 faces", "9,800 faces"])
def test_the_slope_of_a_spheres_mask_is_true_at_any_density(warp_rasterizer, sphere, steps):
    points, triangles = sphere(steps)
    analytic, measured = slopes(warp_rasterizer, points, triangles)
    assert regression(analytic, measured) == pytest.approx(1, abs=0.05)
    assert (analytic - measured).abs().max() < 0.1 * measured.abs().max()


def test_the_slope_of_colors_is_true_on_a_cube_of_three_colors(warp_rasterizer):
    colors = CUBE / 1.2 + 0.5
    assert regression(*slopes(warp_rasterizer, CUBE, CUBE_FACES, colors)) == pytest.approx(1, abs=0.05)


def test_without_antialiasing_a_mask_has_no_gradient(warp_rasterizer):
    points = CUBE.clone().requires_grad_()
    assert not picture(warp_rasterizer, points, CUBE_FACES, None, 16).requires_grad


def test_a_ball_partly_hidden_by_a_cube_gets_the_gradient_of_its_visible_outline_only(warp_rasterizer, sphere):
    ball, faces = sphere(16)
    before = torch.tensor([0.75, -0.85, -0.1])  # apart in space, for surfaces that intersect meet at no edge
    points, triangles, colors = merge(
        (ball * 0.55, faces, [1.0, 0.2, 0.1]), (CUBE * 0.5 + before, CUBE_FACES, [0.1, 0.9, 0.4])
    )
    back = (torch.arange(len(points)) < len(ball)).float()[:, None]
    directions = [m * mask for m in motions(points)[:4] for mask in (back, 1 - back)]
    analytic, measured = slopes(warp_rasterizer, points, triangles, colors, directions)
    for part in (slice(0, None, 2), slice(1, None, 2)):  # the ball's motions, the cube's motions
        assert regression(analytic[part], measured[part]) == pytest.approx(1, abs=0.05)
        error = (analytic[part] - measured[part]).abs().max()
        assert error < 0.05 * measured[part].abs().max()


def test_a_wholly_hidden_ball_gets_no_gradient(warp_rasterizer, sphere):
    ball, faces = sphere(10)
    points, triangles, colors = merge((ball * 0.3, faces, [1.0, 0, 0]), (CUBE, CUBE_FACES, [0.0, 1, 0]))
    leaf = points.clone().requires_grad_()
    out = picture(warp_rasterizer, leaf, triangles, colors, SIZE, topology(triangles, points))
    (out * smooth_weights(3)).sum().backward()
    assert not leaf.grad[: len(ball)].any()
    assert leaf.grad[len(ball) :].abs().max() > 1


def test_a_torus_that_hides_part_of_itself_has_true_slopes(warp_rasterizer):
    n, m = 48, 24
    a, b = torch.meshgrid(torch.arange(n) * (2 * math.pi / n), torch.arange(m) * (2 * math.pi / m), indexing="ij")
    ring = 0.75 + 0.3 * b.cos()
    points = torch.stack([ring * a.cos(), ring * a.sin(), 0.3 * b.sin()], -1).view(-1, 3)
    i, j = torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij")
    p, q, r, s = ((x % n * m + y % m).flatten() for x, y in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)))
    triangles = torch.cat([torch.stack([p, q, r], 1), torch.stack([p, r, s], 1)]).int()
    colors = torch.stack([a.sin(), (2 * a).cos(), b.sin()], -1).view(-1, 3) * 0.5 + 0.5
    analytic, measured = slopes(warp_rasterizer, points, triangles, colors)
    assert regression(analytic, measured) == pytest.approx(1, abs=0.05)
    assert (analytic - measured).abs().max() < 0.1 * measured.abs().max()


def test_a_box_on_a_floor_keeps_the_gradient_where_it_touches(warp_rasterizer):
    floor = torch.tensor([[-3.0, -3, -0.3], [3, -3, -0.3], [3, 3, -0.3], [-3, 3, -0.3]])
    quad = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    box = CUBE * 0.5
    points, triangles, colors = merge((box, CUBE_FACES, [1.0, 0.5, 0]), (floor, quad, [0.0, 0.2, 0.6]))
    moved = (torch.arange(len(points)) < len(box)).float()[:, None]
    directions = [moved * torch.tensor(d) for d in ([1.0, 0, 0], [0, 1.0, 0], [1.0, 1, 0], [1.0, -1, 0])]
    above = Cameras(CAMERAS.azimuth, CAMERAS.elevation.abs(), CAMERAS.distance, CAMERAS.fov_y)
    analytic, measured = slopes(warp_rasterizer, points, triangles, colors, directions, above)
    assert regression(analytic, measured) == pytest.approx(1, abs=0.05)


def test_an_edge_that_reaches_behind_the_camera_is_antialiased_and_has_a_true_slope(warp_rasterizer):
    # A wall whose upper edge starts before the camera and ends behind it; moving that edge up lets the mask grow.
    def clip_of(height: torch.Tensor) -> torch.Tensor:
        x = torch.tensor([-0.5, 1.0, 1.0, -0.5])
        depth = torch.tensor([4.0, -2.0, -2.0, 4.0])
        y = torch.stack([height, height, torch.tensor(5.0), torch.tensor(5.0)])
        return torch.stack([x, y, depth * 0.5, depth], 1)[None]

    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    leaf = torch.tensor(-0.8, requires_grad=True)
    clip = clip_of(leaf)
    raster = warp_rasterizer.rasterize(clip, faces, (64, 64))
    soft = warp_rasterizer.antialias(cover(raster), raster, clip, faces, topology(faces))
    assert ((soft > 0.01) & (soft < 0.99)).sum() > 20
    soft.sum().backward()
    ends = [
        cover(warp_rasterizer.rasterize(clip_of(torch.tensor(h)), faces, (2048, 2048))).sum() / 1024
        for h in (-0.79, -0.81)
    ]
    measured = (ends[0] - ends[1]) / 0.02
    assert leaf.grad.item() == pytest.approx(measured.item(), rel=0.05)


def test_antialiasing_gives_nearly_the_area_of_the_shape(warp_rasterizer):
    exact = picture(warp_rasterizer, CUBE, CUBE_FACES, None, SIZE * FINE).sum((1, 2, 3)) / FINE**2
    hard = picture(warp_rasterizer, CUBE, CUBE_FACES, None, SIZE)
    soft = picture(warp_rasterizer, CUBE, CUBE_FACES, None, SIZE, topology(CUBE_FACES))
    assert ((soft.sum((1, 2, 3)) - exact).abs() < 1.5).all()
    assert soft.min() >= -1e-6 and soft.max() <= 1 + 1e-6
    reference = F.avg_pool2d(picture(warp_rasterizer, CUBE, CUBE_FACES, None, SIZE * FINE).permute(0, 3, 1, 2), FINE)
    errors = [(x[..., 0] - reference[:, 0]).abs().sum() for x in (soft, hard)]
    assert errors[0] < 0.35 * errors[1]


def test_seams_are_borders_only_until_they_are_welded(warp_rasterizer):
    split = CUBE[CUBE_FACES.long().flatten()]
    faces = torch.arange(36, dtype=torch.int32).view(12, 3)
    assert len(topology(faces).edges) == 36
    links = topology(faces, split)
    assert len(links.edges) == 18 and (links.opposite >= 0).all()
    whole = picture(warp_rasterizer, CUBE, CUBE_FACES, CUBE + 1, SIZE, topology(CUBE_FACES))
    seamed = picture(warp_rasterizer, split, faces, split + 1, SIZE, links)
    torch.testing.assert_close(whole, seamed, atol=1e-4, rtol=0)


def test_an_edge_of_three_faces_counts_as_a_border():
    fan = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]], dtype=torch.int32)
    links = topology(fan)
    assert len(links.edges) == 7 and (links.opposite[:, 1] == -1).all()


def test_warp_and_its_twin_antialias_alike(warp_rasterizer, torch_rasterizer, sphere):
    points, triangles = sphere(9)
    points = points * torch.tensor([1.0, 0.6, 0.8])
    clip, links = CAMERAS.clip(points), topology(triangles, points)
    raster = warp_rasterizer.rasterize(clip, triangles, (48, 48))
    generator = torch.Generator().manual_seed(0)
    color, weights = torch.rand(2, 2, 48, 48, 3, generator=generator)
    results = []
    for rasterizer in (warp_rasterizer, torch_rasterizer):
        c, k = color.clone().requires_grad_(), clip.clone().requires_grad_()
        out = rasterizer.antialias(c, raster, k, triangles, links)
        (out * weights).sum().backward()
        results.append((out.detach(), c.grad, k.grad))
    assert (results[0][0] - color).abs().max() > 0.2
    for fast, twin in zip(*results, strict=True):
        assert (fast - twin).abs().max() < 1e-5 * twin.abs().max()
