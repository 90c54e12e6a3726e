"""Pictures of the shape that ControlNets follow, from what a step's own raster sees; nothing is rendered twice.

Conventions, all within 0 ... 1:

``depth``
    The distance along the camera's axis, the nearest point that this picture shows white (1), the farthest black (0),
    linear between, background 0: near is white, as MiDaS has it, in the range of CSD's public code (Yu et al. 2023,
    arXiv 2310.19415), but for each picture alone. What has no depth, a flat square that faces the camera, is white.
``normal``
    The colors of NormalBae's estimates (Bae et al. 2021, arXiv 2109.09881), on which the published ControlNets for
    normals were trained: red points to the *left* of the picture, green up, blue to the camera, -1 ... 1 as 0 ... 1.
    The background is a wall that faces the camera, (0.5, 0.5, 1). Normals that look away from the camera are turned.
``canny``
    White edges on black by Canny's method (1986), of the normals over black, each pixel the mean of 5 x 5, with the
    thresholds 50 and 100 of 255: as in CSD's public code.

A network that reads depth and normals together, as the bundled model's, has depth in its first channel and the normals
behind it, over black, so that outlines show in both. Others read three channels: depth and edges thrice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.models.control import channels_of
from ..diffusion.model import resize
from .cameras import Cameras

#: For each network what it follows, see ``job/models/control``.
Layout = Sequence[Sequence[str]]

WALL = (0.5, 0.5, 1.0)  # the color of a surface that faces the camera
FLAT = 1e-5  # of the distance: a smaller range of depths is none
LOW, HIGH = 50 / 255, 100 / 255  # Canny's thresholds, of the sum of both slopes by Sobel
BLUR = 5  # pixels


@dataclass(frozen=True)
class ShownShape:
    """What B pictures of S x S samples show of a shape.

    Attributes:
        covered: ``[B, S, S]`` bool: the samples that see it, N in all.
        points: ``[N, 3]`` where, counted from what the camera looks at. normals: ``[N, 3]`` unit vectors, of the world.
    """

    covered: Tensor
    points: Tensor
    normals: Tensor


@torch.no_grad()
def control_pictures(layout: Layout, shape: ShownShape, cameras: Cameras, side: int) -> Tensor:
    """The networks' pictures side by side in the channels, ``[B, C, side, side]`` in [0, 1].

    Args:
        layout: what each network follows; C is the sum of their ``channels_of``.
        side: of the pictures that the diffusion model takes.
    """
    axes, eyes = cameras.axes().to(shape.points), cameras.positions().to(shape.points)
    item = shape.covered.nonzero()[:, 0]
    seen = torch.einsum("nij,nj->ni", axes[item], shape.points - eyes[item])  # right, up, back of the camera
    kinds = {kind for kinds in layout for kind in kinds}
    depth = normal = edges = None
    mask = resize(shape.covered[:, None].float(), side)
    if "depth" in kinds:
        depth = resize(_planes(shape.covered, depths_as_gray(-seen[:, 2], shape.covered)[:, None]), side)
    if kinds & {"normal", "canny"}:
        turned = torch.einsum("nij,nj->ni", axes[item], shape.normals)
        normal = resize(_planes(shape.covered, normal_colors(turned, seen)), side)
    if "canny" in kinds:
        edges = canny(normal)
    return torch.cat([_of_network(kinds, depth, normal, edges, mask) for kinds in layout], dim=1)


def _of_network(
    kinds: Sequence[str], depth: Tensor | None, normal: Tensor | None, edges: Tensor | None, mask: Tensor
) -> Tensor:
    if tuple(kinds) == ("normal",):
        return normal + (1 - mask) * normal.new_tensor(WALL)[:, None, None]
    planes = {"depth": depth, "normal": normal, "canny": edges}
    together = torch.cat([planes[kind] for kind in kinds], dim=1)
    return together.expand(-1, 3, -1, -1) if len(kinds) == 1 else together


def _planes(covered: Tensor, values: Tensor) -> Tensor:
    """``values [N, C]`` at the covered samples as pictures ``[B, C, S, S]``, 0 elsewhere."""
    planes = values.new_zeros(*covered.shape, values.shape[1])
    planes[covered] = values
    return planes.permute(0, 3, 1, 2)


def depths_as_gray(depths: Tensor, covered: Tensor) -> Tensor:
    """Distances ``[N]`` of the covered samples ``[B, S, S]`` as gray ``[N]``: 1 the nearest of a picture, 0 the
    farthest."""
    item = covered.nonzero()[:, 0]
    none = depths.new_full((len(covered),), float("inf"))
    near = none.scatter_reduce(0, item, depths, "amin")[item]
    far = (-none).scatter_reduce(0, item, depths, "amax")[item]
    span = far - near
    return torch.where(span > FLAT * far, (far - depths) / span.clamp_min(1e-12), torch.ones_like(depths))


def normal_colors(normals: Tensor, seen: Tensor) -> Tensor:
    """NormalBae's colors ``[N, 3]`` of unit normals ``[N, 3]`` at the points ``seen [N, 3]`` from the camera, both in
    the camera's axes right, up, back. Those that look away from it are turned: windings are not always right."""
    away = (normals * seen).sum(1, keepdim=True) > 0
    return torch.where(away, -normals, normals) * normals.new_tensor([-0.5, 0.5, 0.5]) + 0.5


def canny(pictures: Tensor) -> Tensor:
    """Edges ``[B, 1, H, W]``, 0 or 1, of pictures ``[B, C, H, W]`` in [0, 1].

    Of each pixel the channel that changes most counts. An edge is where that change is larger than in both neighbors
    across, above the low threshold, and connected to a place above the high one.
    """
    size, count = pictures.shape[-2:], pictures.shape[1]
    flat = F.pad(pictures.reshape(-1, 1, *size), (BLUR // 2,) * 4, mode="reflect")
    smooth = F.avg_pool2d(flat, BLUR, stride=1)
    sobel = pictures.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    slopes = F.conv2d(F.pad(smooth, (1,) * 4, mode="replicate"), torch.stack([sobel, sobel.T])[:, None])
    slopes = slopes.view(-1, count, 2, *size)
    strongest = slopes.abs().sum(2).argmax(1, keepdim=True)[:, :, None].expand(-1, -1, 2, -1, -1)
    x, y = slopes.gather(1, strongest)[:, 0].unbind(1)
    change = x.abs() + y.abs()
    ridge = change > LOW
    around = F.pad(change, (1,) * 4)
    steep, level = y.abs() > 2.4142 * x.abs(), y.abs() < 0.4142 * x.abs()  # of 67.5 and of 22.5 degrees
    for chosen, (dx, dy) in (
        (level, (1, 0)),
        (steep, (0, 1)),
        (~level & ~steep & (x * y > 0), (1, 1)),
        (~level & ~steep & (x * y <= 0), (1, -1)),
    ):
        after, before = (
            around[:, 1 + s * dy : 1 + s * dy + size[0], 1 + s * dx : 1 + s * dx + size[1]] for s in (1, -1)
        )
        ridge &= ~chosen | ((change > before) & (change >= after))
    return _connected(ridge, ridge & (change > HIGH))[:, None].to(pictures)


def _connected(weak: Tensor, strong: Tensor) -> Tensor:
    """Those of ``weak [B, H, W]`` that a chain of neighbors leads to from one in ``strong``."""
    found = strong
    while True:
        grown = (F.max_pool2d(found[:, None].float(), 3, 1, 1)[:, 0] > 0) & weak
        if torch.equal(grown, found):
            return found
        found = grown


def control_rows(layout: Layout, pictures: Tensor) -> Tensor:
    """To be looked at: :func:`control_pictures` ``[B, C, S, S]`` as ``[rows * B, 3, S, S]``, a row for each thing that
    is followed."""
    rows, first = [], 0
    for kinds in layout:
        own = pictures[:, first : first + channels_of(kinds)]
        first += channels_of(kinds)
        if len(kinds) == 1:
            rows.append(own)
            continue
        for kind in kinds:
            width = 3 if kind == "normal" else 1
            rows.append(own[:, :width].expand(-1, 3, -1, -1))
            own = own[:, width:]
    return torch.cat(rows)
