"""Smooth normals."""

from __future__ import annotations

import torch

from csd_blender.backend.geometry.normals import vertex_normals


def test_smooth_normals_of_a_sphere_point_outward(sphere):
    points, triangles = sphere(20)
    normals = vertex_normals(points, triangles)
    assert ((normals * points).sum(1) > 0.995).all()


def test_faces_without_area_and_lonely_vertices_have_no_normal_but_no_nan():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]])
    line = torch.tensor([[0, 1, 2], [1, 1, 1]])
    assert not vertex_normals(points, line).any()
