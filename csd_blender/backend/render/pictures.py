"""Pictures for people and judges: a mesh from all sides, and many pictures on one sheet."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .cameras import Cameras, orbit
from .surface import Surface, look_up


def to_bytes(picture: Tensor) -> np.ndarray:
    """``[H, W, C]`` in [0, 1] to uint8."""
    return (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def turntable_cameras(views: int) -> Cameras:
    """Evenly spaced views of the whole mesh from slightly above, the first one from the front."""
    return orbit(views, elevation=15.0, distance=3.4, fov_y=40.0)


def turntable_pictures(
    surface: Surface, textures: list[Tensor], views: int, size: int, background: float, lit: bool
) -> Tensor:
    """The textured mesh from ``views`` sides, ``[views, 3, size, size]`` in [0, 1], starting at the front.

    Args:
        lit: shade with a soft headlight, to be looked at; else the bare albedo, to be judged.
    """
    cameras = turntable_cameras(views)
    return surface.paint_views(
        cameras, size, background, lit, lambda hit: look_up(textures, hit.uv, surface.part[hit.face])
    )


def contact_sheet(pictures: Tensor, columns: int = 4) -> np.ndarray:
    """``[N, 3, S, S]`` pictures in rows, uint8 ``[H, W, 3]``."""
    count, _, size, _ = pictures.shape
    rows = -(-count // columns)
    padded = F.pad(pictures, (0, 0, 0, 0, 0, 0, 0, rows * columns - count), value=1.0)
    grid = padded.view(rows, columns, 3, size, size).permute(0, 3, 1, 4, 2).reshape(rows * size, columns * size, 3)
    return to_bytes(grid)
