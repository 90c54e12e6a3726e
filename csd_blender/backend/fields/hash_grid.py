"""Features of points from a multi-resolution grid (Mueller et al. 2022, arXiv 2201.05989); see `grid_levels`."""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from ..support.warp_launch import is_warp_device, launch, load, run_all, shares, wrap
from .grid_levels import GridLevel
from .hash_grid_kernels import VECTORS, kernels
from .hash_grid_twin import encode_twin


def encode(points: Tensor, table: Tensor, levels: list[GridLevel], summed: bool) -> Tensor:
    """Interpolated features at ``points``.

    Args:
        points: ``[N, 3]`` float32; positions outside [-1, 1] are moved to the border. No gradient flows to them.
        table: ``[rows, features]`` float32, two or three features.
        summed: add the levels' features up; else put them side by side.

    Returns:
        ``[N, features]`` when summed, else ``[N, levels * features]``.
    """
    points = points.detach().contiguous()
    if not is_warp_device(points.device):
        return encode_twin(points, table, levels, summed)
    return _Encode.apply(points, table, levels, summed)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points: Tensor, table: Tensor, levels: list[GridLevel], summed: bool) -> Tensor:
        device, (n, features) = points.device, (len(points), table.shape[1])
        forward, backward = kernels(features)
        load(forward, device)
        load(backward, device)
        out = torch.zeros((n, 1 if summed else len(levels), features), device=device)
        vector = VECTORS[features]
        rows = wrap(table, vector)

        def part(first: int, last: int) -> None:
            p, o = wrap(points[first:last], wp.vec3), wrap(out[first:last], vector)
            for i, level in enumerate(levels):
                column = 0 if summed else i
                launch(forward, last - first, [p, rows, *_numbers(level), column, o], device)

        run_all([lambda a=a, b=b: part(a, b) for a, b in shares(n, device)], device)
        ctx.save_for_backward(points)
        ctx.levels, ctx.shape, ctx.summed = levels, table.shape, summed
        return out.flatten(1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (points,) = ctx.saved_tensors
        device, n, features = points.device, len(points), ctx.shape[1]
        grad = grad.reshape(n, 1 if ctx.summed else len(ctx.levels), features).contiguous()
        kernel, vector = kernels(features)[1], VECTORS[features]
        grad_table = torch.zeros(ctx.shape, device=device)
        p, g, out = wrap(points, wp.vec3), wrap(grad, vector), wrap(grad_table, vector)

        def one(column: int, level: GridLevel) -> None:
            launch(kernel, n, [p, g, *_numbers(level), 0 if ctx.summed else column, out], device)

        # Points scatter into shared rows, so only whole levels, which share none, may run side by side.
        if n:
            run_all([lambda i=i, level=level: one(i, level) for i, level in enumerate(ctx.levels)], device)
        return None, grad_table, None, None


def _numbers(level: GridLevel) -> list[float | int]:
    """Resolution, offset, stride and mask, as the kernels take them; a hashed level has no stride."""
    stride, mask = (level.resolution + 1, 0) if level.dense else (0, level.rows - 1)
    return [float(level.resolution), level.offset, stride, mask]
