"""Random numbers of a batch: from one generator, or from one for each of its items, which then depends on no other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: One generator on the CPU, or one for each item.
Draws = torch.Generator | Sequence[torch.Generator]


def normal(shape: Sequence[int], generator: Draws) -> Tensor:
    """``shape`` numbers of N(0, 1), on the CPU; with several generators, one for each item of the first dimension."""
    if isinstance(generator, torch.Generator):
        return torch.randn(tuple(shape), generator=generator)
    _check(shape[0], generator)
    return torch.cat([torch.randn((1, *shape[1:]), generator=one) for one in generator])


def uniform(count: int, generator: Draws) -> Tensor:
    """``[count]`` numbers, uniform from 0 to 1."""
    if isinstance(generator, torch.Generator):
        return torch.rand(count, generator=generator)
    _check(count, generator)
    return torch.cat([torch.rand(1, generator=one) for one in generator])


def whole_numbers(low: int, high: int, count: int, generator: Draws) -> Tensor:
    """``[count]`` whole numbers, uniform from ``low`` to ``high``, both included."""
    if isinstance(generator, torch.Generator):
        return torch.randint(low, high + 1, (count,), generator=generator)
    _check(count, generator)
    return torch.cat([torch.randint(low, high + 1, (1,), generator=one) for one in generator])


def _check(count: int, generators: Sequence[torch.Generator]) -> None:
    if count != len(generators):
        raise ValueError(f"{count} items with {len(generators)} generators")
