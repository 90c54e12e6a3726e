"""Warp kernels of the rasterizer, for CPU and CUDA, with hand-written adjoints.

Formulas: 2D homogeneous rasterization (Olano and Greer 1997). With q_i = (x_i - px w_i, y_i - py w_i), the cross
products a_i = q_j x q_k divided by their sum are perspective-correct barycentric coordinates, also where a triangle
reaches behind the camera, so nothing is ever clipped.
"""

# No postponed annotations here: Warp reads those of the kernels itself.
# ruff: noqa: UP018 - float(0.0) makes a variable in Warp, 0.0 a constant that a loop cannot change.
import warp as wp

wp.set_module_options({"enable_backward": False})

DEPTH_STEPS = wp.constant(1073741824.0)  # 2^30 levels of depth in the upper half of a 64-bit key
HIGH = wp.constant(wp.int64(4294967296))
NOTHING_VALUE = 9223372036854775807
NOTHING = wp.constant(wp.int64(NOTHING_VALUE))


@wp.func
def center(i: int, n: int):
    """Pixel center in ndc."""
    return (2.0 * float(i) + 1.0) / float(n) - 1.0


@wp.func
def pixel(ndc: float, n: int):
    """Inverse of `center`."""
    return 0.5 * ((ndc + 1.0) * float(n) - 1.0)


@wp.func
def cross(a: wp.vec2, b: wp.vec2):
    """2D cross product, exactly antisymmetric even when the compiler fuses, so that neighbors leave no crack.

    The order is that of the values, not of the vertex numbers: seams with doubled vertices stay tight too.
    """
    if a[0] < b[0] or (a[0] == b[0] and a[1] <= b[1]):
        return a[0] * b[1] - a[1] * b[0]
    return -(b[0] * a[1] - b[1] * a[0])


@wp.func
def relative(p: wp.vec4, px: float, py: float):
    return wp.vec2(p[0] - px * p[3], p[1] - py * p[3])


@wp.func
def weights(p0: wp.vec4, p1: wp.vec4, p2: wp.vec4, px: float, py: float):
    """The three cross products."""
    q0 = relative(p0, px, py)
    q1 = relative(p1, px, py)
    q2 = relative(p2, px, py)
    return wp.vec3(cross(q1, q2), cross(q2, q0), cross(q0, q1))


@wp.func
def key(z: float, number: int):
    """Nearest first, then the lowest number."""
    return wp.int64((z * 0.5 + 0.5) * DEPTH_STEPS) * HIGH + wp.int64(number)


@wp.func
def key_number(k: wp.int64):
    return int(k % HIGH)


@wp.func
def bounds(c0: float, c1: float, c2: float, n: int):
    """First and last pixel whose center may lie within the ndc interval."""
    low = wp.clamp(pixel(wp.min(c0, wp.min(c1, c2)), n) - 0.01, -1.0, float(n))
    high = wp.clamp(pixel(wp.max(c0, wp.max(c1, c2)), n) + 0.01, -1.0, float(n))
    return wp.vec2i(wp.max(int(wp.ceil(low)), 0), wp.min(int(wp.floor(high)), n - 1))


@wp.kernel
def depth_test(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    width: int,
    height: int,
    splits: int,
    nearest: wp.array3d(dtype=wp.int64),
):
    b, f, part = wp.tid()
    t = triangles[f]
    p0 = clip[b, t[0]]
    p1 = clip[b, t[1]]
    p2 = clip[b, t[2]]
    if not wp.isfinite(wp.dot(p0, p0) + wp.dot(p1, p1) + wp.dot(p2, p2)):
        return
    if p0[3] <= 0.0 and p1[3] <= 0.0 and p2[3] <= 0.0:
        return
    columns = wp.vec2i(0, width - 1)
    rows = wp.vec2i(0, height - 1)
    if wp.min(p0[3], wp.min(p1[3], p2[3])) > 1.0e-6:
        columns = bounds(p0[0] / p0[3], p1[0] / p1[3], p2[0] / p2[3], width)
        rows = bounds(p0[1] / p0[3], p1[1] / p1[3], p2[1] / p2[3], height)
    y = rows[0] + part
    while y <= rows[1]:
        py = center(y, height)
        for x in range(columns[0], columns[1] + 1):
            a = weights(p0, p1, p2, center(x, width), py)
            low = wp.min(a[0], wp.min(a[1], a[2]))
            high = wp.max(a[0], wp.max(a[1], a[2]))
            if low >= 0.0 or high <= 0.0:
                total = a[0] + a[1] + a[2]
                w = a[0] * p0[3] + a[1] * p1[3] + a[2] * p2[3]
                # before the camera: w interpolated with a / total is positive
                if (total > 0.0 and w > 0.0) or (total < 0.0 and w < 0.0):
                    z = (a[0] * p0[2] + a[1] * p1[2] + a[2] * p2[2]) / w
                    if z >= -1.0 and z <= 1.0:
                        wp.atomic_min(nearest, b, y, x, key(z, f))
        y += splits


@wp.kernel
def resolve(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    nearest: wp.array3d(dtype=wp.int64),
    rast: wp.array3d(dtype=wp.vec4),
):
    b, y, x = wp.tid()
    k = nearest[b, y, x]
    if k == NOTHING:
        rast[b, y, x] = wp.vec4(0.0, 0.0, 0.0, 0.0)
        return
    f = key_number(k)
    t = triangles[f]
    p0 = clip[b, t[0]]
    p1 = clip[b, t[1]]
    p2 = clip[b, t[2]]
    height = nearest.shape[1]
    width = nearest.shape[2]
    px = center(x, width)
    py = center(y, height)
    a = weights(p0, p1, p2, px, py)
    total = a[0] + a[1] + a[2]
    u = a[0] / total
    v = a[1] / total
    z = (a[0] * p0[2] + a[1] * p1[2] + a[2] * p2[2]) / (a[0] * p0[3] + a[1] * p1[3] + a[2] * p2[3])
    rast[b, y, x] = wp.vec4(u, v, z, float(f + 1))


@wp.kernel
def resolve_backward(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    rast: wp.array3d(dtype=wp.vec4),
    grad_rast: wp.array3d(dtype=wp.vec4),
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    b, y, x = wp.tid()
    r = rast[b, y, x]
    if r[3] <= 0.0:
        return
    g = grad_rast[b, y, x]
    if g[0] == 0.0 and g[1] == 0.0 and g[2] == 0.0:
        return
    t = triangles[int(r[3]) - 1]
    p0 = clip[b, t[0]]
    p1 = clip[b, t[1]]
    p2 = clip[b, t[2]]
    px = center(x, rast.shape[2])
    py = center(y, rast.shape[1])
    q0 = relative(p0, px, py)
    q1 = relative(p1, px, py)
    q2 = relative(p2, px, py)
    a = weights(p0, p1, p2, px, py)
    total = a[0] + a[1] + a[2]
    w = a[0] * p0[3] + a[1] * p1[3] + a[2] * p2[3]
    z = r[2]
    c = g[0] * r[0] + g[1] * r[1]
    g0 = (g[0] - c) / total + g[2] * (p0[2] - z * p0[3]) / w
    g1 = (g[1] - c) / total + g[2] * (p1[2] - z * p1[3]) / w
    g2 = -c / total + g[2] * (p2[2] - z * p2[3]) / w
    d0 = wp.vec2(g2 * q1[1] - g1 * q2[1], g1 * q2[0] - g2 * q1[0])
    d1 = wp.vec2(g0 * q2[1] - g2 * q0[1], g2 * q0[0] - g0 * q2[0])
    d2 = wp.vec2(g1 * q0[1] - g0 * q1[1], g0 * q1[0] - g1 * q0[0])
    s = g[2] / w
    wp.atomic_add(grad_clip, b, t[0], wp.vec4(d0[0], d0[1], s * a[0], -px * d0[0] - py * d0[1] - z * s * a[0]))
    wp.atomic_add(grad_clip, b, t[1], wp.vec4(d1[0], d1[1], s * a[1], -px * d1[0] - py * d1[1] - z * s * a[1]))
    wp.atomic_add(grad_clip, b, t[2], wp.vec4(d2[0], d2[1], s * a[2], -px * d2[0] - py * d2[1] - z * s * a[2]))


@wp.kernel
def interpolate(
    attributes: wp.array3d(dtype=float),
    shared: int,
    triangles: wp.array(dtype=wp.vec3i),
    rast: wp.array3d(dtype=wp.vec4),
    out: wp.array4d(dtype=float),
):
    b, y, x = wp.tid()
    r = rast[b, y, x]
    if r[3] <= 0.0:
        return  # the output starts as zeros
    t = triangles[int(r[3]) - 1]
    n = b * (1 - shared)
    rest = 1.0 - r[0] - r[1]
    for c in range(out.shape[3]):
        out[b, y, x, c] = r[0] * attributes[n, t[0], c] + r[1] * attributes[n, t[1], c] + rest * attributes[n, t[2], c]


@wp.kernel
def interpolate_backward(
    attributes: wp.array3d(dtype=float),
    shared: int,
    triangles: wp.array(dtype=wp.vec3i),
    rast: wp.array3d(dtype=wp.vec4),
    grad: wp.array4d(dtype=float),
    want_attributes: int,
    want_rast: int,
    grad_attributes: wp.array3d(dtype=float),
    grad_rast: wp.array3d(dtype=wp.vec4),
):
    b, y, x = wp.tid()
    r = rast[b, y, x]
    if r[3] <= 0.0:
        return
    t = triangles[int(r[3]) - 1]
    n = b * (1 - shared)
    rest = 1.0 - r[0] - r[1]
    gu = float(0.0)
    gv = float(0.0)
    for c in range(grad.shape[3]):
        g = grad[b, y, x, c]
        if want_rast == 1:
            last = attributes[n, t[2], c]
            gu += g * (attributes[n, t[0], c] - last)
            gv += g * (attributes[n, t[1], c] - last)
        if want_attributes == 1:
            wp.atomic_add(grad_attributes, b, t[0], c, g * r[0])
            wp.atomic_add(grad_attributes, b, t[1], c, g * r[1])
            wp.atomic_add(grad_attributes, b, t[2], c, g * rest)
    if want_rast == 1:
        grad_rast[b, y, x] = wp.vec4(gu, gv, 0.0, 0.0)
