# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen of the figures from where: which painted features and parts a camera meets, by tracing them.

The statistic behind the bundled language model. Nobody writes down that a face is in front: a word is said of a picture
where what it means covers some pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from csd_blender.backend.mini import vocabulary as voc

from ..dataset import random_camera
from ..render import Geometry, trace
from ..shape import Shape
from ..shapes import make_shape

#: Words for the parts and then the features of each figure, in the order of `figures.py`; empty for what has no name.
NAMES: dict[str, tuple[str, ...]] = {
    "robot": ("antenna", "eyes", "eyes", "mouth"),
    "house": ("roof", "door", "windows", "windows"),
    "car": ("wheels", "windshield", "windows", "windows", "headlights", "taillights", "grille"),
    "snowman": ("nose", "hat", "eyes", "buttons"),
    "owl": ("beak", "feet", "eyes", "eyes"),
    "bear": ("snout", "", "eyes", "nose"),
    "television": ("screen", "screen"),
    "clock": ("dial", "hands"),
    "pumpkin": ("stem", "eyes", "nose", "mouth"),
    "cat": ("snout", "eyes", "eyes", "nose", ""),
    "monkey": ("snout", "face", "eyes", "eyes", "mouth", "nose"),
}
#: What else is said where something is seen: (word, figures, what must be seen). The pumpkin's mouth turns up.
SAYINGS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("face", ("robot", "snowman", "owl", "bear", "pumpkin", "cat"), "eyes"),
    ("smiling", ("pumpkin",), "mouth"),
)
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys([word for names in NAMES.values() for word in names if word] + [word for word, _, _ in SAYINGS])
)
SIZE = 40  # pixels of the pictures' sides
LEAST_SEEN = 4  # pixels, a four-hundredth of the picture


@dataclass(frozen=True)
class Sight:
    """One look at one figure: from which side, and the words for what is seen."""

    shape: str
    view: str
    words: frozenset[str]


def seen_words(geometry: Geometry) -> list[frozenset[str]]:
    """The words for what each camera sees of a figure."""
    shape, area = geometry.shape, geometry.size**2
    which = _shown(shape, geometry.points)
    covered = geometry.coverage.flatten()[geometry.index] > 0.5
    camera = geometry.index // area
    found = []
    for view in range(len(geometry.cameras)):
        shown = which[(camera == view) & covered]
        counts: dict[str, int] = {}
        for i, name in enumerate(NAMES[shape.name]):
            counts[name] = counts.get(name, 0) + int((shown == i).sum())
        words = {name for name, count in counts.items() if name and count >= LEAST_SEEN}
        words |= {word for word, figures, needs in SAYINGS if shape.name in figures and needs in words}
        found.append(frozenset(words))
    return found


def _shown(shape: Shape, points: torch.Tensor) -> torch.Tensor:
    """Index into the figure's parts and features of what paints each surface point [M, 3]; -1 for the material.

    As `Shape.paint_over` paints: parts where they are nearer than what came before, then features over everything.
    """
    p = points * shape.radius + shape.center
    which, best = torch.full((len(p),), -1), shape.body(p)
    for i, (part, _) in enumerate(shape.parts):
        dist = part(p)
        which = torch.where(dist < best, i, which)
        best = torch.minimum(dist, best)
    for i, (region, _) in enumerate(shape.features, len(shape.parts)):
        which = torch.where(region(p) < 0, i, which)
    return which


def look_around(seed: int, instances: int = 24, cameras: int = 16) -> list[Sight]:
    """Random instances of every figure from random cameras of the training pictures, clear views only.

    The same arguments give the same list.
    """
    sights = []
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng((seed, number))
        for _ in range(instances):
            geometry = trace(make_shape(name, rng), [random_camera(rng, False) for _ in range(cameras)], SIZE)
            for camera, words in zip(geometry.cameras, seen_words(geometry), strict=True):
                if voc.clear_view(camera.azimuth, camera.elevation):
                    sights.append(Sight(name, voc.view_word(camera.azimuth, camera.elevation), words))
    return sights
