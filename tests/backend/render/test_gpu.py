"""The same results on a GPU, and from nvdiffrast; run with `--device cuda`."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.rasterizer.topology import topology


def everything(rasterizer, points, triangles, device) -> list[torch.Tensor]:
    """Picture, and gradients of positions and colors, of one painted and antialiased mesh."""
    points = points.to(device).requires_grad_()
    faces = triangles.to(device)
    paint = torch.rand(len(points), 3, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    weights = torch.rand(3, 64, 64, 3, generator=torch.Generator().manual_seed(1)).to(device)
    clip = orbit(3, elevation=20.0).to(device).clip(points)
    raster = rasterizer.rasterize(clip, faces, (64, 64))
    color = rasterizer.interpolate(paint, raster, faces)
    out = rasterizer.antialias(color, raster, clip, faces, topology(faces, points))
    (out * weights).sum().backward()
    return [x.detach().cpu() for x in (raster.triangle, out, points.grad, paint.grad)]


def test_a_gpu_gives_what_the_cpu_gives(warp_rasterizer, sphere, gpu):
    points, triangles = sphere(12)
    on_gpu = everything(warp_rasterizer, points, triangles, gpu)
    on_cpu = everything(warp_rasterizer, points, triangles, "cpu")
    assert (on_gpu[0] != on_cpu[0]).float().mean() < 1e-3  # rounding at shared edges
    for a, b in zip(on_gpu[1:], on_cpu[1:], strict=True):
        assert (a - b).abs().mean() < 1e-3 * b.abs().mean()


def test_nvdiffrast_sees_what_warp_sees(warp_rasterizer, sphere, gpu):
    pytest.importorskip("nvdiffrast.torch")
    points, triangles = sphere(12)
    theirs = everything(get_rasterizer("nvdiffrast", allow_noncommercial=True), points, triangles, gpu)
    ours = everything(warp_rasterizer, points, triangles, gpu)
    assert (theirs[0] != ours[0]).float().mean() < 2e-3
    assert (theirs[1] - ours[1]).abs().mean() < 0.01
