"""Finishing a generated mesh: loose pieces removed, fewer faces, feet on the floor. Plain arrays in and out."""

from __future__ import annotations

import numpy as np

from .edge_collapse import collapse_edges
from .manifold import connected, is_watertight, split_touching
from .mesh import face_cross

AGGRESSION = 5.0  # how fast the library's error limit grows: with less it may stop early, with more it is rougher
CAREFUL = 1000  # faces; for fewer the library's error limit grows until anything goes


def components(triangles: np.ndarray) -> np.ndarray:
    """Which piece each face belongs to, ``[F]`` int64; faces that share a vertex are of one piece.

    Pieces are numbered from 0 in the order of their lowest vertices.
    """
    faces = np.asarray(triangles, np.int64).reshape(-1, 3)
    if not len(faces):
        return np.zeros(0, np.int64)
    root = connected(faces, faces.max() + 1)
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


def decimate(vertices: np.ndarray, triangles: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a mesh to at most ``budget`` faces by quadric edge collapses (Garland and Heckbert 1997).

    A closed mesh stays closed. By fast-simplification (MIT) down to some thousand faces, then, for it bends shapes out
    of recognition at low counts, by `collapse_edges`. Where the library makes surfaces touch they are taken apart.

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
    points, faces = vertices, triangles
    for aim in (budget if budget >= CAREFUL or not closed else max(2 * budget, CAREFUL), 2 * budget + CAREFUL):
        points, faces = simplify(vertices, triangles, aim)
        if closed and not is_watertight(faces):
            points, faces = split_touching(points, faces)
        if not closed or is_watertight(faces):
            break
    if len(faces) > budget and is_watertight(faces):
        wide, faces = collapse_edges(points, faces, budget)
        points, faces = _used(np.float32(wide), faces.astype(np.int32))
    if len(faces) > budget or not len(faces):  # open, or closed in too many pieces: then rather less than too much
        points, faces = simplify(vertices, triangles, budget)
    if not 0 < len(faces) <= budget:
        raise ValueError(f"The mesh of {len(triangles)} faces cannot be reduced to {budget}.")
    return points, faces


def simplify(vertices: np.ndarray, triangles: np.ndarray, aim: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduce a mesh to about ``aim`` faces, quickly; holes and surfaces that touch may be the price.

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]``.

    Returns:
        vertices ``[W, 3]`` float32 and triangles ``[G, 3]`` int32.
    """
    import fast_simplification  # here, for reading and texturing meshes need no such library

    points, faces = vertices, triangles
    for _ in range(5):  # one call ends after a number of rounds, on the way to very few faces before the aim
        before = len(faces)
        if before <= aim:
            break
        points, faces = fast_simplification.simplify(points, faces, target_count=aim, agg=AGGRESSION)
        if len(faces) == before:
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
