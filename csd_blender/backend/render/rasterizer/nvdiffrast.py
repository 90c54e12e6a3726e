"""Adapter to nvdiffrast (Laine et al. 2020, arXiv 2011.03277), for users who installed it and may use it.

Its license allows non-commercial use only; it is never a default. Its silhouette gradients come from pixel pairs.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from .interface import Raster, Topology


@cache
def _context(device: str) -> Any:
    return importlib.import_module("nvdiffrast.torch").RasterizeCudaContext(device=device)


class NvdiffrastRasterizer:
    """`rasterizer.Rasterizer` by nvdiffrast; every tensor must be on a CUDA device.

    Raises:
        ValueError: when nvdiffrast cannot be imported.
    """

    name = "nvdiffrast"

    def __init__(self) -> None:
        try:
            self._dr = importlib.import_module("nvdiffrast.torch")
        except ImportError as error:
            raise ValueError("nvdiffrast cannot be imported; install it, or choose warp.") from error

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int], derivatives: bool = False) -> Raster:
        """See `rasterizer.Rasterizer`."""
        height, width = size
        if not len(triangles):
            empty = clip.new_zeros(len(clip), height, width, 4)
            return Raster(empty, empty if derivatives else None)
        # The context wants multiples of 8: draw a wider and higher picture with the same pixels, then cut.
        padded = (-(-height // 8) * 8, -(-width // 8) * 8)
        x, y, z, w = clip.unbind(-1)
        sx, sy = width / padded[1], height / padded[0]
        moved = torch.stack([x * sx + w * (sx - 1), y * sy + w * (sy - 1), z, w], -1).contiguous()
        rast, change = self._dr.rasterize(
            _context(str(clip.device)), moved, triangles.int().contiguous(), padded, grad_db=False
        )
        rast = rast[:, :height, :width].contiguous()
        return Raster(rast, change[:, :height, :width].contiguous() if derivatives else None)

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """See `rasterizer.Rasterizer`."""
        if not len(triangles):
            return attributes.new_zeros(*raster.rast.shape[:3], attributes.shape[-1])
        return self._dr.interpolate(attributes.contiguous(), raster.rast, triangles.int().contiguous())[0]

    def interpolate_with_derivatives(
        self, attributes: Tensor, raster: Raster, triangles: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `rasterizer.Rasterizer`."""
        if raster.derivatives is None:
            raise ValueError("rasterize with derivatives=True first.")
        if not len(triangles):
            out = self.interpolate(attributes, raster, triangles)
            return out, out[..., None].expand(*out.shape, 2)
        out, change = self._dr.interpolate(
            attributes.contiguous(),
            raster.rast,
            triangles.int().contiguous(),
            rast_db=raster.derivatives,
            diff_attrs="all",
        )
        return out, change.detach().unflatten(-1, (attributes.shape[-1], 2))

    def texture(
        self,
        texture: Tensor,
        uv: Tensor,
        uv_derivatives: Tensor | None = None,
        wrap: Literal["clamp", "repeat"] = "clamp",
    ) -> Tensor:
        """See `rasterizer.Rasterizer`. Its row 0 is v = 0, ours is v = 1."""
        mode = {"clamp": "clamp", "repeat": "wrap"}[wrap]
        flipped = torch.stack([uv[..., 0], 1 - uv[..., 1]], -1).contiguous()
        texture = texture.contiguous()
        if uv_derivatives is None:
            return self._dr.texture(texture, flipped, filter_mode="linear", boundary_mode=mode)
        change = (uv_derivatives.detach() * uv.new_tensor([1.0, -1.0])[:, None]).flatten(3).contiguous()
        return self._dr.texture(texture, flipped, change, filter_mode="linear-mipmap-linear", boundary_mode=mode)

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """See `rasterizer.Rasterizer`. Its edges are found from the welded triangles."""
        if not len(triangles):
            return color
        welded = topology.triangles.contiguous()
        out = self._dr.antialias(color.contiguous(), raster.rast.contiguous(), clip.contiguous(), welded)
        return out
