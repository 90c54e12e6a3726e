# SPDX-License-Identifier: GPL-3.0-or-later
"""Training pictures with depth and normals, in parts on the disk as :mod:`..dataset` keeps its own.

A part has `images` uint8 [K, 64, 64, 3], `coverage` uint8 [K, 64, 64], `depth` float16 [K, 64, 64] (distance along the
direction in which the camera looks, in units of the object's radius; 0 where nothing is), `normals` int8 [K, 64, 64, 3]
(in the camera's frame: right, up, towards it; times 127), `painted` uint8 [K, 64, 64]
(:meth:`..shape.Shape.painted`) and `labels` int16 [K, 8] (columns: `dataset.COLUMNS`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csd_blender.backend.mini import vocabulary as voc
from csd_blender.backend.pipelines.warm_start import come_near

from .. import dataset
from ..render import Camera, Geometry, paint, random_light, soft_normals, trace
from ..shape import Shape
from .relief import make_relief_shape

ROWS = ("images", "coverage", "depth", "normals", "painted", "labels")
#: Of the parts' shapes, those that have a front: only these have features.
FRONT_SHARE = 0.6
FLAT_SHARE = 0.75  # of pictures without light: textures ask for bare colors
SHAPES_PER_PART, CAMERAS = 60, 4
PART = SHAPES_PER_PART * CAMERAS
#: Of shapes, those that shall come often, where there are such.
OFTEN_SHARE = 0.4
#: Least distance of a mesh's corners, see :func:`~..render.soft_normals`.
SHARPEST = 0.004
#: Of cameras that come near: how much of the half picture the shape fills, the least share of their distance, and the
#: pixels of the picture by which that is found.
FILLS, NEAREST, GLANCE = (0.8, 1.02), 0.5, 24


def buffers(geometry: Geometry, view: int) -> tuple[Tensor, Tensor]:
    """Depth ``[S, S]`` and normals ``[S, S, 3]`` of one camera, as the module's text has them, float32."""
    camera, area = geometry.cameras[view], geometry.size**2
    chosen, where = geometry.seen_by(view)
    right, up, forward = camera.axes()
    depth, normals = torch.zeros(area), torch.zeros(area, 3)
    depth[where] = (geometry.points[chosen] - camera.position()) @ forward
    normals[where] = geometry.normals[chosen] @ torch.stack((right, up, -forward), dim=1)
    return depth.view(geometry.size, geometry.size), normals.view(geometry.size, geometry.size, 3)


def shape_name(rng: np.random.Generator, often: Sequence[str] = ()) -> str:
    """Of the shape of some pictures, which is one of ``often`` in so many cases."""
    if often and rng.random() < OFTEN_SHARE:
        return often[rng.integers(len(often))]
    if rng.random() < FRONT_SHARE:
        return voc.FRONT_SHAPES[rng.integers(len(voc.FRONT_SHAPES))]
    others = [*voc.OTHER_SHAPES, *["object"] * (len(voc.OTHER_SHAPES) // 2)]
    return others[rng.integers(len(others))]


def nearer(camera: Camera, points: Tensor, fill: float) -> Camera:
    """The camera as near as what it sees of a shape, ``points [M, 3]``, lets it: this then fills so much of the half
    picture, around its middle."""
    right, up, forward = camera.axes()
    axes, half = torch.stack((right, up, -forward)), math.tan(math.radians(camera.fov) / 2)
    near, middle = come_near(points @ axes.T, half, camera.distance, fill, NEAREST)
    return replace(camera, distance=near, target=tuple((middle @ axes).tolist()))


def render_part(
    seed: int,
    part: int,
    shapes: int = SHAPES_PER_PART,
    often: Sequence[str] = (),
    builds: float = 0.0,
    soft: float = 0.0,
    near: float = 0.0,
) -> dict[str, np.ndarray]:
    """Renders one part, more of it of the shapes ``often``, a share of other ``builds``. Same arguments, same bytes.

    soft: the normals of each shape are rounded by a length from :data:`SHARPEST` to this; 0: they are exact.
    near: share of the cameras that come as near as the whole shape lets them, see :func:`nearer`.
    """
    rng = np.random.default_rng((seed, 77, part))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ROWS}
    for _ in range(shapes):
        shape = make_relief_shape(shape_name(rng, often), rng, builds)
        close = [rng.random() < 0.25 for _ in range(CAMERAS)]
        cameras = [dataset.random_camera(rng, c) for c in close]
        if near:
            cameras = _some_nearer(rng, shape, cameras, close, near)
        geometry = trace(shape, cameras, dataset.SIZE)
        shown = geometry
        if soft:
            shown = replace(geometry, normals=soft_normals(geometry, float(rng.uniform(SHARPEST, soft))))
        for view, camera in enumerate(geometry.cameras):
            material, color = dataset.random_surface(rng)
            flat = rng.random() < FLAT_SHARE
            light = None if flat else random_light(rng, camera)
            surface = dataset.make_material(material, color, rng)
            image = paint(geometry, view, surface, dataset.random_background(rng), light)
            label = dataset.label(shape.name, material, color, camera, close[view], not flat, 0)
            row = picture_row(image, shown, view, label) | {"painted": painted_map(geometry, view)}
            for name, value in row.items():
                rows[name].append(value)
    return {name: np.stack(values) for name, values in rows.items()}


def _some_nearer(
    rng: np.random.Generator, shape: Shape, cameras: list[Camera], close: list[bool], share: float
) -> list[Camera]:
    glance, found = trace(shape, cameras, GLANCE), []
    for view, camera in enumerate(cameras):
        points = glance.points[glance.seen_by(view)[0]]
        wanted, fill = rng.random() < share, float(rng.uniform(*FILLS))
        found.append(nearer(camera, points, fill) if wanted and not close[view] and len(points) else camera)
    return found


def picture_row(image: Tensor, geometry: Geometry, view: int, label: tuple[int, ...]) -> dict[str, np.ndarray]:
    """One picture ``[3, S, S]`` with what belongs to it, as the module's text has them."""
    depth, normals = buffers(geometry, view)
    return {
        "images": _bytes(image.permute(1, 2, 0)),
        "coverage": _bytes(geometry.coverage[view]),
        "depth": depth.half().numpy(),
        "normals": (normals * 127).round().to(torch.int8).numpy(),
        "labels": np.array(label, np.int16),
    }


def painted_map(geometry: Geometry, view: int) -> np.ndarray:
    """What each pixel shows, ``[S, S]`` uint8, numbered as by :meth:`~..shape.Shape.painted`; 0 beside the shape."""
    chosen, where = geometry.seen_by(view)
    which = np.zeros(geometry.size**2, np.uint8)
    which[where] = geometry.shape.painted(geometry.points[chosen]).to(torch.uint8)
    return which.reshape(geometry.size, geometry.size)


def _bytes(values: Tensor) -> np.ndarray:
    return (values * 255).round().to(torch.uint8).numpy()


def render_cache(
    folder: Path, count: int, seed: int, processes: int = 2, log=lambda text: None, often: Sequence[str] = (),
    builds: float = 0.0, soft: float = 0.0, near: float = 0.0,
) -> list[Path]:  # fmt: skip
    """Renders what is missing of ``count`` pictures (rounded up to whole parts), as :func:`render_part` has them;
    returns the part files in order."""
    render = partial(render_part, often=often, builds=builds, soft=soft, near=near)
    return dataset.render_parts(folder, -(-count // PART), seed, render, processes, log)
