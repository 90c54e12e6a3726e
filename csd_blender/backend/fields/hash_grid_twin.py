"""`hash_grid.encode` in plain torch: the oracle of its kernels, and what runs on devices that Warp does not know."""

from __future__ import annotations

import torch
from torch import Tensor

from .grid_levels import HASH_Y, HASH_Z, GridLevel


def encode_twin(points: Tensor, table: Tensor, levels: list[GridLevel], summed: bool) -> Tensor:
    """`hash_grid.encode`, in any precision and on any device; differentiable with respect to the points too."""
    outputs = []
    for level in levels:
        scaled = ((points * 0.5 + 0.5) * level.resolution).clamp(0, level.resolution)
        low = scaled.floor().clamp(max=level.resolution - 1)
        fraction = scaled - low
        low = low.long()
        total = 0.0
        for corner in range(8):
            bits = [corner & 1, corner >> 1 & 1, corner >> 2]
            x, y, z = (low[:, axis] + bits[axis] for axis in range(3))
            if level.dense:
                stride = level.resolution + 1
                index = (z * stride + y) * stride + x
            else:
                index = (x ^ (y * HASH_Y) ^ (z * HASH_Z)) & (level.rows - 1)
            weight = 1.0
            for axis in range(3):
                f = fraction[:, axis]
                weight = weight * (f if bits[axis] else 1 - f)
            total = total + weight[:, None] * table[level.offset + index]
        outputs.append(total)
    return sum(outputs) if summed else torch.cat(outputs, 1)
