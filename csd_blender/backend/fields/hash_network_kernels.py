"""Warp kernels for the slope of `hash_network.HashNetwork`, for CPU and CUDA, with hand-written adjoints.

The features themselves come from `hash_grid.encode`; here is how fast they change with the position. A
level is a row ``(resolution, offset, stride, mask)`` as in `radiance_kernels`, whose cells these are.
"""

# No postponed annotations here: Warp reads those of the kernels itself.
# ruff: noqa: UP018 - float(0.0) makes a variable in Warp, 0.0 a constant that a loop cannot change.
import warp as wp

from .radiance_kernels import place, weight_slopes

wp.set_module_options({"enable_backward": False})


@wp.kernel
def slopes(
    first: int,
    points: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec4i),
    count: int,
    table: wp.array(dtype=wp.vec2),
    levers: wp.array2d(dtype=wp.vec2),
    out: wp.array(dtype=wp.vec3),
):
    """``sum over levels of levers . features``, derived by the point; points in [-1, 1]^3."""
    n = first + wp.tid()
    total = wp.vec3(0.0)
    for i in range(count):
        rows, weights = place(levels[i], points[n])
        ax, ay, az = weight_slopes(levels[i], points[n])
        lever = levers[n, i]
        for k in range(8):
            total += wp.vec3(ax[k], ay[k], az[k]) * wp.dot(lever, table[rows[k]])
    out[n] = total


@wp.kernel
def slopes_backward(
    level: int,
    last_level: int,
    points: wp.array(dtype=wp.vec3),
    levels: wp.array(dtype=wp.vec4i),
    table: wp.array(dtype=wp.vec2),
    levers: wp.array2d(dtype=wp.vec2),
    grad: wp.array(dtype=wp.vec3),
    grad_table: wp.array(dtype=wp.vec2),
    grad_levers: wp.array2d(dtype=wp.vec2),
):
    n = wp.tid()
    for i in range(level, last_level):
        rows, weights = place(levels[i], points[n])
        ax, ay, az = weight_slopes(levels[i], points[n])
        lever = levers[n, i]
        pull = wp.vec2(0.0)
        for k in range(8):
            s = wp.dot(grad[n], wp.vec3(ax[k], ay[k], az[k]))
            wp.atomic_add(grad_table, rows[k], s * lever)
            pull += s * table[rows[k]]
        grad_levers[n, i] = pull
