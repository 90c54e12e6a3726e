# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes whose features can be felt: eyes that stand out, panes that lie deep, frames around doors.

In the plain training world features are flat paint, so that geometry cannot say where they are. Here most shapes have
theirs raised, sunk or framed, moved and scaled together, and things that people put on such objects besides: a scarf,
arms, bumpers, a chimney. Bumps without a meaning are there, too, on shapes of every kind: not every disc is an eye.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .. import solids as s
from ..figures import INK, ROOF
from ..shape import Rgb, Shape
from ..shapes import make_shape, normalized
from .builds import BUILDS, STONE, TWIG, any_color

Rng = np.random.Generator

#: Shares of shapes: with modelled features, of those that have any; with additions; with bumps that mean nothing.
RELIEF, ADDED, BUMPS = 0.78, 0.5, 0.25
#: How far a feature stands out or lies deep, and how wide a frame is, in units of the object's radius.
HEIGHT, FRAME = (0.018, 0.08), (0.025, 0.06)


def make_relief_shape(name: str, rng: Rng, builds: float = 0.0) -> Shape:
    """A random instance as of :func:`~..shapes.make_shape`, with what this module adds; radius one about the origin.

    builds: share that has another build, of the shapes that :mod:`.builds` has one for.
    """
    if builds and name in BUILDS and rng.random() < builds:
        shape = plain = normalized(BUILDS[name](rng))
        if rng.random() < RELIEF:
            shape = with_relief(shape, rng)  # its features are where its parts are, and stay there
    else:
        shape = plain = make_shape(name, rng)
        if name in ADDITIONS and rng.random() < ADDED:
            shape = ADDITIONS[name](shape, rng)
        if shape.features and rng.random() < RELIEF:
            shape = with_relief(moved_features(shape, rng), rng)
    if rng.random() < BUMPS:
        shape = with_bumps(shape, rng)
    if shape is plain:
        return shape
    return normalized(Shape(shape.name, shape.body, shape.parts, shape.features))


def moved_features(shape: Shape, rng: Rng) -> Shape:
    """All features moved up or down, seldom aside, and scaled about the middle of the front, together."""
    across = rng.uniform(-0.08, 0.08) if rng.random() < 0.3 else 0.0
    offset = torch.tensor((across, 0.0, rng.uniform(-0.12, 0.12)), dtype=torch.float32)
    factor = float(rng.uniform(0.78, 1.25))
    scale = torch.tensor((factor, 1.0, factor))

    def moved(region: s.Solid) -> s.Solid:
        return lambda p: region((p - offset) / scale) * min(factor, 1.0)

    features = [(moved(region), color) for region, color in shape.features]
    return Shape(shape.name, shape.body, shape.parts, features, shape.center, shape.radius)


def with_relief(shape: Shape, rng: Rng) -> Shape:
    """Each feature raised, sunk or framed; one inside another goes a little further the same way."""
    raised = rng.random() < 0.5
    body, radius = shape.body, shape.radius
    level = 0.0
    for region, _ in shape.features:
        height = float(rng.uniform(*HEIGHT)) * radius
        kind = rng.random()
        if kind < 0.12:
            continue  # paint alone
        if kind < 0.3:
            body = framed(body, region, float(rng.uniform(*FRAME)) * radius, height)
        else:
            level = max(level, height) + 0.3 * height
            body = (lifted if raised else sunk)(body, shape.body, region, level)
    return Shape(shape.name, body, shape.parts, shape.features, shape.center, radius)


def lifted(body: s.Solid, ground: s.Solid, region: s.Solid, height: float) -> s.Solid:
    """``body``, and within the region all that is no further than ``height`` from the ``ground``."""
    return lambda p: torch.minimum(body(p), torch.maximum(ground(p) - height, region(p)))


def sunk(body: s.Solid, ground: s.Solid, region: s.Solid, depth: float) -> s.Solid:
    """``body`` without the skin of that depth within the region."""
    return lambda p: torch.maximum(body(p), -torch.maximum(-ground(p) - depth, region(p)))


def framed(body: s.Solid, region: s.Solid, width: float, height: float) -> s.Solid:
    """``body`` with a rim of that width and height around the region."""
    return lambda p: torch.minimum(body(p), torch.maximum(body(p) - height, (region(p) - width / 2).abs() - width / 2))


def with_bumps(shape: Shape, rng: Rng) -> Shape:
    """One to four raised or sunk discs and rectangles anywhere, of whatever the body is made of."""
    body = shape.body
    for _ in range(int(rng.integers(1, 5))):
        at = rng.normal(size=3)
        at /= np.linalg.norm(at)
        place = tuple((torch.from_numpy(at).float() * shape.radius + shape.center).tolist())
        size = float(rng.uniform(0.08, 0.22)) * shape.radius
        patch = s.sphere(place, 2.2 * size) if rng.random() < 0.5 else s.box(place, (size, 3 * size, 1.4 * size))
        height = float(rng.uniform(*HEIGHT)) * shape.radius
        body = (lifted if rng.random() < 0.5 else sunk)(body, shape.body, patch, height)
    return Shape(shape.name, body, shape.parts, shape.features, shape.center, shape.radius)


# ---- what people put on things -------------------------------------------------------------------------------------


def _with_parts(shape: Shape, *parts: tuple[s.Solid, Rgb]) -> Shape:
    return Shape(shape.name, shape.body, [*shape.parts, *parts], shape.features, shape.center, shape.radius)


def _with_solids(shape: Shape, *solids: s.Solid) -> Shape:
    body = s.union(shape.body, *solids)
    return Shape(shape.name, body, shape.parts, shape.features, shape.center, shape.radius)


def _dressed_snowman(shape: Shape, rng: Rng) -> Shape:
    """Twigs for arms, with fingers, and a scarf with a hanging end; any of them."""
    parts: list[tuple[s.Solid, Rgb]] = []
    if rng.random() < 0.75:
        reach, rise, thick = rng.uniform(0.75, 1.05), rng.uniform(-0.05, 0.45), rng.uniform(0.03, 0.06)
        elbow = (0.7 * reach, -0.05, 0.15 + 0.75 * rise)
        arm = s.union(
            s.capsule((0.25, 0, 0.15), (reach, -0.08, 0.15 + rise), thick),
            s.capsule(elbow, (0.8 * reach, -0.16, elbow[2] + 0.2), 0.7 * thick),
        )
        parts.append((s.mirror(arm), TWIG))
    if rng.random() < 0.6:
        color, height = any_color(rng), rng.uniform(-0.02, 0.1)
        scarf = s.torus((0, 0, height), 0.34, rng.uniform(0.07, 0.11))
        end = s.capsule((0.2, -0.32, height), (0.25, -0.5, height - rng.uniform(0.25, 0.4)), 0.08)
        parts.append((s.union(scarf, end), color))
    return _with_parts(shape, *parts)


def _dressed_car(shape: Shape, rng: Rng) -> Shape:
    """Bumpers, hubs, mirrors."""
    wide = 0.42
    bars = s.union(*[s.capsule((-wide, y, -0.28), (wide, y, -0.28), 0.06) for y in (-0.97, 0.97)])
    if rng.random() < 0.5:
        shape = _with_solids(shape, bars)
    else:
        shape = _with_parts(shape, (bars, (0.6, 0.6, 0.62)))
    if rng.random() < 0.4:
        shape = _with_solids(shape, s.mirror(s.ellipsoid((0.56, -0.4, 0.16), (0.09, 0.05, 0.06))))
    return shape


def _dressed_house(shape: Shape, rng: Rng) -> Shape:
    """A chimney, steps in front of the door."""
    chimney = s.box((rng.uniform(0.25, 0.45), rng.uniform(-0.2, 0.3), 0.55), (0.1, 0.1, 0.35), 0.01)
    shape = _with_parts(shape, (chimney, STONE if rng.random() < 0.5 else ROOF))
    if rng.random() < 0.5:
        shape = _with_solids(shape, s.box((0, -0.75, -0.74), (0.26, 0.18, 0.06), 0.01))
    return shape


def _dressed_robot(shape: Shape, rng: Rng) -> Shape:
    """Rivets, and a grille of bars."""
    rivets = s.mirror(s.union(*[s.sphere((x, -0.55, z), 0.05) for x in (0.5,) for z in (-0.42, 0.46)]))
    shape = _with_solids(shape, rivets)
    if rng.random() < 0.5:
        bars = s.mirror(s.union(*[s.capsule((x, -0.58, -0.44), (x, -0.58, -0.3), 0.03) for x in (0.08, 0.24)]))
        shape = _with_parts(shape, (bars, INK))
    return shape


def _dressed_television(shape: Shape, rng: Rng) -> Shape:
    """Knobs, and two rods for an antenna."""
    knobs = s.union(*[s.cylinder((x, -0.36, -0.36), 0.05, 0.1, axis=1) for x in (0.3, 0.45)])
    shape = _with_solids(shape, knobs)
    if rng.random() < 0.6:
        lean = rng.uniform(0.2, 0.45)
        shape = _with_parts(shape, (s.mirror(s.capsule((0.04, 0, 0.65), (lean, 0, 1.1), 0.03)), (0.2, 0.2, 0.22)))
    return shape


ADDITIONS: dict[str, Callable[[Shape, Rng], Shape]] = {
    "snowman": _dressed_snowman,
    "car": _dressed_car,
    "house": _dressed_house,
    "robot": _dressed_robot,
    "television": _dressed_television,
}
