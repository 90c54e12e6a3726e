"""A field of colors in the volume around a surface, the thing that texture jobs optimize.

It is defined by position alone, so it knows neither triangles nor UV maps and cannot have seams.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .hash_grid import VECTORS, encode, encode_reference, grid_levels


class TextureField(nn.Module):
    """Colors as a function of position, by a multi-resolution hash grid (Mueller et al. 2022, arXiv 2201.05989).

    With ``hidden=0`` the levels' features are three logits each, summed: the cheapest field, linear in its parameters
    up to the sigmoid. With ``hidden>0`` the features go through a perceptron with one hidden layer of that width.
    A fresh field is mid-gray everywhere. Two fields made with the same arguments are identical.

    Args:
        levels: number of grids.
        features: features per corner; 3 when ``hidden`` is 0 (whatever is given), else 1, 2, 3, 4 or 8.
        log2_table_size: largest number of rows of one level, as a power of two; finer levels are hashed.
        base_resolution: cells per axis of the cube [-1, 1]^3 at the coarsest level.
        finest_resolution: the same at the finest level. One cell of 256 is 1/256 of the object's box.
        hidden: width of the hidden layer, 0 for none.
        seed: of the first parameters (used only with ``hidden>0``; without it all start at zero).
    """

    def __init__(
        self,
        levels: int = 6,
        features: int = 2,
        log2_table_size: int = 17,
        base_resolution: int = 8,
        finest_resolution: int = 256,
        hidden: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if features not in VECTORS:
            raise ValueError(f"features is {features}; it can be one of {sorted(VECTORS)}")
        if levels < 1 or not 1 <= base_resolution <= finest_resolution:
            raise ValueError("a field needs at least one level, and a finest resolution not below the base resolution")
        self.hidden = hidden
        self.levels = grid_levels(levels, base_resolution, finest_resolution, log2_table_size)
        rows = self.levels[-1].offset + self.levels[-1].rows
        if hidden == 0:
            self.table = nn.Parameter(torch.zeros(rows, 3))
        else:
            generator = torch.Generator().manual_seed(seed)
            inputs = levels * features
            self.table = nn.Parameter((torch.rand(rows, features, generator=generator) * 2 - 1) * 1e-4)
            self.weight1 = nn.Parameter(torch.randn(hidden, inputs, generator=generator) * (2 / inputs) ** 0.5)
            self.bias1 = nn.Parameter(torch.zeros(hidden))
            self.weight2 = nn.Parameter(torch.randn(3, hidden, generator=generator) * (1 / hidden) ** 0.5)
            self.bias2 = nn.Parameter(torch.zeros(3))

    def forward(self, points: Tensor) -> Tensor:
        """Colors, sRGB-encoded in (0, 1).

        Args:
            points: ``[N, 3]`` float32 in [-1, 1]; outside, the color of the border. They receive no gradient.

        Returns:
            ``[N, 3]``, differentiable with respect to the parameters. The same points and parameters give the same
            bits each time on one machine, forward and backward, on the CPU.
        """
        return self.decode(encode(points, self.table, self.levels, summed=self.hidden == 0))

    def forward_reference(self, points: Tensor) -> Tensor:
        """`forward` in plain torch; differentiable with respect to the points too."""
        return self.decode(encode_reference(points, self.table, self.levels, summed=self.hidden == 0))

    def decode(self, features: Tensor) -> Tensor:
        """From encoded features to colors."""
        if self.hidden:
            features = torch.relu(nn.functional.linear(features, self.weight1, self.bias1))
            features = nn.functional.linear(features, self.weight2, self.bias2)
        return torch.sigmoid(features)
