# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed distance functions of simple solids and ways to combine them.

A `Solid` maps points [M, 3] to distances [M] (negative inside). Z is up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

Solid = Callable[[torch.Tensor], torch.Tensor]
Vec = Sequence[float]


def _t(values: Vec) -> torch.Tensor:
    return torch.tensor(tuple(float(v) for v in values))


def _length(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x * x + y * y).sqrt()


def sphere(center: Vec, radius: float) -> Solid:
    """Ball."""
    c = _t(center)
    return lambda p: (p - c).norm(dim=-1) - radius


def ellipsoid(center: Vec, radii: Vec) -> Solid:
    """Ellipsoid; the distance is approximate but never too long by much."""
    c, r = _t(center), _t(radii)

    def solid(p: torch.Tensor) -> torch.Tensor:
        q = (p - c) / r
        k0, k1 = q.norm(dim=-1), (q / r).norm(dim=-1)
        return k0 * (k0 - 1.0) / k1.clamp_min(1e-6)

    return solid


def box(center: Vec, half: Vec, rounding: float = 0.0) -> Solid:
    """Box of half extents `half` with rounded edges."""
    c, h = _t(center), _t(half) - rounding

    def solid(p: torch.Tensor) -> torch.Tensor:
        q = (p - c).abs() - h
        return q.clamp_min(0).norm(dim=-1) + q.amax(-1).clamp_max(0) - rounding

    return solid


def cone(center: Vec, low: float, high: float, half: float, axis: int = 2, rounding: float = 0.0) -> Solid:
    """Truncated cone along an axis: radius `low` at the lower end, `high` at the upper, half length `half`."""
    c = _t(center)
    others = [k for k in range(3) if k != axis]
    low, high, half = (v - rounding for v in (max(low, rounding), max(high, rounding), half))
    kx, ky = high - low, 2 * half
    kk = kx * kx + ky * ky

    def solid(p: torch.Tensor) -> torch.Tensor:
        q = p - c
        r, h = _length(q[:, others[0]], q[:, others[1]]), q[:, axis]
        limit = torch.where(h < 0, torch.full_like(h, low), torch.full_like(h, high))
        ax, ay = r - torch.minimum(r, limit), h.abs() - half
        s = (((high - r) * kx + (half - h) * ky) / kk).clamp(0, 1)
        bx, by = r - high + kx * s, h - half + ky * s
        sign = torch.where((bx < 0) & (ay < 0), -1.0, 1.0)
        return sign * torch.minimum(ax * ax + ay * ay, bx * bx + by * by).sqrt() - rounding

    return solid


def cylinder(center: Vec, radius: float, half: float, axis: int = 2, rounding: float = 0.0) -> Solid:
    """Cylinder along an axis."""
    return cone(center, radius, radius, half, axis, rounding)


def torus(center: Vec, major: float, minor: float, axis: int = 2) -> Solid:
    """Ring around an axis."""
    c = _t(center)
    others = [k for k in range(3) if k != axis]

    def solid(p: torch.Tensor) -> torch.Tensor:
        q = p - c
        return _length(_length(q[:, others[0]], q[:, others[1]]) - major, q[:, axis]) - minor

    return solid


def capsule(a: Vec, b: Vec, radius: float, end: float | None = None) -> Solid:
    """Rod with round ends from a to b; the radius runs from `radius` to `end`."""
    start, along = _t(a), _t(b) - _t(a)
    square = float((along * along).sum())
    end = radius if end is None else end

    def solid(p: torch.Tensor) -> torch.Tensor:
        q = p - start
        h = ((q @ along) / square).clamp(0, 1)
        return (q - h[:, None] * along).norm(dim=-1) - (radius + (end - radius) * h)

    return solid


def pyramid(center: Vec, base: float, high: float) -> Solid:
    """Four-sided pyramid with half base width `base` and half height `high` (a bound, not the exact distance)."""
    c = _t(center)
    slope = math.hypot(2 * high, base)

    def solid(p: torch.Tensor) -> torch.Tensor:
        q = p - c
        widest = torch.maximum(q[:, 0].abs(), q[:, 1].abs())
        side = (widest * 2 * high - (high - q[:, 2]) * base) / slope
        return torch.maximum(side, -high - q[:, 2])

    return solid


def lathe(heights: Vec, radii: Vec, rounding: float = 0.05) -> Solid:
    """Body of revolution about Z through the given (height, radius) points, smoothly joined."""
    pieces = [cone((0, 0, (h0 + h1) / 2), r0, r1, abs(h1 - h0) / 2) for h0, h1, r0, r1 in
              zip(heights[:-1], heights[1:], radii[:-1], radii[1:], strict=True)]  # fmt: skip
    whole = union(*pieces)
    return lambda p: whole(p) - rounding


def union(*solids: Solid) -> Solid:
    """All solids together."""

    def solid(p: torch.Tensor) -> torch.Tensor:
        dist = solids[0](p)
        for other in solids[1:]:
            dist = torch.minimum(dist, other(p))
        return dist

    return solid


def smooth(width: float, *solids: Solid) -> Solid:
    """All solids together with joints blended over `width`."""
    if width <= 0:
        return union(*solids)

    def solid(p: torch.Tensor) -> torch.Tensor:
        dist = solids[0](p)
        for other in solids[1:]:
            d = other(p)
            h = (width - (dist - d).abs()).clamp_min(0) / width
            dist = torch.minimum(dist, d) - h * h * width * 0.25
        return dist

    return solid


def minus(solid: Solid, hole: Solid) -> Solid:
    """The first solid without the second."""
    return lambda p: torch.maximum(solid(p), -hole(p))


def both(a: Solid, b: Solid) -> Solid:
    """Where both solids are."""
    return lambda p: torch.maximum(a(p), b(p))


def mirror(solid: Solid) -> Solid:
    """The half at positive x, on both sides."""
    flip = torch.tensor((1.0, 0.0, 0.0))
    return lambda p: solid(torch.where(flip.bool(), p.abs(), p))


def turn(solid: Solid, rotation: torch.Tensor, pivot: Vec = (0, 0, 0)) -> Solid:
    """The solid rotated by a matrix [3, 3] about a pivot."""
    c = _t(pivot)
    return lambda p: solid((p - c) @ rotation + c)


def rotation(axis: int, degrees: float) -> torch.Tensor:
    """Rotation matrix [3, 3] about an axis, counter-clockwise seen from its tip."""
    angle = math.radians(degrees)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = torch.eye(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix
