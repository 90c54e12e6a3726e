"""Warp kernels that antialias silhouettes, driven by the mesh's edges, and their adjoint.

Each silhouette edge finds the pixel pairs it passes between. A steep edge is met once in each pixel row, a flat one
once in each column, over half-open ranges, so that a chain of edges meets each row once and no area counts twice.
Where the edge cuts the line between two pixel centers A and B at ``frac``, the nearer center's pixel takes the share
of the other's color that the cut calls for: ``out[target] += (frac - 1/2) (A - B)``. The derivative of the picture
with respect to the edge's place is then right for any mesh density; schemes driven by pixel pairs (Laine et al. 2020,
arXiv 2011.03277) miss edges whose triangle is not seen at a pixel center.
"""

# No postponed annotations here: Warp reads those of the kernels itself.
# ruff: noqa: UP018 - float(0.0) makes a variable in Warp, 0.0 a constant that a loop cannot change.
import warp as wp

from .kernels import center, key, pixel, weights

wp.set_module_options({"enable_backward": False})

CLOSER = wp.constant(1.0e-6)  # in z/w: what must lie this much before an edge to hide it


@wp.struct
class Edge:
    """A silhouette edge on the screen; ``last < first`` when it is none."""

    p: wp.vec4
    q: wp.vec4
    steep: int  # one crossing per row (else per column)
    first: int
    last: int
    inside_after: int  # the mesh lies on the side of the higher column (row, for a flat edge)


@wp.struct
class Crossing:
    """Where an edge cuts the line between the centers of pixels A (ay, ax) and B, the next to the right or below."""

    ok: int
    ay: int
    ax: int
    by: int
    bx: int
    frac: float
    key: wp.int64
    s: float  # the place along the edge from p to q, in clip space
    at: float  # its ndc across the row (column)
    w: float


@wp.func
def xyw(p: wp.vec4):
    return wp.vec3(p[0], p[1], p[3])


@wp.func
def find_edge(clip: wp.array2d(dtype=wp.vec4), b: int, ends: wp.vec2i, opposite: wp.vec2i, width: int, height: int):
    e = Edge()
    e.first = 0
    e.last = -1
    e.p = clip[b, ends[0]]
    e.q = clip[b, ends[1]]
    if not wp.isfinite(wp.dot(e.p, e.p) + wp.dot(e.q, e.q)):
        return e
    if e.p[3] <= 0.0 and e.q[3] <= 0.0:
        return e
    # Line through both ends; which side a face is on holds for its part near the edge, wherever its third vertex is.
    line = wp.cross(xyw(e.p), xyw(e.q) - xyw(e.p))
    side = wp.dot(line, xyw(clip[b, opposite[0]]) - xyw(e.p))
    if opposite[1] >= 0:
        other = wp.dot(line, xyw(clip[b, opposite[1]]) - xyw(e.p))
        if side * other < 0.0:
            return e  # the faces lie on both sides
        if side == 0.0:
            side = other  # one face is seen exactly from its side
    if side == 0.0:
        return e
    steep = wp.abs(line[1]) * float(width) <= wp.abs(line[0]) * float(height)
    axis = int(0)
    across = line[1]
    n = width
    e.steep = 0
    if steep:
        axis = 1
        across = line[0]
        n = height
        e.steep = 1
    # a step across the edge leads to the faces' side
    e.inside_after = 0
    if across * side > 0.0:
        e.inside_after = 1
    low = float(-2.0)
    high = float(2.0)
    if e.p[3] > 0.0 and e.q[3] > 0.0:
        a = e.p[axis] / e.p[3]
        c = e.q[axis] / e.q[3]
        low = wp.min(a, c)
        high = wp.max(a, c)
    else:  # one end behind the camera: the edge leaves the picture toward where it crosses w = 0
        front = e.p
        t = e.p[3] / (e.p[3] - e.q[3])
        if e.q[3] > 0.0:
            front = e.q
        if e.p[axis] + t * (e.q[axis] - e.p[axis]) > 0.0:
            low = front[axis] / front[3]
        else:
            high = front[axis] / front[3]
    e.first = int(wp.ceil(wp.clamp(pixel(low, n), 0.0, float(n))))
    e.last = int(wp.ceil(wp.clamp(pixel(high, n), 0.0, float(n)))) - 1
    return e


@wp.func
def hides(
    outside: wp.vec4,
    inside: wp.vec4,
    z: float,
    x: float,
    y: float,
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    b: int,
):
    """Whether the surfaces seen at the two pixels hide an edge's point of depth z at ndc (x, y).

    What lies nearer at the pixel outside does, unless it only touches the edge, as a floor does: its plane must be
    nearer at the point too. Nearness inside says nothing, for the edge's own surface bends toward the viewer by any
    amount; there a nearer triangle must cover the very point.
    """
    if outside[3] > 0.0 and outside[2] < z - CLOSER:
        if plane_depth(outside, x, y, clip, triangles, b, 0) < z - CLOSER:
            return True
    if inside[3] > 0.0 and inside[2] < z - CLOSER:
        if plane_depth(inside, x, y, clip, triangles, b, 1) < z - CLOSER:
            return True
    return False


@wp.func
def plane_depth(
    seen: wp.vec4,
    x: float,
    y: float,
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    b: int,
    must_cover: int,
):
    """z/w at ndc (x, y) of the plane of the triangle a pixel sees; far away where ``must_cover`` fails."""
    t = triangles[int(seen[3]) - 1]
    p0 = clip[b, t[0]]
    p1 = clip[b, t[1]]
    p2 = clip[b, t[2]]
    a = weights(p0, p1, p2, x, y)
    w = a[0] * p0[3] + a[1] * p1[3] + a[2] * p2[3]
    if w == 0.0:
        return -2.0 + 4.0 * float(must_cover)
    if must_cover == 1 and wp.min(a[0], wp.min(a[1], a[2])) < 0.0 and wp.max(a[0], wp.max(a[1], a[2])) > 0.0:
        return 2.0
    return (a[0] * p0[2] + a[1] * p1[2] + a[2] * p2[2]) / w


@wp.func
def find_crossing(
    e: Edge,
    number: int,
    i: int,
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    rast: wp.array3d(dtype=wp.vec4),
    b: int,
):
    height = rast.shape[1]
    width = rast.shape[2]
    c = Crossing()
    c.ok = 0
    along = int(0)
    across = int(1)
    n_along = width
    n_across = height
    if e.steep == 1:
        along = 1
        across = 0
        n_along = height
        n_across = width
    here = center(i, n_along)
    d0 = e.p[along] - here * e.p[3]
    d1 = e.q[along] - here * e.q[3]
    if d0 == d1:
        return c
    c.s = wp.clamp(d0 / (d0 - d1), 0.0, 1.0)
    c.w = e.p[3] + c.s * (e.q[3] - e.p[3])
    if c.w <= 0.0:
        return c
    c.at = (e.p[across] + c.s * (e.q[across] - e.p[across])) / c.w
    place = pixel(c.at, n_across)
    if not (place >= 0.0 and place < float(n_across - 1)):
        return c
    j = int(wp.floor(place))
    c.frac = place - float(j)
    z = (e.p[2] + c.s * (e.q[2] - e.p[2])) / c.w
    if z < -1.0 or z > 1.0:
        return c
    if e.steep == 1:
        c.ay = i
        c.ax = j
        c.by = i
        c.bx = j + 1
    else:
        c.ay = j
        c.ax = i
        c.by = j + 1
        c.bx = i
    x = c.at
    y = here
    if e.steep == 0:
        x = here
        y = c.at
    before = rast[b, c.ay, c.ax]
    after = rast[b, c.by, c.bx]
    if e.inside_after == 1:
        if hides(before, after, z, x, y, clip, triangles, b):
            return c
    else:
        if hides(after, before, z, x, y, clip, triangles, b):
            return c
    c.key = key(z, number)
    c.ok = 1
    return c


@wp.kernel
def claim(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    edges: wp.array(dtype=wp.vec2i),
    opposite: wp.array(dtype=wp.vec2i),
    rast: wp.array3d(dtype=wp.vec4),
    right: wp.array3d(dtype=wp.int64),
    below: wp.array3d(dtype=wp.int64),
):
    """The nearest edge between two pixels wins the pair; ``right`` and ``below`` belong to the pair's first pixel."""
    b, n, _ = wp.tid()
    e = find_edge(clip, b, edges[n], opposite[n], rast.shape[2], rast.shape[1])
    for i in range(e.first, e.last + 1):
        c = find_crossing(e, n, i, clip, triangles, rast, b)
        if c.ok == 1:
            if e.steep == 1:
                wp.atomic_min(right, b, c.ay, c.ax, c.key)
            else:
                wp.atomic_min(below, b, c.ay, c.ax, c.key)


@wp.kernel
def blend(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    edges: wp.array(dtype=wp.vec2i),
    opposite: wp.array(dtype=wp.vec2i),
    rast: wp.array3d(dtype=wp.vec4),
    right: wp.array3d(dtype=wp.int64),
    below: wp.array3d(dtype=wp.int64),
    color: wp.array4d(dtype=float),
    out: wp.array4d(dtype=float),
):
    b, n, _ = wp.tid()
    e = find_edge(clip, b, edges[n], opposite[n], rast.shape[2], rast.shape[1])
    for i in range(e.first, e.last + 1):
        c = find_crossing(e, n, i, clip, triangles, rast, b)
        if c.ok == 1:
            winner = below[b, c.ay, c.ax]
            if e.steep == 1:
                winner = right[b, c.ay, c.ax]
            if winner == c.key:
                ty = c.by
                tx = c.bx
                if c.frac <= 0.5:
                    ty = c.ay
                    tx = c.ax
                for k in range(color.shape[3]):
                    step = color[b, c.ay, c.ax, k] - color[b, c.by, c.bx, k]
                    wp.atomic_add(out, b, ty, tx, k, (c.frac - 0.5) * step)


@wp.kernel
def blend_backward(
    clip: wp.array2d(dtype=wp.vec4),
    triangles: wp.array(dtype=wp.vec3i),
    edges: wp.array(dtype=wp.vec2i),
    opposite: wp.array(dtype=wp.vec2i),
    rast: wp.array3d(dtype=wp.vec4),
    right: wp.array3d(dtype=wp.int64),
    below: wp.array3d(dtype=wp.int64),
    color: wp.array4d(dtype=float),
    grad: wp.array4d(dtype=float),
    want_color: int,
    want_clip: int,
    grad_color: wp.array4d(dtype=float),
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    b, n, _ = wp.tid()
    e = find_edge(clip, b, edges[n], opposite[n], rast.shape[2], rast.shape[1])
    for i in range(e.first, e.last + 1):
        c = find_crossing(e, n, i, clip, triangles, rast, b)
        if c.ok == 1:
            winner = below[b, c.ay, c.ax]
            if e.steep == 1:
                winner = right[b, c.ay, c.ax]
            if winner == c.key:
                ty = c.by
                tx = c.bx
                if c.frac <= 0.5:
                    ty = c.ay
                    tx = c.ax
                pull = float(0.0)
                for k in range(color.shape[3]):
                    g = grad[b, ty, tx, k]
                    pull += g * (color[b, c.ay, c.ax, k] - color[b, c.by, c.bx, k])
                    if want_color == 1:
                        wp.atomic_add(grad_color, b, c.ay, c.ax, k, g * (c.frac - 0.5))
                        wp.atomic_add(grad_color, b, c.by, c.bx, k, -g * (c.frac - 0.5))
                if want_clip == 1:
                    along = int(0)
                    across = int(1)
                    count = rast.shape[1]
                    here = center(i, rast.shape[2])
                    if e.steep == 1:
                        along = 1
                        across = 0
                        count = rast.shape[2]
                        here = center(i, rast.shape[1])
                    d0 = e.p[along] - here * e.p[3]
                    d1 = e.q[along] - here * e.q[3]
                    pull = pull * 0.5 * float(count)
                    move = pull / c.w
                    slide = pull * ((e.q[across] - e.p[across]) - c.at * (e.q[3] - e.p[3])) / (c.w * (d0 - d1))
                    v = wp.vec4(0.0, 0.0, 0.0, 0.0)
                    v[across] = move
                    v[along] = slide
                    v[3] = -c.at * move - here * slide
                    wp.atomic_add(grad_clip, b, edges[n][0], v * (1.0 - c.s))
                    wp.atomic_add(grad_clip, b, edges[n][1], v * c.s)
