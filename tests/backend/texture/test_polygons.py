"""Polygons stay whole in a new UV map: one UV for each of their corners, and no face over another."""

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh import Mesh, clean_mesh, face_cross, merge, uv_areas
from csd_blender.backend.texture import unwrap as unwrap_module
from csd_blender.backend.texture.polygons import lay_alone, polygons_of
from csd_blender.backend.texture.project import project_unwrap
from csd_blender.backend.texture.unwrap import check_uv, unwrap


def of_polygons(positions, polygons, triangulations=None) -> Mesh:
    """A mesh of polygons, each cut into a fan or as given, with the numbers of their corners."""
    triangles, corner, first = [], [], 0
    for i, polygon in enumerate(polygons):
        fan = [(0, k, k + 1) for k in range(1, len(polygon) - 1)]
        for triangle in (triangulations or {}).get(i, fan):
            triangles.append([polygon[k] for k in triangle])
            corner.append([first + k for k in triangle])
        first += len(polygon)
    return clean_mesh(Mesh(np.float32(positions), np.array(triangles), corner=np.array(corner)))[0]


def rough_grid(n: int, height: float, seed: int = 1) -> Mesh:
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    z = np.random.default_rng(seed).normal(size=x.shape) * height
    a = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    return of_polygons(np.stack([x, y, z], -1).reshape(-1, 3), np.stack([a, a + 1, a + n + 1, a + n], 1).tolist())


def star(points: int, height: float = 0.0) -> Mesh:
    """A concave n-gon, cut at its inner corners."""
    angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False)
    radius = np.where(np.arange(2 * points) % 2, 0.3, 1.0)
    z = np.random.default_rng(0).normal(size=2 * points) * height
    positions = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)
    inner = list(range(1, 2 * points, 2))
    cut = [(i, (i + 1) % (2 * points), (i + 2) % (2 * points)) for i in inner]
    cut += [(inner[0], inner[k], inner[k + 1]) for k in range(1, points - 1)]
    return of_polygons(positions, [list(range(2 * points))], {0: cut})


def in_the_mesh(mesh: Mesh, uv: np.ndarray) -> np.ndarray:
    """The map as Blender holds it: one UV a corner, here the last that is written."""
    held = np.zeros((mesh.corner.max() + 1, 2), np.float32)
    held[mesh.corner.ravel()] = uv.reshape(-1, 2)
    return held[mesh.corner]


def assert_whole(mesh: Mesh, uv: np.ndarray, overlap: float = 0.005) -> None:
    assert np.array_equal(in_the_mesh(mesh, uv), uv), "a corner has two UVs"
    found = check_uv(Mesh(mesh.positions, mesh.triangles, uv), 0)
    assert found.overlap < overlap and found.outside == 0 and found.flat < 0.01


MESHES = {
    "gentle quads": lambda: rough_grid(12, 0.05),
    "rough quads": lambda: rough_grid(16, 0.2),
    "a star": lambda: star(12),
    "a crumpled star": lambda: star(12, 0.3),
}


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("way", ["xatlas", "projection"])
def test_every_corner_has_one_place_and_no_face_lies_over_another(name, way, monkeypatch):
    if way == "projection":
        monkeypatch.setattr(unwrap_module, "run_xatlas", lambda *_: None)
    mesh = MESHES[name]()
    assert_whole(mesh, unwrap(mesh, 0, texture_size=512))


def test_without_the_numbers_of_corners_the_rough_quads_are_torn():
    mesh = rough_grid(16, 0.2)
    uv = unwrap(Mesh(mesh.positions, mesh.triangles), 0, texture_size=512)
    held = Mesh(mesh.positions, mesh.triangles, in_the_mesh(mesh, uv))
    assert check_uv(held, 0).overlap > 0.05, "these tests would show nothing"


def test_a_mesh_of_triangles_gets_the_very_same_map_as_before():
    mesh = rough_grid(10, 0.1)
    bare = Mesh(mesh.positions, mesh.triangles)
    numbered = Mesh(mesh.positions, mesh.triangles, corner=np.arange(mesh.triangles.size).reshape(-1, 3))
    assert np.array_equal(unwrap(bare, 0), unwrap(numbered, 0))
    assert np.array_equal(
        project_unwrap(mesh.positions, mesh.triangles),
        project_unwrap(mesh.positions, mesh.triangles, corner=numbered.corner),
    )


def test_a_corner_on_an_edge_keeps_its_place_though_its_triangle_has_no_area():
    mesh = of_polygons([(0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0)], [[0, 1, 2, 3, 4]])
    uv = unwrap(mesh, 0)
    assert_whole(mesh, uv)
    at = {int(c): uv[f, k] for f, row in enumerate(mesh.corner) for k, c in enumerate(row)}
    assert np.allclose(at[1], (at[0] + at[2]) / 2, atol=0.01)


def test_duplicated_faces_get_places_of_their_own():
    grid = rough_grid(6, 0.05)
    count = grid.corner.max() + 1
    twice = Mesh(
        grid.positions,
        np.concatenate([grid.triangles, grid.triangles]),
        corner=np.concatenate([grid.corner, grid.corner + count]),
    )
    assert_whole(twice, unwrap(twice, 0))


def test_a_disc_of_a_thousand_corners_is_one_island():
    angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    mesh = of_polygons(np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1), [list(range(1000))])
    uv = unwrap(mesh, 0)
    assert_whole(mesh, uv)
    assert np.abs(uv_areas(uv)).sum() > 0.7, "it fills the tile as a disc does"


def test_each_part_has_polygons_of_its_own():
    """The numbers of corners go on from part to part; each part is unwrapped alone."""
    both = merge([rough_grid(8, 0.2), rough_grid(8, 0.2, seed=2)])
    both.corner = np.concatenate([rough_grid(8, 0.2).corner, rough_grid(8, 0.2).corner + 4 * 49])
    for part in (0, 1):
        chosen = both.part == part
        mesh = Mesh(both.positions, both.triangles[chosen], corner=both.corner[chosen])
        assert_whole(mesh, unwrap(both, part))


@pytest.mark.parametrize("make", [lambda: star(9), lambda: star(9, 0.5), lambda: rough_grid(2, 1.0)])
def test_a_polygon_alone_lies_flat_with_all_its_triangles_the_same_way_round(make):
    mesh = make()
    flat = lay_alone(mesh.positions, mesh.triangles, mesh.corner)
    area = np.linalg.norm(face_cross(mesh.positions, mesh.triangles), axis=1) / 2
    assert (uv_areas(flat) > 0).all()
    if np.ptp(mesh.positions[:, 2]) == 0 or len(flat) == 2:
        assert np.allclose(uv_areas(flat), area, rtol=1e-4), "it can be laid flat without a change"


def test_triangles_that_share_a_corner_are_of_one_polygon():
    assert polygons_of(np.array([[0, 1, 2], [3, 4, 5], [2, 0, 7], [5, 8, 3]])).tolist() == [0, 1, 0, 1]
