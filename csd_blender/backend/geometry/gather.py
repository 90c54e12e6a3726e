"""Objects that lie far apart are looked at side by side: from where all are in view, each would be but a dot."""

from __future__ import annotations

import numpy as np

from .mesh import Mesh

GAP = 1.05  # distance of two bounding spheres' centers, in sums of their radii
FARTHEST = 2.0  # the same, of what lies furthest from all else


def gather_parts(mesh: Mesh) -> np.ndarray:
    """Positions ``[V, 3]`` with the parts moved towards each other until the first bounding spheres nearly touch, and
    what is still far from all others, as one tree behind a village, as near as ``FARTHEST``.

    Parts whose spheres overlap, such as a hat and its wearer, stay together as they are. Nothing is moved apart,
    turned or scaled, and but for what is far from all others, directions between the groups are kept.
    """
    positions = mesh.positions
    vertices = [np.unique(mesh.triangles[mesh.part == part]) for part in range(len(mesh.part_names))]
    groups = Groups(positions, [v for v in vertices if len(v)])
    while (pair := groups.nearest())[2] <= 1:
        groups.join(*pair[:2])
    if len(groups.vertices) < 2:
        return positions
    factor = min(1.0, GAP / pair[2])
    middle = np.mean(groups.center, axis=0)
    gathered = positions.copy()
    for group, center in zip(groups.vertices, groups.center, strict=True):
        gathered[group] += ((factor - 1) * (center - middle)).astype(positions.dtype)
    groups = Groups(gathered, groups.vertices)
    while len(groups.vertices) > 1:  # the nearest two first, which are one group from then on
        first, second, distance = groups.nearest()
        if distance > FARTHEST:
            step = (1 - FARTHEST / distance) / 2 * (groups.center[second] - groups.center[first])
            gathered[groups.vertices[first]] += step.astype(positions.dtype)
            gathered[groups.vertices[second]] -= step.astype(positions.dtype)
        groups.join(first, second)
    return gathered


class Groups:
    """Parts that stay together, and how far apart they are.

    Attributes:
        vertices: those of each group. center: ``[G, 3]`` float64, radius: ``[G]``, of its bounding sphere.
        apart: ``[G, G]`` distances of the centers, in sums of the radii; of a group to itself it is infinite.
    """

    def __init__(self, positions: np.ndarray, vertices: list[np.ndarray]):
        self.positions, self.vertices = positions, list(vertices)
        self.center, self.radius = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
        self.apart = np.full((len(vertices), len(vertices)), np.inf)
        for i in range(len(vertices)):
            self._measure(i)

    def nearest(self) -> tuple[int, int, float]:
        """The two that are nearest, the first before the second, and their distance, which is infinite for want of
        two."""
        if len(self.vertices) < 2:
            return 0, 0, np.inf
        i, j = np.unravel_index(self.apart.argmin(), self.apart.shape)
        return min(int(i), int(j)), max(int(i), int(j)), float(self.apart[i, j])

    def join(self, first: int, second: int) -> None:
        """Let the second, which comes behind the first, be one with it."""
        self.vertices[first] = np.union1d(self.vertices[first], self.vertices.pop(second))
        self.center, self.radius = np.delete(self.center, second, axis=0), np.delete(self.radius, second)
        self.apart = np.delete(np.delete(self.apart, second, axis=0), second, axis=1)
        self._measure(first)

    def _measure(self, i: int) -> None:
        points = self.positions[self.vertices[i]]
        self.center[i] = (points.min(0).astype(np.float64) + points.max(0)) / 2
        self.radius[i] = max(float(np.linalg.norm(points - self.center[i], axis=1).max()), 1e-12)
        self.apart[i] = np.linalg.norm(self.center - self.center[i], axis=1) / (self.radius + self.radius[i])
        self.apart[i, i] = np.inf
        self.apart[:, i] = self.apart[i]
