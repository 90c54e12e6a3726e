"""One small interface to a differentiable rasterizer.

Conventions of every backend: clip coordinates ``[B, V, 4]`` float32; picture row 0 is ndc y = -1 (camera matrices flip
y, so row 0 is the top); a pixel center is at ndc ``(2 i + 1) / N - 1``. Faces are seen from both sides. A value at a
pixel is ``u * corner0 + v * corner1 + (1 - u - v) * corner2``; u and v are perspective correct. Gradients flow to clip
coordinates, attributes and colors; what moves a silhouette gets its gradient from `antialias` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .topology import Topology


@dataclass(frozen=True)
class Raster:
    """What each pixel sees.

    Attributes:
        rast: ``[B, H, W, 4]`` float32: u, v, depth z/w in [-1, 1], triangle number + 1; zeros where nothing is seen.
    """

    rast: Tensor

    @property
    def triangle(self) -> Tensor:
        """Triangle seen, ``[B, H, W]`` int64; -1 where none."""
        return self.rast[..., 3].detach().long() - 1


class Rasterizer(Protocol):
    """What a backend offers; `choose.get_rasterizer` gives one."""

    name: str

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """Find the nearest triangle at each pixel. clip ``[B, V, 4]``, triangles ``[F, 3]`` int32, size (H, W)."""
        ...

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """Attributes ``[V, C]`` or ``[B, V, C]`` at the pixels, ``[B, H, W, C]``; 0 where nothing is seen.

        ``triangles`` may differ from the ones rasterized (same faces, other vertices), e.g. a UV index.
        """
        ...

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """Blend ``color [B, H, W, C]`` over visible silhouettes; gives clip the gradients of moving them."""
        ...


def cover(raster: Raster) -> Tensor:
    """1 where a triangle is seen, else 0: ``[B, H, W, 1]`` float32."""
    return (raster.rast[..., 3:4] > 0).float().detach()
