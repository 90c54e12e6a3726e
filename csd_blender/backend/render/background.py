"""What is behind a scene when it is learned: colors by the direction in which one looks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..fields.hash_network import first_weights
from ..fields.network_field import activated

HARMONICS = 9  # of bands 0 to 2, "degree 3" in threestudio's configurations
WIDTH = 16


class LearnedBackground(nn.Module):
    """A color for each direction: spherical harmonics, two hidden layers of 16 with ReLU, and no biases.

    As in the public configurations of CSD and threestudio. A fresh one is nearly gray everywhere.

    Args:
        activation: of the colors, see `activated`.
        seed: of the first weights.
    """

    def __init__(self, activation: str = "sigmoid", seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.activation = activation
        self.weight1 = first_weights(WIDTH, HARMONICS, generator)
        self.weight2 = first_weights(WIDTH, WIDTH, generator)
        self.weight3 = first_weights(3, WIDTH, generator)

    def forward(self, directions: Tensor) -> Tensor:
        """Colors ``[..., 3]`` by unit vectors ``[..., 3]`` in the world; differentiable by the weights."""
        hidden = torch.relu(spherical_harmonics(directions) @ self.weight1.T)
        return activated(torch.relu(hidden @ self.weight2.T) @ self.weight3.T, self.activation)


def spherical_harmonics(directions: Tensor) -> Tensor:
    """The real spherical harmonics of bands 0, 1 and 2, ``[..., 9]``, orthonormal over the sphere.

    Args:
        directions: ``[..., 3]`` unit vectors.
    """
    x, y, z = directions.unbind(-1)
    one, two, three = 0.4886025119029199, 1.0925484305920792, 0.31539156525252005
    half = two / 2
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            -one * y,
            one * z,
            -one * x,
            two * x * y,
            -two * y * z,
            three * (3 * z * z - 1),
            -two * x * z,
            half * (x * x - y * y),
        ],
        -1,
    )
