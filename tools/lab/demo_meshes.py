"""Meshes of our own making, to try textures on: no file, no licence, no download.

All stand upright (Z up) with their front facing -Y, about two units tall. Some come with good UV maps, most with
none, and the crate with a bad one, as meshes of the wild do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from csd_blender.backend.geometry.mesh import Mesh

from . import demo_shapes as shapes
from .implicit import mesh_of

MARGIN = 0.012  # distance of UV islands, in tiles


def demo_mesh(name: str) -> Mesh:
    """One of `DEMO_MESHES`; the same every time.

    Raises:
        ValueError: for another name; the message lists them.
    """
    if name not in DEMO_MESHES:
        raise ValueError(f"there is no demo mesh '{name}'; there are: {', '.join(DEMO_MESHES)}")
    positions, triangles, uv = _arrays(name)
    return Mesh(positions.copy(), triangles.copy(), None if uv is None else uv.copy(), part_names=(name,))


@cache
def _arrays(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    return _MAKERS[name]()


# Pieces of surface with UVs: a grid of points is one UV island.


def _grid(points: np.ndarray, rect: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A surface through points ``[M, N, 3]``, its UVs filling ``rect`` (u0, v0, u1, v1).

    Faces look along d(points)/dN x d(points)/dM.
    """
    m, n = points.shape[:2]
    index = np.arange(m * n).reshape(m, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3)
    v, u = np.meshgrid(np.linspace(0, 1, m), np.linspace(0, 1, n), indexing="ij")
    uv = np.stack([rect[0] + u * (rect[2] - rect[0]), rect[1] + v * (rect[3] - rect[1])], axis=-1).reshape(-1, 2)
    return points.reshape(-1, 3), triangles, uv


def _disc(points: np.ndarray, rect: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Like `_grid` for rings around the Z axis that shrink to (nearly) a point: laid out round, seen along the axis."""
    positions, triangles, _ = _grid(points, rect)
    flat = positions[:, :2]
    half = np.abs(flat).max() * 1.0001
    center, size = np.array([rect[0] + rect[2], rect[1] + rect[3]]) / 2, (rect[2] - rect[0]) / 2
    a, b, c = (flat[triangles[:, i]] for i in range(3))
    side = np.sign(((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum())
    return positions, triangles, center + flat * [side, 1.0] / half * size


def _join(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One mesh of UV islands; vertices in the same place become one, faces without area disappear."""
    positions = np.concatenate([p for p, _, _ in pieces])
    offsets = np.cumsum([0] + [len(p) for p, _, _ in pieces])
    triangles = np.concatenate([t + o for (_, t, _), o in zip(pieces, offsets[:-1], strict=True)])
    uv = np.concatenate([u for _, _, u in pieces])[triangles]
    _, first, inverse = np.unique(np.round(positions, 5), axis=0, return_index=True, return_inverse=True)
    triangles = inverse.reshape(-1)[triangles]
    solid = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
    return np.float32(positions[first]), np.int32(triangles[solid]), np.float32(np.clip(uv[solid], 0, 1))


def _smooth(points: list[tuple[float, float]], count: int) -> np.ndarray:
    """Catmull-Rom curve through (radius, height) points, evenly spaced by length: ``[count, 2]``."""
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, 24, endpoint=False)[:, None]
    curve = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    dense = np.concatenate([*curve, p[-1:]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    even = np.linspace(0, along[-1], count)
    return np.stack([np.interp(even, along, dense[:, i]) for i in range(2)], axis=1)


def _turn(profile: np.ndarray, segments: int) -> np.ndarray:
    """Points ``[M, segments + 1, 3]`` of a profile (radius, height) ``[M, 2]`` turned about Z, the seam at the back."""
    angle = np.linspace(np.pi / 2, np.pi / 2 + 2 * np.pi, segments + 1)
    radius, height = np.maximum(profile[:, 0], 0)[:, None], profile[:, 1][:, None]
    x, y, z = np.broadcast_arrays(radius * np.cos(angle), radius * np.sin(angle), height)
    return np.stack([x, y, z], axis=-1)


def _tube(curve: np.ndarray, radius: np.ndarray | float, sides: int, squash: float = 1.0, up=None) -> np.ndarray:
    """Points ``[N, sides + 1, 3]`` of a tube around a curve ``[N, 3]``."""
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    up = np.broadcast_to([0.0, 1.0, 0.0] if up is None else up, curve.shape)
    side = np.cross(tangent, up)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    over = np.cross(side, tangent)
    angle = np.linspace(0, 2 * np.pi, sides + 1)[None, :, None]
    radius = np.broadcast_to(radius, len(curve))[:, None, None]
    return curve[:, None] + radius * (np.cos(angle) * side[:, None] - squash * np.sin(angle) * over[:, None])


def _vase() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outer = _smooth(
        [(0.34, -1.0), (0.37, -0.97), (0.50, -0.75), (0.64, -0.40), (0.62, -0.02)]
        + [(0.42, 0.38), (0.27, 0.62), (0.25, 0.76), (0.33, 0.93), (0.40, 1.0)],
        56,
    )
    rim = _smooth([(0.40, 1.0), (0.395, 1.02), (0.37, 1.02), (0.36, 1.0)], 5)
    inner = _smooth(
        [(0.36, 1.0), (0.29, 0.92), (0.21, 0.76), (0.23, 0.60), (0.38, 0.36)]
        + [(0.57, -0.02), (0.59, -0.40), (0.46, -0.72), (0.30, -0.90)],
        40,
    )
    floor, foot = _smooth([(0.30, -0.90), (0.0, -0.93)], 8), _smooth([(0.0, -0.99), (0.31, -0.99), (0.34, -1.0)], 8)
    m, s = MARGIN, 72
    return _join(
        [
            _grid(_turn(outer, s), (m, 0.40, 1 - m, 1 - m)),
            _grid(_turn(rim, s), (m, 0.345, 1 - m, 0.385)),
            _grid(_turn(inner, s), (m, m, 0.62, 0.33)),
            _disc(_turn(floor, s), (0.65, m, 0.80, m + 0.15)),
            _disc(_turn(foot, s), (0.83, m, 0.83 + 0.155, m + 0.155)),
        ]
    )


def _mug() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    outer = _smooth([(0.50, -0.80), (0.555, -0.77), (0.565, -0.70), (0.57, 0.0), (0.58, 0.74)], 34)
    rim = _smooth([(0.58, 0.74), (0.578, 0.775), (0.55, 0.79), (0.522, 0.775), (0.52, 0.74)], 9)
    inner = _smooth([(0.52, 0.74), (0.51, 0.0), (0.505, -0.60), (0.47, -0.69), (0.40, -0.70)], 30)
    floor = _smooth([(0.40, -0.70), (0.0, -0.70)], 9)
    foot = _smooth([(0.0, -0.77), (0.42, -0.77), (0.46, -0.80), (0.50, -0.80)], 12)
    t = np.linspace(0, 1, 40)
    bend = np.pi * (t - 0.5)
    handle = np.stack([0.50 + 0.50 * np.maximum(np.cos(bend), 0) ** 0.72, 0 * t, 0.02 + 0.46 * np.sin(bend)], axis=1)
    m, s = MARGIN, 80
    return _join(
        [
            _grid(_turn(outer, s), (m, 0.60, 1 - m, 1 - m)),
            _grid(_turn(rim, s), (m, 0.545, 1 - m, 0.585)),
            _grid(_turn(inner, s), (m, 0.235, 0.86, 0.53)),
            _disc(_turn(floor, s), (0.60, m, 0.795, m + 0.195)),
            _disc(_turn(foot, s), (0.79 + 0.015, m, 0.79 + 0.195, m + 0.18)),
            _grid(_tube(handle, 0.085, 20, squash=1.25), (0.02, m, 0.58, 0.21)),
        ]
    )


def _knot() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = np.linspace(0, 2 * np.pi, 289)
    ring = 0.62 + 0.26 * np.cos(3 * t)
    curve = np.stack([ring * np.cos(2 * t), -0.30 * np.sin(3 * t), ring * np.sin(2 * t)], axis=1)
    outward = np.stack([np.cos(2 * t), 0 * t, np.sin(2 * t)], axis=1)
    points = _tube(curve, 0.17, 28, up=outward)
    points[-1] = points[0]
    strips = 6  # the long tube in rows
    rows = np.linspace(0, len(t) - 1, strips + 1).astype(int)
    height = 1.0 / strips
    pieces = []
    for i in range(strips):
        across = points[rows[i] : rows[i + 1] + 1].transpose(1, 0, 2)[::-1]
        pieces.append(_grid(across, (MARGIN, i * height + MARGIN / 2, 1 - MARGIN, (i + 1) * height - MARGIN / 2)))
    return _join(pieces)


def _boxes(boxes: list[tuple[tuple, tuple]], subdivide: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (center, half sizes) of six square grids each; every side has the whole tile, so all sides overlap."""
    pieces = []
    s = np.linspace(-1, 1, subdivide + 1)
    for center, half in boxes:
        for axis in range(3):
            for sign in (-1.0, 1.0):
                v, u = np.meshgrid(s, s, indexing="ij")
                point = np.empty((len(s), len(s), 3))
                right, above = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]
                mirror = sign * (-1.0 if axis == 1 else 1.0)
                point[..., axis], point[..., right], point[..., above] = sign, mirror * u, v
                pieces.append(_grid(point * half + center, (0.0, 0.0, 1.0, 1.0)))
    return _join(pieces)


def _crate() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crate of boards, each with the same UVs: the overlap that makes a new UV map necessary."""
    boxes = [((0, 0, 0), (0.66, 0.66, 0.66))]
    for x in (-1, 1):
        for y in (-1, 1):
            boxes.append(((0.68 * x, 0.68 * y, 0), (0.09, 0.09, 0.77)))
        for z in (-1, 1):
            boxes.append(((0.68 * x, 0, 0.68 * z), (0.09, 0.59, 0.09)))
            boxes.append(((0, 0.68 * x, 0.68 * z), (0.59, 0.09, 0.09)))
    return _boxes(boxes)


def _solid(distance: Callable, low: tuple, high: tuple, cells: int) -> Callable[[], tuple]:
    return lambda: (*mesh_of(distance, low, high, cells), None)


_MAKERS: dict[str, Callable[[], tuple]] = {
    "critter": _solid(shapes.critter, (-0.9, -0.9, -1.1), (0.9, 0.95, 1.15), 72),
    "robot": _solid(shapes.robot_head, (-1.0, -0.75, -1.1), (1.0, 0.75, 1.15), 72),
    "house": _solid(shapes.house, (-1.0, -1.0, -1.1), (1.0, 0.9, 1.1), 84),
    "snowman": _solid(shapes.snowman, (-0.85, -0.7, -1.1), (0.85, 0.7, 1.1), 80),
    "car": _solid(shapes.car, (-0.7, -1.15, -0.8), (0.7, 1.15, 0.5), 84),
    "rocket": _solid(shapes.rocket, (-0.8, -0.8, -1.1), (0.8, 0.8, 1.1), 84),
    "mushroom": _solid(shapes.mushroom, (-1.1, -1.0, -1.15), (1.1, 1.1, 1.05), 64),
    "teapot": _solid(shapes.teapot, (-1.15, -0.75, -0.75), (1.25, 0.75, 0.75), 84),
    "rock": _solid(shapes.rock, (-1.1, -1.0, -1.0), (1.1, 1.0, 0.9), 56),
    "chair": _solid(shapes.chair, (-0.65, -0.65, -1.1), (0.65, 0.75, 1.1), 90),
    "vase": _vase,
    "mug": _mug,
    "knot": _knot,
    "crate": _crate,
}
DEMO_MESHES: tuple[str, ...] = tuple(_MAKERS)
"""Names for `demo_mesh`. Vase, mug and knot have good UV maps, the crate has one that overlaps, the others none."""
