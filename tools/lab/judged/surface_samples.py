"""Points spread over a surface, and the colors that a baked texture has there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from csd_blender.backend.geometry.normals import face_normals
from csd_blender.backend.render.surface import Surface, look_up


@dataclass(frozen=True)
class SurfaceSamples:
    """Faces ``[N]``, barycentric weights ``[N, 3]``, points and flat normals ``[N, 3]``."""

    face: Tensor
    weights: Tensor
    points: Tensor
    normals: Tensor


def sample_surface(surface: Surface, count: int = 20_000, seed: int = 0) -> SurfaceSamples:
    """Points spread evenly over the area, the same ones every time."""
    generator = torch.Generator().manual_seed(seed)
    positions, triangles = surface.points.cpu(), surface.triangles.cpu().long()
    a, b, c = positions[triangles].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1)
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    u, v = torch.rand((2, count, 1), generator=generator)
    flip = u + v > 1
    u, v = torch.where(flip, 1 - u, u), torch.where(flip, 1 - v, v)
    weights = torch.cat([1 - u - v, u, v], dim=1)
    return SurfaceSamples(
        face, weights, _blend(positions[triangles], face, weights), face_normals(positions, triangles)[face]
    )


def sample_albedo(surface: Surface, samples: SurfaceSamples, albedo: list[Tensor]) -> Tensor:
    """Colors ``[N, 3]`` of the baked textures, one ``[S, S, 3]`` per part, at ``samples``."""
    uv = _blend(surface.uv.cpu(), samples.face, samples.weights)
    return look_up(albedo, uv, surface.part.cpu()[samples.face])


def _blend(corners: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    return (corners[face] * weights[:, :, None]).sum(1)
