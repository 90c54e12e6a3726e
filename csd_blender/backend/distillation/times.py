"""Diffusion times of a step: drawn evenly, or falling over the job by a law."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

#: DreamTime's weights over 1000 times: flat from the second to the first, Gaussian flanks of these deviations.
_FLAT_FROM, _FLAT_TO, _BELOW, _ABOVE = 500.0, 800.0, 100.0, 300.0


def square_root_time(progress: float, low: float, high: float, total: int) -> int:
    """DSD's time: ``total (low + (high - low) (1 - sqrt(progress)))``, cut to an integer in float64.

    At low 0.32 and high 0.98 of 1000: 980, 513 at half, 320 at the end (arXiv 2412.06780, public configuration).
    """
    return int(total * ((high - low) * (1 - math.sqrt(min(max(progress, 0.0), 1.0))) + low))


def linear_time(progress: float, low: float, high: float, total: int) -> int:
    """SDI's time: evenly down from ``high`` to ``low`` (arXiv 2405.15891)."""
    return int(total * ((high - low) * (1 - min(max(progress, 0.0), 1.0)) + low))


def falling_time(progress: float, low: float, high: float, alphas_cumprod: Tensor) -> int:
    """DreamTime's time (Huang et al. 2023, 2306.12422): the one above which ``progress`` of all weight lies, so that it
    never rises, and passes slowly where the weight is large.

    ``W(t)`` is ``sqrt((1 - alpha-bar) / alpha-bar)``, the share of the noise in what is learned, times a curve that is
    flat between times 500 and 800 of 1000, with Gaussian flanks of deviation 100 below and 300 above.
    """
    table = _weights_above(tuple(alphas_cumprod.tolist()), low, high)
    first = min(max(int(len(alphas_cumprod) * low), 0), len(alphas_cumprod) - 1)
    # the smallest time above which no more than this share of the weight lies
    reached = int((table <= min(max(progress, 0.0), 1.0) + 1e-12).nonzero()[0])
    return first + reached


@lru_cache(maxsize=8)
def _weights_above(alphas_cumprod: tuple[float, ...], low: float, high: float) -> Tensor:
    """For each time from low to high, the share of all weight that lies above it; falls to 0 at the last."""
    total = len(alphas_cumprod)
    first = min(max(int(total * low), 0), total - 1)
    last = min(max(int(total * high), first), total - 1)
    bar = torch.tensor(alphas_cumprod[first : last + 1], dtype=torch.float64)
    t = torch.arange(first, last + 1, dtype=torch.float64) * (1000.0 / total)
    below = torch.exp(-((t - _FLAT_FROM) ** 2) / (2 * _BELOW**2))
    above = torch.exp(-((t - _FLAT_TO) ** 2) / (2 * _ABOVE**2))
    curve = torch.where(t < _FLAT_FROM, below, torch.where(t > _FLAT_TO, above, torch.ones_like(t)))
    weight = ((1 - bar) / bar).sqrt() * curve
    reached = weight.cumsum(0)
    return 1 - reached / reached[-1]
