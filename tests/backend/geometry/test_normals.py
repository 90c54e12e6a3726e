"""Smooth normals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from csd_blender.backend.geometry.mesh import Mesh, crease_normals, face_cross
from csd_blender.backend.geometry.normals import vertex_normals


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces, dtype=torch.int32)


def test_smooth_normals_of_a_sphere_point_outward():
    points, triangles = tensors(trimesh.creation.icosphere(3))
    normals = vertex_normals(points, triangles)
    assert ((normals * points).sum(1) > 0.995).all()


@pytest.mark.parametrize(("fold", "smooth"), [(50.0, True), (70.0, False)])
def test_an_edge_is_smooth_up_to_the_crease_and_flat_beyond(fold, smooth):
    half = math.radians(fold) / 2  # two equal faces meet at it
    points = np.array([[0.0, -1, 0], [0, 1, 0], [-1, 0, -math.tan(half)], [1, 0, -math.tan(half)]])
    normals = crease_normals(Mesh(points, [[0, 1, 2], [1, 0, 3]]), 60.0)
    own = np.array([[-math.sin(half), 0, math.cos(half)], [math.sin(half), 0, math.cos(half)]])
    expected = np.broadcast_to([0.0, 0, 1], (2, 2, 3)) if smooth else np.repeat(own[:, None], 2, 1)
    assert np.allclose(normals[:, :2], expected, atol=1e-6) and np.allclose(normals[:, 2], own, atol=1e-6)


def test_the_sides_of_a_box_are_flat_in_all_their_corners():
    """However many triangles of a side meet at a corner of the box: 1 or 2."""
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    normals = crease_normals(Mesh(box.vertices, box.faces))
    assert np.allclose(normals, np.repeat(box.face_normals[:, None], 3, 1), atol=1e-6)


def bumpy(seed=0) -> Mesh:
    """With folds of all angles, and two faces without area."""
    shape = trimesh.creation.icosphere(2)
    rng = np.random.default_rng(seed)
    points = shape.vertices * (1 + 0.35 * rng.random((len(shape.vertices), 1)))
    return Mesh(points, np.concatenate([shape.faces, [[0, 0, 1], [2, 3, 2]]]))


def one_by_one(mesh: Mesh, crease: float) -> np.ndarray:
    cross = face_cross(mesh.positions, mesh.triangles)
    flat = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)
    normals = np.zeros((len(cross), 3, 3))
    for f, corners in enumerate(mesh.triangles):
        for k, vertex in enumerate(corners):
            place, total = mesh.positions[vertex], np.zeros(3)
            for g in range(len(cross)):
                for i in range(3):
                    here, ahead, back = (mesh.positions[mesh.triangles[g, (i + n) % 3]] for n in range(3))
                    same = (here == place).all() and mesh.part[f] == mesh.part[g]
                    if same and flat[g] @ flat[f] >= math.cos(math.radians(crease)):
                        sides = (ahead - here) @ (back - here)
                        sides /= np.linalg.norm(ahead - here) * np.linalg.norm(back - here)
                        total += flat[g] * math.acos(sides)
            normals[f, k] = total / max(np.linalg.norm(total), 1e-30)
    return normals


@pytest.mark.parametrize("chunk", [7, 100_000])
def test_corners_take_the_mean_of_the_faces_near_their_own(monkeypatch, chunk):
    monkeypatch.setattr("csd_blender.backend.geometry.mesh.CHUNK", chunk)
    mesh = bumpy()
    normals, slowly = crease_normals(mesh, 40.0), one_by_one(mesh, 40.0)
    assert np.allclose(normals[:-2], slowly[:-2], atol=1e-5)
    assert not np.allclose(normals, crease_normals(mesh, 180.0), atol=0.1)  # there are folds
    assert np.isfinite(normals).all()


def cut_apart(mesh: Mesh) -> Mesh:
    """Each face with vertices of its own, as along the cuts of a UV map."""
    triangles = np.arange(3 * len(mesh.triangles)).reshape(-1, 3)
    return Mesh(mesh.positions[mesh.triangles].reshape(-1, 3), triangles, part=mesh.part, part_names=mesh.part_names)


def test_where_a_file_has_several_vertices_at_one_place_the_shape_is_as_smooth():
    mesh = bumpy()
    assert np.allclose(crease_normals(cut_apart(mesh)), crease_normals(mesh), atol=1e-6)
    ball = trimesh.creation.icosphere(2)
    apart = cut_apart(Mesh(ball.vertices, ball.faces))
    apart.positions[apart.positions == 0] *= np.where(np.arange((apart.positions == 0).sum()) % 2, -1.0, 1.0)
    assert (crease_normals(apart) * apart.positions[apart.triangles]).sum(2).min() > 0.999


def test_objects_that_touch_do_not_bend_each_other():
    part = np.array([0, 1], np.int32)
    points = [[0.0, 0, 0], [0, 1, 0], [-1, 0, 0], [1, 0, -0.5]]
    mesh = Mesh(np.array(points), [[0, 1, 2], [1, 0, 3]], part=part, part_names=("a", "b"))
    normals = crease_normals(cut_apart(mesh))
    assert np.allclose(normals, one_by_one(cut_apart(mesh), 60.0), atol=1e-6)
    assert np.allclose(normals, normals[:, :1], atol=1e-6)
    together = Mesh(mesh.positions, mesh.triangles)
    assert not np.allclose(crease_normals(together), normals, atol=0.05)


@pytest.mark.parametrize("sides", [6, 8])
def test_it_does_not_matter_how_polygons_are_cut_into_triangles(sides):
    turns = np.arange(sides) * 2 * np.pi / sides
    ring = np.stack([np.cos(turns), np.sin(turns)], 1)
    points = np.concatenate([np.insert(ring, 2, z, axis=1) for z in (-1.0, 1.0)])
    k, up = np.arange(sides), sides
    ahead = (k + 1) % sides
    prism = Mesh(points, np.concatenate([np.stack([k, ahead, up + ahead], 1), np.stack([k, up + ahead, up + k], 1)]))
    outward = np.insert(ring, 2, 0.0, axis=1)[prism.triangles % sides]
    assert np.allclose(crease_normals(prism), outward, atol=1e-5)


def test_a_hub_of_very_many_faces_costs_no_more_than_they_are():
    turns = np.linspace(0, 2 * np.pi, 20_001)[:-1]
    rim = np.stack([np.cos(turns), np.sin(turns), np.zeros_like(turns)], 1)
    points = np.concatenate([[[0.0, 0.0, 3.0]], rim])
    k = np.arange(20_000)
    spike = Mesh(points, np.stack([np.zeros_like(k), 1 + k, 1 + (k + 1) % 20_000], 1))
    normals = crease_normals(spike)
    cross = face_cross(spike.positions, spike.triangles)
    assert np.allclose(normals[:, 0], cross / np.linalg.norm(cross, axis=1, keepdims=True), atol=1e-5)
    assert np.allclose(normals[:, 1:], normals[:, :1], atol=1e-3)  # smooth around


def test_faces_without_area_and_lonely_vertices_have_no_normal_but_no_nan():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]])
    line = torch.tensor([[0, 1, 2], [1, 1, 1]])
    assert not vertex_normals(points, line).any()
