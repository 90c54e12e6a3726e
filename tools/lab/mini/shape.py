# SPDX-License-Identifier: GPL-3.0-or-later
"""A shape of the training pictures: a body that carries the material, and features painted in fixed colors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from csd_blender.backend.mini.vocabulary import FRONT_SHAPES

from . import solids as s

Rgb = tuple[float, float, float]


@dataclass
class Shape:
    """A body, parts in their own color, and painted features; distances are in units of the object's radius."""

    name: str
    body: s.Solid
    parts: list[tuple[s.Solid, Rgb]] = field(default_factory=list)
    features: list[tuple[s.Solid, Rgb]] = field(default_factory=list)
    center: torch.Tensor = field(default_factory=lambda: torch.zeros(3))
    radius: float = 1.0

    @property
    def has_front(self) -> bool:
        """Whether front and back can be told apart."""
        return self.name in FRONT_SHAPES

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance [M] of points [M, 3]."""
        p = points * self.radius + self.center
        dist = self.body(p)
        for part, _ in self.parts:
            dist = torch.minimum(dist, part(p))
        return dist / self.radius

    def paint_over(self, points: torch.Tensor, colors: torch.Tensor) -> torch.Tensor:
        """Material colors [M, 3] with parts and features painted over, for surface points [M, 3]."""
        own = torch.tensor([(0.0, 0.0, 0.0), *(color for _, color in [*self.parts, *self.features])])
        which = self.painted(points)
        return torch.where((which > 0)[:, None], own[which], colors)

    def painted(self, points: torch.Tensor) -> torch.Tensor:
        """What gives points [M, 3] their color, [M] int64: 0 the material, from 1 the parts, then the features."""
        p = points * self.radius + self.center
        best = self.body(p)
        which = torch.zeros(len(p), dtype=torch.int64)
        for i, (part, _) in enumerate(self.parts, 1):
            dist = part(p)
            which[dist < best] = i
            best = torch.minimum(dist, best)
        for i, (region, _) in enumerate(self.features, 1 + len(self.parts)):
            which[region(p) < 0] = i
        return which
