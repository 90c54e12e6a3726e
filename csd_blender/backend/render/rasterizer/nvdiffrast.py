"""Adapter to nvdiffrast (Laine et al. 2020, arXiv 2011.03277), for users who installed it and may use it.

Its licence allows non-commercial use only; it is never a default. Its silhouette gradients come from pixel pairs.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .interface import Raster
from .topology import Topology


@cache
def _context(device: str) -> Any:
    return importlib.import_module("nvdiffrast.torch").RasterizeCudaContext(device=device)


class NvdiffrastRasterizer:
    """`interface.Rasterizer` by nvdiffrast; every tensor must be on a CUDA device.

    Raises:
        ValueError: when nvdiffrast cannot be imported.
    """

    name = "nvdiffrast"

    def __init__(self) -> None:
        try:
            self._dr = importlib.import_module("nvdiffrast.torch")
        except ImportError as error:
            raise ValueError("nvdiffrast cannot be imported; install it, or choose warp.") from error

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """See `interface.Rasterizer`."""
        height, width = size
        if not len(triangles):
            empty = clip.new_zeros(len(clip), height, width, 4)
            return Raster(empty)
        # The context wants multiples of 8: draw a wider and higher picture with the same pixels, then cut.
        padded = (-(-height // 8) * 8, -(-width // 8) * 8)
        x, y, z, w = clip.unbind(-1)
        sx, sy = width / padded[1], height / padded[0]
        moved = torch.stack([x * sx + w * (sx - 1), y * sy + w * (sy - 1), z, w], -1).contiguous()
        context = _context(str(clip.device))
        rast, _ = self._dr.rasterize(context, moved, triangles.int().contiguous(), padded, grad_db=False)
        return Raster(rast[:, :height, :width].contiguous())

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """See `interface.Rasterizer`."""
        if not len(triangles):
            return attributes.new_zeros(*raster.rast.shape[:3], attributes.shape[-1])
        return self._dr.interpolate(attributes.contiguous(), raster.rast, triangles.int().contiguous())[0]

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """See `interface.Rasterizer`. Its edges are found from the welded triangles."""
        if not len(triangles):
            return color
        welded = topology.triangles.contiguous()
        out = self._dr.antialias(color.contiguous(), raster.rast.contiguous(), clip.contiguous(), welded)
        return out
