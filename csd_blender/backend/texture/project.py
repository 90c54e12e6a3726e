"""A simple, fast and sturdy unwrapping: islands projected along the six axes, packed in rows.

It takes any number of faces in seconds and always ends; its islands are more and smaller than those of xatlas, which
it stands in for on huge or hopeless meshes.
"""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.mesh import face_cross, uv_areas
from .polygons import FOLDED, groups, lay_alone, members, polygons_of
from .uv_kernels import claim, coverage_counts

SMOOTHING = 6  # rounds of averaging normals over neighbors, which makes larger islands
AXES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64)
# for each axis the two others, ordered so that islands are not mirrored
PLANES = [(1, 2, 1.0), (1, 2, -1.0), (0, 2, -1.0), (0, 2, 1.0), (0, 1, 1.0), (0, 1, -1.0)]
PEELS = 6  # rounds of moving faces that lie over others into islands of their own
PEEL_SIZE = 2048


def project_unwrap(
    positions: np.ndarray, triangles: np.ndarray, padding: float = 1 / 256, corner: np.ndarray | None = None
) -> np.ndarray:
    """UVs by projection.

    Args:
        positions: ``[V, 3]``.
        triangles: ``[F, 3]``, none without area.
        padding: least distance of islands, in tiles (smaller when there are very many).
        corner: ``[F, 3]`` of the triangles of a mesh with polygons (``Mesh.corner``), which stay whole then.

    Returns:
        ``[F, 3, 2]`` float32 inside the tile.
    """
    pairs = face_neighbors(positions, triangles)
    cross = face_cross(positions, triangles)
    polygon = np.arange(len(triangles)) if corner is None else polygons_of(corner)
    axis = _axes(cross, pairs, polygon)
    flat = _project(positions, triangles, axis)
    label = axis * (PEELS + 1)
    if corner is not None:
        folded = np.bincount(polygon, weights=uv_areas(flat) < FOLDED * np.linalg.norm(cross, axis=1) / 2)[polygon] > 0
        for i, of_one in enumerate(members(polygon, folded & (np.bincount(polygon)[polygon] > 1))):
            flat[of_one] = lay_alone(positions, triangles[of_one], corner[of_one])
            label[of_one] = (len(AXES) + i) * (PEELS + 1)
    layer = np.zeros(len(triangles), np.int64)
    for round_ in range(PEELS + 1):
        island = _islands(label + layer, pairs)
        uv = _pack(flat, island, padding)
        if round_ == PEELS:
            break
        hidden = np.bincount(polygon, weights=_overlapped(uv))[polygon] > 0
        if not hidden.any():
            break
        layer[hidden] = round_ + 1
    return uv


def face_neighbors(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """``[E, 2]`` pairs of faces that share an edge; vertices at the same place count as one."""
    _, vertex = np.unique(positions, axis=0, return_inverse=True)
    welded = vertex.reshape(-1)[triangles]
    edges = np.concatenate([welded[:, [0, 1]], welded[:, [1, 2]], welded[:, [2, 0]]])
    edges.sort(axis=1)
    key = edges[:, 0].astype(np.int64) * (int(welded.max()) + 1) + edges[:, 1]
    order = np.argsort(key, kind="stable")
    same = key[order[1:]] == key[order[:-1]]
    faces = np.tile(np.arange(len(triangles)), 3)[order]
    return np.stack([faces[:-1][same], faces[1:][same]], axis=1)


def _axes(cross: np.ndarray, pairs: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """The axis each face is projected along: the nearest to its smoothed normal that does not fold it over.

    One and the same for the faces of one ``polygon [F]``.
    """
    unit = cross / np.linalg.norm(cross, axis=1, keepdims=True)
    smooth = cross.copy()
    for _ in range(SMOOTHING):
        total = smooth.copy()
        np.add.at(total, pairs[:, 0], smooth[pairs[:, 1]])
        np.add.at(total, pairs[:, 1], smooth[pairs[:, 0]])
        smooth = total / 4
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-30)
    score = smooth @ AXES.T
    score[unit @ AXES.T < 0.35] -= 4.0  # too steep: the island would be squeezed
    if polygon.max(initial=0) + 1 < len(polygon):
        total = np.zeros((polygon.max() + 1, len(AXES)))
        np.add.at(total, polygon, score)
        score = total[polygon]
    return score.argmax(axis=1)


def _project(positions: np.ndarray, triangles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """``[F, 3, 2]`` corners in the plane of each face's axis, in the mesh's own unit of length."""
    corners = positions.astype(np.float64)[triangles]
    flat = np.empty((len(triangles), 3, 2))
    for i, (u, v, sign) in enumerate(PLANES):
        flat[axis == i] = corners[axis == i][:, :, [u, v]] * [sign, 1.0]
    return flat


def _islands(label: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Connected faces with one label share a number ``0..n-1``."""
    return groups(len(label), pairs[label[pairs[:, 0]] == label[pairs[:, 1]]])


def _pack(flat: np.ndarray, island: np.ndarray, padding: float) -> np.ndarray:
    """Place the islands' boxes in rows of falling height, as large as fits the tile."""
    count = int(island.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, island, flat.min(axis=1))
    np.maximum.at(high, island, flat.max(axis=1))
    size = high - low
    turned = size[:, 1] > size[:, 0]  # lying boxes make flat rows
    size = np.where(turned[:, None], size[:, ::-1], size)
    order = np.lexsort((-size[:, 0], -size[:, 1]))
    padding = min(padding, 0.25 / np.sqrt(count))

    # The largest scale whose rows fit: found by bisection, since fitting is monotonic enough.
    small, large = 0.0, 1.0 / max(size.max(), 1e-30)
    for _ in range(24):
        scale = (small + large) / 2
        if _rows(size[order] * scale, padding) is None:
            large = scale
        else:
            small = scale
    places = np.empty((count, 2))
    places[order] = _rows(size[order] * small, padding)

    local = flat - low[island][:, None, :]
    turn = turned[island]
    # turning by 90 degrees keeps the orientation: (x, y) -> (height - y, x)
    height = (high - low)[island][:, 1]
    local[turn] = np.stack([height[turn, None] - local[turn][:, :, 1], local[turn][:, :, 0]], axis=2)
    return np.float32(np.clip(local * small + places[island][:, None, :], 0.0, 1.0))


def _rows(size: np.ndarray, padding: float) -> np.ndarray | None:
    """Lower left corners of boxes (sorted by falling height) filling rows from the bottom; None if too high."""
    width = size[:, 0] + padding
    if width.max() + padding > 1.0:
        return None
    places = np.empty_like(size)
    start, y = 0, padding
    along = np.concatenate([[0.0], np.cumsum(width)])
    while start < len(size):
        end = int(np.searchsorted(along, along[start] + 1.0 - padding, side="right")) - 1
        end = max(end, start + 1)
        places[start:end, 0] = padding + along[start:end] - along[start]
        places[start:end, 1] = y
        y += size[start, 1] + padding
        if y > 1.0:
            return None
        start = end
    return places


def _overlapped(uv: np.ndarray) -> np.ndarray:
    """``[F]`` bool: faces that lie over another one of their island in the UV map."""
    corners = torch.from_numpy(uv * PEEL_SIZE)
    crowded = (coverage_counts(corners, PEEL_SIZE) > 1).numpy()
    if not crowded.any():
        return np.zeros(len(uv), bool)
    owner = claim(corners, PEEL_SIZE, 0.0).numpy()
    # A face is hidden when a texel at its middle, or one of those inside, belongs to another face and is crowded.
    hidden = np.zeros(len(uv), bool)
    for weights in ((1 / 3, 1 / 3, 1 / 3), (0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.6)):
        texel = np.clip((uv * np.float32(weights)[None, :, None]).sum(axis=1) * PEEL_SIZE, 0, PEEL_SIZE - 1).astype(int)
        x, y = texel[:, 0], texel[:, 1]
        hidden |= crowded[y, x] & (owner[y, x] != np.arange(len(uv)))
    return hidden
