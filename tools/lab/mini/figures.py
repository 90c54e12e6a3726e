# SPDX-License-Identifier: GPL-3.0-or-later
"""The named shapes that have a front.

Objects face -Y, Z is up. Every shape comes from a random generator and differs from call to call in its proportions;
afterwards it is centered and scaled to radius one. Features (eyes, doors, windows) are regions of space: where the
surface lies inside one, its color replaces the material. They are large, since a picture has only 64 x 64 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from . import solids as s
from .shape import Rgb, Shape

Rng = np.random.Generator

WHITE, INK, NOSE, PINK = (0.96, 0.96, 0.96), (0.05, 0.05, 0.06), (0.96, 0.45, 0.05), (0.95, 0.55, 0.6)
ROOF, DOOR, GLASS, SUN = (0.80, 0.13, 0.09), (0.36, 0.18, 0.08), (0.35, 0.68, 0.93), (1.0, 0.9, 0.35)
SCREEN, TIRE = (0.15, 0.5, 0.92), (0.08, 0.08, 0.09)


def _eyes(
    x: float, y: float, z: float, size: float, pupil: float = 0.5, tall: float = 1.0
) -> list[tuple[s.Solid, Rgb]]:
    """Two white eyes with black pupils at (+-x, y, z) of radius size; deep in y, so that they meet the surface."""
    white = s.mirror(s.ellipsoid((x, y, z), (size, 0.42, size * tall)))
    black = s.mirror(s.ellipsoid((x, y, z), (size * pupil, 0.42, size * pupil * tall)))
    front = s.box((0, -2, 0), (2, 1.95, 2))
    return [(s.both(white, front), WHITE), (s.both(black, front), INK)]


def slab(x: float, z: float, w: float, h: float, y: float = -1.0, deep: float = 0.9) -> s.Solid:
    """Region in front of the object: a rectangle at (x, z) of half size (w, h)."""
    return s.box((x, y, z), (w, deep, h))


def pointing(radius: float, half: float, degrees: float, at: Rgb) -> s.Solid:
    """A cone moved to `at` and tipped about X: 0 points up, 90 to the front, 180 down."""
    cone, offset = s.turn(s.cone((0, 0, 0), radius, 0.02, half), s.rotation(0, degrees)), torch.tensor(at)
    return lambda p: cone(p - offset)


def _robot(r: Rng) -> Shape:
    wide, high, deep = r.uniform(0.62, 0.78), r.uniform(0.55, 0.68), r.uniform(0.5, 0.62)
    body = s.union(s.box((0, 0, 0), (wide, deep, high), 0.08), s.cylinder((0, 0, -high - 0.12), 0.3, 0.16),
                   s.box((0, 0, -high - 0.42), (wide * 0.9, deep * 0.8, 0.2), 0.06),
                   s.mirror(s.cylinder((wide + 0.06, 0, 0), 0.2, 0.1, axis=0)))  # fmt: skip
    antenna = s.union(s.capsule((0, 0, high), (0, 0, high + 0.25), 0.05), s.sphere((0, 0, high + 0.3), 0.12))
    mouth = slab(0, -0.36 * high / 0.6, 0.34, 0.1)
    return Shape("robot", body, [(antenna, ROOF)],
                 [*_eyes(0.3, -deep, 0.17, 0.23, 0.5), (mouth, INK)])  # fmt: skip


def _house(r: Rng) -> Shape:
    w, d, h = r.uniform(0.6, 0.8), r.uniform(0.5, 0.7), r.uniform(0.42, 0.55)
    top = r.uniform(0.45, 0.6)
    tilt = float(np.degrees(np.arctan2(top, w)))
    walls = s.box((0, 0, -0.3), (w, d, h))
    slope = s.turn(s.box((w * 0.5, 0, h - 0.3 + top * 0.5), (np.hypot(w, top) * 0.5 + 0.12, d + 0.1, 0.07)),
                   s.rotation(1, tilt), (w * 0.5, 0, h - 0.3 + top * 0.5))  # fmt: skip
    gable_line = np.array((top, w)) / np.hypot(top, w)

    def gable(p: torch.Tensor) -> torch.Tensor:
        roof = p[:, 0].abs() * float(gable_line[0]) + (p[:, 2] - (h - 0.3 + top)) * float(gable_line[1])
        return torch.maximum(torch.maximum(roof, p[:, 1].abs() - d), h - 0.35 - p[:, 2])

    door = slab(0, -0.3 - h + 0.32, 0.17, 0.32)
    windows = s.mirror(slab(w * 0.64, -0.22, 0.14, 0.15))
    side = s.mirror(s.box((w, 0, -0.22), (0.3, 0.17, 0.15)))
    return Shape("house", s.union(walls, gable), [(s.mirror(slope), ROOF)],
                 [(door, DOOR), (windows, GLASS), (side, GLASS)])  # fmt: skip


def _car(r: Rng) -> Shape:
    long, wide = r.uniform(0.85, 1.0), r.uniform(0.45, 0.55)
    low = s.box((0, 0, -0.1), (wide, long, 0.24), 0.1)
    cabin = s.box((0, 0.12, 0.27), (wide * 0.88, long * 0.52, 0.25), 0.1)
    wheels = s.mirror(
        s.union(*[s.cylinder((wide - 0.02, y, -0.33), 0.23, 0.1, axis=0) for y in (-0.55 * long, 0.58 * long)])
    )
    shield = s.box((0, 0.12 - long * 0.52, 0.3), (wide * 0.7, 0.09, 0.14))
    rear = s.box((0, 0.12 + long * 0.52, 0.3), (wide * 0.7, 0.09, 0.13))
    doors = s.mirror(s.union(s.box((wide, -0.07, 0.3), (0.2, 0.15, 0.13)), s.box((wide, 0.32, 0.3), (0.2, 0.15, 0.13))))
    lamps = s.mirror(s.sphere((wide * 0.66, -long, -0.02), 0.16))
    tails = s.mirror(s.sphere((wide * 0.66, long, -0.02), 0.13))
    grill = slab(0, -0.1, wide * 0.3, 0.08, y=-long, deep=0.2)
    glass = (0.16, 0.24, 0.34)
    return Shape("car", s.smooth(0.06, low, cabin), [(wheels, TIRE)],
                 [(shield, glass), (rear, glass), (doors, glass), (lamps, SUN), (tails, ROOF),
                  (grill, INK)])  # fmt: skip


def _snowman(r: Rng) -> Shape:
    big, mid = r.uniform(0.52, 0.6), r.uniform(0.42, 0.48)
    body = s.union(s.sphere((0, 0, -0.5), big), s.sphere((0, 0, 0.32), mid))
    nose = pointing(0.14, 0.26, 90, (0.0, -mid - 0.16, 0.27))
    hat = s.union(
        s.cylinder((0, 0, 0.32 + mid * 0.86), mid * 0.95, 0.05), s.cylinder((0, 0, 0.32 + mid * 1.25), mid * 0.6, 0.2)
    )
    eyes = s.mirror(s.sphere((0.17, -mid, 0.44), 0.12))
    buttons = s.union(*[s.sphere((0, -big, z), 0.12) for z in (-0.2, -0.48, -0.76)])
    return Shape("snowman", body, [(nose, NOSE), (hat, INK)], [(eyes, INK), (buttons, INK)])


def _owl(r: Rng) -> Shape:
    w = r.uniform(0.58, 0.68)
    body = s.smooth(0.1, s.ellipsoid((0, 0, -0.1), (w, 0.55, 0.85)),
                    s.mirror(s.cone((0.35, 0, 0.68), 0.22, 0.03, 0.24)),
                    s.mirror(s.ellipsoid((w, 0.05, -0.2), (0.14, 0.36, 0.5))))  # fmt: skip
    beak = pointing(0.16, 0.2, 150, (0.0, -0.6, 0.1))
    feet = s.mirror(s.ellipsoid((0.24, -0.3, -0.92), (0.17, 0.26, 0.1)))
    return Shape("owl", body, [(beak, NOSE), (feet, NOSE)], _eyes(0.27, -0.5, 0.33, 0.27, 0.52))


def _bear(r: Rng) -> Shape:
    w = r.uniform(0.62, 0.72)
    head = s.ellipsoid((0, 0, 0), (w, 0.58, 0.6))
    ears = s.mirror(s.ellipsoid((0.52, 0.05, 0.52), (0.24, 0.14, 0.24)))
    snout = s.ellipsoid((0, -0.5, -0.17), (0.3, 0.26, 0.23))
    inner = s.mirror(s.ellipsoid((0.52, -0.12, 0.52), (0.13, 0.12, 0.13)))
    body = s.smooth(0.06, head, ears, s.ellipsoid((0, 0.1, -0.8), (0.55, 0.42, 0.4)))
    eyes = s.mirror(s.sphere((0.27, -0.5, 0.16), 0.14))
    nose = s.ellipsoid((0, -0.76, -0.08), (0.15, 0.14, 0.11))
    return Shape("bear", body, [(snout, (0.93, 0.82, 0.66))], [(inner, PINK), (eyes, INK), (nose, INK)])


def _television(r: Rng) -> Shape:
    w, h, d = r.uniform(0.75, 0.9), r.uniform(0.5, 0.62), r.uniform(0.2, 0.4)
    body = s.union(s.box((0, 0, 0.1), (w, d, h), 0.05), s.box((0, 0, 0.1 - h - 0.14), (0.14, 0.12, 0.16)),
                   s.box((0, 0, 0.1 - h - 0.28), (w * 0.55, 0.3, 0.05)))  # fmt: skip
    screen = slab(0, 0.1, w - 0.14, h - 0.14)
    glare = s.both(screen, s.turn(s.box((-0.2, -1, 0.25), (0.1, 2, 2)), s.rotation(1, 35)))
    return Shape("television", body, [], [(screen, SCREEN), (glare, (0.62, 0.83, 1.0))])


def _clock(r: Rng) -> Shape:
    radius, d = r.uniform(0.72, 0.8), r.uniform(0.22, 0.32)
    body = s.union(s.cylinder((0, 0, 0), radius, d, axis=1, rounding=0.05), s.mirror(s.sphere((0.5, 0, 0.68), 0.24)),
                   s.mirror(s.capsule((0.4, 0, -0.6), (0.55, 0, -0.9), 0.1)))  # fmt: skip
    dial = s.cylinder((0, -1, 0), radius - 0.17, 0.9, axis=1)
    hands = s.union(slab(0, 0.2, 0.065, 0.26), slab(0.17, 0, 0.22, 0.06), *[
        slab(x * (radius - 0.26), z * (radius - 0.26), 0.05, 0.05) for x, z in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ])  # fmt: skip
    return Shape("clock", body, [], [(dial, WHITE), (hands, INK)])


def _pumpkin(r: Rng) -> Shape:
    flat = r.uniform(0.68, 0.8)
    base = s.ellipsoid((0, 0, 0), (0.9, 0.9, flat))

    def body(p: torch.Tensor) -> torch.Tensor:
        return base(p) + 0.045 * torch.cos(9 * torch.atan2(p[:, 1], p[:, 0])) * (p[:, :2].norm(dim=1)).clamp_max(0.5)

    stem = s.capsule((0, 0, flat - 0.08), (0.06, 0, flat + 0.2), 0.1)
    top, width = 0.42, r.uniform(0.55, 0.7)

    def eyes(p: torch.Tensor) -> torch.Tensor:
        inside = torch.maximum(((p[:, 0].abs() - 0.33).abs() - width * (top - p[:, 2])), 0.07 - p[:, 2])
        return torch.maximum(inside, p[:, 1] + 0.1)

    nose = slab(0, -0.04, 0.08, 0.1)
    mouth = s.minus(s.ellipsoid((0, -1, -0.2), (0.5, 0.9, 0.32)), s.union(s.box((0, -1, 0.05), (1, 1, 0.22)),
                    slab(0.14, -0.2, 0.06, 0.09), slab(-0.14, -0.5, 0.06, 0.09)))  # fmt: skip
    glow = (1.0, 0.85, 0.2) if r.random() < 0.4 else INK
    return Shape("pumpkin", body, [(stem, (0.25, 0.4, 0.12))], [(eyes, glow), (nose, glow), (mouth, glow)])


def _cat(r: Rng) -> Shape:
    w = r.uniform(0.64, 0.74)
    ear = s.turn(s.cone((0.42, 0, 0.62), 0.27, 0.02, 0.28), s.rotation(1, 14), (0.42, 0, 0.62))
    body = s.smooth(
        0.08, s.ellipsoid((0, 0, 0), (w, 0.55, 0.58)), s.mirror(ear), s.ellipsoid((0, 0.15, -0.75), (0.42, 0.38, 0.42))
    )
    green = s.mirror(s.both(s.ellipsoid((0.29, -0.5, 0.12), (0.2, 0.42, 0.2)), s.box((0, -2, 0), (2, 1.95, 2))))
    slit = s.mirror(s.both(s.ellipsoid((0.29, -0.5, 0.12), (0.08, 0.42, 0.18)), s.box((0, -2, 0), (2, 1.95, 2))))
    nose = s.ellipsoid((0, -0.55, -0.12), (0.12, 0.15, 0.09))
    muzzle = s.ellipsoid((0, -0.55, -0.22), (0.3, 0.16, 0.2))
    inner = s.mirror(s.both(s.turn(s.cone((0.42, -0.15, 0.58), 0.2, 0.01, 0.22), s.rotation(1, 14), (0.42, 0, 0.6)),
                            s.box((0, -1, 0.6), (2, 0.97, 1))))  # fmt: skip
    return Shape(
        "cat", body, [(muzzle, WHITE)], [(green, (0.75, 0.95, 0.25)), (slit, INK), (nose, PINK), (inner, PINK)]
    )


def _monkey(r: Rng) -> Shape:
    w = r.uniform(0.58, 0.66)
    face = (0.93, 0.76, 0.58)
    body = s.smooth(
        0.08, s.ellipsoid((0, 0.05, 0.1), (w, 0.56, 0.62)), s.mirror(s.ellipsoid((0.78, 0.08, 0.05), (0.24, 0.1, 0.28)))
    )
    muzzle = s.ellipsoid((0, -0.36, -0.32), (0.42, 0.34, 0.3))
    mask = s.mirror(s.ellipsoid((0.22, -0.5, 0.16), (0.27, 0.4, 0.3)))
    mouth = s.box((0, -0.75, -0.42), (0.24, 0.3, 0.05))
    nose = s.mirror(s.sphere((0.09, -0.7, -0.2), 0.075))
    return Shape("monkey", body, [(muzzle, face)],
                 [(mask, face), *_eyes(0.22, -0.45, 0.16, 0.17, 0.6), (mouth, INK), (nose, INK)])  # fmt: skip


FIGURES: dict[str, Callable[[Rng], Shape]] = {
    "robot": _robot,
    "house": _house,
    "car": _car,
    "snowman": _snowman,
    "owl": _owl,
    "bear": _bear,
    "television": _television,
    "clock": _clock,
    "pumpkin": _pumpkin,
    "cat": _cat,
    "monkey": _monkey,
}
