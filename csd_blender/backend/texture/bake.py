"""From the field of colors to a texture image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..fields.painted_field import colors_at
from ..fields.texture_field import TextureField
from ..support.warp_launch import home_of
from .uv_kernels import claim, surface_points

MARGIN = 2.0  # texels around each island that are baked too: what bilinear filtering and the next mip level touch
MAX_SUPERSAMPLE = 4
REACH = 2.0  # an island may be continued beyond its border at this multiple of the texture's usual scale


@torch.no_grad()
def bake(
    field: TextureField | Callable[[Tensor], Tensor],
    points: Tensor,
    triangles: Tensor,
    uv: Tensor,
    size: int,
    chunk: int = 1 << 18,
    supersample: int | None = None,
    faces: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Bake the field to a UV map.

    A texel whose center lies in a face takes the colors of that face. A texel within `MARGIN` of an island continues
    the nearest face along its plane; the field being defined in space, the color there is the right one, so bilinear
    filtering shows the same on both sides of a UV border. All samples of one texel belong to one face: neighboring
    islands never mix.

    Args:
        field: from points ``[N, 3]`` to colors ``[N, 3]``.
        points: ``[V, 3]`` float32 in the field's space.
        triangles: ``[F, 3]`` int32: the faces of one part.
        uv: ``[F, 3, 2]`` float32, v up. Coordinates outside the tile repeat.
        size: width and height S of the texture.
        chunk: texels evaluated at once; bounds the memory.
        supersample: samples per texel and axis; None chooses by comparing texels with the field's finest cells.
        faces: ``[F]`` their numbers in the whole surface, by which a painted field knows them; None: from 0 on.

    Returns:
        albedo ``[S, S, 3]`` float32 (row 0 at v = 1) and mask ``[S, S]`` bool, both on the CPU. Texels outside of the
        mask are zero: `dilate` fills them.
    """
    home = points.device
    device = home_of(home)
    points = points.to(device, torch.float32).contiguous()
    triangles = triangles.to(device, torch.int32).contiguous()
    corners = (uv.to(device, torch.float32) * size).contiguous()

    scale, paintable = _texel_scale(points, triangles, corners)
    numbers = torch.arange(len(triangles)) if faces is None else faces.cpu()
    numbers = numbers[paintable.cpu()].to(home)
    triangles, corners = triangles[paintable].contiguous(), corners[paintable].contiguous()
    # repeating textures: bring every face next to the tile
    corners -= torch.floor(corners.amin(dim=1, keepdim=True) / size) * size
    if supersample is None:
        supersample = _supersample(field, scale)

    albedo = torch.zeros((size * size, 3))
    if not len(triangles):
        return albedo.view(size, size, 3), torch.zeros((size, size), dtype=torch.bool)
    owner = claim(corners, size, MARGIN).view(-1)
    texels = (owner >= 0).nonzero()[:, 0]
    steps = [(i + 0.5) / supersample - 0.5 for i in range(supersample)]
    for start in range(0, len(texels), chunk):
        some = texels[start : start + chunk]
        own = owner[some].to(torch.int32)
        number = numbers[own.to(home).long()]
        total = torch.zeros((len(some), 3), device=home)
        for dy in steps:
            for dx in steps:
                places = surface_points(
                    some, own, corners, points, triangles, size, MARGIN, offset=(dx, dy), reach=REACH * scale
                )
                total += colors_at(field, places.to(home), number, exact=True)
        albedo[some.cpu()] = (total / supersample**2).cpu()
    mask = (owner >= 0).view(size, size).cpu()
    return albedo.view(size, size, 3).flip(0), mask.flip(0)


def _texel_scale(points: Tensor, triangles: Tensor, corners: Tensor) -> tuple[float, Tensor]:
    """The usual length of a texel on the surface (area-weighted), and which faces can be painted at all."""
    a, b, c = (points[triangles[:, i].long()].double() for i in range(3))
    area = torch.linalg.vector_norm(torch.linalg.cross(b - a, c - a), dim=1) / 2
    e, f = (corners[:, 1] - corners[:, 0]).double(), (corners[:, 2] - corners[:, 0]).double()
    texels = (e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]).abs() / 2
    extent = (corners.amax(dim=1) - corners.amin(dim=1)).amax(dim=1)
    paintable = (area > 0) & (extent > 1e-6)
    total = texels[paintable].sum().item()
    return math.sqrt(area[paintable].sum().item() / total) if total > 0 else 0.0, paintable


def _supersample(field: object, texel: float) -> int:
    """Enough samples that the field's finest cells are seen."""
    levels = getattr(field, "levels", None)
    cell = getattr(field, "cell", 0.0) or (2.0 / levels[-1].resolution if levels else 0.0)
    if not cell:
        return 2
    return int(min(max(math.ceil(1.5 * texel / cell), 1), MAX_SUPERSAMPLE))
