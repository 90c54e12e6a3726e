"""What keeps an optimized mesh smooth."""

from __future__ import annotations

import torch
from torch import Tensor

from .normals import vertex_normals


def mesh_edges(triangles: Tensor) -> Tensor:
    """Each edge of a mesh once, ``[E, 2]`` int64, lower vertex first, sorted. Triangles are ``[F, 3]`` integer."""
    a, b, c = triangles.long().t().contiguous()
    start, end = torch.cat([a, b, c]), torch.cat([b, c, a])
    names = (torch.minimum(start, end) << 32 | torch.maximum(start, end)).unique()  # rows are slow to compare
    edges = torch.stack([names >> 32, names & 0xFFFFFFFF], 1)
    return edges[edges[:, 0] != edges[:, 1]]


def normal_consistency(vertices: Tensor, triangles: Tensor, edges: Tensor | None = None) -> Tensor:
    """Mean over the edges of ``1 - cos`` of the angle between the smooth normals at an edge's two ends; a scalar.

    As in threestudio's mesh regularizer, which Classifier Score Distillation (Yu et al. 2023, arXiv 2310.19415) uses.

    Args:
        vertices: ``[V, 3]``. triangles: ``[F, 3]`` integer.
        edges: ``[E, 2]`` integer, each once, where known already (`mesh_edges`, or those of a `Topology`).
    """
    edges = mesh_edges(triangles) if edges is None else edges
    if not len(edges):
        return vertices.sum() * 0.0
    normals = vertex_normals(vertices, triangles)
    one, two = normals.index_select(0, edges[:, 0].long()), normals.index_select(0, edges[:, 1].long())
    return 1 - (one * two).sum(1).mean()


def laplacian(vertices: Tensor, triangles: Tensor, edges: Tensor | None = None) -> Tensor:
    """Mean distance of vertices from the mean of their neighbors (uniform Laplacian); a scalar.

    Args:
        vertices: ``[V, 3]``; those without a face do not count. triangles: ``[F, 3]`` integer.
        edges: as for `normal_consistency`.
    """
    edges = mesh_edges(triangles) if edges is None else edges
    if not len(edges):
        return vertices.sum() * 0.0
    a, b = edges.long().unbind(1)
    ones = torch.ones(len(edges), dtype=vertices.dtype, device=vertices.device)
    degree = torch.zeros(len(vertices), dtype=vertices.dtype, device=vertices.device)
    degree = degree.index_add(0, a, ones).index_add(0, b, ones)
    total = torch.zeros_like(vertices)
    total = total.index_add(0, a, vertices.index_select(0, b)).index_add(0, b, vertices.index_select(0, a))
    used = degree > 0
    return (total[used] / degree[used, None] - vertices[used]).norm(dim=1).mean()
