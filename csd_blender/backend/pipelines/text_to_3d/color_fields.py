"""The refine stage's colors: a field of points, and what it takes over from the coarse stage."""

from __future__ import annotations

import torch
from torch import Tensor

from ....job.spec.text_to_3d import TextTo3DJob
from ...diffusion.model import DiffusionModel
from ...fields.grid_levels import HASH_Y, HASH_Z
from ...fields.network_field import NetworkColors, NetworkField
from ...fields.texture_field import TextureField
from .coarse import CoarseField, log2_table_size


def make_color_field(job: TextTo3DJob, model: DiffusionModel) -> TextureField | NetworkColors:
    """The coarse field's grid, with finer levels until a cell is about half a pixel of the stage's pictures.

    With a network the grid is exactly the coarse field's, as published: finer levels would not fit its weights.
    """
    stage = job.coarse
    if stage.network_width:
        return NetworkColors(
            stage.color_activation,
            levels=stage.levels,
            base_resolution=stage.base_resolution,
            finest_resolution=stage.finest_resolution,
            log2_table_size=log2_table_size(stage),
            width=stage.network_width,
            seed=job.seed,
        )
    wanted = 2 * (job.refine.render_size or model.native_size) * stage.radius
    growth = (stage.finest_resolution / stage.base_resolution) ** (1 / max(stage.levels - 1, 1))
    levels, finest = stage.levels, float(stage.finest_resolution)
    while growth > 1.05 and finest * growth <= 1.01 * min(wanted, 4096):
        levels, finest = levels + 1, finest * growth
    return TextureField(
        levels=levels,
        log2_table_size=19,
        base_resolution=stage.base_resolution,
        finest_resolution=finest,  # unrounded: a hair's breadth moves the levels between away from the coarse field's
    )


@torch.no_grad()
def inherit_colors(colors: TextureField | NetworkColors, coarse: CoarseField) -> None:
    """Take the colors over from levels that lie alike in both fields; networks along with their grid."""
    if isinstance(coarse, NetworkField):
        colors.inherit(coarse)
        return
    for mine, theirs in zip(colors.levels, coarse.levels, strict=False):
        if mine.resolution != theirs.resolution or mine.rows < theirs.rows:
            break
        found = coarse.table[theirs.offset : theirs.offset + theirs.rows, 1:4].to(colors.table)
        if mine.dense and not theirs.dense:
            found = found[hashed_corners(theirs.resolution, theirs.rows, found.device)]
        elif mine.rows > theirs.rows:  # both hashed, by more and by fewer bits of one number
            found = found.repeat(mine.rows // theirs.rows, 1)
        colors.table[mine.offset : mine.offset + mine.rows] = found


def hashed_corners(resolution: int, rows: int, device: torch.device) -> Tensor:
    """Where a hashed level keeps its corners ``[(resolution + 1)^3]``, in the order of a dense one."""
    n = torch.arange(resolution + 1, device=device)
    z, y, x = torch.meshgrid(n, n, n, indexing="ij")
    return ((x ^ (y * HASH_Y) ^ (z * HASH_Z)) & (rows - 1)).flatten()
