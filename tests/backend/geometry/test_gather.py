import numpy as np
import pytest

from csd_blender.backend.geometry.gather import gather_parts
from csd_blender.backend.geometry.mesh import Mesh

TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
FACES = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)
RADIUS = 3**0.5


def tetrahedra(*centers) -> Mesh:
    count = len(centers)
    return Mesh(
        positions=np.concatenate([TETRAHEDRON + np.float32(center) for center in centers]),
        triangles=np.concatenate([FACES + 4 * k for k in range(count)]),
        part=np.repeat(np.arange(count), len(FACES)),
        part_names=tuple(f"part {k}" for k in range(count)),
    )


def centers_of(positions: np.ndarray) -> np.ndarray:
    return positions.reshape(-1, 4, 3).mean(1)


def test_far_objects_come_near_without_touching_or_turning():
    mesh = tetrahedra((0, 0, 0), (40, 0, 0), (0, 90, 0))
    before, after = (centers_of(p) for p in (mesh.positions, gather_parts(mesh)))
    assert np.linalg.norm(after[0] - after[1]) == pytest.approx(2 * RADIUS * 1.05, rel=1e-4)
    assert np.linalg.norm(after[0] - after[2]) > 2 * RADIUS
    for k in (1, 2):
        a, b = before[k] - before[0], after[k] - after[0]
        assert np.allclose(a / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-5)
    shapes = [p.reshape(-1, 4, 3) - centers_of(p)[:, None] for p in (mesh.positions, gather_parts(mesh))]
    assert np.allclose(*shapes, atol=1e-4)


def test_objects_that_belong_together_stay_together():
    mesh = tetrahedra((0, 0, 0), (1, 0, 0), (60, 0, 0))
    after = centers_of(gather_parts(mesh))
    assert np.allclose(after[1] - after[0], (1, 0, 0), atol=1e-4)
    assert after[2][0] - after[1][0] < 6


def test_near_objects_and_single_ones_are_left_alone():
    for mesh in (tetrahedra((5, 5, 5)), tetrahedra((0, 0, 0), (1, 0, 0)), tetrahedra((0, 0, 0), (3.5, 0, 0))):
        assert np.array_equal(gather_parts(mesh), mesh.positions)


def test_one_that_is_far_from_all_others_makes_them_no_dots():
    mesh = tetrahedra((0, 0, 0), (5, 0, 0), (2000, 0, 0), (0, 0, 30))
    after = centers_of(gather_parts(mesh))
    assert np.linalg.norm(after[1] - after[0]) < 6 * RADIUS
    size = np.ptp(gather_parts(mesh), axis=0).max()
    assert size < 40 * RADIUS and after[2][0] > after[1][0] > after[0][0] and after[3][2] > after[0][2]
    gaps = [np.linalg.norm(after[i] - after[j]) for i in range(4) for j in range(i)]
    assert min(gaps) > 2 * RADIUS


def test_what_was_near_enough_keeps_its_place_among_the_others():
    mesh = tetrahedra((0, 0, 0), (40, 0, 0), (0, 90, 0), (0, 0, 100))
    before, after = (centers_of(p) for p in (mesh.positions, gather_parts(mesh)))
    factor = np.linalg.norm(after[1] - after[0]) / 40
    assert np.allclose(after - after[0], (before - before[0]) * factor, atol=1e-3)
