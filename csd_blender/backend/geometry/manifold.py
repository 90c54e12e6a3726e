"""Connectivity of triangle meshes: pieces, and taking apart what touches along an edge. Plain arrays in and out."""

from __future__ import annotations

import numpy as np


def connected(rows: np.ndarray, count: int) -> np.ndarray:
    """The lowest member of the piece that each of ``count`` things belongs to, ``[count]``; rows ``[N, K]`` connect."""
    root = np.arange(count)
    while True:
        lowest = root[rows].min(axis=1)
        before = root.copy()
        for column in rows.T:
            np.minimum.at(root, root[column], lowest)  # the tree's root, not only the member, moves
        while True:  # every member points straight to the root of its tree
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further
        if np.array_equal(root, before):
            return root


def is_watertight(triangles: np.ndarray) -> bool:
    """Whether every edge is shared by exactly two faces that run along it in opposite directions."""
    faces = np.asarray(triangles, np.int64).reshape(-1, 3)
    if not len(faces):
        return False
    a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    count = faces.max() + 1
    forth, back = np.sort(a * count + b), np.sort(b * count + a)
    return bool((a != b).all() and (np.diff(forth) > 0).all() and np.array_equal(forth, back))


def open_edges(vertices: np.ndarray, triangles: np.ndarray) -> int:
    """How many edges do not have as many faces on one side as on the other; 0 for a closed surface.

    Vertices in one place count as one, as files cut a surface along its UV map's borders, and faces without area do
    not count. Where there is none, the surface winds around every point beside it a whole number of times.

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]``.
    """
    _, place = np.unique(np.asarray(vertices), axis=0, return_inverse=True)
    faces = place.reshape(-1)[np.asarray(triangles, np.int64).reshape(-1, 3)]
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    start, end = start[start != end], end[start != end]
    name = np.minimum(start, end) * (place.max(initial=0) + 1) + np.maximum(start, end)
    _, number = np.unique(name, return_inverse=True)
    return int(np.count_nonzero(np.bincount(number, np.where(start < end, 1, -1))))


def enclosed_volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """The volume within a closed surface; what is enclosed twice counts twice."""
    a, b, c = (np.asarray(vertices, np.float64)[np.asarray(triangles)[:, i]] for i in range(3))
    return float(np.abs((a * np.cross(b, c)).sum()) / 6)


def split_touching(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take apart what touches along an edge or in a vertex, so that a closed surface is a manifold.

    At an edge of four or more faces those are paired that have the inside between them, and parts get their own copies
    of vertices. Where that leaves two edges with the same ends, one gets a vertex in its middle. Faces back to back,
    which then are pieces of two faces, are dropped. A mesh with borders stays as it is.

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]``, each edge run along equally often in both directions.
    """
    points, faces = np.asarray(vertices), np.asarray(triangles, np.int64)
    if not len(faces) or (faces == np.roll(faces, 1, axis=1)).any():
        return vertices, triangles
    while True:
        start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
        name = np.minimum(start, end) * len(points) + np.maximum(start, end)
        up, down = (np.flatnonzero(side)[np.argsort(name[side], kind="stable")] for side in (start < end, start > end))
        if not np.array_equal(name[up], name[down]):
            return vertices, triangles
        _, first, counts = np.unique(name[up], return_index=True, return_counts=True)
        for i in np.flatnonzero(counts > 1):
            where = slice(first[i], first[i] + counts[i])
            down[where] = _across(points, faces, up[where], down[where])
        after = np.arange(faces.size).reshape(-1, 3)[:, [1, 2, 0]].ravel()  # the next corner of a face
        pairs = np.concatenate([np.stack([up, after[down]], 1), np.stack([after[up], down], 1)])
        corner, fresh = np.unique(connected(pairs, faces.size), return_inverse=True)
        points, faces = points[start[corner]], fresh.reshape(-1, 3)
        piece = connected(faces, len(points))[faces[:, 0]]
        flat = np.bincount(piece)[piece] <= 2
        edge = np.sort(np.stack([fresh[up], fresh[after[up]]], 1), axis=1)
        again = np.ones(len(edge), bool)
        again[np.unique(edge, axis=0, return_index=True)[1]] = False
        again &= ~flat[up // 3]
        if not again.any():
            used, kept = np.unique(faces[~flat], return_inverse=True)
            return points[used], kept.reshape(-1, 3).astype(np.asarray(triangles).dtype)
        points, faces = _insert_middles(points, faces, up[again], down[again])


def _insert_middles(
    points: np.ndarray, faces: np.ndarray, up: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Split the two faces at each of these edges, given as half-edges, at the edge's middle; a face only once."""
    faces, more, middles, touched = faces.copy(), [], [], set()
    for halves in zip(up.tolist(), down.tolist(), strict=True):
        if touched & {half // 3 for half in halves}:
            continue  # in the next round
        touched |= {half // 3 for half in halves}
        middle = len(points) + len(middles)
        for half in halves:
            a, b, c = (faces[half // 3, (half + k) % 3] for k in range(3))
            faces[half // 3] = a, middle, c
            more.append((middle, b, c))
        middles.append((points[a] + points[b]) / 2)
    return np.concatenate([points, middles]).astype(points.dtype), np.concatenate([faces, more])


def _across(vertices: np.ndarray, faces: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The partners among ``down`` of the half-edges ``up``, all of one edge: each time the next one on the inside."""
    low, high = (vertices[faces[up[0] // 3, (up[0] + k) % 3]] for k in (0, 1))
    low, high = low.astype(np.float64), high.astype(np.float64)
    axis = (high - low) / max(np.linalg.norm(high - low), 1e-300)
    first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    second = np.cross(axis, first)

    def angle(half_edges: np.ndarray) -> np.ndarray:
        third = vertices[faces[half_edges // 3, (half_edges + 2) % 3]] - low
        return np.arctan2(third @ second, third @ first)

    partners, free, down_angle = [], list(range(len(down))), angle(down)
    for theta in angle(up):
        nearest = min(free, key=lambda k: (theta - down_angle[k]) % (2 * np.pi))
        free.remove(nearest)
        partners.append(down[nearest])
    return np.array(partners)
