"""What ControlNets see of the refine stage's mesh."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ....job.spec.scene_stages import RefineStage
from ...geometry.normals import vertex_normals
from ...render.cameras import Cameras
from ...render.controls import Layout, ShownShape, control_pictures
from ...render.rasterizer.interface import Raster, Rasterizer, cover
from ...render.surface import SMALL_PICTURE
from .coarse import draw_cameras

#: Looks whose pictures ControlNets follow the shape in; those of the shape alone say themselves what it is.
FOLLOWED = ("color", "lit")


@torch.no_grad()
def controls_of(
    vertices: Tensor,
    triangles: Tensor,
    raster: Raster,
    cameras: Cameras,
    rasterizer: Rasterizer,
    layout: Layout,
    side: int,
) -> Tensor:
    """What ControlNets see of a mesh in a raster, see :func:`~...render.controls.control_pictures`."""
    covered = cover(raster)[..., 0] > 0
    smooth = rasterizer.interpolate(vertex_normals(vertices, triangles), raster, triangles)[covered]
    points = rasterizer.interpolate(vertices, raster, triangles)[covered]
    return control_pictures(layout, ShownShape(covered, points, F.normalize(smooth, dim=-1, eps=1e-6)), cameras, side)


@torch.no_grad()
def next_controls(
    stage: RefineStage,
    mesh: tuple[Tensor, Tensor],
    step: int,
    generator: torch.Generator,
    rasterizer: Rasterizer,
    layout: Layout,
    side: int,
) -> Tensor:
    """What they see of the next step's pictures, ``[B, C, side, side]``; the random numbers stay as they are.

    Args:
        mesh: vertices and triangles. step: of the stage. side: of the model's own pictures.
    """
    vertices, triangles = mesh
    cameras = draw_cameras(stage.cameras, stage.views, step, generator.clone_state()).to(vertices.device)
    size = stage.render_size or side
    size *= 2 if size <= SMALL_PICTURE else 1
    raster = rasterizer.rasterize(cameras.clip(vertices).contiguous(), triangles, (size, size))
    return controls_of(vertices, triangles, raster, cameras, rasterizer, layout, side)
