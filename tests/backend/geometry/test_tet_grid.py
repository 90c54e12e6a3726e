"""The generated tetrahedral grid: it fills its box without gaps, evenly, and finds what a surface cuts."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.geometry.tet_grid import TetGrid, tet_grid

BOXES = [((-1, -1, -1), (1, 1, 1)), ((-0.4, -2.0, 0.0), (1.1, 1.0, 0.7))]


def edge_determinants(grid: TetGrid) -> torch.Tensor:
    corners = grid.vertices.double()[grid.tets.long()]
    return torch.linalg.det(corners[:, 1:] - corners[:, :1])


@pytest.mark.parametrize("low, high", BOXES, ids=["cube", "slab"])
def test_every_tetrahedron_is_positively_oriented_and_they_fill_the_box(low, high):
    grid = tet_grid(10, low, high)
    volume = edge_determinants(grid) / 6
    assert volume.min() > 0.4 * volume.max()  # those at the sides are half as large
    box = torch.tensor(high) - torch.tensor(low)
    assert volume.sum().item() == pytest.approx(box.prod().item(), rel=1e-6)
    assert grid.tets.shape[1] == 4 and grid.tets.dtype == torch.int32
    assert (grid.vertex_count, 3) == grid.vertices.shape


@pytest.mark.parametrize("low, high", BOXES, ids=["cube", "slab"])
def test_faces_are_shared_by_two_tetrahedra_on_opposite_sides_or_lie_on_the_box(low, high):
    grid = tet_grid(8, low, high)
    tets = grid.tets.long()
    faces = torch.cat([tets[:, [1, 2, 3]], tets[:, [0, 3, 2]], tets[:, [0, 1, 3]], tets[:, [0, 2, 1]]])
    order = faces.argsort(1)
    odd = sum((order[:, i] > order[:, j]).long() for i, j in ((0, 1), (0, 2), (1, 2)))
    sign = 1 - 2 * (odd % 2)
    unique, inverse, count = torch.unique(faces.sort(1).values, dim=0, return_inverse=True, return_counts=True)
    total = torch.zeros(len(unique), dtype=torch.int64).index_add(0, inverse, sign)
    assert count.max() == 2
    assert not total[count == 2].any()
    lonely = grid.vertices[unique[count == 1]]
    on_side = [(lonely[..., i] == side[i]).all(1) for side in (low, high) for i in range(3)]
    assert torch.stack(on_side).any(0).all()


def test_inner_tetrahedra_of_a_cube_are_congruent_with_angles_of_60_and_90_degrees():
    grid = tet_grid(8)
    corners = grid.vertices.double()[grid.tets.long()]
    center = corners.mean(1)
    inner = corners[(center.abs() < 0.7).all(1)]
    lengths = torch.stack([(inner[:, i] - inner[:, j]).norm(dim=1) for i in range(4) for j in range(i)], 1)
    expected = torch.tensor([3**0.5] * 4 + [2.0] * 2, dtype=torch.float64) / 8 * 2
    torch.testing.assert_close(lengths.sort(1).values, expected.expand(len(inner), 6), atol=1e-6, rtol=0)
    normals = [
        torch.linalg.cross(inner[:, b] - inner[:, a], inner[:, c] - inner[:, a])
        for a, b, c in ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1))
    ]
    normals = torch.nn.functional.normalize(torch.stack(normals, 1), dim=2)
    first, second = torch.triu_indices(4, 4, 1)
    cosines = (normals[:, first] * normals[:, second]).sum(2)
    angles = 180 - torch.rad2deg(torch.arccos(cosines))
    expected = torch.tensor([60.0] * 4 + [90.0] * 2, dtype=torch.float64)
    torch.testing.assert_close(angles.sort(1).values, expected.expand(len(inner), 6), atol=1e-4, rtol=0)


def test_active_tetrahedra_are_exactly_those_with_a_change_of_sign():
    grid = tet_grid(12, *BOXES[1])
    generator = torch.Generator().manual_seed(0)
    for share in (0.02, 0.5, 0.97):
        inside = torch.rand(grid.vertex_count, generator=generator) < share
        found = {tuple(tet) for tet in grid.active(inside).tolist()}
        count = inside[grid.tets.long()].sum(1)
        expected = grid.tets[(count > 0) & (count < 4)].tolist()
        assert found == {tuple(tet) for tet in expected}
        assert len(grid.active(inside)) == len(expected)
    assert grid.active(torch.ones(grid.vertex_count, dtype=torch.bool)).shape == (0, 4)


def test_the_border_is_what_lies_on_the_sides_of_the_box():
    grid = tet_grid(6, *BOXES[1])
    low, high = (torch.tensor(corner, dtype=torch.float32) for corner in BOXES[1])
    on_side = ((grid.vertices - low).abs() < 1e-6) | ((grid.vertices - high).abs() < 1e-6)
    assert grid.border().tolist() == on_side.any(1).nonzero()[:, 0].tolist()


def test_cubes_are_nearly_cubes_in_any_box_and_a_thin_box_still_has_some():
    assert tet_grid(64).cubes == (32, 32, 32)
    size = tet_grid(64, *BOXES[1]).cube_size
    assert max(size) < 1.1 * min(size)
    assert tet_grid(64, (0, 0, 0), (1, 1, 1e-3)).cubes == (32, 32, 2)


def test_the_size_at_the_largest_resolution_is_as_documented():
    grid = tet_grid(256)
    assert grid.vertex_count == pytest.approx(256**3 / 4, rel=0.02)
    assert sum(family.count * len(family.tets) for family in grid.families) == 12 * 128**3
    last = torch.tensor([0, grid.corner_count - 1, grid.corner_count, grid.vertex_count - 1])
    expected = [[-1.0] * 3, [1.0] * 3, [-1 + 1 / 128] * 3, [1 - 1 / 128] * 3]
    torch.testing.assert_close(grid.points(last), torch.tensor(expected))


@pytest.mark.parametrize("resolution", [2, 7, 258])
def test_a_resolution_that_is_odd_or_out_of_range_is_refused(resolution):
    with pytest.raises(ValueError, match="resolution"):
        tet_grid(resolution)


def test_a_box_without_volume_is_refused():
    with pytest.raises(ValueError, match="no volume"):
        tet_grid(8, (0, 0, 0), (1, 0, 1))
