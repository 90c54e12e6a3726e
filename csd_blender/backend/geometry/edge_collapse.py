"""Careful edge collapses for the last steps to a very low face count, where faster libraries tear a mesh.

Plain Python, for a few thousand faces: every collapse keeps the surface closed and of its kind.
"""

from __future__ import annotations

import heapq

import numpy as np

FLIP = 0.2  # cosine that a face's normal must keep with itself in one collapse
THIN = 1e-3  # area over squared longest edge, below which a face is a needle


def collapse_edges(vertices: np.ndarray, triangles: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Collapse the edges of least quadric error (Garland and Heckbert 1997) until at most ``budget`` faces are left.

    An edge is collapsed only if its ends have no neighbors in common but the two across it (link condition, Dey et
    al. 1999), so that a closed mesh stays closed and keeps its handles. Faces are not turned over until nothing else
    is left to do.

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]``, closed and consistently oriented (`is_watertight`).

    Returns:
        vertices ``[V, 3]`` float64, some of them unused, and triangles ``[G, 3]``: more than ``budget`` where no
        further collapse is allowed.
    """
    for careful in (True, False):
        if len(triangles) > budget:
            vertices, triangles = _Collapse(vertices, triangles, careful).run(budget)
    return np.asarray(vertices, np.float64), triangles


class _Collapse:
    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, careful: bool):
        self.careful = careful
        self.points = np.array(vertices, np.float64)
        self.faces: dict[int, tuple[int, int, int]] = {i: tuple(f) for i, f in enumerate(triangles.tolist())}
        self.around: list[set[int]] = [set() for _ in self.points]  # faces at each vertex
        for i, face in self.faces.items():
            for v in face:
                self.around[v].add(i)
        self.quadrics = self._quadrics(triangles)
        self.stamps = [0] * len(self.points)
        self.heap: list[tuple[float, int, int, int, int, tuple[float, float, float]]] = []
        for f in self.faces.values():
            for a, b in zip(f, (f[1], f[2], f[0]), strict=True):
                if a < b:  # the face across has it the other way around
                    self._push(a, b)

    def run(self, budget: int) -> tuple[np.ndarray, np.ndarray]:
        while len(self.faces) > budget and self.heap:
            _, a, b, stamp_a, stamp_b, point = heapq.heappop(self.heap)
            if (self.stamps[a], self.stamps[b]) == (stamp_a, stamp_b) and self._allowed(a, b, np.array(point)):
                self._merge(a, b, np.array(point))
        return self.points, np.array(list(self.faces.values()), np.int64).reshape(-1, 3)

    def _quadrics(self, triangles: np.ndarray) -> np.ndarray:
        """Sums ``[V, 4, 4]`` of squared distances to the planes of the faces, weighted by area."""
        a, b, c = (self.points[triangles[:, i]] for i in range(3))
        cross = np.cross(b - a, c - a)
        area = np.linalg.norm(cross, axis=1, keepdims=True)
        normal = cross / np.maximum(area, 1e-300)
        plane = np.concatenate([normal, -(normal * a).sum(1, keepdims=True)], 1)
        quadrics = np.zeros((len(self.points), 4, 4))
        for corner in range(3):
            np.add.at(quadrics, triangles[:, corner], (plane * area)[:, :, None] * plane[:, None, :])
        return quadrics

    def _neighbors(self, v: int) -> set[int]:
        found = {w for i in self.around[v] for w in self.faces[i]}
        found.discard(v)
        return found

    def _push(self, a: int, b: int) -> None:
        """Put an edge in line with the error and the place of its best merged vertex."""
        q = self.quadrics[a] + self.quadrics[b]
        ends = self.points[a], self.points[b]
        middle, span = (ends[0] + ends[1]) / 2, ends[1] - ends[0]
        choices = [*ends, middle]
        # best relative to the middle, and only as far as the quadric knows: flat places leave directions open
        values, axes = np.linalg.eigh(q[:3, :3])
        slope = q[:3, :3] @ middle + q[:3, 3]
        sure = values > 1e-4 * max(values[2], 1e-300)
        step = -axes[:, sure] @ ((axes[:, sure].T @ slope) / values[sure])
        if step @ step <= 4 * (span @ span):
            choices.insert(0, middle + step)
        costs = [p @ q[:3, :3] @ p + 2 * q[:3, 3] @ p + q[3, 3] for p in choices]
        best = int(np.argmin(costs))
        # among equals, as on a plane, short edges go first
        cost = max(float(costs[best]), 0.0) + 1e-9 * float(span @ span) * float(np.trace(q[:3, :3]))
        heapq.heappush(self.heap, (cost, a, b, self.stamps[a], self.stamps[b], tuple(choices[best])))

    def _allowed(self, a: int, b: int, point: np.ndarray) -> bool:
        shared = self.around[a] & self.around[b]
        common = self._neighbors(a) & self._neighbors(b)
        if len(shared) != 2 or len(common) != 2:
            return False
        if sum(common <= set(self.faces[i]) for i in self.around[a] | self.around[b]) > 1:
            return False  # a tetrahedron, which would become two faces back to back
        if not self.careful:
            return True
        for i in (self.around[a] | self.around[b]) - shared:
            old = self.points[list(self.faces[i])]
            new = np.array([point if v in (a, b) else self.points[v] for v in self.faces[i]])
            before, after = (np.cross(t[1] - t[0], t[2] - t[0]) for t in (old, new))
            size = np.sqrt(after @ after)
            longest = max(((new - new[[1, 2, 0]]) ** 2).sum(1))
            if size < THIN * longest or before @ after < FLIP * size * np.sqrt(before @ before):
                return False
        return True

    def _merge(self, a: int, b: int, point: np.ndarray) -> None:
        """Move a to the point and let it take the place of b."""
        for i in self.around[a] & self.around[b]:
            for v in self.faces.pop(i):
                self.around[v].discard(i)
        for i in self.around[b]:
            x, y, z = (a if v == b else v for v in self.faces[i])
            self.faces[i] = (x, y, z)
        self.around[a] |= self.around[b]
        self.around[b] = set()
        self.points[a] = point
        self.quadrics[a] += self.quadrics[b]
        self.stamps[b] += 1
        ring = self._neighbors(a)
        for v in (a, *ring):
            self.stamps[v] += 1
        # edges around the ring are judged anew, for what was forbidden may now be allowed
        edges = {(min(v, w), max(v, w)) for v in (a, *ring) for w in self._neighbors(v)}
        for v, w in sorted(edges):
            self._push(v, w)
