"""Objects that lie far apart are looked at side by side: from where all are in view, each would be but a dot."""

from __future__ import annotations

import numpy as np

from .mesh import Mesh

GAP = 1.05  # distance of two bounding spheres' centers, in sums of their radii


def gather_parts(mesh: Mesh) -> np.ndarray:
    """Positions ``[V, 3]`` with the parts moved towards each other until the first bounding spheres nearly touch.

    Parts whose spheres overlap, such as a hat and its wearer, stay together as they are. Nothing is moved apart,
    turned or scaled, and directions between the groups are kept.
    """
    positions = mesh.positions
    vertices = [np.unique(mesh.triangles[mesh.part == part]) for part in range(len(mesh.part_names))]
    groups = [v for v in vertices if len(v)]
    while True:
        spheres = [_sphere(positions[group]) for group in groups]
        pairs = ((i, j) for i in range(len(groups)) for j in range(i))
        pair = next((p for p in pairs if _distance(spheres[p[0]], spheres[p[1]]) <= 1), None)
        if pair is None:
            break
        groups[pair[1]] = np.union1d(groups[pair[1]], groups.pop(pair[0]))
    if len(groups) < 2:
        return positions
    nearest = min(_distance(spheres[i], spheres[j]) for i in range(len(groups)) for j in range(i))
    factor = min(1.0, GAP / nearest)
    middle = np.mean([center for center, _ in spheres], axis=0)
    gathered = positions.copy()
    for group, (center, _) in zip(groups, spheres, strict=True):
        gathered[group] += ((factor - 1) * (center - middle)).astype(positions.dtype)
    return gathered


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    center = (points.min(0).astype(np.float64) + points.max(0)) / 2
    return center, max(float(np.linalg.norm(points - center, axis=1).max()), 1e-12)


def _distance(a: tuple[np.ndarray, float], b: tuple[np.ndarray, float]) -> float:
    """Between the centers, in sums of the radii."""
    return float(np.linalg.norm(a[0] - b[0])) / (a[1] + b[1])
