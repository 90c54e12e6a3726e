"""A short descent to something that is known whole, by Adam with a rate that falls to zero along a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn


def descend(
    parameters: Iterable[nn.Parameter],
    give_gradients: Callable[[int], None],
    steps: int,
    rate: float,
    betas: tuple[float, float],
) -> None:
    """Take so many steps.

    Args:
        give_gradients: leaves those of a step, by its number from 0, at the parameters; there are none before.
        rate: of the first step. betas: of Adam.
    """
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=betas, eps=1e-15)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.zero_grad(set_to_none=True)
        give_gradients(step)
        optimizer.step()
