"""Warp kernels of `radiance_field.RadianceField`, for CPU and CUDA, with hand-written adjoints.

All levels of the hash grid (Mueller et al. 2022, arXiv 2201.05989) are summed in one kernel, and density and color
come out finished, so a point is visited once each way. A level is a row ``(resolution, offset, stride, mask)``;
stride 0 marks a hashed one.
"""

# No postponed annotations here: Warp reads those of the kernels itself.
# ruff: noqa: UP018 - float(0.0) makes a variable in Warp, 0.0 a constant that a loop cannot change.
import warp as wp

from .hash_grid_kernels import WARP_HASH_Y, WARP_HASH_Z

wp.set_module_options({"enable_backward": False})

Rows = wp.types.vector(8, wp.int32)
Weights = wp.types.vector(8, wp.float32)


@wp.func
def axis_cell(p: float, resolution: int):
    """First corner of the cell and the position within it, along one axis; outside, the border."""
    half = 0.5 * float(resolution)
    scaled = wp.clamp(p * half + half, 0.0, float(resolution))
    low = wp.min(int(scaled), resolution - 1)  # the cast is floor, and faster
    return low, scaled - float(low)


@wp.func
def corner_rows(level: wp.vec4i, x: int, y: int, z: int):
    """Rows of the cell's corners, x fastest."""
    first = level[1]
    stride = level[2]
    if stride == 0:
        x0 = wp.uint32(x)
        x1 = wp.uint32(x + 1)
        y0 = wp.uint32(y) * WARP_HASH_Y
        y1 = wp.uint32(y + 1) * WARP_HASH_Y
        z0 = wp.uint32(z) * WARP_HASH_Z
        z1 = wp.uint32(z + 1) * WARP_HASH_Z
        mask = wp.uint32(level[3])
        return Rows(
            first + int((x0 ^ y0 ^ z0) & mask),
            first + int((x1 ^ y0 ^ z0) & mask),
            first + int((x0 ^ y1 ^ z0) & mask),
            first + int((x1 ^ y1 ^ z0) & mask),
            first + int((x0 ^ y0 ^ z1) & mask),
            first + int((x1 ^ y0 ^ z1) & mask),
            first + int((x0 ^ y1 ^ z1) & mask),
            first + int((x1 ^ y1 ^ z1) & mask),
        )
    i = first + (z * stride + y) * stride + x
    j = i + stride * stride
    return Rows(i, i + 1, i + stride, i + stride + 1, j, j + 1, j + stride, j + stride + 1)


@wp.func
def corner_weights(fx: float, fy: float, fz: float):
    """Trilinear weights of the cell's corners, x fastest."""
    gx = 1.0 - fx
    a = (1.0 - fy) * (1.0 - fz)
    b = fy * (1.0 - fz)
    c = (1.0 - fy) * fz
    d = fy * fz
    return Weights(gx * a, fx * a, gx * b, fx * b, gx * c, fx * c, gx * d, fx * d)


@wp.func
def place(level: wp.vec4i, p: wp.vec3):
    """Rows and weights of the corners around ``p`` in [-1, 1]^3."""
    x, fx = axis_cell(p[0], level[0])
    y, fy = axis_cell(p[1], level[0])
    z, fz = axis_cell(p[2], level[0])
    return corner_rows(level, x, y, z), corner_weights(fx, fy, fz)


@wp.func
def weight_slopes(level: wp.vec4i, p: wp.vec3):
    """Derivatives of the corners' weights along x, y and z; ``p`` in [-1, 1]^3."""
    x, fx = axis_cell(p[0], level[0])
    y, fy = axis_cell(p[1], level[0])
    z, fz = axis_cell(p[2], level[0])
    s = 0.5 * float(level[0])
    ex = (1.0 - fx) * s
    ey = (1.0 - fy) * s
    gx = fx * s
    gy = fy * s
    hy = 1.0 - fy
    hz = 1.0 - fz
    ax = Weights(-ey * hz, ey * hz, -gy * hz, gy * hz, -ey * fz, ey * fz, -gy * fz, gy * fz)
    ay = Weights(-ex * hz, -gx * hz, ex * hz, gx * hz, -ex * fz, -gx * fz, ex * fz, gx * fz)
    az = Weights(-ex * hy, -gx * hy, -ex * fy, -gx * fy, ex * hy, gx * hy, ex * fy, gx * fy)
    return ax, ay, az


@wp.func
def blob(p: wp.vec3, scale: float, std: float):
    return scale * (1.0 - wp.length(p) / std)


@wp.func
def density_logit(table: wp.array(dtype=wp.vec4), levels: wp.array(dtype=wp.vec4i), p: wp.vec3):
    """The first feature at ``p`` in [-1, 1]^3, all levels summed."""
    total = float(0.0)
    for i in range(levels.shape[0]):
        rows, weights = place(levels[i], p)
        for k in range(8):
            total += weights[k] * table[rows[k]][0]
    return total


@wp.func
def softplus(x: float):
    """log(1 + exp(x)), also where exp(x) vanishes beside 1."""
    y = wp.exp(-wp.abs(x))
    rest = wp.log(1.0 + y)
    if y < 1.0e-3:
        rest = y * (1.0 - 0.5 * y)
    return wp.max(x, 0.0) + rest


@wp.func
def softplus_slope(value: float):
    """Derivative of softplus, from its value: 1 - exp(-value); 0 where the density was set to 0."""
    if value < 1.0e-3:
        return value * (1.0 - 0.5 * value)
    return 1.0 - wp.exp(-value)


@wp.func
def sigmoid(x: float):
    return 1.0 / (1.0 + wp.exp(-x))


@wp.func
def is_inside(p: wp.vec3, radius: float):
    return wp.abs(p[0]) <= radius and wp.abs(p[1]) <= radius and wp.abs(p[2]) <= radius


@wp.func
def density_at(
    table: wp.array(dtype=wp.vec4),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    blob_scale: float,
    blob_std: float,
    p: wp.vec3,
):
    """Density at a point of the world."""
    if not is_inside(p, radius):
        return 0.0
    return softplus(density_logit(table, levels, p / radius) + blob(p, blob_scale, blob_std))


@wp.func
def value_at(
    table: wp.array(dtype=wp.vec4),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    blob_scale: float,
    blob_std: float,
    p: wp.vec3,
):
    """Density and color at a point of the world."""
    total = wp.vec4(0.0)
    for i in range(levels.shape[0]):
        rows, weights = place(levels[i], p / radius)
        for k in range(8):
            total += weights[k] * table[rows[k]]
    density = float(0.0)
    if is_inside(p, radius):
        density = softplus(total[0] + blob(p, blob_scale, blob_std))
    return wp.vec4(density, sigmoid(total[1]), sigmoid(total[2]), sigmoid(total[3]))


@wp.kernel
def forward(
    first: int,
    points: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec4),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    blob_scale: float,
    blob_std: float,
    want_color: int,
    density: wp.array(dtype=float),
    color: wp.array(dtype=wp.vec3),
):
    n = first + wp.tid()
    p = points[n]
    if want_color == 0:
        density[n] = density_at(table, levels, radius, blob_scale, blob_std, p)
        return
    value = value_at(table, levels, radius, blob_scale, blob_std, p)
    density[n] = value[0]
    color[n] = wp.vec3(value[1], value[2], value[3])


@wp.kernel
def backward(
    level: int,
    last_level: int,
    points: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    density: wp.array(dtype=float),
    color: wp.array(dtype=wp.vec3),
    grad_density: wp.array(dtype=float),
    grad_color: wp.array(dtype=wp.vec3),
    grad_table: wp.array(dtype=wp.vec4),
):
    n = wp.tid()
    p = points[n] / radius
    c = color[n]
    h = grad_color[n]
    g = wp.vec4(
        grad_density[n] * softplus_slope(density[n]),
        h[0] * c[0] * (1.0 - c[0]),
        h[1] * c[1] * (1.0 - c[1]),
        h[2] * c[2] * (1.0 - c[2]),
    )
    for i in range(level, last_level):
        rows, weights = place(levels[i], p)
        for k in range(8):
            wp.atomic_add(grad_table, rows[k], weights[k] * g)


@wp.kernel
def backward_density(
    level: int,
    last_level: int,
    points: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    density: wp.array(dtype=float),
    grad_density: wp.array(dtype=float),
    grad_table: wp.array2d(dtype=float),
):
    n = wp.tid()
    g = grad_density[n] * softplus_slope(density[n])
    for i in range(level, last_level):
        rows, weights = place(levels[i], points[n] / radius)
        for k in range(8):
            wp.atomic_add(grad_table, rows[k], 0, weights[k] * g)


@wp.func
def tap(k: int):
    """Corners of a tetrahedron around the origin."""
    if k == 0:
        return wp.vec3(1.0, -1.0, -1.0)
    if k == 1:
        return wp.vec3(-1.0, -1.0, 1.0)
    if k == 2:
        return wp.vec3(-1.0, 1.0, -1.0)
    return wp.vec3(1.0, 1.0, 1.0)


@wp.kernel
def slopes(
    first: int,
    points: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec4),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    blob_scale: float,
    blob_std: float,
    eps: float,
    out: wp.array(dtype=wp.vec3),
):
    """Gradient of the density's logit by four taps; with ``eps`` 0 the exact one, within the cells."""
    n = first + wp.tid()
    p = points[n]
    total = wp.vec3(0.0)
    if eps == 0.0:
        for i in range(levels.shape[0]):
            rows, weights = place(levels[i], p / radius)
            ax, ay, az = weight_slopes(levels[i], p / radius)
            for k in range(8):
                total += wp.vec3(ax[k], ay[k], az[k]) * table[rows[k]][0]
        out[n] = total / radius - p * (blob_scale / (blob_std * wp.max(wp.length(p), 1.0e-9)))
        return
    for k in range(4):
        q = p + tap(k) * eps
        total += tap(k) * (density_logit(table, levels, q / radius) + blob(q, blob_scale, blob_std))
    out[n] = total / (4.0 * eps)


@wp.kernel
def slopes_backward(
    level: int,
    last_level: int,
    points: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    eps: float,
    grad: wp.array(dtype=wp.vec3),
    grad_table: wp.array2d(dtype=float),
):
    n = wp.tid()
    p = points[n]
    if eps == 0.0:
        g = grad[n] / radius
        for i in range(level, last_level):
            rows, weights = place(levels[i], p / radius)
            ax, ay, az = weight_slopes(levels[i], p / radius)
            for k in range(8):
                wp.atomic_add(grad_table, rows[k], 0, wp.dot(g, wp.vec3(ax[k], ay[k], az[k])))
        return
    g = grad[n] / (4.0 * eps)
    for i in range(level, last_level):
        for t in range(4):
            rows, weights = place(levels[i], (p + tap(t) * eps) / radius)
            h = wp.dot(g, tap(t))
            for k in range(8):
                wp.atomic_add(grad_table, rows[k], 0, weights[k] * h)
