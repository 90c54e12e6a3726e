"""Finishing a generated mesh: loose pieces removed, fewer faces, feet on the floor. Plain arrays in and out."""

from __future__ import annotations

import numpy as np

from .mesh import face_cross

# How fast the decimation's error limit grows: higher is quicker and rougher. The later ones are for meshes on which
# the first leaves a hole or two faces on one another.
AGGRESSIONS = (5.0, 3.0, 7.0)


def components(triangles: np.ndarray) -> np.ndarray:
    """Which piece each face belongs to, ``[F]`` int64; faces that share a vertex are of one piece.

    Pieces are numbered from 0 in the order of their lowest vertices.
    """
    faces = np.asarray(triangles, np.int64).reshape(-1, 3)
    if not len(faces):
        return np.zeros(0, np.int64)
    root = np.arange(faces.max() + 1)
    while True:
        lowest = root[faces].min(axis=1)
        before = root.copy()
        for corner in range(3):
            np.minimum.at(root, root[faces[:, corner]], lowest)  # the tree's root, not only the vertex, moves
            np.minimum.at(root, faces[:, corner], lowest)
        while True:  # every vertex points straight to the root of its tree
            further = root[root]
            if np.array_equal(further, root):
                break
            root = further
        if np.array_equal(root, before):
            break
    return np.unique(root[faces[:, 0]], return_inverse=True)[1]


def largest_component(
    vertices: np.ndarray, triangles: np.ndarray, keep_share: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Remove loose pieces.

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]``.
        keep_share: pieces stay that have at least this share of the whole area, 0 to 1; the largest always stays, and
            with 1 nothing else does.

    Returns:
        vertices and triangles of what stays, in their order, unused vertices removed.
    """
    triangles = np.asarray(triangles)
    if not len(triangles):
        return np.asarray(vertices)[:0], triangles
    piece = components(triangles)
    area = np.bincount(piece, np.linalg.norm(face_cross(np.asarray(vertices), triangles), axis=1))
    stays = area >= keep_share * area.sum() if keep_share < 1 else np.zeros(len(area), bool)
    stays[area.argmax()] = True
    return _used(np.asarray(vertices), triangles[stays[piece]])


def is_watertight(triangles: np.ndarray) -> bool:
    """Whether every edge is shared by exactly two faces that run along it in opposite directions."""
    faces = np.asarray(triangles, np.int64).reshape(-1, 3)
    if not len(faces):
        return False
    a, b = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    count = faces.max() + 1
    forth, back = np.sort(a * count + b), np.sort(b * count + a)
    return bool((a != b).all() and (np.diff(forth) > 0).all() and np.array_equal(forth, back))


def decimate(vertices: np.ndarray, triangles: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a mesh to at most ``budget`` faces by quadric edge collapses (Garland and Heckbert 1997).

    A closed mesh stays closed if one of several attempts manages that. By fast-simplification (MIT).

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]``.
        budget: at least 4.

    Returns:
        vertices ``[W, 3]`` float32 and triangles ``[G, 3]`` int32; the input itself when it is small enough.

    Raises:
        ValueError: for a smaller budget, or when the mesh cannot be reduced that far.
    """
    vertices, triangles = np.float32(vertices), np.ascontiguousarray(triangles, np.int32)
    if budget < 4:
        raise ValueError(f"A closed mesh needs 4 faces at least, not {budget}.")
    if len(triangles) <= budget:
        return vertices, triangles
    closed = is_watertight(triangles)
    best = None
    for share in (1.0, 0.97, 0.9):
        for aggression in AGGRESSIONS:
            result = _collapse(vertices, triangles, max(4, int(budget * share)), aggression)
            if not 0 < len(result[1]) <= budget:
                continue
            if not closed or is_watertight(result[1]):
                return result
            best = best or result
    if best is None:
        raise ValueError(f"The mesh of {len(triangles)} faces cannot be reduced to {budget}.")
    return best


def _collapse(
    vertices: np.ndarray, triangles: np.ndarray, budget: int, aggression: float
) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification  # here, for reading and texturing meshes need no such library

    points, faces = vertices, triangles
    for _ in range(5):  # one call ends after a number of rounds, on the way to very few faces before the aim
        before = len(faces)
        points, faces = fast_simplification.simplify(points, faces, target_count=budget, agg=aggression)
        if len(faces) <= budget or len(faces) == before:
            break
    return _used(np.float32(points), np.ascontiguousarray(faces, np.int32))


def place_on_floor(vertices: np.ndarray, height: float = 1.0) -> np.ndarray:
    """Scale to a height and put the origin at the foot: lowest z at 0, the middle of the box above the origin.

    Args:
        vertices: ``[V, 3]``, Z up.
        height: extent in z of the result, in meters, > 0. A flat thing gets it as its widest extent instead.

    Returns:
        ``[V, 3]`` float32.

    Raises:
        ValueError: when there is no vertex, all are in one place, or the height is not positive.
    """
    wide = np.asarray(vertices, np.float64).reshape(-1, 3)
    if not len(wide) or not height > 0:
        raise ValueError("There must be vertices, and a height above 0.")
    low, high = wide.min(axis=0), wide.max(axis=0)
    size = high - low
    extent = size[2] if size[2] > 1e-6 * size.max() else size.max()
    if not extent > 0:
        raise ValueError("All vertices are in one place.")
    foot = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    return np.float32((wide - foot) * (height / extent))


def _used(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same faces with only the vertices they use."""
    index, inverse = np.unique(triangles, return_inverse=True)
    return vertices[index], inverse.reshape(-1, 3).astype(triangles.dtype)
