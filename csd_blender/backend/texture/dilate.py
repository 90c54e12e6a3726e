"""Filling the texels between UV islands, so that no filter ever mixes in a color that nobody painted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GROW = 8  # texels that copy their nearest neighbors before the smooth filling takes over


@torch.no_grad()
def dilate(albedo: Tensor, mask: Tensor, pixels: int | None = None, grow: int = GROW) -> Tensor:
    """Fill the texels that no face covers.

    Islands first grow texel by texel, each new texel taking the mean of its painted neighbors. What is then
    still empty is filled from coarser and coarser averages (pull-push; Gortler et al. 1996, section 3.5).

    Args:
        albedo: ``[S, S, C]`` float.
        mask: ``[S, S]`` bool, true where ``albedo`` is painted. Painted texels stay as they are.
        pixels: how many texels the islands grow, nothing being filled beyond; None fills everything.
        grow: how many they grow before the smooth filling, which is much quicker, takes over.

    Returns:
        ``[S, S, C]``; a texture without any painted texel comes back unchanged.
    """
    mask = mask.bool()
    if not mask.any() or mask.all():
        return albedo.clone()
    color, known = _grow(albedo, mask, grow if pixels is None else pixels)
    return color if pixels is not None else _pull_push(color, known)


def _grow(color: Tensor, known: Tensor, rings: int) -> tuple[Tensor, Tensor]:
    """Grow the painted region by ``rings`` texels; works on the list of border texels only."""
    height, width = known.shape
    color, known = color * known[..., None], known.clone()
    flat_color, flat_known = color.view(height * width, -1), known.view(-1)
    offsets = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    near = known[None, None].float()
    for window, padding in (((2 * rings + 1, 1), (rings, 0)), ((1, 2 * rings + 1), (0, rings))):
        near = F.max_pool2d(near, window, 1, padding)
    todo = ((near[0, 0] > 0) & ~known).view(-1).nonzero()[:, 0]
    for _ in range(rings):
        if not len(todo):
            break
        y, x = todo // width, todo % width
        total = torch.zeros((len(todo), flat_color.shape[1]), device=color.device, dtype=color.dtype)
        weight = torch.zeros((len(todo), 1), device=color.device, dtype=color.dtype)
        for dy, dx in offsets:
            yy, xx = y + dy, x + dx
            inside = (yy >= 0) & (yy < height) & (xx >= 0) & (xx < width)
            index = yy.clamp(0, height - 1) * width + xx.clamp(0, width - 1)
            share = (inside & flat_known[index]).to(color.dtype)[:, None] * (1.0 if dx == 0 or dy == 0 else 0.5)
            total += share * flat_color[index]
            weight += share
        found = weight[:, 0] > 0
        flat_color[todo[found]] = total[found] / weight[found]
        flat_known[todo[found]] = True
        todo = todo[~found]
    return color, known


def _pull_push(color: Tensor, known: Tensor) -> Tensor:
    """Fill every unknown texel from the finest average that knows something."""
    levels = []
    values, weight = color.permute(2, 0, 1)[None] * known, known[None, None].to(color.dtype)
    while True:
        levels.append((values, weight))
        if min(weight.shape[2:]) == 1 or bool((weight > 0).all()):
            break
        pad = (0, weight.shape[3] % 2, 0, weight.shape[2] % 2)
        values, weight = (F.avg_pool2d(F.pad(image, pad), 2) for image in (values * weight, weight))
        values /= weight.clamp_min(1e-12)
    filled = levels[-1][0]
    for values, weight in reversed(levels[:-1]):
        finer = F.interpolate(filled, size=values.shape[2:], mode="bilinear", align_corners=False)
        filled = torch.where(weight > 0, values, finer)
    return filled[0].permute(1, 2, 0).contiguous()
