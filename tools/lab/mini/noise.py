# SPDX-License-Identifier: GPL-3.0-or-later
"""Repeatable noise in space: smooth, layered and cellular."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F

_CELLS = 48


@functools.cache
def _volume() -> torch.Tensor:
    """Smooth periodic noise on a lattice, zero mean, unit deviation, wave length about 4 cells; [1, 1, 49, 49, 49]."""
    noise = torch.from_numpy(np.random.default_rng(7).standard_normal((_CELLS,) * 3).astype(np.float32))
    freq = torch.fft.fftfreq(_CELLS)
    squared = freq[:, None, None] ** 2 + freq[None, :, None] ** 2 + freq[None, None, :] ** 2
    smooth = torch.fft.ifftn(torch.fft.fftn(noise) * torch.exp(-squared / (2 * 0.17**2))).real
    smooth = (smooth - smooth.mean()) / smooth.std()
    return F.pad(smooth[None, None], (0, 1, 0, 1, 0, 1), mode="circular").contiguous()


def noise(points: torch.Tensor, size: float) -> torch.Tensor:
    """Band-limited noise [M] (zero mean, unit deviation) of points [M, 3]; `size` is the feature width."""
    cells = torch.remainder(points * (3.0 / size), _CELLS)
    grid = (cells / (_CELLS / 2) - 1.0)[None, None, None]
    return F.grid_sample(_volume(), grid, align_corners=True)[0, 0, 0, 0]


def fbm(points: torch.Tensor, size: float, octaves: int = 3) -> torch.Tensor:
    """Noise with finer layers added, about unit deviation."""
    total = torch.zeros(points.shape[0])
    norm = 0.0
    for octave in range(octaves):
        total = total + 0.55**octave * noise(points + 3.7 * octave, size * 0.5**octave)
        norm += 0.3025**octave
    return total / math.sqrt(norm)


@functools.cache
def _hash_table() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(11).random((4096, 4)).astype(np.float32))


def cell_hash(cells: torch.Tensor) -> torch.Tensor:
    """Four pseudo-random numbers in 0..1 per integer cell; [..., k] long -> [..., 4]."""
    primes = torch.tensor((73856093, 19349663, 83492791)[: cells.shape[-1]])
    return _hash_table()[((cells * primes).sum(-1) % 1000003) % 4096]


_NEIGHBORS = torch.cartesian_prod(*[torch.tensor((-1, 0, 1))] * 3)


def voronoi(points: torch.Tensor, size: float, jitter: float = 0.8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nearest and second nearest distance (in cells) and a random number of the nearest cell; each [M] ([M, 4])."""
    scaled = points / size
    base = torch.floor(scaled).long()
    cells = base[:, None] + _NEIGHBORS
    rand = cell_hash(cells)
    centers = cells + 0.5 + jitter * (rand[..., :3] - 0.5)
    dist = (centers - scaled[:, None]).norm(dim=-1)
    near, index = dist.topk(2, dim=1, largest=False)
    cell = rand[torch.arange(points.shape[0]), index[:, 0]]
    return near[:, 0], near[:, 1], cell
