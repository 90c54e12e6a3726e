# SPDX-License-Identifier: GPL-3.0-or-later
"""Training pictures of pictured things: each as it is shown, and from other sides, on white as Zero-1-to-3's are.

A part has `shown` uint8 [K, 64, 64, 3], cut out and centered by the very code that does so for a user's picture;
`images` uint8 [K * OTHERS, 64, 64, 3], in bare colors; `poses` float32 [K * OTHERS, 4], the way to their cameras as the
network reads it; and `labels` int16 [K, 3]: shape, material and color (-1 for none).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csd_blender.backend.diffusion.views.zero123 import pose
from csd_blender.backend.mini import vocabulary as voc
from csd_blender.backend.pipelines.text_to_3d.one_picture import FILL, cut_out
from csd_blender.job.presets.picture_recipe import MINI_CAMERAS

from .. import dataset
from ..control.pictures import shape_name
from ..control.relief import make_relief_shape
from ..render import Camera, paint, random_light, trace

SHOWN, OTHERS, SURFACES = 2, 4, 2  # cameras that show a thing; others for each of them; surfaces of a shape
SHAPES_PER_PART = 25
PART = SHAPES_PER_PART * SHOWN * SURFACES  # things as they are shown
SHOWN_SIZE, SHOWN_FROM, SHOWN_ELEVATION = 128, 2.6, (-10.0, 45.0)
LIT_SHARE = 0.4  # of pictures that are shown
WHITE = torch.ones(3, 1, 1)


def render_part(seed: int, part: int, shapes: int = SHAPES_PER_PART) -> dict[str, np.ndarray]:
    """Renders one part. Same arguments, same bytes."""
    rng = np.random.default_rng((seed, 79, part))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("shown", "images", "poses", "labels")}
    while len(rows["labels"]) < shapes * SHOWN * SURFACES:
        shape = make_relief_shape(shape_name(rng), rng)
        fov = MINI_CAMERAS["fov_y"][0]
        first = [Camera(rng.uniform(-180, 180), rng.uniform(*SHOWN_ELEVATION), SHOWN_FROM, fov) for _ in range(SHOWN)]
        seen = trace(shape, first, SHOWN_SIZE)
        others, poses = zip(*(other_cameras(rng, c, fill(seen.coverage[k])) for k, c in enumerate(first)), strict=True)
        around = trace(shape, [camera for some in others for camera in some], dataset.SIZE)
        for _ in range(SURFACES):
            material, color = dataset.random_surface(rng)
            surface = dataset.make_material(material, color, rng)
            label = voc.SHAPES.index(shape.name), voc.MATERIALS.index(material)
            for k, camera in enumerate(first):
                light = random_light(rng, camera) if rng.random() < LIT_SHARE else None
                image = paint(seen, k, surface, torch.zeros(3, 1, 1), light)
                alpha = seen.coverage[k][None]
                rgba = torch.cat((image / alpha.clamp_min(1e-3), alpha)).clamp(0, 1)
                rows["shown"].append(_bytes(cut_out(rgba).at(dataset.SIZE).on_white[0]))
                rows["labels"].append(np.array((*label, -1 if color is None else voc.COLORS.index(color)), np.int16))
                for j in range(OTHERS):
                    rows["images"].append(_bytes(paint(around, k * OTHERS + j, surface, WHITE, None)))
                    rows["poses"].append(poses[k][j])
    return {name: np.stack(values) for name, values in rows.items()}


def fill(coverage: Tensor) -> float:
    """How much of the frame the longer side of what is seen takes, ``coverage [S, S]``."""
    seen = coverage > 0.5
    sides = [places[-1] - places[0] + 1 for places in (seen.any(dim).nonzero()[:, 0] for dim in (0, 1))]
    return float(max(sides)) / len(coverage)


def other_cameras(rng: np.random.Generator, first: Camera, filled: float) -> tuple[list[Camera], np.ndarray]:
    """Cameras around a thing, and the way to each, ``[OTHERS, 4]``.

    The nearest distance of the recipe is the one from which the thing would fill the frame as a picture that is cut
    out does.
    """
    near, far = MINI_CAMERAS["distance"]
    unit = SHOWN_FROM * filled / FILL / near
    around, above = rng.uniform(-180, 180, OTHERS), rng.uniform(*MINI_CAMERAS["elevation"], OTHERS)
    away = rng.uniform(near, far, OTHERS)
    cameras = [Camera(first.azimuth + a, e, max(1.3, unit * d), first.fov) for a, e, d in zip(around, above, away)]
    ways = (torch.from_numpy(values).float() for values in (above - first.elevation, around, away - near))
    return cameras, pose(*ways).numpy()


def _bytes(picture: Tensor) -> np.ndarray:
    return (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def render_cache(folder: Path, count: int, seed: int, processes: int = 2, log=lambda text: None) -> list[Path]:
    """Renders what is missing of ``count`` things (rounded up to whole parts); returns the part files in order."""
    return dataset.render_parts(folder, -(-count // PART), seed, render_part, processes, log)
