"""Meshes whose parts are known: which part a point of the surface belongs to, to hold textures against.

Four are demo meshes, whose parts are regions of space around what their distance functions model. Owl and television
are shapes of the mini model's world with modelled features, whose parts and features are regions of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from csd_blender.backend.geometry.mesh import Mesh

from ..demo_meshes import demo_mesh
from ..implicit import box, capsule, cylinder, ellipsoid, mesh_of, mirrored, sphere, torus
from ..mini.control.relief import make_relief_shape
from ..mini.shape import Shape

PART_MESHES = ("robot", "house", "car", "snowman", "owl", "television")
SEED = 4  # of owl and television

#: From points ``[N, 3]`` of the mesh to one distance ``[N]`` for each part; below zero they belong to it.
Regions = Callable[[np.ndarray], list[np.ndarray]]


def part_mesh(name: str) -> Mesh:
    """One of :data:`PART_MESHES`, the same every time."""
    if name in _REGIONS:
        return demo_mesh(name)
    positions, triangles = _shape_arrays(name)
    return Mesh(positions.copy(), triangles.copy(), part_names=(name,))


def part_labels(name: str, points: np.ndarray) -> np.ndarray:
    """Which part each point ``[N, 3]`` of the mesh belongs to: 0 the body, later parts over earlier ones."""
    regions = _REGIONS[name](points) if name in _REGIONS else _shape_regions(_shape(name), points)
    labels = np.zeros(len(points), int)
    for number, distance in enumerate(regions, 1):
        labels[distance < 0] = number
    return labels


@cache
def _shape(name: str) -> Shape:
    return make_relief_shape(name, np.random.default_rng(SEED))


@cache
def _shape_arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    shape = _shape(name)

    def distance(points: np.ndarray) -> np.ndarray:
        return shape.distance(torch.from_numpy(np.float32(points))).double().numpy()

    return mesh_of(distance, (-1.1,) * 3, (1.1,) * 3, 84)


def _shape_regions(shape: Shape, points: np.ndarray) -> list[np.ndarray]:
    p = torch.from_numpy(np.float32(points)) * shape.radius + shape.center
    body = shape.body(p)
    regions = [part(p) - body for part, _ in shape.parts] + [region(p) for region, _ in shape.features]
    return [region.numpy() for region in regions]


def _robot(p: np.ndarray) -> list[np.ndarray]:
    q = mirrored(p)
    return [
        p[:, 2] + 0.5,  # neck and collar
        cylinder(q, [0.76, 0.0, 0.10], 0, 0.25, 0.14),  # ears
        np.minimum(cylinder(p, [0, 0, 0.68], 2, 0.19, 0.08), capsule(p, [0, 0, 0.7], [0, 0, 0.93], 0.12)),  # antenna
        box(p, [0, -0.62, 0.20], [0.52, 0.16, 0.24], 0.10),  # visor
        cylinder(q, [0.25, -0.50, 0.20], 1, 0.19, 0.14),  # eyes
        box(p, [0, -0.58, -0.22], [0.34, 0.10, 0.115], 0.05),  # mouth
    ]


def _house(p: np.ndarray) -> list[np.ndarray]:
    q = mirrored(p)
    both = q.copy()
    both[:, 1] = -np.abs(both[:, 1])  # there are windows at the back, too
    slab = (q[:, 0] * 0.66 + (p[:, 2] - 0.68) * 0.75) / np.hypot(0.66, 0.75)
    return [
        np.maximum(-slab - 0.14, -0.25 - p[:, 2]),  # roof: all that is above its underside
        box(p, [0.38, 0.22, 0.68], [0.155, 0.155, 0.36]),  # chimney
        box(p, [0, -0.62, -0.60], [0.16, 0.08, 0.315]),  # door
        box(both, [0.40, -0.62, -0.43], [0.15, 0.08, 0.175]),  # windows
        cylinder(p, [0, -0.60, 0.14], 1, 0.135, 0.08),  # attic
    ]


def _car(p: np.ndarray) -> list[np.ndarray]:
    q = mirrored(p)
    side = q.copy()
    side[:, 1] = np.abs(side[:, 1])
    panes = np.abs(np.abs(p[:, 1] - 0.14) - 0.22) - 0.17
    bumper = np.minimum(
        *(
            capsule(q, [0.0, y, -0.41], [0.40, y * 0.948, -0.41], 0.062) for y in (-0.97, 0.97)
        )  # (rounded at their ends)
    )
    return [
        np.maximum(box(q, [0.42, 0.16, 0.12], [0.08, 0.41, 0.14]), panes),  # glass
        bumper,
        cylinder(side, [0.44, 0.57, -0.46], 0, 0.22, 0.14),  # wheels
        ellipsoid(q, [0.29, -0.89, -0.16], [0.115, 0.115, 0.115]),  # lamps
        box(p, [0, -0.98, -0.27], [0.205, 0.08, 0.065]),  # grille
    ]


def _snowman(p: np.ndarray) -> list[np.ndarray]:
    q = mirrored(p)
    buttons = [sphere(p, [0, y, z], 0.052) for z, y in ((0.14, -0.345), (0.0, -0.365), (-0.14, -0.335))]
    return [
        np.maximum(capsule(q, [0.30, 0, 0.08], [0.72, -0.06, 0.30], 0.11), 0.345 - q[:, 0]),  # arms
        np.minimum(torus(p, [0, 0, 0.27], 2, 0.24, 0.075), capsule(p, [0.15, -0.24, 0.24], [0.20, -0.37, -0.08], 0.07)),
        np.minimum(cylinder(p, [0, 0, 0.70], 2, 0.32, 0.05), cylinder(p, [0, 0, 0.85], 2, 0.22, 0.18)),  # hat
        np.minimum(np.minimum(buttons[0], buttons[1]), buttons[2]),
        sphere(q, [0.10, -0.225, 0.57], 0.05),  # eyes
        capsule(p, [0, -0.26, 0.47], [0, -0.54, 0.44], 0.068, 0.02),  # nose
    ]


_REGIONS: dict[str, Regions] = {"robot": _robot, "house": _house, "car": _car, "snowman": _snowman}
