"""Simple shading for turntables and previews, and smooth normals."""

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


def face_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    """Unit normals ``[F, 3]``; zero for faces without area."""
    a, b, c = positions[triangles.long()].unbind(1)
    return F.normalize(torch.linalg.cross(b - a, c - a), dim=1, eps=1e-20)


def facing(normals: Tensor, directions: Tensor) -> Tensor:
    """Normals turned toward the viewer. Both ``[..., 3]``; ``directions`` lead from the camera to the surface."""
    away = (normals * directions).sum(-1, keepdim=True) > 0
    return torch.where(away, -normals, normals)


def lambert(color: Tensor, normals: Tensor, light: Tensor, ambient: float = 0.35) -> Tensor:
    """Diffuse shading ``color * (ambient + (1 - ambient) * max(0, n . l))``.

    Args:
        color: ``[..., 3]``. normals, light: ``[..., 3]`` unit vectors; ``light`` leads toward the lamp.
        ambient: 0 to 1, the light that comes from everywhere.
    """
    diffuse = (normals * light).sum(-1, keepdim=True).clamp(min=0)
    return color * (ambient + (1 - ambient) * diffuse)


def headlight(directions: Tensor, up: Tensor | None = None) -> Tensor:
    """Unit vectors toward a lamp above the camera's shoulder. ``directions`` lead from the camera to the surface."""
    up = torch.tensor([0.0, 0.0, 0.6], device=directions.device) if up is None else up
    return F.normalize(up - directions, dim=-1)


def normals_as_colors(normals: Tensor, cameras_axes: Tensor | None = None) -> Tensor:
    """Normals ``[B, H, W, 3]`` as colors ``n / 2 + 1/2``.

    Args:
        cameras_axes: ``[B, 3, 3]`` from `Cameras.axes`; when given, normals are those seen by the camera (red right,
            green up, blue toward it), which is what normal-conditioned models were trained on.
    """
    if cameras_axes is not None:
        normals = torch.einsum("bhwj,bij->bhwi", normals, cameras_axes)
    return normals * 0.5 + 0.5
