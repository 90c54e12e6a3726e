"""Loose pieces, decimation and placement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from csd_blender.backend.geometry.cleanup import components, decimate, largest_component, place_on_floor
from csd_blender.backend.geometry.manifold import is_watertight, split_touching
from csd_blender.backend.geometry.marching_tets import marching_tets
from csd_blender.backend.geometry.tet_geometry import TetGeometry
from csd_blender.backend.geometry.tet_grid import tet_grid

CUBE = np.float32([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
CUBE_FACES = np.int32(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def bumpy_torus(resolution: int = 64) -> tuple[np.ndarray, np.ndarray]:
    grid = tet_grid(resolution)
    points = grid.vertices
    sdf = torch.hypot(points[:, :2].norm(dim=1) - 0.55, points[:, 2]) - 0.22
    sdf += 0.03 * (points * 19).sin().prod(1)
    vertices, triangles = marching_tets(points, sdf, grid.active(sdf < 0))
    return vertices.numpy(), triangles.numpy()


def cubes(*sizes: float) -> tuple[np.ndarray, np.ndarray]:
    """Cubes beside one another."""
    points = [CUBE * size + np.float32([3 * i, 0, 0]) for i, size in enumerate(sizes)]
    return np.concatenate(points), np.concatenate([CUBE_FACES + 8 * i for i in range(len(sizes))])


def volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    return float(np.linalg.det(vertices.astype(np.float64)[triangles]).sum() / 6)


def test_pieces_are_told_apart_however_their_faces_are_ordered():
    _, triangles = cubes(1, 0.5, 2)
    order = np.random.default_rng(0).permutation(len(triangles))
    expected = np.repeat([0, 1, 2], 12)
    assert np.array_equal(components(triangles), expected)
    assert np.array_equal(components(triangles[order]), expected[order])
    assert len(components(triangles[:0])) == 0


def test_a_long_chain_with_shuffled_numbers_is_one_piece():
    count = 5000
    name = np.random.default_rng(1).permutation(count + 2)
    chain = name[np.stack([np.arange(count), np.arange(count) + 1, np.arange(count) + 2], 1)]
    assert not components(chain).any()
    assert len(np.unique(components(np.delete(chain, [1000, 1001], axis=0)))) == 2


def test_floaters_are_removed():
    vertices, triangles = cubes(0.5, 2, 1)
    kept, faces = largest_component(vertices, triangles)
    assert len(faces) == 12 and len(kept) == 8
    assert volume(kept, faces) == pytest.approx(8)
    assert len(largest_component(vertices, triangles, 0.1)[1]) == 24  # areas 1.5, 24 and 6 of 31.5
    assert len(largest_component(vertices, triangles, 0.0)[1]) == 36
    assert len(largest_component(vertices, triangles, 0.99)[1]) == 12
    assert len(largest_component(vertices, triangles[:0])[1]) == 0


def test_only_a_closed_and_consistently_oriented_mesh_is_watertight():
    assert is_watertight(CUBE_FACES)
    assert is_watertight(cubes(1, 2)[1])
    assert not is_watertight(CUBE_FACES[1:])
    flipped = CUBE_FACES.copy()
    flipped[3] = flipped[3, ::-1]
    assert not is_watertight(flipped)
    assert not is_watertight(np.concatenate([CUBE_FACES, CUBE_FACES]))
    assert not is_watertight(np.concatenate([CUBE_FACES, [[0, 0, 1]]]))
    assert not is_watertight(CUBE_FACES[:0])


@pytest.mark.parametrize("budget", [8000, 1000, 300, 100])
def test_decimation_keeps_within_the_budget_closed_and_near_the_shape(budget):
    vertices, triangles = bumpy_torus()
    points, faces = decimate(vertices, triangles, budget)
    assert 0.9 * budget - 4 <= len(faces) <= budget
    assert is_watertight(faces)
    assert points.dtype == np.float32 and faces.dtype == np.int32 and len(np.unique(faces)) == len(points)
    assert volume(points, faces) == pytest.approx(volume(vertices, triangles), rel=0.05 if budget > 100 else 0.1)
    assert len(points) - len(faces) // 2 == 0  # still a torus


def blobs(resolution: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Random closed surfaces full of thin bridges and handles."""
    grid = tet_grid(resolution)
    noise = torch.randn((1, 1, 9, 9, 9), generator=torch.Generator().manual_seed(0))
    points = grid.vertices
    sdf = torch.nn.functional.grid_sample(noise, points[None, :, None, None], align_corners=True).view(-1)
    vertices, triangles = TetGeometry(grid, sdf)()
    return vertices.detach().numpy(), triangles.numpy()


@pytest.mark.parametrize("budget", [15000, 4000])
def test_decimation_keeps_a_maze_of_handles_closed(budget):
    vertices, triangles = blobs()
    points, faces = decimate(vertices, triangles, budget)
    assert 0.9 * budget <= len(faces) <= budget < len(triangles)
    assert is_watertight(faces)
    assert volume(points, faces) == pytest.approx(volume(vertices, triangles), rel=0.05)


def test_decimation_reaches_a_handful_of_faces_from_many():
    points, faces = decimate(*bumpy_torus(96), 30)
    assert len(faces) <= 30 and is_watertight(faces) and len(points) == len(faces) // 2


def test_an_open_mesh_is_decimated_too():
    vertices, triangles = bumpy_torus(40)
    _, faces = decimate(vertices, triangles[100:], 700)
    assert 600 < len(faces) <= 700


def test_cubes_that_touch_along_an_edge_are_taken_apart():
    vertices = np.concatenate([CUBE, CUBE + np.float32([1, 1, 0])])
    welded, index = np.unique(vertices, axis=0, return_inverse=True)
    triangles = index.reshape(-1)[np.concatenate([CUBE_FACES, CUBE_FACES + 8])].astype(np.int32)
    assert len(welded) == 14 and not is_watertight(triangles)
    points, faces = split_touching(welded, triangles)
    assert len(points) == 16 and is_watertight(faces)
    assert len(np.unique(components(faces))) == 2 and volume(points, faces) == pytest.approx(2)
    np.testing.assert_array_equal(points[faces], welded[triangles])


def test_faces_back_to_back_are_dropped_and_open_meshes_left_alone():
    fin = np.concatenate([CUBE_FACES, [[0, 1, 8], [1, 0, 8]]]).astype(np.int32)
    points, faces = split_touching(np.concatenate([CUBE, [[0, -1, 0]]]), fin)
    assert is_watertight(faces) and len(faces) == 12 and len(points) == 8
    assert len(split_touching(CUBE, CUBE_FACES[1:])[1]) == 11


def test_decimation_of_two_pieces_and_of_a_tiny_object_stays_closed():
    vertices, triangles = bumpy_torus(40)
    both = np.concatenate([vertices, vertices + np.float32([3, 0, 0])]) * np.float32(1e-3)
    points, faces = decimate(both, np.concatenate([triangles, triangles + len(vertices)]), 1500)
    assert len(faces) <= 1500 and is_watertight(faces)
    assert volume(points, faces) == pytest.approx(2e-9 * volume(vertices, triangles), rel=0.05)


def test_a_mesh_within_the_budget_stays_as_it_is():
    points, faces = decimate(CUBE, CUBE_FACES, 12)
    assert np.array_equal(points, CUBE) and np.array_equal(faces, CUBE_FACES)
    with pytest.raises(ValueError, match="4 faces"):
        decimate(CUBE, CUBE_FACES, 3)


def test_decimation_gives_the_same_every_time():
    one, two = (decimate(*bumpy_torus(40), 500) for _ in range(2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_a_shape_is_placed_with_its_foot_on_the_floor():
    points = place_on_floor(CUBE * np.float32([2, 4, 5]) + np.float32([7, -3, 11]), height=2.0)
    np.testing.assert_allclose(points.min(0), [-0.4, -0.8, 0], atol=1e-6)
    np.testing.assert_allclose(points.max(0), [0.4, 0.8, 2], atol=1e-6)
    flat = place_on_floor(CUBE * np.float32([2, 4, 0]), height=1.0)
    np.testing.assert_allclose(np.ptp(flat, axis=0), [0.5, 1, 0], atol=1e-6)


def test_nothing_cannot_be_placed():
    for vertices, height in ((CUBE[:0], 1.0), (CUBE[:1], 1.0), (CUBE, 0.0)):
        with pytest.raises(ValueError):
            place_on_floor(vertices, height)
