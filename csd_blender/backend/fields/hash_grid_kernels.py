"""Warp kernels of `hash_grid.encode`, for CPU and CUDA, with a hand-written adjoint; one pair for each length."""

# No postponed annotations here: Warp reads those of the kernels below, which name a local type.
from functools import cache

import warp as wp

from .grid_levels import HASH_Y, HASH_Z

WARP_HASH_Y, WARP_HASH_Z = wp.constant(wp.uint32(HASH_Y)), wp.constant(wp.uint32(HASH_Z))
VECTORS = {2: wp.vec2, 3: wp.vec3}  # features of a row: those of networks, and colors


@cache
def kernels(features: int) -> tuple[wp.Kernel, wp.Kernel]:
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
