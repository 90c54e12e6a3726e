# SPDX-License-Identifier: GPL-3.0-or-later
"""Training pictures of rings of four: a thing from four sides, in parts on the disk as :mod:`..dataset` keeps its own.

A part has what :mod:`..control.pictures` has, its pictures in rings of :data:`RING` side by side, and `cameras` float32
[K, 16], as the network reads them (``backend/diffusion/views/mvdream.camera_numbers``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from csd_blender.backend.diffusion.views.mvdream import camera_numbers
from csd_blender.job.spec.cameras import VIEWS_AT_ONCE

from .. import dataset
from ..control.pictures import FLAT_SHARE, picture_row, shape_name
from ..control.relief import make_relief_shape
from ..render import Camera, Light, paint, random_light, trace

RING, SURFACES = VIEWS_AT_ONCE, 2
SHAPES_PER_PART = 30
PART = SHAPES_PER_PART * RING * SURFACES
#: Of rings, those that look from high above.
HIGH_SHARE = 0.08
#: Of rings, those whose pictures have one background; the others have one each.
ALIKE_SHARE = 0.7


def ring_of_cameras(rng: np.random.Generator) -> list[Camera]:
    """Four cameras evenly around a thing, turned by chance, alike in all else; they see the whole of it."""
    first = rng.uniform(-180, 180)
    elevation = rng.uniform(55, 80) if rng.random() < HIGH_SHARE else rng.uniform(-15, 52)
    fov = rng.uniform(28, 50)
    zoom = math.exp(rng.uniform(math.log(0.62), math.log(1.08)))
    distance = max(1.55, 1.0 / math.sin(math.atan(zoom * math.tan(math.radians(fov) / 2))))
    turns = ((first + 360.0 / RING * k + 180) % 360 - 180 for k in range(RING))
    return [Camera(azimuth, elevation, distance, fov) for azimuth in turns]


def told(cameras: list[Camera]) -> np.ndarray:
    """The cameras' numbers ``[N, 16]``, float32."""
    axes = [torch.stack((right, up, -forward)) for right, up, forward in (camera.axes() for camera in cameras)]
    places = torch.stack([camera.position() for camera in cameras])
    return camera_numbers(torch.stack(axes), places).numpy()


def render_part(
    seed: int, part: int, shapes: int = SHAPES_PER_PART, often: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Renders one part, with more of the shapes ``often``. Same arguments, same bytes."""
    rng = np.random.default_rng((seed, 78, part))
    rows: dict[str, list[np.ndarray]] = {}
    for _ in range(shapes):
        shape = make_relief_shape(shape_name(rng, often), rng)
        geometry = trace(shape, ring_of_cameras(rng), dataset.SIZE)
        numbers = told(geometry.cameras)
        for _ in range(SURFACES):
            material, color = dataset.random_surface(rng)
            surface = dataset.make_material(material, color, rng)
            flat, alike = rng.random() < FLAT_SHARE, rng.random() < ALIKE_SHARE
            background, lamp = dataset.random_background(rng), int(rng.integers(2**62))
            for view, camera in enumerate(geometry.cameras):
                # The same lamp beside each camera, as the coarse stage of objects draws it.
                light: Light | None = None if flat else random_light(np.random.default_rng(lamp), camera)
                behind = background if alike else dataset.random_background(rng)
                image = paint(geometry, view, surface, behind, light)
                label = dataset.label(shape.name, material, color, camera, False, not flat, 0)
                row = picture_row(image, geometry, view, label) | {"cameras": numbers[view]}
                for name, value in row.items():
                    rows.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in rows.items()}


def render_cache(
    folder: Path, count: int, seed: int, processes: int = 2, log=lambda text: None, often: Sequence[str] = ()
) -> list[Path]:
    """Renders what is missing of ``count`` pictures (rounded up to whole parts), with more of the shapes ``often``;
    returns the part files in order."""
    return dataset.render_parts(folder, -(-count // PART), seed, partial(render_part, often=often), processes, log)
