"""Smooth normals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def vertex_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    """Smooth unit normals ``[V, 3]``, faces weighted by area; zero for vertices without a face. Differentiable.

    Args:
        positions: ``[V, 3]``. triangles: ``[F, 3]`` integer, counterclockwise seen from outside.
    """
    index = triangles.long()
    a, b, c = positions[index].unbind(1)
    weighted = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(positions)
    for corner in range(3):
        total = total.index_add(0, index[:, corner], weighted)
    return F.normalize(total, dim=1, eps=1e-20)
