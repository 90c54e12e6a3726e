"""The multi-resolution grid of `field.TextureField`: Warp kernels for CPU and CUDA, and their plain torch twin.

Both follow Mueller et al. 2022 (Instant NGP, arXiv 2201.05989), section 3: a level with resolution R divides the cube
[-1, 1]^3 into R^3 cells, holds one feature vector at each cell corner, and interpolates them trilinearly. A level
whose (R + 1)^3 corners fit its share of the table is stored densely, a finer one through a spatial hash.
"""

# No postponed annotations here: Warp reads those of the kernels below, which name a local type.
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
import warp as wp
from torch import Tensor

from ..support.warp_setup import start_warp

HASH_Y, HASH_Z = 2654435761, 805459861  # primes of the spatial hash; the first axis keeps 1 for locality
WARP_HASH_Y, WARP_HASH_Z = wp.constant(wp.uint32(HASH_Y)), wp.constant(wp.uint32(HASH_Z))
VECTORS = {1: wp.types.vector(1, wp.float32), 2: wp.vec2, 3: wp.vec3, 4: wp.vec4, 8: wp.types.vector(8, wp.float32)}
POINTS_A_THREAD = 4096  # fewer points than this are not worth a second thread


@dataclass(frozen=True)
class GridLevel:
    """Where one level lies in the table.

    Attributes:
        resolution: cells per axis of the cube [-1, 1]^3.
        offset: first row in the table.
        rows: number of rows.
        dense: rows are counted x fastest, then y, then z; else hashed (``rows`` is a power of two).
    """

    resolution: int
    offset: int
    rows: int
    dense: bool


def grid_levels(levels: int, base_resolution: int, finest_resolution: int, log2_table_size: int) -> list[GridLevel]:
    """Levels whose resolutions grow geometrically from base to finest (both included)."""
    growth = (finest_resolution / base_resolution) ** (1.0 / max(levels - 1, 1))
    result, offset, limit = [], 0, 1 << log2_table_size
    for i in range(levels):
        resolution = round(base_resolution * growth**i)
        corners = (resolution + 1) ** 3
        rows = min(corners, limit)
        result.append(GridLevel(resolution, offset, rows, corners <= limit))
        offset += rows
    return result


@cache
def _kernels(features: int) -> tuple[wp.Kernel, wp.Kernel]:
    """Forward and backward kernel for feature vectors of this length."""
    vec = VECTORS[features]

    @wp.func
    def row(x: wp.uint32, y: wp.uint32, z: wp.uint32, stride: wp.uint32, mask: wp.uint32):
        # stride 0 marks a hashed level
        index = (z * stride + y) * stride + x
        if stride == wp.uint32(0):
            index = (x ^ (y * WARP_HASH_Y) ^ (z * WARP_HASH_Z)) & mask
        return wp.int32(index)

    @wp.func
    def cell(p: float, resolution: float):
        scaled = wp.clamp((p * 0.5 + 0.5) * resolution, 0.0, resolution)
        return wp.min(wp.floor(scaled), resolution - 1.0), scaled

    @wp.kernel(enable_backward=False, module="unique")
    def forward(
        points: wp.array(dtype=wp.vec3),
        table: wp.array(dtype=vec),
        resolution: float,
        offset: int,
        stride: wp.uint32,
        mask: wp.uint32,
        column: int,
        out: wp.array2d(dtype=vec),
    ):
        n = wp.tid()
        p = points[n]
        cx, sx = cell(p[0], resolution)
        cy, sy = cell(p[1], resolution)
        cz, sz = cell(p[2], resolution)
        fx, fy, fz = sx - cx, sy - cy, sz - cz
        x, y, z = wp.uint32(cx), wp.uint32(cy), wp.uint32(cz)
        one = wp.uint32(1)
        a = table[offset + row(x, y, z, stride, mask)]
        b = table[offset + row(x + one, y, z, stride, mask)]
        low = a + (b - a) * fx
        a = table[offset + row(x, y + one, z, stride, mask)]
        b = table[offset + row(x + one, y + one, z, stride, mask)]
        low = low + (a + (b - a) * fx - low) * fy
        a = table[offset + row(x, y, z + one, stride, mask)]
        b = table[offset + row(x + one, y, z + one, stride, mask)]
        high = a + (b - a) * fx
        a = table[offset + row(x, y + one, z + one, stride, mask)]
        b = table[offset + row(x + one, y + one, z + one, stride, mask)]
        high = high + (a + (b - a) * fx - high) * fy
        out[n, column] = out[n, column] + low + (high - low) * fz

    @wp.kernel(enable_backward=False, module="unique")
    def backward(
        points: wp.array(dtype=wp.vec3),
        grad_out: wp.array2d(dtype=vec),
        resolution: float,
        offset: int,
        stride: wp.uint32,
        mask: wp.uint32,
        column: int,
        grad_table: wp.array(dtype=vec),
    ):
        n = wp.tid()
        p = points[n]
        g = grad_out[n, column]
        cx, sx = cell(p[0], resolution)
        cy, sy = cell(p[1], resolution)
        cz, sz = cell(p[2], resolution)
        fx, fy, fz = sx - cx, sy - cy, sz - cz
        x, y, z = wp.uint32(cx), wp.uint32(cy), wp.uint32(cz)
        one = wp.uint32(1)
        g1 = g * fz
        g0 = g - g1
        h = g0 * fy
        rest = g0 - h
        t = rest * fx
        wp.atomic_add(grad_table, offset + row(x, y, z, stride, mask), rest - t)
        wp.atomic_add(grad_table, offset + row(x + one, y, z, stride, mask), t)
        t = h * fx
        wp.atomic_add(grad_table, offset + row(x, y + one, z, stride, mask), h - t)
        wp.atomic_add(grad_table, offset + row(x + one, y + one, z, stride, mask), t)
        h = g1 * fy
        rest = g1 - h
        t = rest * fx
        wp.atomic_add(grad_table, offset + row(x, y, z + one, stride, mask), rest - t)
        wp.atomic_add(grad_table, offset + row(x + one, y, z + one, stride, mask), t)
        t = h * fx
        wp.atomic_add(grad_table, offset + row(x, y + one, z + one, stride, mask), h - t)
        wp.atomic_add(grad_table, offset + row(x + one, y + one, z + one, stride, mask), t)

    return forward, backward


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="texture-field")


def _run_all(tasks: list[Callable[[], None]], is_cuda: bool) -> None:
    """Run independent launches side by side (Warp's CPU kernels take one thread each and release the GIL).

    CUDA launches return at once, and belong on the calling thread's stream.
    """
    if is_cuda or len(tasks) == 1 or torch.get_num_threads() == 1:
        for task in tasks:
            task()
    else:
        for done in [_pool().submit(task) for task in tasks]:
            done.result()


@cache
def _loaded(features: int, device: str) -> tuple[wp.Kernel, wp.Kernel]:
    """The kernels, compiled and loaded; to be called before threads launch them (loading is not thread-safe)."""
    start_warp()
    kernels = _kernels(features)
    for kernel in kernels:
        wp.load_module(kernel.module, device=device)
    return kernels


def _launch(kernel: wp.Kernel, points: wp.array, data: wp.array, level: GridLevel, column: int, out: wp.array) -> None:
    stride = level.resolution + 1 if level.dense else 0
    mask = 0 if level.dense else level.rows - 1
    device = points.device
    stream = wp.stream_from_torch(torch.cuda.current_stream(device.ordinal)) if device.is_cuda else None
    arguments = [points, data, float(level.resolution), level.offset, stride, mask, column, out]
    wp.launch(kernel, dim=points.shape[0], inputs=arguments, device=device, stream=stream)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points: Tensor, table: Tensor, levels: list[GridLevel], summed: bool) -> Tensor:
        n, features = points.shape[0], table.shape[1]
        vec = VECTORS[features]
        kernel = _loaded(features, str(points.device))[0]
        out = torch.zeros((n, 1 if summed else len(levels), features), device=points.device)
        data = wp.from_torch(table.detach(), dtype=vec)

        def part(rows: slice) -> None:
            p, o = wp.from_torch(points[rows], dtype=wp.vec3), wp.from_torch(out[rows], dtype=vec)
            for i, level in enumerate(levels):
                _launch(kernel, p, data, level, 0 if summed else i, o)

        workers = 1 if points.is_cuda else max(1, min(torch.get_num_threads(), n // POINTS_A_THREAD))
        share = -(-n // workers)
        slices = [slice(i * share, min((i + 1) * share, n)) for i in range(workers)]
        _run_all([lambda s=s: part(s) for s in slices if s.stop > s.start], points.is_cuda)
        ctx.save_for_backward(points)
        ctx.levels, ctx.shape, ctx.summed = levels, table.shape, summed
        return out.flatten(1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (points,) = ctx.saved_tensors
        levels, summed = ctx.levels, ctx.summed
        n, features = points.shape[0], ctx.shape[1]
        grad = grad.reshape(n, 1 if summed else len(levels), features).contiguous()
        vec = VECTORS[features]
        kernel = _loaded(features, str(points.device))[1]
        grad_table = torch.zeros(ctx.shape, device=points.device)
        p, g = wp.from_torch(points, dtype=wp.vec3), wp.from_torch(grad, dtype=vec)
        out = wp.from_torch(grad_table, dtype=vec)
        # Points scatter into shared rows, so only whole levels, which share none, may run side by side.
        if n:
            _run_all(
                [
                    lambda i=i, level=level: _launch(kernel, p, g, level, 0 if summed else i, out)
                    for i, level in enumerate(levels)
                ],
                points.is_cuda,
            )
        return None, grad_table, None, None


def encode(points: Tensor, table: Tensor, levels: list[GridLevel], summed: bool) -> Tensor:
    """Interpolated features at ``points``.

    Args:
        points: ``[N, 3]`` float32; positions outside [-1, 1] are moved to the border. No gradient flows to them.
        table: ``[rows, features]`` float32.
        summed: add the levels' features up; else put them side by side.

    Returns:
        ``[N, features]`` when summed, else ``[N, levels * features]``.
    """
    points = points.detach().contiguous()
    if points.device.type not in ("cpu", "cuda"):  # Warp knows no other device
        return encode_reference(points, table, levels, summed)
    return _Encode.apply(points, table, levels, summed)


def encode_reference(points: Tensor, table: Tensor, levels: list[GridLevel], summed: bool) -> Tensor:
    """`encode` in plain torch, in any precision and on any device: the oracle of the kernels."""
    outputs = []
    for level in levels:
        scaled = ((points * 0.5 + 0.5) * level.resolution).clamp(0, level.resolution)
        low = scaled.floor().clamp(max=level.resolution - 1)
        fraction = scaled - low
        low = low.long()
        total = 0.0
        for corner in range(8):
            bits = [corner & 1, corner >> 1 & 1, corner >> 2]
            x, y, z = (low[:, axis] + bits[axis] for axis in range(3))
            if level.dense:
                stride = level.resolution + 1
                index = (z * stride + y) * stride + x
            else:
                index = (x ^ (y * HASH_Y) ^ (z * HASH_Z)) & (level.rows - 1)
            weight = 1.0
            for axis in range(3):
                f = fraction[:, axis]
                weight = weight * (f if bits[axis] else 1 - f)
            total = total + weight[:, None] * table[level.offset + index]
        outputs.append(total)
    return sum(outputs) if summed else torch.cat(outputs, 1)
