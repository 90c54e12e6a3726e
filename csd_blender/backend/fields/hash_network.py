"""A hash grid with small networks behind it: what Instant NGP and threestudio's implicit fields are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..support.warp_launch import is_warp_device, launch_levels, launch_parts, load
from . import hash_network_kernels as kernels
from .grid_levels import grid_levels, level_rows
from .hash_grid import encode
from .hash_grid_twin import encode_twin

FEATURES = 2  # of a level at a corner
FIRST_FEATURES = 1e-4  # they start between this and its negative (arXiv 2201.05989)
CHUNK = 1 << 18  # points at once where no gradient is wanted


class HashNetwork(nn.Module):
    """Functions of a point in [-1, 1]^3 that share a hash grid (Mueller et al. 2022, arXiv 2201.05989).

    The levels' features stand side by side. Each function is a network of its own over them: one hidden layer with
    ReLU, no biases, as in the public configurations of CSD and threestudio. Two with the same arguments are identical.

    Args:
        outputs: values of each function, by its name.
        levels: number of grids. base_resolution, finest_resolution: cells per axis of the coarsest and the finest one.
        log2_table_size: largest number of rows of one level, as a power of two; finer levels are hashed.
        width: of the hidden layers.
        seed: of the first parameters; each weight lies within one over the square root of the layer's inputs.

    Attributes:
        active: so many levels count, the coarsest ones; the features of the others are zero. Part of the state.
    """

    def __init__(
        self,
        outputs: dict[str, int],
        levels: int = 16,
        base_resolution: int = 16,
        finest_resolution: float = 4096,
        log2_table_size: int = 19,
        width: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if levels < 1 or not 1 <= base_resolution <= finest_resolution:
            raise ValueError("a field needs at least one level, and a finest resolution not below the base resolution")
        if width < 1:
            raise ValueError(f"the hidden layer's width ({width}) must be above 0")
        generator = torch.Generator().manual_seed(seed)
        self.levels = grid_levels(levels, base_resolution, finest_resolution, log2_table_size)
        self.active = levels
        rows = self.levels[-1].offset + self.levels[-1].rows
        self.table = nn.Parameter((torch.rand(rows, FEATURES, generator=generator) * 2 - 1) * FIRST_FEATURES)
        for name, count in outputs.items():
            self.register_parameter(f"{name}_hidden", first_weights(width, levels * FEATURES, generator))
            self.register_parameter(f"{name}_out", first_weights(count, width, generator))
        self.register_buffer("level_rows", level_rows(self.levels), persistent=False)

    def get_extra_state(self) -> Tensor:
        """The number of active levels, which `state_dict` holds too."""
        return torch.tensor(self.active)

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.active = max(1, min(int(state), len(self.levels)))

    def features(self, points: Tensor) -> Tensor:
        """``[N, 2 * active]`` at points ``[N, 3]`` float32; differentiable by the parameters, once."""
        return encode(points, self.table, self.levels[: self.active], summed=False)

    def features_twin(self, points: Tensor) -> Tensor:
        """`features` in plain torch, in any precision; differentiable with respect to the points too."""
        return encode_twin(points, self.table.to(points), self.levels[: self.active], summed=False)

    def values(self, name: str, features: Tensor) -> Tensor:
        """Values ``[N, count]`` of a function from features ``[N, 2 * active]``."""
        hidden, out = self._weights(name, features)
        return torch.relu(features @ hidden.T) @ out.T

    def at(self, name: str, points: Tensor) -> Tensor:
        """Values ``[N, count]`` of a function at points ``[N, 3]``."""
        if torch.is_grad_enabled() or len(points) <= CHUNK:
            return self.values(name, self.features(points))
        return torch.cat([self.values(name, self.features(part)) for part in points.split(CHUNK)])

    def slopes(self, name: str, points: Tensor) -> Tensor:
        """The exact derivative ``[N, 3]`` of a function with one value by the point: differentiable, once.

        It jumps where a cell ends or a hidden unit sets in; these places have no weight, so that the derivatives by
        the parameters are exact all the same.
        """
        if not is_warp_device(points.device):
            return self.slopes_twin(name, points)
        points = points.detach().contiguous()
        with torch.no_grad():
            features = self.features(points)
            works = features @ self._weights(name, features)[0].T > 0
        hidden, out = self._weights(name, features)
        levers = (works * out[0]) @ hidden
        return _Slopes.apply(points, self.table, levers.contiguous(), self)

    def slopes_twin(self, name: str, points: Tensor) -> Tensor:
        """`slopes` by plain torch's own differentiation, in any precision."""
        leaf = points.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            values = self.values(name, self.features_twin(leaf))
            return torch.autograd.grad(values.sum(), leaf, create_graph=True)[0]

    @torch.no_grad()
    def drop_inactive(self) -> None:
        """Set the features of levels that do not count to zero, and let all count: the functions stay the same."""
        for level in self.levels[self.active :]:
            self.table[level.offset : level.offset + level.rows] = 0.0
        self.active = len(self.levels)

    def _weights(self, name: str, like: Tensor) -> tuple[Tensor, Tensor]:
        hidden, out = getattr(self, f"{name}_hidden"), getattr(self, f"{name}_out")
        return hidden[:, : FEATURES * self.active].to(like), out.to(like)


def first_weights(outputs: int, inputs: int, generator: torch.Generator) -> nn.Parameter:
    """Weights ``[outputs, inputs]`` of a layer without biases, within one over the square root of its inputs."""
    return nn.Parameter((torch.rand(outputs, inputs, generator=generator) * 2 - 1) * inputs**-0.5)


class _Slopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points: Tensor, table: Tensor, levers: Tensor, network: HashNetwork) -> Tensor:
        load(kernels, points.device)
        out = torch.empty_like(points)
        split = levers.view(len(points), network.active, FEATURES)
        inputs = [points, network.level_rows, network.active, table, split, out]
        launch_parts(kernels.slopes, len(points), inputs, points.device)
        ctx.save_for_backward(points, table, levers)
        ctx.network, ctx.active = network, network.active
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        points, table, levers = ctx.saved_tensors
        grad_table, grad_levers = torch.zeros_like(table), torch.zeros_like(levers)
        split = [x.view(len(points), ctx.active, FEATURES) for x in (levers, grad_levers)]
        inputs = [points, ctx.network.level_rows, table, split[0], grad.contiguous(), grad_table, split[1]]
        launch_levels(kernels.slopes_backward, len(points), ctx.active, inputs, points.device)
        return None, grad_table, grad_levers, None
