"""Smooth normals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh

from csd_blender.backend.geometry.mesh import Mesh, crease_normals, face_cross, smooth_normals
from csd_blender.backend.geometry.normals import vertex_normals


def tensors(mesh: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces, dtype=torch.int32)


def test_smooth_normals_of_a_sphere_point_outward():
    points, triangles = tensors(trimesh.creation.icosphere(3))
    normals = vertex_normals(points, triangles)
    assert ((normals * points).sum(1) > 0.995).all()


def test_arrays_and_tensors_have_the_same_smooth_normals():
    points, triangles = tensors(trimesh.creation.torus(1.0, 0.4))
    of_arrays = torch.from_numpy(smooth_normals(Mesh(points.numpy(), triangles.numpy())))
    torch.testing.assert_close(of_arrays, vertex_normals(points, triangles), atol=1e-5, rtol=0)


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
    normals = smooth_normals(mesh)[mesh.triangles].astype(np.float64)
    for f, corners in enumerate(mesh.triangles):
        for k, vertex in enumerate(corners):
            faces = [g for g in range(len(cross)) if vertex in mesh.triangles[g]]
            near = [g for g in faces if flat[g] @ flat[f] >= math.cos(math.radians(crease))]
            if near:
                total = cross[near].sum(0)
                normals[f, k] = total / np.linalg.norm(total)
    return normals


@pytest.mark.parametrize("chunk", [7, 100_000])
def test_corners_take_the_mean_of_the_faces_near_their_own(monkeypatch, chunk):
    monkeypatch.setattr("csd_blender.backend.geometry.mesh.CHUNK", chunk)
    mesh = bumpy()
    normals, slowly = crease_normals(mesh, 40.0), one_by_one(mesh, 40.0)
    assert np.allclose(normals[:-2], slowly[:-2], atol=1e-5)
    assert not np.allclose(normals[:-2], smooth_normals(mesh)[mesh.triangles][:-2], atol=0.1)  # there are folds
    assert np.isfinite(normals).all()


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
