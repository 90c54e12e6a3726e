"""The volume renderer's kernels in plain torch: their oracle, and what runs on devices that Warp does not know."""

from __future__ import annotations

import torch
from torch import Tensor


def march_twin(
    origins: Tensor, directions: Tensor, jitter: Tensor, occupied: Tensor, radius: float, step: float, limit: int
) -> tuple[Tensor, Tensor]:
    """Distances of the samples in occupied cells.

    Args:
        origins: ``[R, 3]`` where the rays start.
        directions: ``[R, 3]`` unit vectors.
        jitter: ``[R]`` in [0, 1), the first sample's place in its step.
        occupied: ``[M, M, M]`` bool over the cube [-radius, radius]^3, axes x, y, z.
        step: distance between samples.
        limit: most samples of one ray.

    Returns:
        distances ``[N]`` of all rays' samples one after the other, and counts ``[R]`` int32.
    """
    safe = torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
    a, b = (-radius - origins) / safe, (radius - origins) / safe
    near, far = torch.minimum(a, b).amax(-1).clamp_min(0), torch.maximum(a, b).amin(-1)
    most = int(torch.ceil((far - near).clamp_min(0).max() / step)) + 1 if len(near) else 0
    t = near[:, None] + (torch.arange(most, device=near.device) + jitter[:, None]) * step
    points = origins[:, None] + directions[:, None] * t[..., None]
    resolution = occupied.shape[0]
    x, y, z = (((points / (2 * radius) + 0.5) * resolution).long().clamp(0, resolution - 1)).unbind(-1)
    keep = (t < far[:, None]) & occupied[x, y, z]
    keep &= keep.cumsum(1) <= limit
    return t[keep], keep.sum(1, dtype=torch.int32)


def see_twin(
    offsets: Tensor, density: Tensor, step: float, min_transmittance: float, min_alpha: float
) -> Tensor:  # fmt: skip
    """Which samples can be seen, ``[N]`` bool, from their densities ``[N]``; see `composite_twin`."""
    grid, slots = _rays(offsets, density)
    rest = torch.exp(-grid * step)
    before = torch.cat([torch.ones_like(rest[:, :1]), rest.cumprod(1)[:, :-1]], 1)
    return ((before >= min_transmittance) & (1 - rest >= min_alpha))[slots]


def composite_twin(
    offsets: Tensor, t: Tensor, step: float, density: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Emission and absorption along rays, in any precision (Max 1995; Mildenhall et al. 2020, arXiv 2003.08934).

    Args:
        offsets: ``[R + 1]`` first sample of each ray, and the number of samples.
        t: ``[N]`` distances along the rays.
        density, values: ``[N]`` and ``[N, C]``.

    Returns:
        accumulated values ``[R, C]``, opacity ``[R]``, distance (accumulated too) ``[R]``, weights ``[N]``.
    """
    grid, slots = _rays(offsets, density)
    rest = torch.exp(-grid * step)
    after = rest.cumprod(1)
    weights = (torch.cat([torch.ones_like(rest[:, :1]), after[:, :-1]], 1) * (1 - rest))[slots]
    rays = len(offsets) - 1
    ray = slots[0]
    out = torch.zeros((rays, values.shape[1]), dtype=values.dtype, device=values.device)
    zeros = torch.zeros(rays, dtype=density.dtype, device=density.device)
    out = out.index_add(0, ray, weights[:, None] * values)
    return out, zeros.index_add(0, ray, weights), zeros.index_add(0, ray, weights * t.to(weights)), weights


def _rays(offsets: Tensor, packed: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """A row for each ray, filled up with zeros, and the rows and columns of the packed entries."""
    counts = (offsets[1:] - offsets[:-1]).long()
    rows = torch.repeat_interleave(torch.arange(len(counts), device=packed.device), counts)
    columns = torch.arange(len(packed), device=packed.device) - offsets[:-1].long()[rows]
    most = int(counts.max()) if len(counts) else 0
    grid = torch.zeros((len(counts), max(most, 1)), dtype=packed.dtype, device=packed.device)
    return grid.index_put((rows, columns), packed), (rows, columns)
