"""Normals of a mesh as tensors. (`mesh.crease_normals` is for arrays, where loading torch would take too long.)"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def face_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals ``[F, 3]``; zero for faces without area. Differentiable.

    Args:
        positions: ``[V, 3]``. triangles: ``[F, 3]`` integer, counterclockwise seen from outside.
    """
    return F.normalize(_weighted(positions, triangles), dim=1)


def vertex_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    """Smooth unit normals ``[V, 3]``, faces weighted by area; zero for vertices without a face. Differentiable."""
    index, weighted = triangles.long(), _weighted(positions, triangles)
    total = torch.zeros_like(positions)
    for corner in range(3):
        total = total.index_add(0, index[:, corner], weighted)
    return F.normalize(total, dim=1, eps=1e-20)


def _weighted(positions: Tensor, triangles: Tensor) -> Tensor:
    """Normals of the faces, as long as twice their area."""
    a, b, c = positions[triangles.long()].unbind(1)
    return torch.linalg.cross(b - a, c - a)
