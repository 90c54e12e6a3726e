"""A field of colors in the volume around a surface, the thing that texture jobs optimize.

It is defined by position alone, so it knows neither triangles nor UV maps and cannot have seams.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .grid_levels import grid_levels
from .hash_grid import encode
from .hash_grid_twin import encode_twin


class TextureField(nn.Module):
    """Colors as a function of position, by a multi-resolution hash grid (Mueller et al. 2022, arXiv 2201.05989).

    The levels' features are three logits each, summed: linear in its parameters up to the sigmoid. A fresh field is
    mid-gray everywhere.

    Args:
        levels: number of grids.
        log2_table_size: largest number of rows of one level, as a power of two; finer levels are hashed.
        base_resolution: cells per axis of the cube [-1, 1]^3 at the coarsest level.
        finest_resolution: the same at the finest level. One cell of 256 is 1/256 of the object's box.
    """

    def __init__(
        self,
        levels: int = 6,
        log2_table_size: int = 17,
        base_resolution: int = 8,
        finest_resolution: float = 256,
    ) -> None:
        super().__init__()
        if levels < 1 or not 1 <= base_resolution <= finest_resolution:
            raise ValueError("a field needs at least one level, and a finest resolution not below the base resolution")
        self.levels = grid_levels(levels, base_resolution, finest_resolution, log2_table_size)
        self.table = nn.Parameter(torch.zeros(self.levels[-1].offset + self.levels[-1].rows, 3))

    def forward(self, points: Tensor) -> Tensor:
        """Colors, sRGB-encoded in (0, 1).

        Args:
            points: ``[N, 3]`` float32 in [-1, 1]; outside, the color of the border. They receive no gradient.

        Returns:
            ``[N, 3]``, differentiable with respect to the parameters. The same points and parameters give the same
            bits each time on one machine, forward and backward, on the CPU.
        """
        return torch.sigmoid(self.logits(points))

    def logits(self, points: Tensor) -> Tensor:
        """What the colors are the sigmoid of, as :meth:`forward`; zero everywhere in a fresh field."""
        return encode(points, self.table, self.levels, summed=True)

    def forward_twin(self, points: Tensor) -> Tensor:
        """`forward` in plain torch; differentiable with respect to the points too."""
        return torch.sigmoid(encode_twin(points, self.table, self.levels, summed=True))
