# SPDX-License-Identifier: GPL-3.0-or-later
"""Procedural surfaces: colors as functions of the object-space point, so that they wrap around the whole object.

Every material is `paint(points [M, 3], normals [M, 3]) -> colors [M, 3] in 0..1`, made by `make_material` from a name,
a color name (for patterns) and a random generator that jitters scale, phase and palette. Objects have radius one, so a
feature of size 0.3 is about a seventh of the object's width. Normals only choose the projection plane of patterns that
are drawn in two dimensions (bricks, checks); they never shade.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch

from csd_blender.backend.mini.vocabulary import COLORS, PATTERNS

from .noise import cell_hash, fbm, noise, voronoi
from .palette import jitter, sample_color

Paint = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Rng = np.random.Generator


def _rgb(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def _mix(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    weight = weight.clamp(0.0, 1.0)[:, None]
    return a * (1 - weight) + b * weight


def _ramp(value: torch.Tensor, stops: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """Piecewise linear color of value [M]; stops are (value, color) in rising order."""
    color = stops[0][1].expand(value.shape[0], 3)
    for (low, _), (high, right) in itertools.pairwise(stops):
        color = _mix(color, right, (value - low) / (high - low))
    return color


def _soft(value: torch.Tensor, width: float) -> torch.Tensor:
    return (0.5 + value / width).clamp(0.0, 1.0)


def _plane(points: torch.Tensor, normals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates across and up, [M] each, in the axis plane that the surface faces most."""
    x, y, z = points.unbind(-1)
    ax, ay, az = normals.abs().unbind(-1)
    top = az > 1.6 * torch.maximum(ax, ay)
    across = torch.where(ay >= ax, x, y)
    return torch.where(top, x, across), torch.where(top, y, z)


def _offset(rng: Rng, amount: float = 8.0) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(-amount, amount, 3).astype(np.float32))


def _direction(rng: Rng) -> torch.Tensor:
    """Mostly level or upright directions, sometimes any."""
    kind = rng.random()
    if kind < 0.5:
        vector = np.array((0.0, 0.0, 1.0)) + rng.normal(0, 0.08, 3)
    elif kind < 0.7:
        vector = np.array((1.0, 1.0, 0.0)) * rng.choice((-1, 1), 3) + rng.normal(0, 0.1, 3)
    else:
        vector = rng.normal(size=3)
    return torch.from_numpy((vector / np.linalg.norm(vector)).astype(np.float32))


# ---- patterns that take a color ------------------------------------------------------------------------------------


def _partner(name: str, rng: Rng) -> torch.Tensor:
    """The second color of a pattern: white, or what contrasts with white and still leaves the color's name true."""
    if name == "white":
        return _rgb(0.42, 0.42, 0.44) + 0.06 * float(rng.uniform(-1, 1))
    return sample_color("white", rng)


def _plain(color: torch.Tensor, partner: torch.Tensor, rng: Rng) -> Paint:
    return lambda p, n: color.expand(p.shape[0], 3)


def _striped(color: torch.Tensor, partner: torch.Tensor, rng: Rng) -> Paint:
    direction, period, phase, share = _direction(rng), rng.uniform(0.3, 0.5), rng.random(), rng.uniform(0.5, 0.62)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        wave = torch.remainder(p @ direction / period + phase, 1.0)
        return _mix(partner, color, ((wave - share).sign() < 0).float())

    return paint


def _checkered(color: torch.Tensor, partner: torch.Tensor, rng: Rng) -> Paint:
    cell, shift = rng.uniform(0.28, 0.42), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        u, v = _plane(p + shift, n)
        odd = torch.remainder(torch.floor(u / cell) + torch.floor(v / cell), 2.0)
        return _mix(color, partner, odd)

    return paint


def _dotted(color: torch.Tensor, partner: torch.Tensor, rng: Rng) -> Paint:
    cell, shift, radius = rng.uniform(0.38, 0.52), _offset(rng), rng.uniform(0.26, 0.31)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        u, v = _plane(p + shift, n)
        row = torch.floor(v / (cell * 0.87))
        du = torch.remainder(u / cell + 0.5 * torch.remainder(row, 2.0), 1.0) - 0.5
        dv = (v / (cell * 0.87) - row - 0.5) * 0.87
        return _mix(color, partner, _soft(radius - (du**2 + dv**2).sqrt(), 0.08))

    return paint


def _scales(color: torch.Tensor, partner: torch.Tensor, rng: Rng) -> Paint:
    cell, shift = rng.uniform(0.28, 0.4), _offset(rng)
    dark = color * 0.35 if color.max() > 0.3 else color + 0.35
    light = color + 0.35 * (1.0 - color)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        u, v = _plane(p + shift, n)
        u, v = u / cell, v / (0.55 * cell)
        row = torch.floor(v)
        best = torch.full_like(u, 9.0)
        # A scale hangs from its row and covers the row below: of the two that may cover a point, the upper one wins.
        for k in (1, 0):
            r = row + k
            du = torch.remainder(u + 0.5 * torch.remainder(r, 2.0), 1.0) - 0.5
            dist = (du**2 + ((v - r - 0.45) * 0.55) ** 2).sqrt() / 0.56
            best = torch.where((dist < 1.0) & ((k == 1) | (best > 1.0)), dist, best)
        best = best.clamp(0.0, 1.0)
        return _mix(_mix(light, color, best * 1.6), dark, (best - 0.74) / 0.16)

    return paint


def _tiles(color: torch.Tensor, partner: torch.Tensor, rng: Rng) -> Paint:
    cell, shift = rng.uniform(0.3, 0.44), _offset(rng)
    grout = sample_color("white", rng) * 0.93 if color.mean() < 0.8 else _rgb(0.3, 0.3, 0.32)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        u, v = _plane(p + shift, n)
        cells = torch.stack((torch.floor(u / cell), torch.floor(v / cell)), -1).long()
        edge = torch.minimum((torch.remainder(u / cell, 1.0) - 0.5).abs().neg() + 0.5,
                             (torch.remainder(v / cell, 1.0) - 0.5).abs().neg() + 0.5)  # fmt: skip
        tile = color * (0.72 + 0.5 * cell_hash(cells)[:, :1])
        return _mix(grout.expand_as(tile), tile.clamp(0.0, 1.0), _soft(edge - 0.085, 0.03))

    return paint


# ---- materials with their own palette ------------------------------------------------------------------------------


def _wood(rng: Rng) -> Paint:
    light, dark = jitter((0.76, 0.52, 0.29), rng), jitter((0.42, 0.23, 0.10), rng)
    axis, shift, freq = int(rng.integers(3)), _offset(rng), rng.uniform(4.0, 5.5)
    center = rng.uniform(0.5, 1.0, 2) * rng.choice((-1, 1), 2)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        others = [k for k in range(3) if k != axis]
        stretched = p.clone()
        stretched[:, axis] *= 0.25
        radius = ((p[:, others[0]] - center[0]) ** 2 + (p[:, others[1]] - center[1]) ** 2).sqrt()
        ring = torch.remainder(radius * freq + 0.38 * noise(stretched + shift, 0.5), 1.0)
        grain = noise(stretched * 1.0 + shift, 0.12)
        return _mix(light, dark, ring**2.2 * 0.95 + 0.1 * grain)

    return paint


def _brick(rng: Rng) -> Paint:
    base, mortar = jitter((0.64, 0.23, 0.15), rng, 0.04), jitter((0.80, 0.76, 0.70), rng, 0.04)
    high, shift = rng.uniform(0.19, 0.26), _offset(rng)
    wide, gap = high * 2.1, 0.035

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        u, v = _plane(p + shift, n)
        row = torch.floor(v / high)
        along = u / wide + 0.5 * torch.remainder(row, 2.0)
        col = torch.floor(along)
        edge = torch.minimum((0.5 - (along - col - 0.5).abs()) * wide, (0.5 - (v / high - row - 0.5).abs()) * high)
        tint = (
            0.78 + 0.44 * cell_hash(torch.stack((row, col), -1).long())[:, :1] + 0.05 * noise(p + shift, 0.1)[:, None]
        )
        return _mix(mortar.expand(p.shape[0], 3), (base * tint).clamp(0, 1), _soft(edge - gap * 0.75, 0.02))

    return paint


def _marble(rng: Rng) -> Paint:
    base, vein = jitter((0.93, 0.92, 0.91), rng, 0.02), jitter((0.25, 0.27, 0.32), rng, 0.04)
    shift, size = _offset(rng), rng.uniform(0.7, 0.95)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        warped = p + shift + 0.09 * torch.stack([noise(p + shift + k, 0.35) for k in (1.0, 2.0, 3.0)], -1)
        thick = (1.0 - noise(warped, size).abs() / 0.24).clamp(0.0, 1.0)
        thin = (1.0 - noise(warped + 5.0, 0.55 * size).abs() / 0.10).clamp(0.0, 1.0)
        cloud = 0.14 * (0.5 + 0.5 * noise(p + shift, 0.9)).clamp(0.0, 1.0)
        return _mix(base, vein, torch.maximum(thick, 0.6 * thin) + cloud)

    return paint


def _rust(rng: Rng) -> Paint:
    metal = jitter((0.46, 0.50, 0.54), rng, 0.03)
    stops = [(-0.3, metal), (0.0, jitter((0.36, 0.16, 0.08), rng, 0.03)),
             (0.7, jitter((0.62, 0.27, 0.08), rng, 0.03)),
             (1.8, jitter((0.86, 0.47, 0.15), rng, 0.03))]  # fmt: skip
    shift, bias = _offset(rng), rng.uniform(0.3, 0.8)
    return lambda p, n: _ramp(fbm(p + shift, 0.5, 4) + bias, stops)


def _moss(rng: Rng) -> Paint:
    stops = [(-1.6, jitter((0.10, 0.17, 0.05), rng, 0.03)), (0.0, jitter((0.26, 0.42, 0.09), rng, 0.03)),
             (1.5, jitter((0.60, 0.70, 0.20), rng, 0.03))]  # fmt: skip
    shift = _offset(rng)
    return lambda p, n: _ramp(0.85 * noise(p + shift, 0.1) + 0.6 * noise(p + shift, 0.4), stops)


def _lava(rng: Rng) -> Paint:
    rock = jitter((0.12, 0.07, 0.06), rng, 0.02)
    size, shift = rng.uniform(0.5, 0.7), _offset(rng)
    stops = [(0.0, _rgb(1.0, 0.93, 0.35)), (0.07, _rgb(1.0, 0.55, 0.05)), (0.16, _rgb(0.75, 0.13, 0.02)), (0.27, rock)]

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        warped = p + shift + 0.05 * noise(p + shift, 0.25)[:, None]
        near, second, _ = voronoi(warped, size)
        return _ramp(second - near + 0.05 * noise(warped, 0.4), stops)

    return paint


def _ice(rng: Rng) -> Paint:
    deep, pale = jitter((0.42, 0.74, 0.92), rng, 0.03), jitter((0.80, 0.94, 0.99), rng, 0.015)
    size, shift = rng.uniform(0.5, 0.75), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        near, second, cell = voronoi(p + shift + 0.04 * noise(p + shift, 0.3)[:, None], size, 1.0)
        facet = _mix(deep, pale, 0.75 * cell[:, 3] + 0.25 * noise(p + shift, 0.4))
        return _mix(facet, torch.ones(3), 1.0 - (second - near) / 0.11)

    return paint


def _gold(rng: Rng) -> Paint:
    stops = [(-1.7, jitter((0.40, 0.22, 0.02), rng, 0.03)), (-0.5, jitter((0.80, 0.55, 0.08), rng, 0.03)),
             (0.5, jitter((0.97, 0.76, 0.22), rng, 0.02)), (1.4, _rgb(1.0, 0.97, 0.72))]  # fmt: skip
    shift, size = _offset(rng), rng.uniform(0.35, 0.5)

    # Bands that follow the surface direction look like reflections even without any light.
    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        return _ramp(
            0.3 + 0.8 * noise(p + shift + 0.15 * n, size) + 0.7 * torch.sin(5.0 * n[:, 2] + 2.0 * n[:, 0]), stops
        )

    return paint


def _leopard(rng: Rng) -> Paint:
    tan, inner, dark = (jitter(c, rng, 0.03) for c in ((0.90, 0.69, 0.36), (0.74, 0.46, 0.16), (0.15, 0.09, 0.05)))
    size, shift = rng.uniform(0.34, 0.44), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        near, _, _ = voronoi(p + shift, size, 0.6)
        near = near + 0.05 * noise(p + shift, 0.2)
        color = _mix(tan, inner, _soft(0.34 - near, 0.06))
        broken = noise(p + shift + 9.0, 0.28) > -0.9
        ring = _soft(0.13 - (near - 0.33).abs(), 0.05) * broken
        return _mix(color, dark, ring)

    return paint


def _animal_stripes(rng: Rng, base: torch.Tensor, dark: torch.Tensor, share: float, wobble: float) -> Paint:
    direction = _direction(rng)
    freq, shift = rng.uniform(2.4, 3.2), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        phase = p @ direction * freq + wobble * noise(p + shift, 0.8) + 0.12 * noise(p + shift, 0.3)
        wave = (torch.remainder(phase, 1.0) - 0.5).abs() * 2.0
        return _mix(base, dark, _soft(wave - 1.0 + share + 0.14 * noise(p + shift + 4.0, 0.5), 0.12))

    return paint


def _zebra(rng: Rng) -> Paint:
    return _animal_stripes(rng, sample_color("white", rng), sample_color("black", rng), 0.5, 0.42)


def _tiger(rng: Rng) -> Paint:
    return _animal_stripes(rng, jitter((0.93, 0.52, 0.12), rng, 0.03), sample_color("black", rng), 0.36, 0.42)


def _giraffe(rng: Rng) -> Paint:
    cream, patch = jitter((0.95, 0.85, 0.62), rng, 0.03), jitter((0.58, 0.31, 0.11), rng, 0.04)
    size, shift = rng.uniform(0.5, 0.62), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        near, second, cell = voronoi(p + shift, size, 0.75)
        return _mix(cream, patch * (0.85 + 0.3 * cell[:, 3:]), _soft(second - near - 0.16, 0.05))

    return paint


def _camouflage(rng: Rng) -> Paint:
    layers = [
        jitter(c, rng, 0.03) for c in ((0.36, 0.40, 0.20), (0.66, 0.60, 0.40), (0.30, 0.21, 0.12), (0.09, 0.10, 0.07))
    ]
    size, shift = rng.uniform(0.42, 0.55), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        color = layers[0].expand(p.shape[0], 3)
        for k, (layer, level) in enumerate(zip(layers[1:], (0.5, 0.6, 0.95), strict=True)):
            field = noise(p + shift + 2.3 * (k + 1), size) + 0.25 * noise(p + shift - k, 0.4 * size)
            color = _mix(color, layer, _soft(field - level, 0.12))
        return color

    return paint


def _denim(rng: Rng) -> Paint:
    blue, pale = jitter((0.15, 0.24, 0.42), rng, 0.025), jitter((0.50, 0.61, 0.77), rng, 0.025)
    shift, seam = _offset(rng), rng.uniform(0.75, 1.05)
    thread = jitter((0.88, 0.62, 0.22), rng, 0.03)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        u, v = _plane(p + shift, n)
        twill = torch.sin((u + v) * (2 * math.pi / 0.115))
        color = _mix(blue, pale, 0.36 + 0.27 * twill + 0.13 * fbm(p + shift, 0.4))
        away = (torch.remainder(u / seam, 1.0) - 0.5).abs() * seam
        color = _mix(color, blue * 0.6, _soft(0.025 - away, 0.02))
        dash = (torch.remainder(v / 0.15, 1.0) < 0.66).float()
        return _mix(color, thread, _soft(0.028 - (away - 0.075).abs(), 0.02) * dash)

    return paint


def _stone(rng: Rng) -> Paint:
    dark, light = jitter((0.31, 0.30, 0.29), rng, 0.025), jitter((0.70, 0.69, 0.66), rng, 0.025)
    shift = _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        color = _mix(dark, light, 0.55 + 0.2 * noise(p + shift, 0.45) + 0.24 * noise(p + shift, 0.085))
        crack = (1.0 - noise(p + shift + 6.0 + 0.03 * noise(p, 0.15)[:, None], 1.0).abs() / 0.07).clamp(0.0, 1.0)
        return _mix(color, dark * 0.4, crack)

    return paint


def _cobblestone(rng: Rng) -> Paint:
    base, gap = jitter((0.56, 0.54, 0.50), rng, 0.03), jitter((0.16, 0.15, 0.13), rng, 0.03)
    size, shift = rng.uniform(0.34, 0.44), _offset(rng)

    def paint(p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        near, second, cell = voronoi(p + shift, size, 0.7)
        tone = base * (0.68 + 0.7 * cell[:, 3:]) + 0.05 * (cell[:, :1] - 0.5) * _rgb(1.0, 0.2, -1.0)
        dome = (1.12 - 0.55 * near**2)[:, None]
        return _mix(gap, (tone * dome).clamp(0, 1), _soft(second - near - 0.15, 0.09))

    return paint


_PATTERNS = {"plain": _plain, "striped": _striped, "checkered": _checkered, "dotted": _dotted, "scales": _scales,
             "tiles": _tiles}  # fmt: skip
_OWN = {
    "wood": _wood, "brick": _brick, "marble": _marble, "rust": _rust, "moss": _moss, "lava": _lava, "ice": _ice,
    "gold": _gold, "leopard": _leopard, "zebra": _zebra, "tiger": _tiger, "giraffe": _giraffe,
    "camouflage": _camouflage, "denim": _denim, "stone": _stone, "cobblestone": _cobblestone,
}  # fmt: skip


def make_material(name: str, color: str | None, rng: Rng) -> Paint:
    """A random instance of a material. Patterns need a color of `COLORS`, other materials take none.

    Raises `ValueError` for an unknown name, a pattern without a color, or a color where none belongs.
    """
    if name in PATTERNS:
        if color not in COLORS:
            raise ValueError(f"pattern {name!r} needs one of the colors {COLORS}, not {color!r}")
        return _PATTERNS[name](sample_color(color, rng), _partner(color, rng), rng)
    if name not in _OWN:
        raise ValueError(f"unknown material {name!r}")
    if color is not None:
        raise ValueError(f"material {name!r} brings its own colors, {color!r} cannot be applied")
    return _OWN[name](rng)
