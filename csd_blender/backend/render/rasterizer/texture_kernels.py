"""Warp kernels for texture lookup in a flat mip pyramid, and the adjoint.

The pyramid of one texture is ``[T, C]``: all levels one after the other, each row by row, row 0 being v = 1.
"""

# No postponed annotations here: Warp reads those of the kernels itself.
# ruff: noqa: UP018 - float(0.0) makes a variable in Warp, 0.0 a constant that a loop cannot change.
import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.struct
class Bilinear:
    """Rows of the four texels around a point, and where between them it lies."""

    i00: int
    i10: int
    i01: int
    i11: int
    fx: float
    fy: float


@wp.func
def wrapped(i: int, n: int, repeat: int):
    if repeat == 1:
        j = i % n
        if j < 0:
            j += n
        return j
    return wp.clamp(i, 0, n - 1)


@wp.func
def around(level: wp.vec3i, u: float, v: float, repeat: int):
    """Texels of a level (height, width, first row) around (u, v)."""
    x = u * float(level[1]) - 0.5
    y = (1.0 - v) * float(level[0]) - 0.5
    if repeat == 0:  # also keeps far outside points from overflowing
        x = wp.clamp(x, -1.0, float(level[1]))
        y = wp.clamp(y, -1.0, float(level[0]))
    x0 = wp.floor(x)
    y0 = wp.floor(y)
    left = wrapped(int(x0), level[1], repeat)
    right = wrapped(int(x0) + 1, level[1], repeat)
    top = level[2] + wrapped(int(y0), level[0], repeat) * level[1]
    bottom = level[2] + wrapped(int(y0) + 1, level[0], repeat) * level[1]
    s = Bilinear()
    s.i00 = top + left
    s.i10 = top + right
    s.i01 = bottom + left
    s.i11 = bottom + right
    s.fx = x - x0
    s.fy = y - y0
    return s


@wp.func
def level_of_detail(d: wp.vec4, width: int, height: int, levels: int):
    """Mip level at which the longer side of the pixel's footprint is one texel. d: du/dX, du/dY, dv/dX, dv/dY."""
    right = wp.vec2(d[0] * float(width), d[2] * float(height))
    down = wp.vec2(d[1] * float(width), d[3] * float(height))
    longest = wp.max(wp.dot(right, right), wp.dot(down, down))
    if not wp.isfinite(longest):
        return float(levels - 1)
    return wp.clamp(0.5 * wp.log2(wp.max(longest, 1.0e-20)), 0.0, float(levels - 1))


@wp.kernel
def texture(
    pyramid: wp.array3d(dtype=float),
    shared: int,
    levels: wp.array(dtype=wp.vec3i),
    uv: wp.array3d(dtype=wp.vec2),
    footprint: wp.array3d(dtype=wp.vec4),
    mip: int,
    repeat: int,
    out: wp.array4d(dtype=float),
):
    b, y, x = wp.tid()
    n = b * (1 - shared)
    p = uv[b, y, x]
    if not wp.isfinite(p[0] + p[1]):
        return
    lod = float(0.0)
    if mip == 1:
        lod = level_of_detail(footprint[b, y, x], levels[0][1], levels[0][0], levels.shape[0])
    fine = int(lod)
    blend = lod - float(fine)
    s = around(levels[fine], p[0], p[1], repeat)
    for c in range(out.shape[3]):
        a = pyramid[n, s.i00, c] * (1.0 - s.fx) + pyramid[n, s.i10, c] * s.fx
        d = pyramid[n, s.i01, c] * (1.0 - s.fx) + pyramid[n, s.i11, c] * s.fx
        out[b, y, x, c] = (1.0 - blend) * (a * (1.0 - s.fy) + d * s.fy)
    if blend > 0.0:
        s = around(levels[fine + 1], p[0], p[1], repeat)
        for c in range(out.shape[3]):
            a = pyramid[n, s.i00, c] * (1.0 - s.fx) + pyramid[n, s.i10, c] * s.fx
            d = pyramid[n, s.i01, c] * (1.0 - s.fx) + pyramid[n, s.i11, c] * s.fx
            out[b, y, x, c] = out[b, y, x, c] + blend * (a * (1.0 - s.fy) + d * s.fy)


@wp.func
def scatter(
    pyramid: wp.array3d(dtype=float),
    n: int,
    level: wp.vec3i,
    p: wp.vec2,
    repeat: int,
    weight: float,
    grad: wp.array4d(dtype=float),
    b: int,
    y: int,
    x: int,
    want_pyramid: int,
    want_uv: int,
    grad_pyramid: wp.array3d(dtype=float),
):
    """Adds one level's share of the gradient to the pyramid; returns that of uv."""
    s = around(level, p[0], p[1], repeat)
    gx = float(0.0)
    gy = float(0.0)
    for c in range(grad.shape[3]):
        g = grad[b, y, x, c] * weight
        if want_pyramid == 1:
            wp.atomic_add(grad_pyramid, n, s.i00, c, g * (1.0 - s.fx) * (1.0 - s.fy))
            wp.atomic_add(grad_pyramid, n, s.i10, c, g * s.fx * (1.0 - s.fy))
            wp.atomic_add(grad_pyramid, n, s.i01, c, g * (1.0 - s.fx) * s.fy)
            wp.atomic_add(grad_pyramid, n, s.i11, c, g * s.fx * s.fy)
        if want_uv == 1:
            a = pyramid[n, s.i00, c]
            e = pyramid[n, s.i10, c]
            d = pyramid[n, s.i01, c]
            f = pyramid[n, s.i11, c]
            gx += g * ((e - a) * (1.0 - s.fy) + (f - d) * s.fy)
            gy += g * ((d - a) * (1.0 - s.fx) + (f - e) * s.fx)
    return wp.vec2(gx * float(level[1]), -gy * float(level[0]))


@wp.kernel
def texture_backward(
    pyramid: wp.array3d(dtype=float),
    shared: int,
    levels: wp.array(dtype=wp.vec3i),
    uv: wp.array3d(dtype=wp.vec2),
    footprint: wp.array3d(dtype=wp.vec4),
    mip: int,
    repeat: int,
    grad: wp.array4d(dtype=float),
    want_pyramid: int,
    want_uv: int,
    grad_pyramid: wp.array3d(dtype=float),
    grad_uv: wp.array3d(dtype=wp.vec2),
):
    b, y, x = wp.tid()
    n = b * (1 - shared)
    p = uv[b, y, x]
    if not wp.isfinite(p[0] + p[1]):
        return
    lod = float(0.0)
    if mip == 1:
        lod = level_of_detail(footprint[b, y, x], levels[0][1], levels[0][0], levels.shape[0])
    fine = int(lod)
    blend = lod - float(fine)
    total = scatter(
        pyramid, n, levels[fine], p, repeat, 1.0 - blend, grad, b, y, x, want_pyramid, want_uv, grad_pyramid
    )
    if blend > 0.0:
        total += scatter(
            pyramid, n, levels[fine + 1], p, repeat, blend, grad, b, y, x, want_pyramid, want_uv, grad_pyramid
        )
    if want_uv == 1:
        grad_uv[b, y, x] = total
