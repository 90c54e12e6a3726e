"""How surfaces are lit: by the lamps of an optimization's step, and softly where a person looks at them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .camera_draws import Lamps
from .cameras import Cameras


@dataclass(frozen=True)
class Look:
    """How the pictures of one step are shaded.

    Attributes:
        kind: ``color`` bare, ``lit`` color, ``white`` lit without color, ``normal`` normals as colors.
        background: ``[B, 3]``, or ``[B, 3, S, S]`` where each pixel has its own.
        light: ``[B, 3]`` direction toward the lamp in camera axes (right, up, back), unnormalized.
        ambient, diffuse: ``[B]`` strengths of the light all around and of the lamp's.
        lamps: points that shine in place of ``light``; None for light from one direction.
    """

    kind: str
    background: Tensor
    light: Tensor
    ambient: Tensor
    diffuse: Tensor
    lamps: Lamps | None = None


def shade(normal: Tensor, look: Look, cameras: Cameras, points: Tensor | None = None) -> Tensor:
    """Brightness ``[B, 1, S, S]`` of surfaces with unit normals ``[B, 3, S, S]`` under the step's lamps.

    ``points``: ``[B, 3, S, S]`` where the surfaces are; lamps with a place need it.
    """
    if look.lamps is None:
        light = F.normalize(torch.einsum("bi,bij->bj", look.light.to(normal), cameras.axes()), dim=1)[:, :, None, None]
    else:
        light = F.normalize(look.lamps.positions(cameras)[:, :, None, None] - points, dim=1)
    facing = (normal * light).sum(1, keepdim=True).clamp_min(0)
    ambient, diffuse = (x.to(normal)[:, None, None, None] for x in (look.ambient, look.diffuse))
    return (ambient + diffuse * facing).clamp(max=1.2)


def soft_light(normals: Tensor, points: Tensor, eye: Tensor) -> Tensor:
    """Brightness ``[N, 1]`` by a lamp to the left of and above a camera; both sides of a surface are lit alike.

    Args:
        normals: ``[N, 3]`` unit vectors. points: ``[N, 3]``. eye: ``[N, 3]`` where the camera of each is.
    """
    lamp = eye + eye.norm(dim=1, keepdim=True) * points.new_tensor([-0.3, 0.0, 0.5])
    return 0.35 + 0.7 * (normals * F.normalize(lamp - points, dim=1)).sum(1, keepdim=True).abs()
