"""Density and color in a cube of space: what the coarse stage of text to 3D optimizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..support.warp_launch import is_warp_device, launch_levels, launch_parts, load
from . import radiance_kernels as kernels
from .grid_levels import grid_levels, level_rows
from .hash_grid_twin import encode_twin

TAPS = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))  # as in the kernels
LEAST_SLOPE = 1e-3  # below it (per world unit) normals shrink, so that their gradients stay finite


class RadianceField(nn.Module):
    """A hash grid (Mueller et al. 2022, arXiv 2201.05989) of a density and a color at each point of a cube.

    Each table row holds a raw density and three color logits; the levels are summed, so all is linear in the
    parameters but for the last function. A fresh field is a mid-gray ball of fog (Magic3D, Lin et al. 2022,
    arXiv 2211.10440): density is ``softplus(raw + blob_scale * (1 - |p| / blob_std))``, color ``sigmoid(logits)``.

    Args:
        levels: number of grids.
        base_resolution: cells per axis of the cube at the coarsest level.
        finest_resolution: the same at the finest level.
        log2_table_size: largest number of rows of one level, as a power of two; finer levels are hashed.
        radius: half the edge of the cube, which is centered at the origin; outside, the density is 0.
        blob_scale: raw density that the initial ball has at its center; 0 for none.
        blob_std: distance from the center, in world units, at which the ball adds nothing.
    """

    def __init__(
        self,
        levels: int = 5,
        base_resolution: int = 8,
        finest_resolution: int = 128,
        log2_table_size: int = 19,
        radius: float = 1.0,
        blob_scale: float = 10.0,
        blob_std: float = 0.5,
    ) -> None:
        super().__init__()
        if levels < 1 or not 1 <= base_resolution <= finest_resolution:
            raise ValueError("a field needs at least one level, and a finest resolution not below the base resolution")
        if radius <= 0 or blob_std <= 0:
            raise ValueError(f"radius ({radius}) and blob_std ({blob_std}) must be above 0")
        self.radius, self.blob_scale, self.blob_std = float(radius), float(blob_scale), float(blob_std)
        self.levels = grid_levels(levels, base_resolution, finest_resolution, log2_table_size)
        self.table = nn.Parameter(torch.zeros(self.levels[-1].offset + self.levels[-1].rows, 4))
        self.register_buffer("level_rows", level_rows(self.levels), persistent=False)

    @property
    def cell(self) -> float:
        """Edge of a cell of the finest level, in world units."""
        return 2 * self.radius / self.levels[-1].resolution

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density and color; differentiable with respect to the parameters (not the points), once.

        The same points and parameters give the same bits each time on one machine, both ways, on the CPU.

        Args:
            points: ``[N, 3]`` float32 in world coordinates.

        Returns:
            density ``[N]`` per world unit, at least 0, and 0 outside the cube; color ``[N, 3]`` in (0, 1).
        """
        if not is_warp_device(points.device):
            return self.forward_twin(points)
        return _Field.apply(points.detach().contiguous(), self.table, self, True)

    def known(self, points: Tensor, density: Tensor, color: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, when it is already known and only the way back for gradients is missing."""
        return _Field.apply(points, self.table, self, True, density, color)

    def density(self, points: Tensor) -> Tensor:
        """The first half of `forward`, for less than half its time."""
        if not is_warp_device(points.device):
            return self.forward_twin(points)[0]
        return _Field.apply(points.detach().contiguous(), self.table, self, False)[0]

    def color(self, points: Tensor) -> Tensor:
        """The second half of `forward`."""
        return self(points)[1]

    def normals(self, points: Tensor, eps: float | None = None) -> Tensor:
        """Unit vectors against the density's slope, by four taps at the corners of a tetrahedron.

        The taps read the density before its softplus: that rises with the density, so its slope points the same way,
        and it does not vanish in empty space. Differentiable with respect to the parameters, once.

        Args:
            points: ``[N, 3]`` float32 in world coordinates.
            eps: half the edge of the cube that the tetrahedron's corners are taken from, in world units; larger is
                smoother. None is one cell of the finest level. 0 is the exact slope, which jumps between cells but
                takes a third of the time.

        Returns:
            ``[N, 3]``, of length 1 (less only where the density is as good as constant).
        """
        eps = self.cell if eps is None else eps
        if not is_warp_device(points.device):
            return self.normals_twin(points, eps)
        slopes = _Slopes.apply(points.detach().contiguous(), self.table, self, float(eps))
        return -nn.functional.normalize(slopes, dim=-1, eps=LEAST_SLOPE)

    def forward_twin(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` in plain torch, in any precision; differentiable with respect to the points too."""
        features = encode_twin(points / self.radius, self.table.to(points), self.levels, summed=True)
        density = nn.functional.softplus(features[:, 0] + self._blob(points))
        inside = (points.abs() <= self.radius).all(-1)
        return torch.where(inside, density, torch.zeros_like(density)), torch.sigmoid(features[:, 1:])

    def normals_twin(self, points: Tensor, eps: float | None = None) -> Tensor:
        """`normals` in plain torch."""
        eps = self.cell if eps is None else eps
        if eps == 0:
            leaf = points.detach().clone().requires_grad_(True)
            with torch.enable_grad():
                features = encode_twin(leaf / self.radius, self.table.to(points), self.levels, summed=True)
                raw = features[:, 0] + self._blob(leaf)
                (slopes,) = torch.autograd.grad(raw.sum(), leaf, create_graph=True)
            return -nn.functional.normalize(slopes, dim=-1, eps=LEAST_SLOPE)
        taps = torch.tensor(TAPS).to(points)
        corners = (points[:, None] + taps * eps).view(-1, 3)
        features = encode_twin(corners / self.radius, self.table.to(points), self.levels, summed=True)
        slopes = (features[:, 0] + self._blob(corners)).view(-1, 4) @ taps / (4 * eps)
        return -nn.functional.normalize(slopes, dim=-1, eps=LEAST_SLOPE)

    def kernel_arguments(self) -> list[Any]:
        """The table, its levels, the radius and the ball, as `radiance_kernels.density_at` takes them."""
        return [self.table, self.level_rows, self.radius, self.blob_scale, self.blob_std]

    def _blob(self, points: Tensor) -> Tensor:
        return self.blob_scale * (1 - points.norm(dim=-1) / self.blob_std)


class _Field(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        points: Tensor,
        table: Tensor,
        field: RadianceField,
        want_color: bool,
        density: Tensor | None = None,
        color: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        device, n = points.device, len(points)
        load(kernels, device)
        if density is None or color is None:
            density = torch.empty(n, device=device)
            color = torch.empty((n if want_color else 0, 3), device=device)
            inputs = [points, *field.kernel_arguments(), int(want_color), density, color]
            launch_parts(kernels.forward, n, inputs, device)
        else:
            density, color = density.view_as(density), color.view_as(color)
        ctx.save_for_backward(points, density, color)
        ctx.field, ctx.want_color = field, want_color
        return density, color

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_density: Tensor, grad_color: Tensor):
        points, density, color = ctx.saved_tensors
        grad_table = torch.zeros_like(ctx.field.table)
        grad_density, grad_color = grad_density.contiguous(), grad_color.contiguous()
        if ctx.want_color:
            rest = [density, color, grad_density, grad_color, grad_table]
            _launch_backward(kernels.backward, points, ctx.field, rest)
        else:
            _launch_backward(kernels.backward_density, points, ctx.field, [density, grad_density, grad_table])
        return None, grad_table, None, None, None, None


class _Slopes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points: Tensor, table: Tensor, field: RadianceField, eps: float) -> Tensor:
        load(kernels, points.device)
        out = torch.empty_like(points)
        inputs = [points, *field.kernel_arguments(), eps, out]
        launch_parts(kernels.slopes, len(points), inputs, points.device)
        ctx.save_for_backward(points)
        ctx.field, ctx.eps = field, eps
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        (points,) = ctx.saved_tensors
        grad_table = torch.zeros_like(ctx.field.table)
        _launch_backward(kernels.slopes_backward, points, ctx.field, [ctx.eps, grad.contiguous(), grad_table])
        return None, grad_table, None, None


def _launch_backward(kernel: Any, points: Tensor, field: RadianceField, rest: list[Any]) -> None:
    inputs = [points, field.level_rows, field.radius, *rest]
    launch_levels(kernel, len(points), len(field.levels), inputs, points.device)
