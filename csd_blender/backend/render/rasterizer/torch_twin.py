"""The rasterizer in plain torch: slow, readable, differentiable by autograd in any precision; the oracle in tests.

Where something is visible and which pixels an edge passes between is found without gradients; the values there are
then computed by ordinary differentiable formulas.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .interface import Raster
from .topology import Topology

CLOSER = 1e-6  # in z/w: what must lie this much before an edge to hide it
FACES_AT_ONCE = 64
DEPTH_STEPS = float(1 << 30)


def centers(n: int, like: Tensor) -> Tensor:
    """Pixel centers in ndc, ``[n]``."""
    return (2 * torch.arange(n, dtype=like.dtype, device=like.device) + 1) / n - 1


def cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def barycentric(corners: Tensor, px: Tensor, py: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights ``[..., 3]`` (sum 1), depth z/w and w at ndc (px, py) of triangles ``[..., 3, 4]`` in clip space."""
    q = corners[..., :2] - torch.stack([px, py], -1)[..., None, :] * corners[..., 3:]
    a = torch.stack(
        [cross(q[..., 1, :], q[..., 2, :]), cross(q[..., 2, :], q[..., 0, :]), cross(q[..., 0, :], q[..., 1, :])], -1
    )
    b = a / a.sum(-1, keepdim=True)
    w = (b * corners[..., 3]).sum(-1)
    return b, (b * corners[..., 2]).sum(-1) / w, w


@torch.no_grad()
def nearest_triangles(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Number of the nearest of the triangles ``[F, 3, 4]`` at each pixel, ``[H, W]``; -1 where there is none."""
    height, width = size
    py, px = torch.meshgrid(centers(height, corners), centers(width, corners), indexing="ij")
    none = torch.iinfo(torch.int64).max
    best = torch.full(size, none, dtype=torch.int64, device=corners.device)
    for first in range(0, len(corners), FACES_AT_ONCE):
        some = corners[first : first + FACES_AT_ONCE]
        shape = (len(some), height, width)
        q = some[:, None, None, :, :2] - torch.stack([px, py], -1)[None, :, :, None, :] * some[:, None, None, :, 3:]
        q0, q1, q2 = q.unbind(3)
        a = torch.stack([cross(q1, q2), cross(q2, q0), cross(q0, q1)], -1)
        total, w = a.sum(-1), (a * some[:, None, None, :, 3]).sum(-1)
        z = (a * some[:, None, None, :, 2]).sum(-1) / w
        hit = ((a >= 0).all(-1) | (a <= 0).all(-1)) & (total * w.sign() > 0) & (z >= -1) & (z <= 1)
        number = torch.arange(first, first + len(some), device=corners.device)[:, None, None].expand(shape)
        key = ((z.nan_to_num(0).clamp(-1, 1) * 0.5 + 0.5) * DEPTH_STEPS).long() * (1 << 32) + number
        best = torch.minimum(best, torch.where(hit, key, none).amin(0))
    return torch.where(best == none, -1, best % (1 << 32))


def face_values(attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
    """Corner values ``[B, H, W, 3, C]`` of the triangle each pixel sees (the first one's where it sees none)."""
    index = triangles.long()[raster.triangle.clamp(min=0)]  # [B, H, W, 3]
    if attributes.ndim == 2:
        return attributes[index]
    view = torch.arange(len(index), device=index.device)[:, None, None, None]
    return attributes.expand(len(index), -1, -1)[view, index]


class TorchRasterizer:
    """`interface.Rasterizer` in plain torch."""

    name = "torch"

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """See `interface.Rasterizer`."""
        number = torch.full((len(clip), *size), -1, dtype=torch.int64, device=clip.device)
        if len(triangles) and len(clip):
            number = torch.stack([nearest_triangles(view[triangles.long()], size) for view in clip])
        hit = number >= 0
        rast = clip.new_zeros(*hit.shape, 4)
        if hit.any():
            view, row, column = hit.nonzero(as_tuple=True)
            corners = clip[view[:, None], triangles.long()[number[hit]]]
            px, py = centers(size[1], clip)[column], centers(size[0], clip)[row]
            b, z, _ = barycentric(corners, px, py)
            rast[hit] = torch.cat([b[:, :2], z[:, None], (number[hit] + 1)[:, None].to(z)], 1)
        return Raster(rast)

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """See `interface.Rasterizer`."""
        if not len(triangles):
            return attributes.new_zeros(*raster.rast.shape[:3], attributes.shape[-1])
        u, v, _, number = raster.rast.unbind(-1)
        weight = torch.stack([u, v, 1 - u - v], -1) * (number > 0)[..., None]
        return (weight[..., None] * face_values(attributes, raster, triangles)).sum(-2)

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """See `interface.Rasterizer`; `edge_kernels` explains the scheme."""
        views = []
        for b in range(len(color)):
            views.append(_antialias_view(color[b], raster.rast[b].detach(), clip[b], triangles.long(), topology))
        return torch.stack(views) if views else color


def _antialias_view(color: Tensor, rast: Tensor, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
    height, width = rast.shape[:2]
    pieces = [_crossings(rast, clip, triangles, topology, steep) for steep in (True, False)]
    out = color.reshape(height * width, -1)
    for a, b, frac in pieces:
        step = color.reshape(height * width, -1)[a] - color.reshape(height * width, -1)[b]
        target = torch.where(frac <= 0.5, a, b)
        out = out.index_add(0, target, (frac - 0.5)[:, None] * step)
    return out.view_as(color)


def _crossings(
    rast: Tensor, clip: Tensor, triangles: Tensor, topology: Topology, steep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel pairs (flat numbers A and B) cut by steep (or flat) silhouette edges, and where, differentiably."""
    height, width = rast.shape[:2]
    along, across = (1, 0) if steep else (0, 1)
    n_along, n_across = (height, width) if steep else (width, height)
    with torch.no_grad():
        edge, index, after = _walk(clip, topology, steep, (height, width))
        here = centers(n_along, clip)[index]
    p, q = (clip[topology.edges.long()[edge, end]] for end in (0, 1))
    d0, d1 = p[:, along] - here * p[:, 3], q[:, along] - here * q[:, 3]
    s = d0 / (d0 - d1)
    at = p + s[:, None] * (q - p)
    place = 0.5 * ((at[:, across] / at[:, 3] + 1) * n_across - 1)
    with torch.no_grad():
        z = at[:, 2] / at[:, 3]
        first = place.floor().long()
        ok = (at[:, 3] > 0) & (d0 != d1) & (place >= 0) & (place < n_across - 1) & (z.abs() <= 1)
        first = first.clamp(0, max(n_across - 2, 0))
        a = index * width + first if steep else first * width + index
        b = a + (1 if steep else width)
        b = b.clamp(max=height * width - 1)
        other = at[:, across] / at[:, 3]
        point = (other, here) if steep else (here, other)
        for pixel, covers in ((torch.where(after, a, b), False), (torch.where(after, b, a), True)):
            seen = rast.view(-1, 4)[pixel]
            weight, there, _ = barycentric(clip[triangles[(seen[:, 3].long() - 1).clamp(min=0)]], *point)
            nearer = (seen[:, 3] > 0) & (seen[:, 2] < z - CLOSER) & ~(there >= z - CLOSER)
            ok &= ~(nearer & (weight >= 0).all(1)) if covers else ~nearer
        key = ((z.clamp(-1, 1) * 0.5 + 0.5) * DEPTH_STEPS).long() * (1 << 32) + edge
        key = torch.where(ok, key, torch.iinfo(torch.int64).max)
        best = torch.full((height * width,), torch.iinfo(torch.int64).max, device=clip.device, dtype=torch.int64)
        best.scatter_reduce_(0, a, key, reduce="amin")
        ok &= best[a] == key
    return a[ok], b[ok], (place - first)[ok]


def _walk(clip: Tensor, topology: Topology, steep: bool, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Each silhouette edge once for each row (column) it spans: edge, row, and whether the mesh lies after it."""
    height, width = size
    homogeneous = clip[:, [0, 1, 3]]
    ends, opposite = topology.edges.long(), topology.opposite.long()
    p, q = homogeneous[ends[:, 0]], homogeneous[ends[:, 1]]
    line = torch.linalg.cross(p, q - p)
    side = (line * (homogeneous[opposite[:, 0]] - p)).sum(1)
    other = (line * (homogeneous[opposite[:, 1].clamp(min=0)] - p)).sum(1)
    other = torch.where(opposite[:, 1] < 0, side, other)
    silhouette = (side * other >= 0) & ((side != 0) | (other != 0)) & ((p[:, 2] > 0) | (q[:, 2] > 0))
    side = torch.where(side == 0, other, side)
    is_steep = line[:, 1].abs() * width <= line[:, 0].abs() * height
    chosen = (silhouette & (is_steep == steep)).nonzero()[:, 0]
    p, q, line, side = p[chosen], q[chosen], line[chosen], side[chosen]
    axis, n = (1, height) if steep else (0, width)
    a, c = p[:, axis] / p[:, 2], q[:, axis] / q[:, 2]
    t = p[:, 2] / (p[:, 2] - q[:, 2])
    far = torch.where(p[:, axis] + t * (q[:, axis] - p[:, axis]) > 0, 2.0, -2.0).to(a)
    a, c = torch.where(p[:, 2] > 0, a, far), torch.where(q[:, 2] > 0, c, far)
    low, high = (0.5 * ((x + 1) * n - 1) for x in (torch.minimum(a, c), torch.maximum(a, c)))
    low, high = low.clamp(0, n).ceil().long(), high.clamp(0, n).ceil().long()
    count = (high - low).clamp(min=0)
    which = torch.repeat_interleave(torch.arange(len(chosen), device=clip.device), count)
    step = torch.arange(len(which), device=clip.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    after = line[:, 0 if steep else 1] * side > 0
    return chosen[which], low[which] + step, after[which]
