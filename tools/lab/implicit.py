"""Smooth meshes from signed distance functions: a small kit of shapes, and surface nets to mesh them.

A distance function takes points ``[N, 3]`` and gives ``[N]``: negative inside. It need not be exact, but must not grow
faster than distance does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray], np.ndarray]
BLOCK = 4  # cells per axis that are skipped together where the surface is far


def length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt((vectors * vectors).sum(axis=-1))


def sphere(p: np.ndarray, center, radius: float) -> np.ndarray:
    return length(p - center) - radius


def ellipsoid(p: np.ndarray, center, radii) -> np.ndarray:
    """First-order distance to an ellipsoid with half axes ``radii``."""
    q = (p - center) / radii
    k0, k1 = length(q), length(q / radii)
    return k0 * (k0 - 1.0) / np.maximum(k1, 1e-9)


def box(p: np.ndarray, center, half, rounding: float = 0.0) -> np.ndarray:
    """Box with half sizes ``half`` (rounding included)."""
    q = np.abs(p - center) - (np.asarray(half) - rounding)
    return length(np.maximum(q, 0.0)) + np.minimum(q.max(axis=-1), 0.0) - rounding


def capsule(p: np.ndarray, a, b, radius_a: float, radius_b: float | None = None) -> np.ndarray:
    """Line from a to b with thickness; the radius changes evenly."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    radius_b = radius_a if radius_b is None else radius_b
    t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    return length(p - a - t[:, None] * (b - a)) - (radius_a + (radius_b - radius_a) * t)


def cylinder(p: np.ndarray, center, axis: int, radius: float, half: float, rounding: float = 0.0) -> np.ndarray:
    """Cylinder along a coordinate axis."""
    q = p - center
    radial = length(np.delete(q, axis, axis=1)) - radius + rounding
    d = np.stack([radial, np.abs(q[:, axis]) - half + rounding], axis=1)
    return length(np.maximum(d, 0.0)) + np.minimum(d.max(axis=1), 0.0) - rounding


def torus(p: np.ndarray, center, axis: int, radius: float, thickness: float) -> np.ndarray:
    q = p - center
    ring = length(np.delete(q, axis, axis=1)) - radius
    return np.hypot(ring, q[:, axis]) - thickness


def cone(p: np.ndarray, a, b, radius_a: float, radius_b: float) -> np.ndarray:
    """Cone from a to b with flat ends."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    axis = (b - a) / np.linalg.norm(b - a)
    height = np.linalg.norm(b - a)
    y = (p - a) @ axis
    x = length(p - a - y[:, None] * axis)
    slope = (radius_b - radius_a) / height
    side = (x - radius_a - slope * y) / np.sqrt(1 + slope * slope)
    return np.maximum(side, np.abs(y - height / 2) - height / 2)


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Union with a fillet of width k."""
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    return np.minimum(a, b) - h * h * k * 0.25


def smooth_max(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Intersection with a fillet; with ``-b`` it carves."""
    return -smooth_min(-a, -b, k)


def mirrored(p: np.ndarray) -> np.ndarray:
    """Points folded to x >= 0, for things that come in pairs."""
    q = p.copy()
    q[:, 0] = np.abs(q[:, 0])
    return q


def tilted(p: np.ndarray, center, axis: int, degrees: float) -> np.ndarray:
    """Points turned about a coordinate axis through ``center``, which tilts what is measured at them."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [k for k in range(3) if k != axis]
    q = p - center
    out = q.copy()
    out[:, i], out[:, j] = c * q[:, i] - s * q[:, j], s * q[:, i] + c * q[:, j]
    return out + center


def mesh_of(distance: Distance, low, high, cells: int = 96, relax: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Mesh the zero set inside a box by surface nets (Gibson 1998), then pull the vertices onto it.

    Args:
        low, high: corners of the box, which must hold the whole surface.
        cells: cells along the longest side.
        relax: rounds of evening out the vertices and pulling them back onto the surface.

    Returns:
        positions ``[V, 3]`` float32 and triangles ``[F, 3]`` int32, counter-clockwise from outside.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    step = (high - low).max() / cells
    count = np.ceil((high - low) / step / BLOCK).astype(int) * BLOCK + 1
    values = _sample(distance, low, step, count)
    vertices, quads = _surface_nets(values)
    points = low + vertices * step
    for i in range(relax):
        if i:
            points = _even_out(points, quads)
        points = _pull(distance, points, step)
    points = _pull(distance, points, step)
    return np.float32(points), _split(points, quads)


def _sample(distance: Distance, low: np.ndarray, step: float, count: np.ndarray) -> np.ndarray:
    """Distances at the grid's corners; where the surface is far only their sign is right."""
    blocks = (count - 1) // BLOCK
    centers = np.stack(np.meshgrid(*(np.arange(n) for n in blocks), indexing="ij"), axis=-1).reshape(-1, 3)
    middle = distance(low + (centers * BLOCK + BLOCK / 2) * step)
    values = np.repeat(np.repeat(np.repeat(np.sign(middle).reshape(blocks), BLOCK, 0), BLOCK, 1), BLOCK, 2) * (
        BLOCK * step
    )
    values = np.pad(values, ((0, 1),) * 3, mode="edge")
    near = centers[np.abs(middle) < BLOCK * step * 1.5]
    corner = np.stack(np.meshgrid(*[np.arange(BLOCK + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    index = np.unique((near[:, None, :] * BLOCK + corner).reshape(-1, 3) @ [count[1] * count[2], count[2], 1])
    grid = np.stack(np.unravel_index(index, count), axis=1)
    values.reshape(-1)[index] = distance(low + grid * step)
    return values


def _surface_nets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``[V, 3]`` in grid units and quads ``[Q, 4]``."""
    inside = values < 0
    cells = tuple(n - 1 for n in values.shape)
    total, hits = np.zeros((*cells, 3)), np.zeros(cells, np.int32)
    crossings = []
    for axis in range(3):
        a = [slice(None)] * 3
        b = [slice(None)] * 3
        a[axis], b[axis] = slice(0, -1), slice(1, None)
        cut = inside[tuple(a)] != inside[tuple(b)]
        edge = np.argwhere(cut)
        va, vb = values[tuple(a)][cut], values[tuple(b)][cut]
        point = edge.astype(float)
        point[:, axis] += va / (va - vb)
        crossings.append((axis, edge, va < 0))
        others = [k for k in range(3) if k != axis]
        for du in (0, 1):
            for dv in (0, 1):
                cell = edge.copy()
                cell[:, others[0]] -= du
                cell[:, others[1]] -= dv
                fine = ((cell >= 0) & (cell < cells)).all(axis=1)
                where = tuple(cell[fine].T)
                np.add.at(total, where, point[fine])
                np.add.at(hits, where, 1)
    active = hits > 0
    number = np.full(cells, -1)
    number[active] = np.arange(int(active.sum()))
    vertices = total[active] / hits[active][:, None]

    quads = []
    for axis, edge, first_inside in crossings:
        u, v = (axis + 1) % 3, (axis + 2) % 3
        ring = []
        for du, dv in ((1, 1), (0, 1), (0, 0), (1, 0)):
            cell = edge.copy()
            cell[:, u] -= du
            cell[:, v] -= dv
            fine = ((cell >= 0) & (cell < cells)).all(axis=1)
            ring.append(np.where(fine, number[tuple(np.clip(cell, 0, np.array(cells) - 1).T)], -1))
        quad = np.stack(ring, axis=1)
        quad[~first_inside] = quad[~first_inside][:, ::-1]
        quads.append(quad[(quad >= 0).all(axis=1)])
    return vertices, np.concatenate(quads)


def _pull(distance: Distance, points: np.ndarray, step: float) -> np.ndarray:
    """One Newton step onto the surface, by at most half a cell."""
    d, eps = distance(points), step * 0.01
    gradient = np.stack([(distance(points + offset) - d) / eps for offset in np.eye(3) * eps], axis=1)
    move = -d[:, None] * gradient / np.maximum((gradient**2).sum(axis=1, keepdims=True), 0.25)
    reach = length(move)[:, None]
    return points + move * np.minimum(1.0, 0.5 * step / np.maximum(reach, 1e-12))


def _even_out(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Move every vertex half way to the middle of its neighbors."""
    total, count = np.zeros_like(points), np.zeros(len(points))
    for i in range(4):
        a, b = quads[:, i], quads[:, (i + 1) % 4]
        np.add.at(total, a, points[b])
        np.add.at(total, b, points[a])
        np.add.at(count, a, 1)
        np.add.at(count, b, 1)
    return points + 0.5 * (total / np.maximum(count, 1)[:, None] - points)


def _split(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Quads to triangles along the shorter diagonal."""
    a, b, c, d = (points[quads[:, i]] for i in range(4))
    first = length(a - c) <= length(b - d)
    one = np.where(first[:, None], quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    two = np.where(first[:, None], quads[:, [0, 2, 3]], quads[:, [1, 2, 3]])
    return np.int32(np.stack([one, two], axis=1).reshape(-1, 3))
