"""Smooth normals."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh

from csd_blender.backend.geometry.mesh import Mesh, smooth_normals
from csd_blender.backend.geometry.normals import corner_normals, face_normals, vertex_normals


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


@pytest.mark.parametrize(("fold", "smooth"), [(70.0, True), (90.0, False)])
def test_an_edge_is_smooth_up_to_the_crease_and_flat_beyond(fold, smooth):
    half = math.radians(fold) / 2  # two equal faces meet at it: each is half of it off their mean
    points = torch.tensor([[0.0, -1, 0], [0, 1, 0], [-1, 0, -math.tan(half)], [1, 0, -math.tan(half)]])
    triangles = torch.tensor([[0, 1, 2], [1, 0, 3]])
    own = face_normals(points, triangles)
    ridge = corner_normals(points, triangles, crease=40.0)[:, :2]
    expected = torch.tensor([0.0, 0, 1]).expand(2, 2, 3) if smooth else own[:, None].expand(2, 2, 3)
    torch.testing.assert_close(ridge, expected, atol=1e-6, rtol=0)


def test_faces_without_area_and_lonely_vertices_have_no_normal_but_no_nan():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]])
    line = torch.tensor([[0, 1, 2], [1, 1, 1]])
    assert not vertex_normals(points, line).any()
