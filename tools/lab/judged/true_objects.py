"""What the judge calls the things of the mini model's world themselves, seen as finished objects are: no table of made
objects can be expected to be named better than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from csd_blender.backend.render.pictures import turntable_cameras

from ..mini.materials import make_material
from ..mini.readers.judge import Judge
from ..mini.render import Camera, paint, trace
from ..mini.shapes import make_shape
from .quality_textures import BACKGROUND, JUDGED_SIZE, VIEWS

EXAMPLES = 4  # of each: their proportions differ


@dataclass(frozen=True)
class TrueVerdict:
    """One thing: what it is, and what the judge calls it."""

    shape: str
    material: str
    color: str | None
    said_shape: str | None
    said_material: str | None

    @property
    def shape_right(self) -> bool:
        return self.said_shape == self.shape


def true_verdicts(things: Sequence[tuple[str, str, str | None]], judge: Judge) -> list[TrueVerdict]:
    """Of each shape, material and color :data:`EXAMPLES` things, unlit before gray, from the turntable's sides."""
    turntable = turntable_cameras(VIEWS)
    rows = zip(turntable.azimuth, turntable.elevation, turntable.distance, turntable.fov_y, strict=True)
    cameras = [Camera(float(azimuth), float(height), float(far), float(fov)) for azimuth, height, far, fov in rows]
    behind = torch.full((3, 1, 1), BACKGROUND)
    found = []
    for shape, material, color in things:
        for seed in range(EXAMPLES):
            rng = np.random.default_rng(seed)
            geometry = trace(make_shape(shape, rng), cameras, JUDGED_SIZE)
            surface = make_material(material, color, rng)
            said = judge.verdict(torch.stack([paint(geometry, view, surface, behind, None) for view in range(VIEWS)]))
            found.append(TrueVerdict(shape, material, color, said["shape"], said["material"]))
    return found


def format_true(verdicts: Sequence[TrueVerdict]) -> str:
    """How many shapes are named, and which are not."""
    right = sum(one.shape_right for one in verdicts)
    lines = [f"the true shapes themselves: {right} of {len(verdicts)} are named ({right / len(verdicts):.0%})"]
    for thing in dict.fromkeys((one.color, one.material, one.shape) for one in verdicts):
        wrong = [
            str(one.said_shape)
            for one in verdicts
            if (one.color, one.material, one.shape) == thing and not one.shape_right
        ]
        if wrong:
            lines.append(f"  {' '.join(word for word in thing if word)}: {', '.join(wrong)}")
    return "\n".join(lines)
