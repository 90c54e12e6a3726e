"""Faces of any number of corners, cut into triangles within their outline."""

from __future__ import annotations

import mapbox_earcut
import numpy as np

from .common import BadFile, check_size

MAX_WORK = 2.5e9  # sum of squared corner counts; ear clipping may take that many steps


def triangulate(points: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of polygons, in the order of the polygons and turning the same way.

    Quads are cut along the diagonal from their first corner, or along the other one where that leaves the outline: so
    does Blender. Larger polygons are projected along their (Newell) normal and cut by ear clipping
    (mapbox/earcut, ISC licence). A polygon of n corners gives n - 2 triangles, corners in the middle of a straight side
    included, so that a closed surface stays closed. Fewer than three corners give nothing.

    Args:
        points: ``[V, 3]`` float64.
        corners: ``[C]`` the vertex of each corner, polygon after polygon; they must exist.
        sizes: ``[P]`` corners of each polygon, their sum is C.

    Returns:
        triangles ``[T, 3]``, indices into ``corners``; and the polygon of each triangle ``[T]``.

    Raises:
        JobError: ``mesh_too_large``. BadFile: for polygons of so many corners that cutting them would take minutes.
    """
    sizes = np.asarray(sizes, np.int64)
    counts = np.maximum(sizes - 2, 0)
    check_size(int(counts.sum()))
    large = sizes[sizes > 4].astype(np.float64)
    if (large**2).sum() > MAX_WORK:
        raise BadFile(f"a face has {int(large.max())} corners, which is too many to cut it into triangles")
    start, first = np.cumsum(sizes) - sizes, np.cumsum(counts) - counts
    triangles = np.full((int(counts.sum()), 3), -1, np.int64)
    with np.errstate(all="ignore"):  # coordinates that are no numbers are told later
        chosen = sizes == 3
        triangles[first[chosen]] = start[chosen, None] + [0, 1, 2]
        chosen = sizes == 4
        _cut_quads(points, corners, start[chosen], first[chosen], triangles)
        for size in np.unique(sizes[sizes > 4]):
            chosen = sizes == size
            _cut_polygons(points, corners, int(size), start[chosen], first[chosen], triangles)
    face = np.repeat(np.arange(len(sizes)), counts)
    found = triangles[:, 0] >= 0
    return triangles[found], face[found]


def _cut_quads(points, corners, start, first, triangles) -> None:
    a, b, c, d = (points[corners[start + i]] for i in range(4))
    outside = (np.cross(b - a, c - a) * np.cross(d - a, c - a)).sum(axis=1) > 0  # b and d on one side of a-c
    turn = outside[:, None].astype(np.int64)
    triangles[first] = start[:, None] + ([0, 1, 2] + turn * [0, 0, 1])
    triangles[first + 1] = start[:, None] + ([0, 2, 3] + turn * [1, 0, 0])


def _cut_polygons(points, corners, size, start, first, triangles) -> None:
    """All polygons of ``size`` corners."""
    ring = points[corners[start[:, None] + np.arange(size)]]
    ring = ring - ring[:, :1]
    normal = np.cross(ring, np.roll(ring, -1, axis=1)).sum(axis=1)
    normal /= np.abs(normal).max(axis=1, keepdims=True)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    side = np.eye(3)[np.argmin(np.abs(normal), axis=1)]
    right = np.cross(side, normal)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    flat = np.einsum("pnc,pkc->pnk", ring, np.stack([right, np.cross(normal, right)], axis=1))
    flat /= np.abs(flat).max(axis=(1, 2), keepdims=True)
    sound = np.isfinite(flat).all(axis=(1, 2))
    fan = np.arange(1, size - 1)[:, None] + [0, 0, 1]
    fan[:, 0] = 0
    whole = np.array([size], np.uint32)
    for polygon, place in enumerate(first):
        if not sound[polygon]:  # without area, or coordinates that are no numbers
            triangles[place : place + size - 2] = start[polygon] + fan
            continue
        ears = mapbox_earcut.triangulate_float64(np.ascontiguousarray(flat[polygon]), whole).reshape(-1, 3)
        ears = _with_all_corners(ears.astype(np.int64), size)[: size - 2]
        triangles[place : place + len(ears)] = start[polygon] + ears


def _with_all_corners(ears: np.ndarray, size: int) -> np.ndarray:
    """Ear clipping passes over corners on a straight side: the triangle at that side is cut in two at each of them."""
    if len(ears) >= size - 2:
        return ears
    present = np.zeros(size, bool)
    present[ears] = True
    if not present.any():
        return ears
    rows = ears.tolist()
    side = {(row[i], row[i - 2]): (number, i) for number, row in enumerate(rows) for i in range(3)}
    begin = int(np.flatnonzero(present)[0])
    before = begin
    for corner in ((begin + i) % size for i in range(1, size)):
        if not present[corner]:
            after = corner
            while not present[after]:
                after = (after + 1) % size
            if (before, after) in side:
                number, i = side.pop((before, after))
                tip = rows[number][i - 1]
                rows[number] = [before, corner, tip]
                rows.append([corner, after, tip])
                for n, row in ((number, rows[number]), (len(rows) - 1, rows[-1])):
                    side.update({(row[k], row[k - 2]): (n, k) for k in range(3)})
                present[corner] = True
                before = corner
        else:
            before = corner
    return np.array(rows, np.int64)
