"""The edges of a mesh, which `antialias` looks for silhouettes among."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Topology:
    """The edges of a mesh, each once.

    Attributes:
        edges: ``[E, 2]`` int32 vertex numbers.
        opposite: ``[E, 2]`` int32: the third vertices of the two faces at the edge; -1 where there is no second face
            (a border) or where more than two faces meet.
        triangles: ``[F, 3]`` int32, welded.
    """

    edges: Tensor
    opposite: Tensor
    triangles: Tensor


def topology(triangles: Tensor, positions: Tensor | None = None) -> Topology:
    """Edges of a mesh, once a mesh.

    Args:
        triangles: ``[F, 3]`` integer.
        positions: ``[V, 3]``; when given, vertices at exactly the same place count as one, so that UV or normal seams
            are no borders. All gradients of a seam's silhouette then go to the first of its vertices.
    """
    faces = triangles.long()
    if positions is not None and len(faces):
        _, group = torch.unique(positions.detach(), dim=0, return_inverse=True)
        first = torch.full((int(group.max()) + 1,), len(positions), device=faces.device, dtype=torch.long)
        first.scatter_reduce_(0, group, torch.arange(len(positions), device=faces.device), reduce="amin")
        faces = first[group][faces]
    a, b, c = faces.unbind(1)
    ends = torch.cat([torch.stack([a, b], 1), torch.stack([b, c], 1), torch.stack([c, a], 1)])
    third = torch.cat([c, a, b])
    real = ends[:, 0] != ends[:, 1]  # faces that weld to a line have none
    ends, third = ends[real], third[real]
    if not len(ends):
        empty = torch.zeros((0, 2), dtype=torch.int32, device=faces.device)
        return Topology(empty, empty, faces.int())
    # one number an edge: comparing rows would take forty times as long
    names, order = torch.sort(torch.minimum(*ends.unbind(1)) << 32 | torch.maximum(*ends.unbind(1)), stable=True)
    unique, counts = torch.unique_consecutive(names, return_counts=True)
    edges = torch.stack([unique >> 32, unique & 0xFFFFFFFF], 1)
    start = torch.cumsum(counts, 0) - counts
    one = third[order[start]]
    two = third[order[(start + 1).clamp(max=len(order) - 1)]]
    two = torch.where(counts == 2, two, torch.full_like(two, -1))
    return Topology(edges.int().contiguous(), torch.stack([one, two], 1).int(), faces.int().contiguous())
