"""Polygons are cut into triangles that cover them once, with every corner and within the outline."""

import numpy as np
import pytest

from csd_blender.backend.geometry.files.polygons import triangulate
from csd_blender.backend.geometry.manifold import is_watertight


def cut(polygon: np.ndarray) -> np.ndarray:
    triangles, face = triangulate(polygon, np.arange(len(polygon)), np.array([len(polygon)]))
    assert not face.any()
    return triangles


def crosses(polygon: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (polygon[triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def star(corners: int, random: np.random.Generator) -> np.ndarray:
    """A polygon that is seen whole from its middle, at random far and near."""
    turn = (np.arange(corners) + 0.8 * random.random(corners)) * 2 * np.pi / corners
    flat = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1) * random.uniform(0.2, 1, (corners, 1))
    basis = np.linalg.qr(random.normal(size=(3, 3)))[0]
    return flat @ basis.T + random.normal(size=3) * 10


@pytest.mark.parametrize("corners", [4, 5, 6, 7, 12, 60])
def test_concave_polygons_are_covered_once_and_turn_the_same_way(corners):
    random = np.random.default_rng(corners)
    for _ in range(30):
        polygon = star(corners, random)
        middle = polygon - polygon[0]
        area = np.cross(middle, np.roll(middle, -1, axis=0)).sum(axis=0)  # Newell: twice the area
        triangles = cut(polygon)
        each = crosses(polygon, triangles)
        assert len(triangles) == corners - 2
        assert np.allclose(each.sum(axis=0), area)
        assert (each @ area >= -1e-9).all()  # so none lies outside or upon another
        assert set(triangles.ravel()) == set(range(corners))


@pytest.mark.parametrize("first", range(9))
def test_corners_on_straight_sides_are_kept(first):
    outline = np.array([(0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (1.5, 2), (0, 2), (0, 1)], float)
    ring = np.roll(outline, first, axis=0)
    top, bottom = (np.concatenate([ring, np.full((9, 1), z)], 1) for z in (1.0, 0.0))
    sides = [(i, (i + 1) % 9, (i + 1) % 9 + 9, i + 9) for i in range(9)]
    polygons = [tuple(range(8, -1, -1)), tuple(range(9, 18)), *sides]
    corners = np.concatenate([np.array(p) for p in polygons])
    triangles, face = triangulate(np.concatenate([bottom, top]), corners, np.array([len(p) for p in polygons]))
    assert is_watertight(corners[triangles])  # with a corner passed over there would be holes along the sides
    assert np.bincount(face).tolist() == [7, 7] + [2] * 9


def test_faces_keep_their_order_and_small_ones_give_nothing():
    points = np.random.default_rng(0).normal(size=(12, 3))
    sizes = np.array([3, 2, 5, 0, 1, 4, 3])
    triangles, face = triangulate(points, np.arange(18) % 12, sizes)
    assert face.tolist() == [0, 2, 2, 2, 5, 5, 6] and triangles[0].tolist() == [0, 1, 2]
    assert triangles[-1].tolist() == [15, 16, 17]


def test_polygons_without_area_or_with_broken_numbers_do_no_harm():
    line = np.stack([np.arange(6.0), np.arange(6.0), np.arange(6.0)], 1)
    assert len(cut(line)) == 4
    for bad in (np.nan, np.inf, 1e308):
        broken = star(6, np.random.default_rng(0))
        broken[2, 1] = bad
        triangles = cut(broken)
        assert len(triangles) <= 4 and triangles.min() >= 0 and triangles.max() < 6


def test_a_bow_tie_and_doubled_points_end():
    bow = np.array([(0, 0, 0), (1, 1, 0), (1, 0, 0), (0, 1, 0), (0.5, 2, 0)], float)
    assert len(cut(bow)) <= 3
    assert len(cut(np.repeat(bow, 3, axis=0))) <= 13
