# SPDX-License-Identifier: GPL-3.0-or-later
"""Other builds of shapes that people model in more than one way: snowmen of three balls, cottages with barred panes.

The plain world has one build of each kind, and a net that has seen no other reads a third ball as the hat's, and a
window beside the door as bricks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from csd_blender.backend.mini.vocabulary import COLORS

from .. import solids as s
from ..figures import DOOR, GLASS, INK, NOSE, ROOF, pointing, slab
from ..palette import sample_color
from ..shape import Rgb, Shape

Rng = np.random.Generator
TWIG, STONE = (0.32, 0.2, 0.1), (0.55, 0.52, 0.5)


def any_color(rng: Rng) -> Rgb:
    """One of the vocabulary's colors, as it varies."""
    red, green, blue = sample_color(COLORS[rng.integers(len(COLORS))], rng).tolist()
    return red, green, blue


def snowman_of_three(rng: Rng) -> Shape:
    """Three balls, the smallest with the face and under the hat; a scarf below it, arms, buttons; most of them."""
    low = rng.uniform(0.44, 0.54)
    middle, head = low * rng.uniform(0.66, 0.84), low * rng.uniform(0.46, 0.66)
    low_z = -0.95 + low
    middle_z = low_z + rng.uniform(0.72, 0.84) * (low + middle)
    head_z = middle_z + rng.uniform(0.72, 0.84) * (middle + head)
    body = s.union(s.sphere((0, 0, low_z), low), s.sphere((0, 0, middle_z), middle), s.sphere((0, 0, head_z), head))
    length = head * rng.uniform(0.4, 0.65)
    parts: list[tuple[s.Solid, Rgb]] = [
        (pointing(head * rng.uniform(0.18, 0.34), length, 90, (0.0, -head - 0.7 * length, head_z - 0.05 * head)), NOSE)
    ]
    if rng.random() < 0.85:
        brim = head_z + head * rng.uniform(0.7, 0.9)
        tall, thick = head * rng.uniform(0.35, 0.7), rng.uniform(0.03, 0.06)
        hat = s.union(
            s.cylinder((0, 0, brim), head * rng.uniform(0.95, 1.3), thick),
            s.cylinder((0, 0, brim + tall), head * rng.uniform(0.6, 0.85), tall),
        )
        parts.append((hat, INK))
    if rng.random() < 0.65:
        neck = (head_z + middle_z) / 2 + rng.uniform(0.0, 0.06)
        scarf = s.torus((0, 0, neck), head * rng.uniform(0.85, 1.0), rng.uniform(0.05, 0.09))
        side = rng.uniform(-0.7, 0.7) * head
        end = s.capsule((side, -head, neck), (1.1 * side, -1.3 * head, neck - rng.uniform(0.2, 0.4)), 0.065)
        if rng.random() < 0.5:
            parts.append((s.union(scarf, end), any_color(rng)))
        else:  # of the same material
            body = s.union(body, scarf, end)
    if rng.random() < 0.75:
        reach, rise, thick = rng.uniform(0.6, 0.95), rng.uniform(-0.05, 0.4), rng.uniform(0.025, 0.05)
        elbow = (0.75 * reach, -0.04, middle_z + 0.08 + 0.6 * rise)
        arm = s.union(
            s.capsule((0.6 * middle, 0, middle_z + 0.05), (reach, -0.08, middle_z + 0.08 + rise), thick),
            s.capsule(elbow, (0.9 * reach, -0.14, elbow[2] + 0.14), 0.7 * thick),
        )
        parts.append((s.mirror(arm), TWIG))
    size, apart, up = rng.uniform(0.16, 0.3) * head, rng.uniform(0.3, 0.45) * head, rng.uniform(0.2, 0.4) * head
    forward = float(np.sqrt(max(head**2 - apart**2 - up**2, 0.0)))
    front = s.box((0, -2, 0), (2, 1.95, 2))  # features are deep, so that they are there where they are raised or sunk
    eyes = s.mirror(s.ellipsoid((apart, -forward, head_z + up), (size, 1.2 * head, size)))
    features: list[tuple[s.Solid, Rgb]] = [(s.both(eyes, front), INK)]
    if rng.random() < 0.8:
        size = rng.uniform(0.045, 0.08)
        turns = np.radians(rng.uniform(25, 40) * np.array((-1.0, 0.0, 1.0)))
        places = [(0.0, -middle * float(np.cos(t)), middle_z + middle * float(np.sin(t))) for t in turns]
        buttons = s.union(*[s.ellipsoid(place, (size, 0.6, size)) for place in places])
        features.append((s.both(buttons, front), INK))
    return Shape("snowman", body, parts, features)


def cottage(rng: Rng) -> Shape:
    """A gable roof; a door with a window at each side in the wall under the gable, barred panes, one in the gable."""
    w, d, h = rng.uniform(0.58, 0.78), rng.uniform(0.5, 0.7), rng.uniform(0.4, 0.55)
    top, eaves, floor = rng.uniform(0.45, 0.7), h - 0.35, -h - 0.35
    line = np.array((top, w)) / np.hypot(top, w)

    def under(p: torch.Tensor) -> torch.Tensor:
        return p[:, 0].abs() * float(line[0]) + (p[:, 2] - (eaves + top)) * float(line[1])

    def gable(p: torch.Tensor) -> torch.Tensor:
        return torch.maximum(torch.maximum(under(p), p[:, 1].abs() - d), eaves - 0.05 - p[:, 2])

    thick, beyond = rng.uniform(0.06, 0.13), rng.uniform(0.08, 0.2)

    def roof(p: torch.Tensor) -> torch.Tensor:
        sheet = torch.maximum(under(p) - thick, -under(p))
        inside = torch.maximum(p[:, 1].abs() - d - beyond, p[:, 0].abs() - w - beyond)
        return torch.maximum(sheet, inside)

    body = s.union(s.box((0, 0, -0.35), (w, d, h)), gable)
    if rng.random() < 0.5:
        body = s.union(body, s.box((0, 0, floor), (w + 0.08, d + 0.08, 0.05)))
    if rng.random() < 0.5:
        body = s.union(body, s.box((0, -d - 0.1, floor + 0.03), (0.24, 0.2, 0.06)))
    parts: list[tuple[s.Solid, Rgb]] = [(roof, ROOF)]
    if rng.random() < 0.7:
        chimney = s.box(
            (rng.uniform(0.2, 0.6) * w, rng.uniform(-0.3, 0.4) * d, eaves + top - 0.1), (0.1, 0.1, 0.32), 0.01
        )
        parts.append((chimney, STONE if rng.random() < 0.5 else ROOF))

    wide, high = rng.uniform(0.13, 0.2), rng.uniform(0.24, 0.34)
    door = slab(0, floor + high, wide, high)
    half, tall = min(rng.uniform(0.1, 0.17), 0.5 * (w - wide) - 0.04), rng.uniform(0.11, 0.19)
    x, z = 0.5 * (w + wide), rng.uniform(floor + 0.3, floor + 0.55)
    windows, behind = rng.random() < 0.85, rng.random() < 0.6
    panes = [s.mirror(slab(x, z, half, tall))] if windows else []
    if windows and behind:
        panes.append(s.mirror(slab(x, z, half, tall, y=1.0)))
    if rng.random() < 0.6:
        panes.append(s.mirror(s.box((w, 0, z), (0.3, half * 1.2, tall))))
    if rng.random() < 0.5:
        size = rng.uniform(0.09, 0.15)
        panes.append(s.cylinder((0, -d, eaves + 0.3 * top), size, 0.3, axis=1))
    features: list[tuple[s.Solid, Rgb]] = [(door, DOOR), *((pane, GLASS) for pane in panes)]
    if windows and rng.random() < 0.6:  # bars in the panes, which are painted with them
        bars = s.union(slab(x, z, 0.02, tall), slab(x, z, half, 0.02))
        body = s.union(body, s.both(s.mirror(bars), s.box((0, -d, 0), (2, 0.05, 2))))
    return Shape("house", body, parts, features)


BUILDS: dict[str, Callable[[Rng], Shape]] = {"snowman": snowman_of_three, "house": cottage}
