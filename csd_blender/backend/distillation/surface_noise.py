"""Noise that is fixed to the surface, so that all views see the same one (CFD, Yan et al. 2024, arXiv 2501.05445).

The paper transports a noise texture of 2048 x 2048. Here the surface's space is divided into cells, and each cell has a
Gaussian number for each channel from a hash of its place: no texture, no seams, and moving surfaces carry on. A latent
pixel sums the numbers of the cells that its picture's pixels hit and divides by the length of the counts, so that its
value is again a standard Gaussian. Cells are about half a latent pixel wide as the camera sees them; views from a
similar distance share them, and a close-up has finer ones of its own, since cells wider than a latent pixel would give
neighbors equal noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PRIMES = (73856093, 19349663, 83492791, 2654435761)
_MASK = 0xFFFFFFFF


def fixed_noise(noise: Tensor, surface: Tensor | None, seed: int) -> Tensor:
    """Noise for pictures in which a place looks the same from everywhere; without a surface every picture of the batch
    keeps its own, always the same. Arguments as for :func:`fix_to_surface`."""
    if surface is None:
        always = torch.Generator().manual_seed(seed)
        return torch.randn(noise.shape, generator=always).to(noise)
    return fix_to_surface(noise, surface, seed)


def fix_to_surface(noise: Tensor, surface: Tensor, seed: int) -> Tensor:
    """Fresh noise, with that of the surface where all of a latent pixel shows it.

    Args:
        noise: ``[B, C, h, w]`` fresh; kept where a latent pixel shows background.
        surface: ``[B, S, S, 4]``: the surface point that each pixel sees, and 1, or 0 where it sees none; S is h times
            any factor, also a broken one.
        seed: another one is another noise.
    """
    batch, channels, height, width = noise.shape
    points = surface[..., :3]
    seen = surface[..., 3] > 0.5
    out = noise.clone()
    rows = torch.arange(surface.shape[1], device=noise.device) * height // surface.shape[1]
    columns = torch.arange(surface.shape[2], device=noise.device) * width // surface.shape[2]
    place = (rows[:, None] * width + columns[None, :]).reshape(-1)  # the latent pixel of each pixel
    area = torch.bincount(place, minlength=height * width)
    for b in range(batch):
        level = _cell_level(points[b], seen[b], height)
        cells = torch.floor(points[b].reshape(-1, 3) * 2.0**-level).long()
        key = torch.full_like(place, level * _PRIMES[3] & _MASK)
        for axis, prime in enumerate(_PRIMES[:3]):
            key = key ^ (cells[:, axis] * prime & _MASK)
        hit = seen[b].reshape(-1)
        where, keys = place[hit], key[hit]
        # one row for each cell that a latent pixel sees, with how many of its pixels hit it
        pairs, counts = torch.unique(torch.stack([where, keys]), dim=1, return_counts=True)
        weight = counts.to(noise.dtype)
        length = torch.zeros(height * width, device=noise.device, dtype=noise.dtype).index_add_(0, pairs[0], weight**2)
        covered = torch.zeros_like(area).index_add_(0, pairs[0], counts) == area
        for c in range(channels):
            number = _gaussian(pairs[1], seed * 31 + c)
            total = torch.zeros_like(length).index_add_(0, pairs[0], weight * number.to(noise))
            value = total / length.clamp_min(1.0).sqrt()
            out[b, c] = torch.where(covered, value, noise[b, c].reshape(-1)).view(height, width)
    return out


def _cell_level(points: Tensor, seen: Tensor, side: int) -> int:
    """Logarithm to base 2 of half a latent pixel as it lies on the surface, rounded down.

    Of the distances between the places of neighboring pixels the median is taken, which slopes and edges hardly move.
    """
    both = seen[:, 1:] & seen[:, :-1]
    steps = (points[:, 1:] - points[:, :-1]).norm(dim=-1)[both]
    if not len(steps):
        return 0
    latent_pixel = max(float(steps.median()), 1e-6) * points.shape[1] / side
    return math.floor(math.log2(latent_pixel / 2))


def _gaussian(key: Tensor, salt: int) -> Tensor:
    """A standard Gaussian for each integer, always the same; by two hashes and Box and Muller's formula."""
    first, second = (_hash(key * 2 + i + salt * 0x9E3779B9 & _MASK) for i in (0, 1))
    u = (first.double() + 1) / (_MASK + 2)
    v = second.double() / (_MASK + 1)
    return (-2 * u.log()).sqrt() * (2 * math.pi * v).cos()


def _hash(key: Tensor) -> Tensor:
    """An integer hash of 32 bits (the finalizer of MurmurHash3), on int64 tensors."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        key = (key ^ (key >> shift)) * factor & _MASK
    return key ^ (key >> 16)
