# SPDX-License-Identifier: GPL-3.0-or-later
"""The named colors and their random variations."""

from __future__ import annotations

import numpy as np
import torch

Rng = np.random.Generator

#: Centers of the named colors (RGB in 0..1).
RGB: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.09, 0.08), "orange": (0.97, 0.50, 0.06), "yellow": (0.98, 0.87, 0.10),
    "green": (0.13, 0.62, 0.16), "cyan": (0.10, 0.80, 0.84), "blue": (0.10, 0.22, 0.86),
    "purple": (0.50, 0.12, 0.68), "pink": (0.98, 0.50, 0.74), "brown": (0.45, 0.25, 0.10),
    "white": (0.95, 0.95, 0.95), "gray": (0.50, 0.50, 0.50), "black": (0.06, 0.06, 0.07),
}  # fmt: skip


def jitter(rgb: tuple[float, ...] | torch.Tensor, rng: Rng, amount: float = 0.05) -> torch.Tensor:
    """A color [3] near `rgb`: brighter or darker by up to twice `amount`, and each channel moved by up to `amount`."""
    base = torch.as_tensor(rgb, dtype=torch.float32)
    gain = 1.0 + rng.uniform(-2, 2) * amount
    return (base * gain + torch.from_numpy(rng.uniform(-amount, amount, 3).astype(np.float32))).clamp(0.0, 1.0)


def sample_color(name: str, rng: Rng) -> torch.Tensor:
    """A random instance [3] of a named color, never so far off that the name stops fitting."""
    if name in ("white", "gray", "black"):
        level = RGB[name][0] + rng.uniform(-0.05, 0.05)
        return (level + torch.from_numpy(rng.uniform(-0.012, 0.012, 3).astype(np.float32))).clamp(0.0, 1.0)
    return jitter(RGB[name], rng, 0.04)
