"""Marching tetrahedra and the optimizable surface: closed, true to shape, with true gradients, able to fit pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from csd_blender.backend.geometry.cleanup import components, is_watertight
from csd_blender.backend.geometry.marching_tets import marching_tets
from csd_blender.backend.geometry.regularizers import mesh_edges, normal_consistency
from csd_blender.backend.geometry.signed_distance import signed_distance
from csd_blender.backend.geometry.tet_geometry import TetGeometry, workable_threshold
from csd_blender.backend.geometry.tet_grid import tet_grid
from csd_blender.backend.render.cameras import Cameras, sample_cameras
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.rasterizer.interface import cover
from csd_blender.backend.render.rasterizer.topology import topology

ONE_TET = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)


def sphere(points, radius=0.6):
    return points.norm(dim=1) - radius


def torus(points, ring=0.55, tube=0.25):
    return torch.hypot(points[:, :2].norm(dim=1) - ring, points[:, 2]) - tube


def volume_and_area(vertices, triangles) -> tuple[float, float]:
    corners = vertices.double()[triangles.long()]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1).sum() / 2
    return (torch.linalg.det(corners).sum() / 6).item(), area.item()


def euler(vertices, triangles) -> int:
    return len(vertices) - len(mesh_edges(triangles)) + len(triangles)


@pytest.mark.parametrize("code", range(16))
def test_each_of_the_16_cases_cuts_a_tetrahedron_into_its_inside_and_its_outside(code):
    inside = torch.tensor([bool(code >> v & 1) for v in range(4)])
    values = torch.tensor([0.7, 1.3, 0.4, 0.9], dtype=torch.float64)
    sdf = torch.where(inside, -values, values)
    vertices, triangles = marching_tets(ONE_TET, sdf, torch.tensor([[0, 1, 2, 3]]))
    count = int(inside.sum())
    assert len(triangles) == (0, 1, 2, 1, 0)[count]
    assert len(vertices) == (0, 3, 4, 3, 0)[count]
    # a linear function: its surface is flat, its gradient the normal, and all corners of the faces lie on it
    slope = torch.stack([sdf[1] - sdf[0], sdf[2] - sdf[0], sdf[3] - sdf[0]])
    torch.testing.assert_close(vertices @ slope + sdf[0], torch.zeros(len(vertices), dtype=torch.float64))
    a, b, c = vertices[triangles.long()].unbind(1)
    assert (torch.linalg.cross(b - a, c - a) @ slope > 0).all()
    # the cone from an inside corner over the cut and the tetrahedron's own faces would be its inside's volume; for one
    # vertex inside or outside that volume is the product of the cut shares
    if count in (1, 3):
        lone = int((inside if count == 1 else ~inside).nonzero())
        others = [v for v in range(4) if v != lone]
        share = torch.stack([values[lone] / (values[lone] + values[v]) for v in others]).prod()
        cone = torch.linalg.det(vertices[triangles.long()[0]] - ONE_TET[lone]).abs()
        torch.testing.assert_close(cone, share)


@pytest.mark.parametrize("shape, characteristic", [(sphere, 2), (torus, 0)])
def test_surfaces_are_closed_manifolds_of_the_right_kind_and_size(shape, characteristic):
    grid = tet_grid(64)
    points = grid.vertices
    sdf = shape(points)
    vertices, triangles = marching_tets(points, sdf, grid.active(sdf < 0))
    assert is_watertight(triangles.numpy())
    assert not components(triangles.numpy()).any()
    assert triangles.dtype == torch.int32 and triangles.unique().numel() == len(vertices)
    assert euler(vertices, triangles) == characteristic
    expected = {
        sphere: (4 / 3 * math.pi * 0.6**3, 4 * math.pi * 0.6**2),
        torus: (2 * math.pi**2 * 0.55 * 0.25**2, 4 * math.pi**2 * 0.55 * 0.25),
    }[shape]
    assert volume_and_area(vertices, triangles) == pytest.approx(expected, rel=0.015)
    assert shape(vertices).abs().max() < 0.1 * grid.cube_size[0]


def test_faces_look_outward():
    grid = tet_grid(24)
    points = grid.vertices
    vertices, triangles = marching_tets(points, torus(points), grid.tets)
    corners = vertices[triangles.long()]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    center = corners.mean(1).requires_grad_()
    (outward,) = torch.autograd.grad(torus(center).sum(), center)
    cosine = F.cosine_similarity(normals, outward)
    assert (cosine > 0).float().mean() > 0.999 and cosine.mean() > 0.95


def test_tetrahedra_without_a_change_of_sign_change_nothing():
    grid = tet_grid(16)
    points = grid.vertices
    sdf = sphere(points)
    everything = marching_tets(points, sdf, grid.tets)
    active = marching_tets(points, sdf, grid.active(sdf < 0))
    assert torch.equal(everything[0], active[0])
    assert sorted(map(sorted, everything[1].tolist())) == sorted(map(sorted, active[1].tolist()))


def test_random_values_give_closed_surfaces_too():
    grid = tet_grid(14)
    geometry = TetGeometry(grid, torch.randn(grid.vertex_count, generator=torch.Generator().manual_seed(1)))
    vertices, triangles = geometry()
    ends = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).long()
    forth, back = (a * len(vertices) + b for a, b in (ends.T, ends.T.flip(0)))
    assert torch.equal(forth.sort().values, back.sort().values)
    assert is_watertight(triangles.numpy())
    assert (vertices.abs() <= 1).all()


def test_a_surface_that_reaches_the_box_is_closed_there():
    grid = tet_grid(16)
    geometry = TetGeometry(grid, -torch.ones(grid.vertex_count))
    with torch.no_grad():
        geometry.deformation.normal_(std=3, generator=torch.Generator().manual_seed(0))
    vertices, triangles = geometry()
    assert is_watertight(triangles.numpy()) and euler(vertices, triangles) == 2
    assert vertices.abs().max() <= 1


def test_an_empty_surface_is_an_empty_mesh():
    vertices, triangles = TetGeometry(tet_grid(8))()
    assert vertices.shape == (0, 3) and triangles.shape == (0, 3)


def test_gradients_of_the_vertices_agree_with_finite_differences():
    grid = tet_grid(10)
    generator = torch.Generator().manual_seed(3)
    sdf = sphere(grid.vertices.double(), 0.55) + 0.02 * torch.randn(grid.vertex_count, generator=generator)
    geometry = TetGeometry(grid, sdf.double())
    with torch.no_grad():
        geometry.deformation.normal_(std=0.5, generator=generator)
    weights = torch.randn(geometry()[0].shape, generator=generator, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return (geometry()[0] * weights).sum()

    loss().backward()
    assert geometry.sdf.grad.count_nonzero() > 50
    assert not geometry.sdf.grad[geometry.border].any()
    for parameter in (geometry.sdf, geometry.deformation):
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in gradient.abs().topk(40).indices.tolist():
            ends = []
            for sign in (1, -1):
                flat[i] += sign * 1e-6
                ends.append(loss().item())
                flat[i] -= sign * 1e-6
            assert gradient[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_a_vertex_moves_by_less_than_half_a_cube():
    geometry = TetGeometry.from_ellipsoid((0.5, 0.5, 0.5), 16)
    before = geometry()[0].detach()
    with torch.no_grad():
        geometry.deformation += 1e4
    shift = geometry()[0].detach() - before
    torch.testing.assert_close(shift, torch.full_like(shift, geometry.grid.cube_size[0] / 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_density_becomes_its_level_set_in_a_tight_box_however_steep_it_is(scale):
    center = torch.tensor([0.2, -0.1, 0.0])

    def density(points):  # 10 where the distance is 0.4, times 1.3 a hundredth
        return (10 * torch.exp(30 * (0.4 - (points - center).norm(dim=1)))).clamp(max=1e5)[:, None] * scale

    geometry = TetGeometry.from_density(density, 48, 1.0, 10.0 * scale)
    vertices, triangles = geometry()
    assert is_watertight(triangles.numpy()) and euler(vertices, triangles) == 2
    torch.testing.assert_close((vertices - center).norm(dim=1), torch.full((len(vertices),), 0.4), atol=0.004, rtol=0)
    assert geometry.grid.low == pytest.approx([-0.28, -0.58, -0.48], abs=0.01)
    assert geometry.grid.high == pytest.approx([0.68, 0.38, 0.48], abs=0.01)
    assert geometry.sdf.abs().max() <= 1
    # well conditioned: no vertex of the mesh runs away when a value changes a little
    ends = geometry.grid.active(geometry.sdf < 0)
    values = geometry.sdf.detach()[ends]
    assert ((values.amax(1) - values.amin(1)) > 0.2).all()


def test_a_density_at_the_wall_of_the_scene_is_cut_off_and_closed():
    geometry = TetGeometry.from_density(lambda p: 100.0 * (p[:, 2] < 0.3), 24, 0.5, 10.0)
    vertices, triangles = geometry()
    assert is_watertight(triangles.numpy()) and vertices.abs().max() < 0.5
    assert vertices[:, 2].max().item() == pytest.approx(0.3, abs=0.05)


def test_small_floaters_need_not_enlarge_the_box():
    def density(points):
        far = torch.tensor([0.9, 0.9, 0.9])
        return 100.0 * ((points.norm(dim=1) < 0.4) | ((points - far).norm(dim=1) < 0.06))

    assert max(TetGeometry.from_density(density, 48, 1.0, 10.0).grid.high) > 0.9
    assert max(TetGeometry.from_density(density, 48, 1.0, 10.0, outliers=0.05).grid.high) < 0.55


def test_a_volume_that_is_too_thin_is_refused_and_a_workable_threshold_found():
    def density(points):
        return 3.0 * torch.exp(-((points.norm(dim=1) / 0.5) ** 2))

    with pytest.raises(ValueError, match="Nothing is denser than 10"):
        TetGeometry.from_density(density, 16, 1.0, 10.0)
    assert workable_threshold(density, 10.0, 1.0) == 2.5
    assert workable_threshold(density, 1.0, 1.0) == 1.0
    assert len(TetGeometry.from_density(density, 16, 1.0, 2.5)()[1])
    with pytest.raises(ValueError, match="empty"):
        workable_threshold(lambda points: torch.zeros(len(points)), 10.0, 1.0)


@pytest.mark.parametrize("flipped", [False, True], ids=["outward", "inward"])
def test_a_mesh_with_a_small_hole_is_taken_up_as_a_closed_one(flipped):
    grid = tet_grid(40)
    points, triangles = marching_tets(grid.vertices, torus(grid.vertices), grid.tets)
    torn = triangles[(points[triangles.long()].mean(1) - torch.tensor([0.55, 0, 0.25])).norm(dim=1) > 0.06]
    assert len(triangles) - 40 < len(torn) < len(triangles)
    geometry = TetGeometry.from_mesh(points, torn.flip(1) if flipped else torn, 48)
    vertices, faces = geometry()
    assert is_watertight(faces.numpy()) and euler(vertices, faces) == 0
    assert torus(vertices).abs().max() < 0.05 and torus(vertices).abs().mean() < 0.003
    assert volume_and_area(vertices, faces)[0] == pytest.approx(volume_and_area(points, triangles)[0], rel=0.015)


def test_the_signed_distance_to_a_mesh_is_that_of_the_shape():
    grid = tet_grid(64)
    points, triangles = marching_tets(grid.vertices, sphere(grid.vertices), grid.active(sphere(grid.vertices) < 0))
    where = torch.rand((2000, 3), generator=torch.Generator().manual_seed(0)) * 4 - 2
    torch.testing.assert_close(signed_distance(where, points, triangles), sphere(where), atol=0.004, rtol=0)


def test_an_ellipsoid_has_its_half_axes_and_must_fit():
    vertices, triangles = TetGeometry.from_ellipsoid((0.5, 0.3, 0.8), 48)()
    extent = vertices.detach().abs().amax(0)
    torch.testing.assert_close(extent, torch.tensor([0.5, 0.3, 0.8]), atol=0.01, rtol=0)
    assert euler(vertices, triangles) == 2
    with pytest.raises(ValueError, match="between 0 and"):
        TetGeometry.from_ellipsoid((0.5, 0.5, 1.5), 48)


def test_a_saved_state_gives_the_same_mesh():
    geometry = TetGeometry.from_ellipsoid((0.5, 0.3, 0.4), 16)
    again = TetGeometry(geometry.grid)
    again.load_state_dict(geometry.state_dict())
    for one, two in zip(geometry(), again(), strict=True):
        assert torch.equal(one, two)


def sphere_pictures(cameras: Cameras, size: int, samples: int, radius: float = 0.5) -> torch.Tensor:
    """Silhouettes ``[B, size, size, 1]`` of a sphere, by geometry instead of by the renderer under test."""
    rays, origin = cameras.directions(size * samples), cameras.positions()[:, None, None]
    along = (origin * rays).sum(-1)
    hit = along.square() - origin.square().sum(-1) + radius**2 > 0
    return F.avg_pool2d(hit.float()[:, None], samples)[:, 0, :, :, None]


def test_a_sphere_is_recovered_from_its_silhouettes():
    rasterizer = get_rasterizer("warp")
    geometry = TetGeometry.from_ellipsoid((0.8, 0.6, 0.35), 32)
    optimizer = torch.optim.Adam(geometry.parameters(), lr=0.03, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    for _ in range(120):
        cameras = sample_cameras(generator, 4, elevation=(-60.0, 60.0))
        vertices, triangles = geometry()
        clip, links = cameras.clip(vertices), topology(triangles)
        raster = rasterizer.rasterize(clip, triangles, (64, 64))
        mask = rasterizer.antialias(cover(raster), raster, clip, triangles, links)
        loss = (mask - sphere_pictures(cameras, 64, 3)).square().mean()
        loss = loss + 0.02 * normal_consistency(vertices, triangles, links.edges)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out = sample_cameras(torch.Generator().manual_seed(9), 12, elevation=(-70.0, 70.0))
    with torch.no_grad():
        vertices, triangles = geometry()
        seen = cover(rasterizer.rasterize(held_out.clip(vertices), triangles, (128, 128))) > 0.5
    truth = sphere_pictures(held_out, 128, 1) > 0.5
    iou = (seen & truth).sum((1, 2, 3)) / (seen | truth).sum((1, 2, 3))
    assert iou.min() >= 0.97
    assert is_watertight(triangles.numpy()) and len(np.unique(components(triangles.numpy()))) == 1
    assert vertices.norm(dim=1).std() < 0.01  # round in depth too, not only in outline
