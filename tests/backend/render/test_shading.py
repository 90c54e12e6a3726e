"""Normals and simple light, and the quiet start of Warp."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.shading import (
    face_normals,
    facing,
    headlight,
    lambert,
    normals_as_colors,
    vertex_normals,
)
from csd_blender.backend.render.views import render_views

ROOT = Path(__file__).parents[3]


def test_smooth_normals_of_a_sphere_point_outward(sphere):
    points, triangles = sphere(20)
    normals = vertex_normals(points, triangles)
    assert ((normals * points).sum(1) > 0.995).all()
    centers = points[triangles.long()].mean(1)
    assert ((face_normals(points, triangles) * centers).sum(1) > 0.9).all()


def test_faces_without_area_and_lonely_vertices_have_no_normal_but_no_nan():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 9, 9]])
    line = torch.tensor([[0, 1, 2], [1, 1, 1]])
    assert not vertex_normals(points, line).any()
    assert not face_normals(points, line).any()


def test_a_lit_sphere_is_brightest_above_the_cameras_shoulder(warp_rasterizer, sphere):
    points, triangles = sphere(20)
    views = render_views(warp_rasterizer, points, triangles, orbit(1), 64)
    normals = torch.nn.functional.normalize(views.vertices(vertex_normals(points, triangles), triangles), dim=1)
    toward = facing(normals, views.directions)
    assert ((toward * views.directions).sum(1) <= 0).all()
    assert (toward == normals).all(1).float().mean() > 0.95  # all but some of the rim
    torch.testing.assert_close(facing(-normals, views.directions), toward)
    shade = lambert(torch.ones(len(normals), 3), normals, headlight(views.directions), ambient=0.2)
    assert 0.2 <= shade.min() and shade.max() <= 1 + 1e-6
    row, column = divmod(int(views.index[shade[:, 0].argmax()]), 64)
    assert row < 30 and 26 < column < 38


def test_normals_seen_by_a_camera_are_blue_when_they_face_it():
    cameras = orbit(4, elevation=30.0)
    toward = cameras.axes()[:, 2].view(4, 1, 1, 3)
    colors = normals_as_colors(toward, cameras.axes())
    torch.testing.assert_close(colors, torch.tensor([0.5, 0.5, 1.0]).expand(4, 1, 1, 3), atol=1e-6, rtol=0)


def test_warp_starts_without_a_word_and_keeps_its_kernels_where_it_is_told(tmp_path):
    code = (
        "from csd_blender.backend.render.warp_setup import start_warp; start_warp(); import warp; "
        f"assert warp.config.kernel_cache_dir.startswith({str(tmp_path)!r}), warp.config.kernel_cache_dir"
    )
    environment = os.environ | {"CSD_KERNEL_CACHE": str(tmp_path / "kernels"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
