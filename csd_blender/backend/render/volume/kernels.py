"""Warp kernels of the volume renderer, for CPU and CUDA: marching along rays, and compositing with its adjoint.

One thread walks one ray from front to back, so nothing is added up in an order that could change.
"""

# No postponed annotations here: Warp reads those of the kernels itself.
# ruff: noqa: UP018 - float(0.0) makes a variable in Warp, 0.0 a constant that a loop cannot change.
import warp as wp

from ...fields.radiance_kernels import density_at, value_at

wp.set_module_options({"enable_backward": False})


@wp.func
def slab(o: float, d: float, low: float, high: float):
    """Where a line lies between two planes: first and last distance; none when the first is larger."""
    if wp.abs(d) < 1.0e-12:
        if o < low or o > high:
            return 1.0, 0.0
        return -1.0e30, 1.0e30
    a = (low - o) / d
    b = (high - o) / d
    return wp.min(a, b), wp.max(a, b)


@wp.func
def box(o: wp.vec3, d: wp.vec3, low: wp.vec3, high: wp.vec3):
    """Distances at which a ray enters and leaves a box; it misses when the first is not smaller."""
    ax, bx = slab(o[0], d[0], low[0], high[0])
    ay, by = slab(o[1], d[1], low[1], high[1])
    az, bz = slab(o[2], d[2], low[2], high[2])
    return wp.max(wp.max(ax, ay), wp.max(az, 0.0)), wp.min(bx, wp.min(by, bz))


@wp.func
def cell(p: float, scale: float, resolution: int):
    return wp.clamp(int((p * scale + 0.5) * float(resolution)), 0, resolution - 1)


@wp.kernel
def march(
    first: int,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    jitter: wp.array(dtype=float),
    occupied: wp.array3d(dtype=wp.bool),
    cube: float,
    low: wp.vec3,
    high: wp.vec3,
    step: float,
    limit: int,
    prune: int,
    min_transmittance: float,
    min_alpha: float,
    table: wp.array(dtype=wp.vec4),
    levels: wp.array(dtype=wp.vec4i),
    radius: float,
    blob_scale: float,
    blob_std: float,
    counts: wp.array(dtype=int),
    distances: wp.array2d(dtype=float),
    values: wp.array2d(dtype=wp.vec4),
):
    """Up to ``limit`` distances a ray, in occupied cells.

    With ``prune`` 1 or 2 only those that can be seen in the field; with 2 also density and color there.
    """
    r = first + wp.tid()
    counts[r] = 0
    o = origins[r // (directions.shape[0] // origins.shape[0])]
    d = directions[r]
    near, far = box(o, d, wp.vec3(-cube), wp.vec3(cube))
    # steps are counted from the cube, so that the samples do not depend on what is occupied
    start, end = box(o, d, low, high)
    end = wp.min(end, far)
    if near >= far or start >= end:
        return
    i = wp.max(int(wp.ceil((start - near) / step - jitter[r])), 0)
    t = near + (float(i) + jitter[r]) * step
    resolution = occupied.shape[0]
    scale = 0.5 / cube
    count = int(0)
    transmittance = float(1.0)
    while t < end and count < limit:
        p = o + d * t
        if occupied[cell(p[0], scale, resolution), cell(p[1], scale, resolution), cell(p[2], scale, resolution)]:
            keep = True
            if prune > 0:
                if transmittance < min_transmittance:
                    break
                density = float(0.0)
                if prune == 2:
                    value = value_at(table, levels, radius, blob_scale, blob_std, p)
                    density = value[0]
                    values[r, count] = value  # the next one takes its place when it is not kept
                else:
                    density = density_at(table, levels, radius, blob_scale, blob_std, p)
                rest = wp.exp(-density * step)
                keep = 1.0 - rest >= min_alpha
                transmittance *= rest
            if keep:
                distances[r, count] = t
                count += 1
        i += 1
        t = near + (float(i) + jitter[r]) * step
    counts[r] = count


@wp.kernel
def pack(
    first: int,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    offsets: wp.array(dtype=int),
    distances: wp.array2d(dtype=float),
    values: wp.array2d(dtype=wp.vec4),
    t: wp.array(dtype=float),
    ray: wp.array(dtype=int),
    points: wp.array(dtype=wp.vec3),
    density: wp.array(dtype=float),
    color: wp.array(dtype=wp.vec3),
):
    """From a row of distances for each ray to one list of samples."""
    r = first + wp.tid()
    begin = offsets[r]
    o = origins[r // (directions.shape[0] // origins.shape[0])]
    for k in range(begin, offsets[r + 1]):
        s = distances[r, k - begin]
        t[k] = s
        ray[k] = r
        points[k] = o + directions[r] * s
        if values.shape[0] > 0:
            v = values[r, k - begin]
            density[k] = v[0]
            color[k] = wp.vec3(v[1], v[2], v[3])


@wp.kernel
def see(
    first: int,
    offsets: wp.array(dtype=int),
    density: wp.array(dtype=float),
    step: float,
    min_transmittance: float,
    min_alpha: float,
    keep: wp.array(dtype=wp.bool),
):
    """Which samples can be seen, by densities already known."""
    r = first + wp.tid()
    transmittance = float(1.0)
    for k in range(offsets[r], offsets[r + 1]):
        rest = wp.exp(-density[k] * step)
        keep[k] = transmittance >= min_transmittance and 1.0 - rest >= min_alpha
        transmittance *= rest


@wp.kernel
def composite(
    first: int,
    offsets: wp.array(dtype=int),
    t: wp.array(dtype=float),
    step: float,
    density: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    out: wp.array2d(dtype=float),
    opacity: wp.array(dtype=float),
    depth: wp.array(dtype=float),
    weights: wp.array(dtype=float),
):
    """``out`` starts as zeros."""
    r = first + wp.tid()
    transmittance = float(1.0)
    distance = float(0.0)
    total = float(0.0)
    for k in range(offsets[r], offsets[r + 1]):
        rest = transmittance * wp.exp(-density[k] * step)
        w = transmittance - rest
        weights[k] = w
        transmittance = rest
        total += w
        distance += w * t[k]
        for c in range(values.shape[1]):
            out[r, c] = out[r, c] + w * values[k, c]
    opacity[r] = total
    depth[r] = distance


@wp.kernel
def composite_backward(
    first: int,
    offsets: wp.array(dtype=int),
    t: wp.array(dtype=float),
    step: float,
    density: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    weights: wp.array(dtype=float),
    grad_out: wp.array2d(dtype=float),
    grad_opacity: wp.array(dtype=float),
    grad_depth: wp.array(dtype=float),
    grad_weights: wp.array(dtype=float),
    grad_density: wp.array(dtype=float),
    grad_values: wp.array2d(dtype=float),
):
    """With G the gradient of a weight, that of the density is step (T_behind G - sum of w G over all behind)."""
    r = first + wp.tid()
    begin = offsets[r]
    end = offsets[r + 1]
    transmittance = float(1.0)
    for k in range(begin, end):
        transmittance *= wp.exp(-density[k] * step)
        grad_density[k] = transmittance
    behind = float(0.0)
    for i in range(end - begin):
        k = end - 1 - i
        w = weights[k]
        g = grad_opacity[r] + grad_depth[r] * t[k] + grad_weights[k]
        for c in range(values.shape[1]):
            g += grad_out[r, c] * values[k, c]
            grad_values[k, c] = w * grad_out[r, c]
        grad_density[k] = step * (grad_density[k] * g - behind)
        behind += w * g
