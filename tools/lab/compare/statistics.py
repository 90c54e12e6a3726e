"""How sure one can be of the figures of a small table: intervals of 95 %."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Z95 = 1.959964  # of the normal distribution: 95 % lie within so many standard deviations
RESAMPLES = 4000

Interval = tuple[float, float]


def wilson(hits: int, count: int) -> Interval:
    """The 95 % interval of a rate by Wilson's score (1927): it holds for few trials and for rates of 0 and 1, too.

    Raises:
        ValueError: for less than one trial, or more hits than trials.
    """
    if count < 1 or not 0 <= hits <= count:
        raise ValueError(f"{hits} of {count} is no rate")
    rate, square = hits / count, Z95**2
    middle = rate + square / (2 * count)
    reach = Z95 * math.sqrt(rate * (1 - rate) / count + square / (4 * count**2))
    low, high = ((middle + sign * reach) / (1 + square / count) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def paired_difference(values: Sequence[float], base: Sequence[float], seed: int = 0) -> tuple[float, Interval]:
    """The mean of ``values - base``, pair by pair, and its 95 % interval by the bootstrap of pairs (Efron 1979).

    Pairs that never differ have an interval of no width, which for a handful of them says little.

    Raises:
        ValueError: when there is nothing, or not as many of both.
    """
    differences = np.asarray(values, float) - np.asarray(base, float) if len(values) == len(base) else np.empty(0)
    if not len(differences):
        raise ValueError("pairs are wanted")
    drawn = np.random.default_rng(seed).integers(len(differences), size=(RESAMPLES, len(differences)))
    return float(differences.mean()), _percentiles(differences[drawn].mean(1))


def distances(features: np.ndarray) -> np.ndarray:
    """``1 - cos`` between any two rows, ``[N, N]``, of features ``[N, F]``."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    return 1.0 - unit @ unit.T


def diversity(groups: Sequence[np.ndarray], seed: int = 0) -> tuple[float, Interval]:
    """Mean pairwise distance within groups, averaged over the groups, and its 95 % interval.

    Args:
        groups: features ``[N, F]`` of one prompt's results each, N at least 2. The interval is that of a bootstrap of
            the results in each group; a result that was drawn twice is not compared with itself.

    Raises:
        ValueError: when there is no group, or one of less than two.
    """
    if not groups or any(len(group) < 2 for group in groups):
        raise ValueError("at least two results of each prompt are wanted")
    tables = [distances(np.asarray(group, float)) for group in groups]
    every = [_mean_off_diagonal(table, np.arange(len(table))[None])[0] for table in tables]
    random = np.random.default_rng(seed)
    drawn = np.stack([_mean_off_diagonal(t, random.integers(len(t), size=(RESAMPLES, len(t)))) for t in tables])
    known = np.isfinite(drawn)
    sums = np.where(known, drawn, 0.0).sum(0)[known.any(0)]
    return float(np.mean(every)), _percentiles(sums / known.sum(0)[known.any(0)])


def between(groups: Sequence[np.ndarray]) -> float:
    """Mean distance between results of different groups: what a distance within groups is to be measured by."""
    found = []
    for i, one in enumerate(groups):
        for other in groups[i + 1 :]:
            found.append(distances(np.concatenate((one, other)))[: len(one), len(one) :].mean())
    return float(np.mean(found)) if found else math.nan


def _mean_off_diagonal(table: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """For each row of ``drawn`` ``[R, N]`` the mean distance of its items, ``[R]``; NaN where all are the same one."""
    pairs = table[drawn[:, :, None], drawn[:, None, :]]
    apart = drawn[:, :, None] != drawn[:, None, :]
    counts = apart.sum((1, 2))
    sums = np.where(apart, pairs, 0.0).sum((1, 2))
    return np.where(counts > 0, sums / np.maximum(counts, 1), math.nan)


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def share(hits: Sequence[bool]) -> str:
    """``70 % (40–89)``: a rate with its interval; a dash for none."""
    if not hits:
        return "–"
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.0%} ({100 * low:.0f}–{high:.0%})"


def all_right(row: Mapping[str, Any]) -> bool:
    """Whether the judge named all that was asked: material, and color and shape where they were."""
    return row["material_right"] and row.get("color_right") is not False and row.get("shape_right") is not False


def mean(values: Sequence[float | None], of: Callable[[Sequence[float]], float] = np.mean) -> float | None:
    """The mean, or another figure, of those values that are there; None for none."""
    known = [value for value in values if value is not None]
    return float(of(known)) if known else None
