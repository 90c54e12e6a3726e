"""Which surface points a few cameras see, and pictures made of their colors, when only the colors need a gradient.

Rasterize, take the points under the pixels, ask a field for their colors, lay them over a background, and average the
samples of each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .cameras import Cameras
from .rasterizer import Raster, Rasterizer


@dataclass(frozen=True)
class Views:
    """What B pictures of ``size`` with ``supersample**2`` samples a pixel see of a mesh.

    Attributes:
        points: ``[N, 3]`` object points under the covered samples; picture by picture, row by row.
        index: ``[N]`` int64, their places among all ``B * H * W`` samples.
        raster: of all samples.
        cameras: what was looked through.
        size: (height, width) of the finished pictures.
    """

    points: Tensor
    index: Tensor
    raster: Raster
    cameras: Cameras
    size: tuple[int, int]
    supersample: int

    @cached_property
    def face(self) -> Tensor:
        """The triangle at each point, ``[N]`` int64."""
        return self.raster.rast.view(-1, 4)[self.index, 3].long() - 1

    @cached_property
    def weights(self) -> Tensor:
        """Barycentric weights of the triangle's three corners, ``[N, 3]``."""
        u, v = self.raster.rast.view(-1, 4)[self.index, :2].unbind(1)
        return torch.stack([u, v, 1 - u - v], 1)

    @cached_property
    def view(self) -> Tensor:
        """The picture of each point, ``[N]`` int64."""
        height, width = self.raster.size
        return self.index // (height * width)

    @cached_property
    def depth(self) -> Tensor:
        """Distance along the view axis (not the ray), in world units, ``[N]``."""
        toward = self.cameras.positions()[self.view] - self.points
        return (toward * self.cameras.axes()[self.view, 2]).sum(1)

    @cached_property
    def directions(self) -> Tensor:
        """Unit vectors from the camera to each point, ``[N, 3]``."""
        return F.normalize(self.points - self.cameras.positions()[self.view], dim=1)

    def corners(self, values: Tensor) -> Tensor:
        """Blend one value per triangle corner, ``[F, 3, C]``, at the points: ``[N, C]`` (UVs, normals ...)."""
        return (self.weights[:, :, None] * values[self.face]).sum(1)

    def vertices(self, values: Tensor, triangles: Tensor) -> Tensor:
        """Blend values per vertex, ``[V, C]``, at the points: ``[N, C]``."""
        return (self.weights[:, :, None] * values[triangles.long()[self.face]]).sum(1)

    def composite(self, colors: Tensor, background: Tensor) -> Tensor:
        """Pictures ``[B, H, W, C]`` of ``colors [N, C]`` over ``background``; differentiable with respect to colors.

        Args:
            background: ``[C]``, ``[B, C]``, or a picture ``[B, H, W, C]`` at the final size.
        """
        views, (height, width), s = len(self.raster.rast), self.size, self.supersample
        channels = colors.shape[1]
        if background.ndim <= 2:
            canvas = background.expand(views, channels)[:, None, None, :].expand(views, height * s, width * s, channels)
        else:
            canvas = background.repeat_interleave(s, 1).repeat_interleave(s, 2)
        canvas = canvas.reshape(-1, channels).index_copy(0, self.index, colors.to(canvas.dtype))
        canvas = canvas.view(views, height, s, width, s, channels)
        return canvas.mean((2, 4)) if s > 1 else canvas[:, :, 0, :, 0]

    def coverage(self) -> Tensor:
        """Share of each pixel the mesh covers, ``[B, H, W, 1]``."""
        mask = (self.raster.rast[..., 3:4] > 0).float().permute(0, 3, 1, 2)
        return F.avg_pool2d(mask, self.supersample).permute(0, 2, 3, 1)


@torch.no_grad()
def render_views(
    rasterizer: Rasterizer,
    points: Tensor,
    triangles: Tensor,
    cameras: Cameras,
    size: int | tuple[int, int],
    supersample: int = 1,
) -> Views:
    """Find what the cameras see.

    Args:
        points: ``[V, 3]`` vertices; triangles: ``[F, 3]`` int32.
        size: (height, width) of the pictures, or one number for both.
        supersample: samples per pixel and axis; 2 gives four samples.
    """
    height, width = (size, size) if isinstance(size, int) else size
    cameras = cameras.to(points.device)
    clip = cameras.clip(points, aspect=width / height)
    raster = rasterizer.rasterize(clip, triangles, (height * supersample, width * supersample))
    index = raster.rast[..., 3].flatten().nonzero()[:, 0]
    everywhere = rasterizer.interpolate(points, raster, triangles)
    return Views(everywhere.view(-1, 3)[index], index, raster, cameras, (height, width), supersample)
