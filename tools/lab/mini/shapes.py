# SPDX-License-Identifier: GPL-3.0-or-later
"""All shapes of the training pictures: those without a front, random objects, and `make_shape` for every name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from . import solids as s
from .figures import FIGURES, ROOF
from .shape import Shape

Rng = np.random.Generator

BARK, STEM = (0.38, 0.23, 0.12), (0.94, 0.9, 0.8)


def normalized(shape: Shape, cells: int = 40) -> Shape:
    """Centers the shape and scales it to radius one, measured on a grid."""
    line = torch.linspace(-1.7, 1.7, cells)
    points = torch.cartesian_prod(line, line, line)
    inside = points[shape.distance(points) < 0.5 * float(line[1] - line[0])]
    shape.center = (inside.amin(0) + inside.amax(0)) / 2
    shape.radius = float((inside - shape.center).norm(dim=1).max())
    return shape


def _chair(r: Rng) -> Shape:
    w, high = r.uniform(0.48, 0.58), r.uniform(0.45, 0.6)
    legs = s.mirror(
        s.union(
            s.box((w - 0.08, -w + 0.08, -0.55), (0.08, 0.08, 0.5)),
            s.box((w - 0.08, w - 0.08, -0.55), (0.08, 0.08, 0.5)),
        )
    )
    return Shape(
        "chair",
        s.union(legs, s.box((0, 0, -0.05), (w, w, 0.09), 0.03), s.box((0, w - 0.07, high), (w, 0.08, high), 0.03)),
    )


def _simple(name: str, make: Callable[[Rng], s.Solid]) -> Callable[[Rng], Shape]:
    return lambda r: Shape(name, make(r))


def _cube(r: Rng) -> s.Solid:
    return s.box((0, 0, 0), (0.6, 0.6, r.uniform(0.55, 0.65)), r.uniform(0.0, 0.1))


def _pyramid(r: Rng) -> s.Solid:
    return s.pyramid((0, 0, 0), r.uniform(0.65, 0.8), r.uniform(0.5, 0.65))


def _ring(r: Rng) -> s.Solid:
    return s.torus((0, 0, 0), 0.65, r.uniform(0.22, 0.32), axis=2 if r.random() < 0.6 else 1)


def _vase(r: Rng) -> s.Solid:
    belly, neck, lip = r.uniform(0.42, 0.55), r.uniform(0.16, 0.24), r.uniform(0.28, 0.36)
    return s.lathe((-0.9, -0.75, -0.3, 0.1, 0.5, 0.7, 0.85), (0.25, 0.3, belly, belly * 0.85, neck, neck, lip), 0.06)


def _bottle(r: Rng) -> s.Solid:
    radius, neck = r.uniform(0.3, 0.38), r.uniform(0.1, 0.14)
    return s.lathe((-0.95, 0.2, 0.48, 0.95), (radius, radius, neck, neck), 0.05)


def _mug(r: Rng) -> s.Solid:
    radius, high, grip = r.uniform(0.48, 0.56), r.uniform(0.55, 0.68), r.uniform(0.28, 0.34)
    cup = s.minus(s.cylinder((0, 0, 0), radius, high, rounding=0.04), s.cylinder((0, 0, 0.3), radius - 0.09, high))
    handle = s.minus(s.torus((radius + 0.05, 0, 0), grip, 0.085, axis=1), s.cylinder((0, 0, 0), radius - 0.05, 2))
    return s.union(cup, handle)


def _bowl(r: Rng) -> s.Solid:
    ball = s.minus(s.sphere((0, 0, 0), 0.9), s.sphere((0, 0, 0.08), 0.8))
    return s.union(
        s.both(ball, s.box((0, 0, -1), (1, 1, 1 - r.uniform(-0.1, 0.15)))), s.cylinder((0, 0, -0.85), 0.4, 0.09)
    )


def _table(r: Rng) -> s.Solid:
    w, d, h = r.uniform(0.75, 0.9), r.uniform(0.55, 0.8), r.uniform(0.42, 0.6)
    legs = s.mirror(s.union(*[s.box((w - 0.12, y, -0.1), (0.085, 0.085, h)) for y in (d - 0.12, 0.12 - d)]))
    return s.union(s.box((0, 0, h - 0.1), (w, d, 0.09), 0.02), legs)


def _lamp(r: Rng) -> Shape:
    low, high = r.uniform(0.5, 0.6), r.uniform(0.26, 0.36)
    shade = s.cone((0, 0, 0.5), low, high, 0.36)
    foot = s.union(s.cylinder((0, 0, -0.9), 0.4, 0.07, rounding=0.03), s.capsule((0, 0, -0.9), (0, 0, 0.3), 0.07),
                   s.ellipsoid((0, 0, -0.55), (0.2, 0.2, 0.24)))  # fmt: skip
    return Shape("lamp", s.union(shade, foot))


def _tree(r: Rng) -> Shape:
    trunk = s.cone((0, 0, -0.6), 0.17, 0.12, 0.45)
    if r.random() < 0.5:
        crown = s.union(*[s.cone((0, 0, z), w, 0.04, 0.36) for z, w in ((-0.05, 0.62), (0.3, 0.52), (0.65, 0.4))])
    else:
        crown = s.smooth(0.1, s.sphere((0, 0, 0.45), 0.5), *[
            s.sphere((0.36 * np.cos(a), 0.36 * np.sin(a), 0.15), 0.36) for a in r.uniform(0, 1) + np.arange(4) * 1.571
        ])  # fmt: skip
    return Shape("tree", crown, [(trunk, BARK)])


def _mushroom(r: Rng) -> Shape:
    cap = s.both(
        s.ellipsoid((0, 0, 0.1), (r.uniform(0.75, 0.88), 0.82, r.uniform(0.6, 0.72))), s.box((0, 0, 1.05), (2, 2, 1))
    )
    stem = s.cone((0, 0, -0.35), 0.34, 0.24, 0.5, rounding=0.05)
    return Shape("mushroom", cap, [(stem, STEM)])


def _rocket(r: Rng) -> Shape:
    w = r.uniform(0.26, 0.33)
    body = s.lathe((-0.6, -0.2, 0.3, 0.62, 0.95), (w * 0.75, w, w, w * 0.7, 0.02), 0.04)
    fin = s.both(
        s.box((w + 0.1, 0, -0.55), (0.3, 0.04, 0.36)),
        s.turn(s.box((0, 0, -1), (1, 1, 1)), s.rotation(1, 42), (0, 0, 0)),
    )
    fins = s.union(s.mirror(fin), s.mirror(s.turn(fin, s.rotation(2, 90))), s.turn(fin, s.rotation(2, -90)))
    return Shape("rocket", body, [(fins, ROOF)], [])


def _dumbbell(r: Rng) -> s.Solid:
    big = r.uniform(0.36, 0.46)
    end = s.sphere((0.7, 0, 0), big) if r.random() < 0.5 else s.cylinder((0.7, 0, 0), big, 0.25, axis=0, rounding=0.05)
    return s.union(s.mirror(end), s.cylinder((0, 0, 0), 0.13, 0.7, axis=0))


def _barrel(r: Rng) -> s.Solid:
    w = r.uniform(0.5, 0.6)
    return s.union(s.lathe((-0.8, -0.35, 0.35, 0.8), (w * 0.72, w, w, w * 0.72), 0.06),
                   *[s.torus((0, 0, z), w * 0.97 + 0.02, 0.06) for z in (-0.4, 0.4)])  # fmt: skip


_MAKERS: dict[str, Callable[[Rng], Shape]] = {
    **FIGURES,
    "chair": _chair,
    "ball": _simple("ball", lambda r: s.sphere((0, 0, 0), 0.8)),
    "cube": _simple("cube", _cube),
    "cylinder": _simple("cylinder", lambda r: s.cylinder((0, 0, 0), r.uniform(0.45, 0.6), 0.75, rounding=0.02)),
    "cone": _simple("cone", lambda r: s.cone((0, 0, 0), r.uniform(0.55, 0.75), 0.02, 0.75)),
    "ring": _simple("ring", _ring),
    "capsule": _simple("capsule", lambda r: s.capsule((0, 0, -0.5), (0, 0, 0.5), r.uniform(0.34, 0.44))),
    "pyramid": _simple("pyramid", _pyramid), "vase": _simple("vase", _vase), "mug": _simple("mug", _mug),
    "bottle": _simple("bottle", _bottle), "bowl": _simple("bowl", _bowl), "table": _simple("table", _table),
    "lamp": _lamp, "tree": _tree, "mushroom": _mushroom, "rocket": _rocket,
    "dumbbell": _simple("dumbbell", _dumbbell), "barrel": _simple("barrel", _barrel),
}  # fmt: skip


def _random_rotation(r: Rng) -> torch.Tensor:
    q, _ = np.linalg.qr(r.normal(size=(3, 3)))
    return torch.from_numpy((q * np.sign(np.linalg.det(q))).astype(np.float32))


def _random_solid(r: Rng, center: np.ndarray, size: float) -> s.Solid:
    a, b, c = size * r.uniform(0.5, 1.1, 3)
    kind = r.integers(6)
    if kind == 0:
        return s.ellipsoid(center, (a, b, c))
    makers = [lambda: s.box(center, (a * 0.8, b * 0.8, c * 0.8), r.uniform(0, 0.4) * min(a, b, c)),
              lambda: s.cone(center, a, b * r.uniform(0, 1), c), lambda: s.torus(center, a * 0.8, b * 0.35),
              lambda: s.capsule(center - (0, 0, c), center + (0, 0, c), a * 0.5, b * 0.5),
              lambda: s.cylinder(center, a * 0.7, c, rounding=0.05 * a)]  # fmt: skip
    solid = makers[kind - 1]()
    return s.turn(solid, _random_rotation(r), center) if r.random() < 0.7 else solid


def _object(r: Rng) -> Shape:
    """A random thing: blobs, stacks, turned profiles or blends of solids, often symmetric."""
    kind = r.random()
    if kind < 0.2:
        count = int(r.integers(4, 8))
        radii = np.clip(r.uniform(0.1, 0.6, count) + 0.12 * r.normal(size=count), 0.06, 0.7)
        return Shape("object", s.lathe(tuple(np.linspace(-0.8, 0.8, count)), tuple(radii), 0.06))
    if kind < 0.4:
        count = int(r.integers(4, 9))
        balls = [s.sphere(r.uniform(-0.55, 0.55, 3), r.uniform(0.2, 0.48)) for _ in range(count)]
        return Shape("object", s.smooth(r.uniform(0.15, 0.4), s.sphere((0, 0, 0), 0.4), *balls))
    count = int(r.integers(0, 5))
    pieces = [_random_solid(r, np.zeros(3), r.uniform(0.5, 0.7))]
    pieces += [_random_solid(r, r.uniform(-0.5, 0.5, 3), r.uniform(0.25, 0.55)) for _ in range(count)]
    width = r.uniform(0.05, 0.25) if r.random() < 0.5 else 0.0
    solid = s.smooth(width, *pieces)
    return Shape("object", s.mirror(solid) if r.random() < 0.5 else solid)


def make_shape(name: str, rng: Rng) -> Shape:
    """A random instance of a named shape, radius one about the origin.

    "object" gives a random union of solids. Raises `ValueError` for an unknown name.
    """
    if name != "object" and name not in _MAKERS:
        raise ValueError(f"unknown shape {name!r}")
    return normalized(_object(rng) if name == "object" else _MAKERS[name](rng))
