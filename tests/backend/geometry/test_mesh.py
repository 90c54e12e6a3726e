"""Meshes are cleaned without losing a face, or refused with one clear error."""

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh import (
    FAR,
    MAX_FACES,
    Mesh,
    clean_mesh,
    merge,
    near_origin,
    normalize,
    uv_areas,
    zero_area_faces,
)
from csd_blender.job.errors import JobError

SQUARE = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
TWO = np.int32([[0, 1, 2], [0, 2, 3]])


def code_of(mesh: Mesh) -> str:
    with pytest.raises(JobError) as caught:
        clean_mesh(mesh)
    return caught.value.code


def test_a_sound_mesh_is_left_as_it_is():
    clean, notes = clean_mesh(Mesh(SQUARE, TWO))
    assert np.array_equal(clean.positions, SQUARE) and np.array_equal(clean.triangles, TWO) and notes == []


def test_loose_vertices_do_not_shrink_the_object():
    mesh = Mesh(np.concatenate([[[500.0, 0, 0]], SQUARE]), TWO + 1)
    clean, notes = clean_mesh(mesh)
    assert len(clean.positions) == 4 and len(notes) == 1
    assert np.array_equal(clean.positions[clean.triangles], mesh.positions[mesh.triangles])


def test_a_loose_vertex_that_is_not_a_number_does_no_harm():
    clean, _ = clean_mesh(Mesh(np.concatenate([SQUARE, [[np.nan, 0, 0]]]), TWO))
    assert np.isfinite(clean.positions).all()


def test_cleaning_keeps_number_and_order_of_faces():
    triangles = np.int32([[0, 1, 2], [1, 1, 2], [0, 2, 3]])
    clean, notes = clean_mesh(Mesh(SQUARE, triangles, uv=np.zeros((3, 3, 2))))
    assert np.array_equal(clean.triangles, triangles) and len(notes) == 1
    assert zero_area_faces(clean).tolist() == [False, True, False]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_zero_area_is_judged_against_the_size_of_the_mesh(scale):
    thin = np.float32([[0, 0, 0], [1, 0, 0], [0.5, 1e-3, 0], [0.5, 0, 0]]) * scale
    assert zero_area_faces(Mesh(thin, [[0, 1, 2], [0, 1, 3]])).tolist() == [False, True]


def test_broken_meshes_are_refused_by_name():
    nan = SQUARE.copy()
    nan[1, 2] = np.inf
    assert code_of(Mesh(SQUARE, np.zeros((0, 3)))) == "mesh_no_faces"
    assert code_of(Mesh(SQUARE, [[0, 0, 1], [2, 2, 2]])) == "mesh_no_faces"
    assert code_of(Mesh(nan, TWO)) == "mesh_not_finite"
    assert code_of(Mesh(SQUARE, TWO + 2)) == "mesh_unreadable"
    assert code_of(Mesh(SQUARE, TWO, part=[0, 1])) == "mesh_unreadable"
    assert code_of(Mesh(SQUARE, np.zeros((MAX_FACES + 1, 3)))) == "mesh_too_large"


def test_half_a_million_faces_are_allowed():
    side = 500
    x, y = np.meshgrid(np.arange(side + 1), np.arange(side + 1))
    a = (np.arange(side)[:, None] * (side + 1) + np.arange(side)).reshape(-1)
    triangles = np.concatenate([np.stack([a, a + 1, a + side + 2], 1), np.stack([a, a + side + 2, a + side + 1], 1)])
    positions = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    clean, notes = clean_mesh(Mesh(positions, triangles))
    assert len(clean.triangles) == MAX_FACES and notes == []


def test_broken_uvs_become_flat_ones_and_are_told():
    uv = np.zeros((2, 3, 2), np.float32)
    uv[1, 0, 0] = np.nan
    clean, notes = clean_mesh(Mesh(SQUARE, TWO, uv))
    assert np.isfinite(clean.uv).all() and len(notes) == 1


def test_normalized_points_fill_the_unit_ball_and_can_be_put_back():
    positions = np.random.default_rng(0).normal(size=(200, 3)) * [3, 1, 0.2] + [1000, -2000, 5]
    points, center, scale = normalize(positions)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1.0, abs=1e-6)
    assert np.allclose(points.min(axis=0), -points.max(axis=0), atol=1e-6)
    assert np.allclose(points.astype(np.float64) / scale + center, positions, atol=1e-5)


def test_merged_meshes_keep_their_faces_parts_and_uvs():
    one = Mesh(SQUARE, TWO, uv=np.full((2, 3, 2), 0.5), part_names=("one",))
    two = Mesh(SQUARE + 5, TWO, part=[0, 1], part_names=("two", "three"), material=[3, 4])
    both = merge([one, two])
    assert both.part_names == ("one", "two", "three") and both.part.tolist() == [0, 0, 1, 2]
    assert np.array_equal(both.positions[both.triangles[2:]], two.positions[two.triangles])
    assert both.material.tolist() == [0, 0, 3, 4] and both.uv[:2].min() == 0.5 and not both.uv[2:].any()


def test_uv_areas_of_a_half_tile():
    assert uv_areas(np.float32([[[0, 0], [1, 0], [0, 1]], [[0, 0], [0, 1], [1, 0]]])).tolist() == [0.5, -0.5]


def test_only_a_mesh_many_sizes_from_the_origin_is_moved():
    square = SQUARE.astype(np.float64) - [0.5, 0.5, 0]
    for far, moved in ((0.0, False), (FAR - 1, False), (FAR + 1, True), (-1e12, True)):
        positions, offset = near_origin(square + [0, far, 0], TWO)
        assert offset.tolist() == ([0, far, 0] if moved else [0, 0, 0])
        assert np.array_equal(positions + offset, square + [0, far, 0])


def test_vertices_that_no_face_uses_or_that_are_no_numbers_do_not_say_what_is_far():
    square = SQUARE.astype(np.float64) + 1e6
    loose = np.concatenate([square, [[0, 0, 0]], [[np.nan, np.inf, 0]]])
    positions, offset = near_origin(loose, TWO)
    assert np.allclose(offset, [1e6 + 0.5, 1e6 + 0.5, 1e6]) and np.abs(positions[:4]).max() <= 0.5
    broken = square.copy()
    broken[0, 0] = np.inf
    assert near_origin(broken, TWO)[1][1] == pytest.approx(1e6 + 0.5)


def test_merged_meshes_take_the_offset_of_the_first():
    one, two = Mesh(SQUARE, TWO, offset=[1000, 0, 0]), Mesh(SQUARE, TWO, offset=[1010, 0, 0])
    both = merge([one, two])
    assert both.offset.tolist() == [1000, 0, 0]
    assert np.array_equal(both.positions[4:], SQUARE + np.float32([10, 0, 0]))
