"""Which cells of space hold anything, so that rays can skip the others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

DECAY = 0.95  # of remembered densities at each update, as in Instant NGP (arXiv 2201.05989)


class OccupancyGrid(nn.Module):
    """A cube of cells over [-radius, radius]^3 that are occupied or not. A fresh one is occupied everywhere.

    Both of its arrays are in `state_dict`, so a job that goes on from a checkpoint skips what it skipped before.

    Args:
        radius: half the edge of the cube.
        resolution: cells per axis.

    Attributes:
        densities: ``[M, M, M]`` largest density seen lately in each cell; axes x, y, z.
        occupied: ``[M, M, M]`` bool.
    """

    densities: Tensor
    occupied: Tensor

    def __init__(self, radius: float = 1.0, resolution: int = 32) -> None:
        super().__init__()
        self.radius, self.resolution = float(radius), resolution
        shape = (resolution,) * 3
        self.register_buffer("densities", torch.zeros(shape))
        self.register_buffer("occupied", torch.ones(shape, dtype=torch.bool))

    @torch.no_grad()
    def update(
        self,
        density: Callable[[Tensor], Tensor],
        step_size: float,
        generator: torch.Generator | None = None,
        threshold: float = 0.01,
    ) -> None:
        """Look at one point in each cell.

        A cell is occupied when it, or one that touches it, would take more than ``threshold`` of the light on one
        step. Where all is thin, cells denser than the average count, and where all is equally thin, every cell.

        Args:
            density: takes points ``[N, 3]``, gives ``[N]``; `RadianceField.density`.
            step_size: length of a step, in world units.
            generator: for the places in the cells; None looks at their centers.
            threshold: opacity of one step, 0 to 1.
        """
        device = self.densities.device
        axis = torch.arange(self.resolution, device=device)
        cells = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
        place = torch.full(cells.shape, 0.5) if generator is None else torch.rand(cells.shape, generator=generator)
        points = ((cells + place.to(device)) * (2 / self.resolution) - 1) * self.radius
        found = density(points).view_as(self.densities)
        self.densities.copy_(torch.maximum(self.densities * DECAY, found))
        alpha = -torch.expm1(-self.densities * step_size)
        occupied = alpha > alpha.mean().clamp(max=threshold)
        if not occupied.any():
            occupied.fill_(True)
        for axis in range(3):  # a cell further each way: a single point can miss what is thinner than a cell
            low, high = occupied.narrow(axis, 0, self.resolution - 1), occupied.narrow(axis, 1, self.resolution - 1)
            grown = occupied.clone()
            grown.narrow(axis, 1, self.resolution - 1).logical_or_(low)
            grown.narrow(axis, 0, self.resolution - 1).logical_or_(high)
            occupied = grown
        self.occupied.copy_(occupied)

    def bounds(self) -> tuple[list[float], list[float]]:
        """Lowest and highest corner of the box around all occupied cells; upside down when there are none."""
        low, high = [], []
        for axis in range(3):
            used = self.occupied.any((axis + 1) % 3, keepdim=True).any((axis + 2) % 3, keepdim=True).flatten()
            numbers = used.nonzero().flatten().tolist()
            first, last = (numbers[0], numbers[-1] + 1) if numbers else (self.resolution, 0)
            low.append((first * 2 / self.resolution - 1) * self.radius)
            high.append((last * 2 / self.resolution - 1) * self.radius)
        return low, high
