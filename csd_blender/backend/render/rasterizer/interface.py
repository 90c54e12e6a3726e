"""One small interface to a differentiable rasterizer, and the choice of what fulfils it.

Conventions of every backend: clip coordinates ``[B, V, 4]`` float32; picture row 0 is ndc y = -1 (camera matrices flip
y, so row 0 is the top); a pixel center is at ndc ``(2 i + 1) / N - 1``. Faces are seen from both sides. A value at a
pixel is ``u * corner0 + v * corner1 + (1 - u - v) * corner2``; u and v are perspective correct. Gradients flow to clip
coordinates, attributes, colors and textures; what moves a silhouette gets its gradient from `antialias` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Backend = Literal["auto", "warp", "torch", "nvdiffrast"]


@dataclass(frozen=True)
class Raster:
    """What each pixel sees.

    Attributes:
        rast: ``[B, H, W, 4]`` float32: u, v, depth z/w in [-1, 1], triangle number + 1; zeros where nothing is seen.
        derivatives: ``[B, H, W, 4]``: du/dX, du/dY, dv/dX, dv/dY per pixel (no gradient flows through them), or None.
    """

    rast: Tensor
    derivatives: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rast.shape[1], self.rast.shape[2]

    @property
    def triangle(self) -> Tensor:
        """Triangle seen, ``[B, H, W]`` int64; -1 where none."""
        return self.rast[..., 3].detach().long() - 1


@dataclass(frozen=True)
class Topology:
    """The edges of a mesh, each once.

    Attributes:
        edges: ``[E, 2]`` int32 vertex numbers.
        opposite: ``[E, 2]`` int32: the third vertices of the two faces at the edge; -1 where there is no second face
            (a border) or where more than two faces meet.
        triangles: ``[F, 3]`` int32, welded.
    """

    edges: Tensor
    opposite: Tensor
    triangles: Tensor

    def to(self, device: torch.device | str) -> Topology:
        return Topology(self.edges.to(device), self.opposite.to(device), self.triangles.to(device))


class Rasterizer(Protocol):
    """What a backend offers; see the functions of `warp_backend` for shapes."""

    name: str

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int], derivatives: bool = False) -> Raster:
        """Find the nearest triangle at each pixel. clip ``[B, V, 4]``, triangles ``[F, 3]`` int32, size (H, W)."""
        ...

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """Attributes ``[V, C]`` or ``[B, V, C]`` at the pixels, ``[B, H, W, C]``; 0 where nothing is seen.

        ``triangles`` may differ from the ones rasterized (same faces, other vertices), e.g. a UV index.
        """
        ...

    def interpolate_with_derivatives(
        self, attributes: Tensor, raster: Raster, triangles: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`interpolate`, and the change per pixel to the right and down, ``[B, H, W, C, 2]``.

        The raster must have been made with ``derivatives=True``.
        """
        ...

    def texture(
        self,
        texture: Tensor,
        uv: Tensor,
        uv_derivatives: Tensor | None = None,
        wrap: Literal["clamp", "repeat"] = "clamp",
    ) -> Tensor:
        """Look up textures ``[1 or B, S, S, C]`` (row 0 is v = 1) at uv ``[B, H, W, 2]``, result ``[B, H, W, C]``.

        Bilinear; with ``uv_derivatives [B, H, W, 2, 2]`` trilinear in a mip pyramid. Gradients flow to the texture
        and to uv (the choice of the mip level counts as constant).
        """
        ...

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """Blend ``color [B, H, W, C]`` over visible silhouettes; gives clip the gradients of moving them."""
        ...


def cover(raster: Raster) -> Tensor:
    """1 where a triangle is seen, else 0: ``[B, H, W, 1]`` float32."""
    return (raster.rast[..., 3:4] > 0).float().detach()


def topology(triangles: Tensor, positions: Tensor | None = None) -> Topology:
    """Edges of a mesh, once a mesh.

    Args:
        triangles: ``[F, 3]`` integer.
        positions: ``[V, 3]``; when given, vertices at exactly the same place count as one, so that UV or normal seams
            are no borders. All gradients of a seam's silhouette then go to the first of its vertices.
    """
    faces = triangles.long()
    if positions is not None and len(faces):
        _, group = torch.unique(positions.detach(), dim=0, return_inverse=True)
        first = torch.full((int(group.max()) + 1,), len(positions), device=faces.device, dtype=torch.long)
        first.scatter_reduce_(0, group, torch.arange(len(positions), device=faces.device), reduce="amin")
        faces = first[group][faces]
    a, b, c = faces.unbind(1)
    ends = torch.cat([torch.stack([a, b], 1), torch.stack([b, c], 1), torch.stack([c, a], 1)])
    third = torch.cat([c, a, b])
    real = ends[:, 0] != ends[:, 1]  # faces that weld to a line have none
    ends, third = ends[real], third[real]
    if not len(ends):
        empty = torch.zeros((0, 2), dtype=torch.int32, device=faces.device)
        return Topology(empty, empty, faces.int())
    # one number an edge: comparing rows would take forty times as long
    names, order = torch.sort(torch.minimum(*ends.unbind(1)) << 32 | torch.maximum(*ends.unbind(1)), stable=True)
    unique, counts = torch.unique_consecutive(names, return_counts=True)
    edges = torch.stack([unique >> 32, unique & 0xFFFFFFFF], 1)
    start = torch.cumsum(counts, 0) - counts
    one = third[order[start]]
    two = third[order[(start + 1).clamp(max=len(order) - 1)]]
    two = torch.where(counts == 2, two, torch.full_like(two, -1))
    return Topology(edges.int().contiguous(), torch.stack([one, two], 1).int(), faces.int().contiguous())


def get_rasterizer(name: Backend = "auto", allow_noncommercial: bool = False) -> Rasterizer:
    """The rasterizer of that name; ``auto`` is Warp, which needs neither a GPU nor a compiler.

    nvdiffrast is taken only when it is named, can be imported, and ``allow_noncommercial`` is true.

    Raises:
        ValueError: for other names, or when nvdiffrast may not or cannot be used; the message says what to do.
    """
    if name in ("auto", "warp"):
        from .warp import WarpRasterizer

        return WarpRasterizer()
    if name == "torch":
        from .torch_twin import TorchRasterizer

        return TorchRasterizer()
    if name == "nvdiffrast":
        if not allow_noncommercial:
            raise ValueError(
                "nvdiffrast is licensed for non-commercial use only; allow non-commercial parts, or choose warp."
            )
        from .nvdiffrast import NvdiffrastRasterizer

        return NvdiffrastRasterizer()
    raise ValueError(f"There is no rasterizer {name!r}; choose auto, warp, torch or nvdiffrast.")
