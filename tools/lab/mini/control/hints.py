# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ControlNet is shown: stored depth and normals as the product's own control pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: What is kept from the net, and how often: it must run with one of both pictures, or with none.
DROPS = {"nothing": 0.78, "all": 0.06, "depth": 0.08, "normals": 0.08}


def hint_pictures(depth: Tensor, normals: Tensor, coverage: Tensor, hard: Tensor) -> Tensor:
    """Depth and normals ``[N, 4, S, S]`` in [0, 1], float32: in what a picture shows near is white and far is black.

    Args:
        depth, normals, coverage: as :mod:`.pictures` stores them.
        hard: ``[N]``, those whose silhouettes have no soft edge.
    """
    mask = coverage.float() / 255
    mask = torch.where(hard[:, None, None], (mask >= 0.5).float(), mask)
    there = (depth > 0) & (mask > 0)
    depth = depth.float()
    far = torch.where(there, depth, -torch.inf).amax((1, 2), keepdim=True)
    near = torch.where(there, depth, torch.inf).amin((1, 2), keepdim=True)
    height = torch.where(there, (far - depth) / (far - near).clamp_min(1e-6), torch.zeros_like(depth))
    # NormalBae's colors: red points to the left of the picture
    facing = normals.float() / 254 * torch.tensor([-1.0, 1.0, 1.0]) + 0.5
    facing = torch.where(there[..., None], facing, torch.zeros_like(facing))
    return torch.cat(((height * mask)[:, None], facing.permute(0, 3, 1, 2) * mask[:, None]), 1)


def drop(hints: Tensor, kinds: np.ndarray) -> Tensor:
    """The pictures without what their ``kinds`` (indices of :data:`DROPS`) keep back."""
    names = np.array(list(DROPS))[kinds]
    keeps_depth = torch.from_numpy(~np.isin(names, ("all", "depth"))).float()
    keeps_normals = torch.from_numpy(~np.isin(names, ("all", "normals"))).float()
    kept = torch.stack((keeps_depth, keeps_normals, keeps_normals, keeps_normals), 1)
    return hints * kept[:, :, None, None]
