"""The bundled meshes are closed, face the viewer, and carry the UV maps they promise."""

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh import clean_mesh, face_cross
from tools.lab.demo_meshes import DEMO_MESHES, demo_mesh
from tools.lab.implicit import mesh_of, sphere

WITH_GOOD_UV, WITH_BAD_UV = ("vase", "mug", "knot"), ("crate",)


def volume(mesh) -> float:
    corner = mesh.positions[mesh.triangles[:, 0]]
    return float(np.einsum("fi,fi->", corner, face_cross(mesh.positions, mesh.triangles)) / 6)


@pytest.mark.parametrize("name", DEMO_MESHES)
def test_every_demo_mesh_is_sound(name):
    mesh, notes = clean_mesh(demo_mesh(name))
    assert 2_000 <= len(mesh.triangles) <= 50_000
    assert volume(mesh) > 0  # faces look outward
    assert len(notes) <= 1 and np.ptp(mesh.positions, axis=0).max() < 2.5
    assert (mesh.uv is not None) == (name in WITH_GOOD_UV + WITH_BAD_UV)


@pytest.mark.parametrize("name", ["critter", "robot", "car", "teapot"])
def test_solid_demo_meshes_are_watertight(name):
    triangles = demo_mesh(name).triangles
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses % 2 == 0).all()


def test_faces_look_toward_minus_y():
    """Eyes, nose and muzzle stand out in front, at the height of the head."""
    for name, height in (("critter", 0.15), ("snowman", 0.45), ("car", -0.3)):
        points = demo_mesh(name).positions
        head = points[np.abs(points[:, 2] - height) < 0.12]
        assert -head[:, 1].min() > head[:, 1].max() - 0.01


def test_a_demo_mesh_is_the_same_each_time_and_safe_to_change():
    first = demo_mesh("rock")
    first.positions += 1
    assert np.abs(demo_mesh("rock").positions - first.positions + 1).max() < 1e-6


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="critter"):
        demo_mesh("dragon")


def test_surface_nets_of_a_ball_lie_on_the_ball():
    points, triangles = mesh_of(lambda p: sphere(p, [0.1, 0, 0], 0.7), (-1, -1, -1), (1, 1, 1), 32)
    assert np.abs(np.linalg.norm(points - [0.1, 0, 0], axis=1) - 0.7).max() < 2e-4
    cross = face_cross(points, triangles)
    assert np.linalg.norm(cross, axis=1).sum() / 2 == pytest.approx(4 * np.pi * 0.49, rel=0.01)
    assert (np.einsum("fi,fi->f", cross, points[triangles].mean(axis=1) - [0.1, 0, 0]) > 0).all()
    assert len(points) - 3 * len(triangles) / 2 + len(triangles) == 2  # Euler
