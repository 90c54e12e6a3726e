"""Keeping the faces of a mesh whole in its UV map.

Unwrapping works on triangles and may put those of one polygon into different islands. But a mesh has one UV for each
corner of a polygon, so that one of its triangles would be dragged across the map. Here such a polygon is laid flat
beside the largest of its pieces, triangle after triangle about the edge they share; where it would lie over other
faces there, it becomes an island of its own.

Corners: ``corner [F, 3]`` says which corner of its polygon each corner of a triangle is. The numbers differ from
polygon to polygon and rise around each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.mesh import face_cross, uv_areas
from .uv_kernels import lost_texels

CHECK_SIZE = 2048  # texels of the grid on which polygons over others are noticed
OVERLAP = 0.002  # share of all texels that may have several faces
CROWDED = 0.02  # share of a polygon's texels that may have others as well
ROUNDS = 3
FOLDED = 0.1  # a polygon is seen along its normal unless a triangle shrinks to less than this


# From UVs ``[F, 3, 2]`` and islands ``[F]`` to the same islands side by side in the tile, or None when that fails.
Pack = Callable[[np.ndarray, np.ndarray], "np.ndarray | None"]


@dataclass(frozen=True)
class Polygons:
    """Triangles and the polygons that they were cut from.

    Attributes:
        positions: ``[V, 3]``. vertex, corner: ``[F, 3]``.
        solid: ``[F]`` bool, the triangles with an area, which alone are unwrapped.
        polygon: ``[F]``.
    """

    positions: np.ndarray
    vertex: np.ndarray
    corner: np.ndarray
    solid: np.ndarray
    polygon: np.ndarray


def polygons_of(corner: np.ndarray) -> np.ndarray:
    """``[F]`` the polygon, ``0..n-1``, that each triangle was cut from: triangles of one share corners."""
    return groups(len(corner), equal_pairs(corner))


def equal_pairs(values: np.ndarray) -> np.ndarray:
    """``[E, 2]`` pairs of rows of ``values [F, 3]`` that chain together all rows with a value in common."""
    flat = values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    same = flat[order[1:]] == flat[order[:-1]]
    row = order // values.shape[1]
    return np.stack([row[:-1][same], row[1:][same]], axis=1)


def groups(count: int, pairs: np.ndarray) -> np.ndarray:
    """Connected members of ``0..count-1`` share a number ``0..n-1`` (label propagation with pointer jumping)."""
    root = np.arange(count)
    while True:
        a, b = root[pairs[:, 0]], root[pairs[:, 1]]
        if np.array_equal(a, b):
            break
        low = np.minimum(a, b)
        np.minimum.at(root, a, low)
        np.minimum.at(root, b, low)
        while not np.array_equal(root, root[root]):
            root = root[root]
    return np.unique(root, return_inverse=True)[1].reshape(-1)


def torn_polygons(uv: np.ndarray, faces: Polygons) -> np.ndarray:
    """``[F]`` bool: triangles of polygons of which a corner has different UVs in ``uv [F, 3, 2]``."""
    _, number = np.unique(faces.corner, return_inverse=True)
    number = number.reshape(faces.corner.shape)
    low, high = np.full((number.max() + 1, 2), np.inf), np.full((number.max() + 1, 2), -np.inf)
    np.minimum.at(low, number[faces.solid], uv[faces.solid])
    np.maximum.at(high, number[faces.solid], uv[faces.solid])
    bad = (low < high).any(axis=1)[number].any(axis=1)
    return np.bincount(faces.polygon, weights=bad)[faces.polygon] > 0


def islands_of(uv: np.ndarray, vertex: np.ndarray) -> np.ndarray:
    """``[F]`` islands: triangles that have a vertex and its UV in common are in one.

    Args:
        uv: ``[F, 3, 2]``. vertex: ``[F, 3]``.
    """
    key = np.concatenate([vertex.reshape(-1, 1), np.float64(uv).reshape(-1, 2).view(np.int64)], axis=1)
    number = np.unique(key, axis=0, return_inverse=True)[1].reshape(vertex.shape)
    return groups(len(vertex), equal_pairs(number))


def make_whole(faces: Polygons, uv: np.ndarray, pack: Pack) -> np.ndarray | None:
    """The map ``uv`` with whole polygons, none of them over another.

    Args:
        uv: ``[F, 3, 2]`` in the tile; those of faces without area do not matter.
        pack: lays islands side by side.

    Returns:
        ``[F, 3, 2]`` float32; ``uv`` itself where nothing was wrong with it. None when ``pack`` failed.
    """
    torn, uv = torn_polygons(uv, faces), np.float64(uv)
    island, moved = islands_of(uv, faces.vertex), np.zeros(len(uv), bool)
    area = areas(faces)
    scale = np.sqrt(np.abs(uv_areas(uv[faces.solid])).sum() / area[faces.solid].sum())
    piece_of = pieces_of(faces, uv)
    for of_one in members(faces.polygon, torn):
        solid = of_one[faces.solid[of_one]]
        number, place = np.unique(piece_of[solid], return_inverse=True)
        piece = solid[piece_of[solid] == number[np.bincount(place, weights=area[solid]).argmax()]]
        uv[of_one] = lay_out(faces, uv, of_one, piece)
        island[of_one] = island[piece[0]]
        moved[of_one] = True
    if torn.any():
        uv = pack(uv, island)
    for _ in range(ROUNDS):
        if uv is None or not (hidden := hidden_polygons(uv, faces, moved)).any():
            break
        # What xatlas itself laid over something becomes islands as it is; what was moved, or that again, each its own.
        together = groups(len(uv), equal_pairs(np.where(hidden[:, None], faces.vertex, -1 - faces.corner)))
        island = np.where(hidden, island.max() + 1 + together, island)
        for of_one in members(faces.polygon, hidden & moved):
            uv[of_one] = lay_alone(faces.positions, faces.vertex[of_one], faces.corner[of_one]) * scale
            island[of_one] = island.max() + 1
        moved |= hidden
        uv = pack(uv, island)
    return None if uv is None else np.float32(uv)


def lay_flat_faces(faces: Polygons, uv: np.ndarray) -> np.ndarray:
    """``uv [F, 3, 2]`` of whole polygons with places for the corners of their triangles without area, too."""
    several = np.bincount(faces.polygon)[faces.polygon] > 1
    flat = np.bincount(faces.polygon, weights=~faces.solid)[faces.polygon] > 0
    some = np.bincount(faces.polygon, weights=faces.solid)[faces.polygon] > 0
    uv = uv.copy()
    for of_one in members(faces.polygon, several & flat & some):
        uv[of_one] = lay_out(faces, np.float64(uv), of_one, of_one[faces.solid[of_one]])
    return uv


def members(group: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
    """The indices of ``chosen [F]`` (bool), one array for each group."""
    index = np.flatnonzero(chosen)
    index = index[np.argsort(group[index], kind="stable")]
    return np.split(index, np.flatnonzero(np.diff(group[index])) + 1) if len(index) else []


def pieces_of(faces: Polygons, uv: np.ndarray) -> np.ndarray:
    """``[F]`` the piece that a triangle is in: those of one polygon that hang together in the map."""
    order = np.argsort(faces.corner, axis=1)
    corner, uv = np.take_along_axis(faces.corner, order, 1), np.take_along_axis(uv, order[:, :, None], 1)
    edges = []
    for i, j in ((0, 1), (1, 2), (0, 2)):
        edges.append(np.concatenate([corner[:, [i, j]], uv[:, [i, j]].reshape(-1, 4).view(np.int64)], axis=1))
    number = np.unique(np.concatenate(edges), axis=0, return_inverse=True)[1].reshape(3, -1).T
    number = np.where(faces.solid[:, None], number, number.max() + 1 + np.arange(len(uv))[:, None])
    return groups(len(uv), equal_pairs(number))


def lay_out(faces: Polygons, uv: np.ndarray, of_one: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """UVs ``[N, 3, 2]`` of the polygon ``of_one [N]`` that go on from those of its triangles ``piece``.

    Each triangle keeps its shape and gets the scale of the edge that it is turned about.
    """
    known = dict(zip(faces.corner[piece].ravel().tolist(), uv[piece].reshape(-1, 2), strict=True))
    side = 1.0 if uv_areas(uv[piece]).sum() >= 0 else -1.0
    beside: dict[tuple[int, int], list[int]] = {}
    for f in of_one.tolist():
        for edge in edges_of(faces.corner[f]):
            beside.setdefault(edge, []).append(f)
    waiting, done = piece.tolist(), set(piece.tolist())
    for f in waiting:  # it grows meanwhile
        near = [n for edge in edges_of(faces.corner[f]) for n in beside[edge] if n not in done]
        for n in near:
            done.add(n)
            waiting.append(n)
            corner, points = faces.corner[n].tolist(), faces.positions[faces.vertex[n]].astype(np.float64)
            for k in (k for k in range(3) if corner[k] not in known):  # one at most, as the others are of the edge
                i, j = (k + 1) % 3, (k + 2) % 3
                known[corner[k]] = third_corner(*points[[i, j, k]], known[corner[i]], known[corner[j]], side)
    middle = next(iter(known.values()))  # of what does not hang together at all
    return np.array([[known.get(c, middle) for c in faces.corner[f].tolist()] for f in of_one])


def edges_of(corner: np.ndarray) -> list[tuple[int, int]]:
    a, b, c = sorted(corner.tolist())
    return [(a, b), (b, c), (a, c)]


def third_corner(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, flat_a: np.ndarray, flat_b: np.ndarray, side: float
) -> np.ndarray:
    """Where ``c`` lies in the plane when the edge ``a b`` of the triangle lies at ``flat_a flat_b``."""
    edge, flat = b - a, flat_b - flat_a
    length = np.linalg.norm(edge)
    if length < 1e-20:
        return flat_a.copy()
    along = (c - a) @ edge / length**2
    across = np.linalg.norm(c - a - along * edge) / length
    return flat_a + along * flat + side * across * np.array([-flat[1], flat[0]])


def lay_alone(positions: np.ndarray, vertex: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """One polygon in the plane, in units of length, none of its triangles over another.

    Two triangles are turned about their edge. More are seen along the polygon's normal, as when it was cut into
    triangles. A polygon that is folded over in that view gets its corners on a circle: whatever triangles a polygon is
    cut into, they do not meet there.

    Args:
        vertex, corner: ``[N, 3]``.

    Returns:
        ``[N, 3, 2]`` float64.
    """
    points = positions[vertex].astype(np.float64)
    cross = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    area = np.linalg.norm(cross, axis=1) / 2
    if len(vertex) <= 2:
        a, b, c = points[0]
        at = {corner[0, 0]: np.zeros(2), corner[0, 1]: np.array([np.linalg.norm(b - a), 0.0])}
        at[corner[0, 2]] = third_corner(a, b, c, at[corner[0, 0]], at[corner[0, 1]], 1.0)
        if len(vertex) == 1:
            return np.array([[at[n] for n in corner[0]]])
        new = [k for k in range(3) if corner[1, k] not in at]
        if len(new) == 1:
            i, j, k = (new[0] + 1) % 3, (new[0] + 2) % 3, new[0]
            at[corner[1, k]] = third_corner(*points[1, [i, j, k]], at[corner[1, i]], at[corner[1, j]], 1.0)
            return np.array([[at[n] for n in row] for row in corner])
    normal = cross.sum(axis=0)
    normal /= max(np.linalg.norm(normal), 1e-30)
    first = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    first /= max(np.linalg.norm(first), 1e-30)
    seen = points @ np.stack([first, np.cross(normal, first)], axis=1)
    if (uv_areas(seen) > FOLDED * area).all():
        return seen
    order, place = np.unique(corner, return_inverse=True)
    angle = 2 * np.pi * place.reshape(corner.shape) / len(order)
    seen = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    if uv_areas(seen).sum() < 0:
        seen[..., 1] *= -1
    return seen * np.sqrt(area.sum() / max(uv_areas(seen).sum(), 1e-30))


def hidden_polygons(uv: np.ndarray, faces: Polygons, moved: np.ndarray) -> np.ndarray:
    """``[F]`` bool: triangles of polygons that lie over others, or over themselves; the first of two is none.

    Polygons that were not moved come first. Empty where the share of texels with several faces is too small to matter.
    """
    order = np.flatnonzero(faces.solid)
    order = order[np.argsort(moved[order], kind="stable")]
    counts = np.zeros((len(uv), 2))
    counts[order] = lost_texels(torch.from_numpy(np.float32(uv[order]) * CHECK_SIZE), CHECK_SIZE).cpu().numpy()
    if counts[:, 1].sum() <= OVERLAP * max(counts[:, 0].sum(), 1):
        return np.zeros(len(uv), bool)
    inside, lost = (np.bincount(faces.polygon, weights=counts[:, i])[faces.polygon] for i in (0, 1))
    return lost > CROWDED * inside


def areas(faces: Polygons) -> np.ndarray:
    """``[F]`` areas in space."""
    return np.linalg.norm(face_cross(faces.positions, faces.vertex), axis=1) / 2
