"""Triangles in UV space: which texel belongs to which face, where on the surface it lies, and how often it is used.

Texel coordinates are UVs times the size: x grows with u, y with v, and texel (x, y) has its center at (x + .5, y + .5).
Textures repeat, so texels are counted modulo the size.
"""

# No postponed annotations here: Warp reads those of the kernels below.
import torch
import warp as wp
from torch import Tensor

from ..support.warp_launch import launch, load, splits

NOTHING = 0x7FFFFFFFFFFFFFFF  # a key larger than any
DISTANCE_STEPS = 1 << 20  # resolution of squared distances in the key
COPIES = wp.constant(7)  # copies of the tile per axis, from -1, that a kept and repeating UV map may reach
SPLIT = 1 << 18  # threads a GPU launch should have: big triangles are shared by several


@wp.func
def cross2(a: wp.vec2, b: wp.vec2):
    return a[0] * b[1] - a[1] * b[0]


@wp.func
def along(p: wp.vec2, a: wp.vec2, b: wp.vec2):
    """Parameter of the point of segment ab nearest to p."""
    e = b - a
    length = wp.dot(e, e)
    t = float(0.0)  # noqa: UP018 - Warp's way to say that it will change
    if length > 0.0:
        t = wp.clamp(wp.dot(p - a, e) / length, 0.0, 1.0)
    return t


@wp.func
def nearest_weights(p: wp.vec2, a: wp.vec2, b: wp.vec2, c: wp.vec2):
    """Barycentric coordinates of the point of triangle abc nearest to p."""
    area = cross2(b - a, c - a)
    if area != 0.0:
        u = cross2(b - p, c - p) / area
        v = cross2(c - p, a - p) / area
        w = 1.0 - u - v
        if u >= 0.0 and v >= 0.0 and w >= 0.0:
            return wp.vec3(u, v, w)
    t = along(p, a, b)
    best = wp.vec3(1.0 - t, t, 0.0)
    distance = wp.length_sq(a * best[0] + b * best[1] - p)
    t = along(p, b, c)
    other = wp.length_sq(b * (1.0 - t) + c * t - p)
    if other < distance:
        distance = other
        best = wp.vec3(0.0, 1.0 - t, t)
    t = along(p, c, a)
    if wp.length_sq(c * (1.0 - t) + a * t - p) < distance:
        best = wp.vec3(t, 0.0, 1.0 - t)
    return best


@wp.func
def clipped(a: wp.vec2, b: wp.vec2, low: float, high: float, reach: wp.vec2):
    """``reach`` (from x, to x) widened to what of the segment ab lies between two heights."""
    if wp.min(a[1], b[1]) > high or wp.max(a[1], b[1]) < low:
        return reach
    p, q = a[0], b[0]
    e = b - a
    if e[1] != 0.0:
        t = wp.clamp((low - a[1]) / e[1], 0.0, 1.0)
        u = wp.clamp((high - a[1]) / e[1], 0.0, 1.0)
        p = a[0] + t * e[0]
        q = a[0] + u * e[0]
    return wp.vec2(wp.min(reach[0], wp.min(p, q)), wp.max(reach[1], wp.max(p, q)))


@wp.func
def row_range(a: wp.vec2, b: wp.vec2, c: wp.vec2, y: float, margin: float):
    """First and last texel of the row at height ``y`` that can be within ``margin`` of triangle abc, one to spare.

    Without it, long and thin triangles would take a time as for all of their bounding box.
    """
    reach = wp.vec2(1.0e9, -1.0e9)
    low, high = y - margin - 0.01, y + margin + 0.01
    reach = clipped(a, b, low, high, reach)
    reach = clipped(b, c, low, high, reach)
    reach = clipped(c, a, low, high, reach)
    return wp.vec2i(wp.int32(wp.floor(reach[0] - margin)) - 1, wp.int32(wp.ceil(reach[1] + margin)) + 1)


@wp.kernel(enable_backward=False)
def claim_texels(
    corners: wp.array2d(dtype=wp.vec2), margin: float, size: int, splits: int, keys: wp.array2d(dtype=wp.int64)
):
    """Every texel keeps the smallest (squared distance, face) of the triangles within ``margin`` texels."""
    face, split = wp.tid()
    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    x0 = wp.int32(wp.floor(wp.min(wp.min(a[0], b[0]), c[0]) - margin))
    x1 = wp.int32(wp.ceil(wp.max(wp.max(a[0], b[0]), c[0]) + margin))
    y0 = wp.int32(wp.floor(wp.min(wp.min(a[1], b[1]), c[1]) - margin))
    y1 = wp.int32(wp.ceil(wp.max(wp.max(a[1], b[1]), c[1]) + margin))
    for y in range(y0 + split, y1, splits):
        row = y % size
        if row < 0:
            row += size
        here = row_range(a, b, c, float(y) + 0.5, margin)
        for x in range(wp.max(x0, here[0]), wp.min(x1, here[1])):
            p = wp.vec2(float(x) + 0.5, float(y) + 0.5)
            w = nearest_weights(p, a, b, c)
            distance = wp.length_sq(a * w[0] + b * w[1] + c * w[2] - p)
            if wp.min(wp.min(w[0], w[1]), w[2]) > 0.0:
                distance = 0.0
            if distance <= margin * margin:
                column = x % size
                if column < 0:
                    column += size
                key = (wp.int64(distance * float(DISTANCE_STEPS)) << wp.int64(32)) | wp.int64(face)
                wp.atomic_min(keys, row, column, key)


@wp.func
def strictly_inside(p: wp.vec2, a: wp.vec2, b: wp.vec2, c: wp.vec2, s: float):
    """Whether ``p`` lies within a triangle of orientation ``s``; on an edge that two faces share, it is in neither."""
    slack = 1.0e-4  # texels
    return (
        s * cross2(b - a, p - a) > slack * wp.length(b - a)
        and s * cross2(c - b, p - b) > slack * wp.length(c - b)
        and s * cross2(a - c, p - c) > slack * wp.length(a - c)
    )


@wp.kernel(enable_backward=False)
def count_faces(corners: wp.array2d(dtype=wp.vec2), size: int, splits: int, counts: wp.array2d(dtype=wp.int32)):
    """Add one to each texel whose center lies strictly inside a triangle."""
    face, split = wp.tid()
    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    area = cross2(b - a, c - a)
    x0 = wp.max(wp.int32(wp.floor(wp.min(wp.min(a[0], b[0]), c[0]))), 0)
    x1 = wp.min(wp.int32(wp.ceil(wp.max(wp.max(a[0], b[0]), c[0]))), size)
    y0 = wp.max(wp.int32(wp.floor(wp.min(wp.min(a[1], b[1]), c[1]))), 0)
    y1 = wp.min(wp.int32(wp.ceil(wp.max(wp.max(a[1], b[1]), c[1]))), size)
    if area == 0.0:
        return
    for y in range(y0 + split, y1, splits):
        here = row_range(a, b, c, float(y) + 0.5, 0.0)
        for x in range(wp.max(x0, here[0]), wp.min(x1, here[1])):
            p = wp.vec2(float(x) + 0.5, float(y) + 0.5)
            if strictly_inside(p, a, b, c, wp.sign(area)):
                wp.atomic_add(counts, y, x, 1)


@wp.kernel(enable_backward=False)
def count_lost(
    corners: wp.array2d(dtype=wp.vec2),
    owner: wp.array2d(dtype=wp.int64),
    size: int,
    splits: int,
    counts: wp.array2d(dtype=wp.int32),
):
    """For each face, the texels whose center lies strictly inside, and those of them that belong to another face."""
    face, split = wp.tid()
    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    area = cross2(b - a, c - a)
    x0 = wp.max(wp.int32(wp.floor(wp.min(wp.min(a[0], b[0]), c[0]))), 0)
    x1 = wp.min(wp.int32(wp.ceil(wp.max(wp.max(a[0], b[0]), c[0]))), size)
    y0 = wp.max(wp.int32(wp.floor(wp.min(wp.min(a[1], b[1]), c[1]))), 0)
    y1 = wp.min(wp.int32(wp.ceil(wp.max(wp.max(a[1], b[1]), c[1]))), size)
    if area == 0.0:
        return
    for y in range(y0 + split, y1, splits):
        here = row_range(a, b, c, float(y) + 0.5, 0.0)
        for x in range(wp.max(x0, here[0]), wp.min(x1, here[1])):
            p = wp.vec2(float(x) + 0.5, float(y) + 0.5)
            if strictly_inside(p, a, b, c, wp.sign(area)):
                wp.atomic_add(counts, face, 0, 1)
                if owner[y, x] != wp.int64(face):
                    wp.atomic_add(counts, face, 1, 1)


@wp.kernel(enable_backward=False)
def texel_points(
    texels: wp.array(dtype=wp.int64),
    faces: wp.array(dtype=wp.int32),
    corners: wp.array2d(dtype=wp.vec2),
    positions: wp.array(dtype=wp.vec3),
    triangles: wp.array2d(dtype=wp.int32),
    size: int,
    margin: float,
    offset: wp.vec2,
    reach: float,
    out: wp.array(dtype=wp.vec3),
):
    """Surface point of each texel (+ offset): on its face, or beyond the face's border along its plane."""
    n = wp.tid()
    face = faces[n]
    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    index = wp.int32(texels[n])
    p = wp.vec2(float(index % size) + 0.5, float(index // size) + 0.5)
    w = nearest_weights(p, a, b, c)
    nearest = wp.length_sq(a * w[0] + b * w[1] + c * w[2] - p)
    if nearest > margin * margin:
        # textures repeat: it is another copy of the texel that touches the face
        home = p
        for i in range(COPIES * COPIES):
            copy = home + float(size) * wp.vec2(float(i % COPIES - 1), float(i // COPIES - 1))
            w = nearest_weights(copy, a, b, c)
            distance = wp.length_sq(a * w[0] + b * w[1] + c * w[2] - copy)
            if distance < nearest:
                nearest = distance
                p = copy
    p = p + offset
    w = nearest_weights(p, a, b, c)
    pa, pb, pc = positions[triangles[face, 0]], positions[triangles[face, 1]], positions[triangles[face, 2]]
    point = pa * w[0] + pb * w[1] + pc * w[2]
    rest = p - (a * w[0] + b * w[1] + c * w[2])
    area = cross2(b - a, c - a)
    if wp.length_sq(rest) > 0.0 and area != 0.0:
        beyond = (pb - pa) * (cross2(rest, c - a) / area) + (pc - pa) * (cross2(b - a, rest) / area)
        # slivers would shoot far off: nothing moves further than the texture's usual scale allows
        limit = reach * wp.length(rest)
        length = wp.length(beyond)
        if length > limit:
            beyond = beyond * (limit / length)
        point = point + beyond
    out[n] = point


def claim(corners: Tensor, size: int, margin: float) -> Tensor:
    """Which face each texel belongs to.

    Args:
        corners: ``[F, 3, 2]`` float32 in texel coordinates, on the CPU or a CUDA device.
        margin: texels whose center is at most this far outside of a face are its too, if none is nearer.

    Returns:
        ``[S, S]`` int64 (row = y, counted from v = 0): the face, -1 for none.
    """
    keys = torch.full((size, size), NOTHING, dtype=torch.int64, device=corners.device)
    _launch_faces(claim_texels, corners, [float(margin), size], keys)
    return torch.where(keys == NOTHING, -1, keys & 0xFFFFFFFF)


def coverage_counts(corners: Tensor, size: int) -> Tensor:
    """``[S, S]`` int32: how many of the faces ``[F, 3, 2]`` (texel coordinates) contain each texel's center."""
    counts = torch.zeros((size, size), dtype=torch.int32, device=corners.device)
    _launch_faces(count_faces, corners, [size], counts)
    return counts


def lost_texels(corners: Tensor, size: int) -> Tensor:
    """``[F, 2]`` int32: of how many texels each of the faces ``[F, 3, 2]`` (texel coordinates) contains the center, and
    how many of them a face before it in the list contains, too."""
    owner = claim(corners, size, 0.0)
    counts = torch.zeros((len(corners), 2), dtype=torch.int32, device=corners.device)
    _launch_faces(count_lost, corners, [owner, size], counts)
    return counts


def surface_points(
    texels: Tensor,
    faces: Tensor,
    corners: Tensor,
    positions: Tensor,
    triangles: Tensor,
    size: int,
    margin: float,
    offset: tuple[float, float],
    reach: float,
) -> Tensor:
    """Points of the surface under given texels.

    Args:
        texels: ``[N]`` int64, y * size + x.
        faces: ``[N]`` int32, the face of each.
        corners: ``[F, 3, 2]`` float32 in texel coordinates.
        positions: ``[V, 3]`` float32.
        triangles: ``[F, 3]`` int32.
        margin: what `claim` was given.
        offset: added to the texel centers, in texels.
        reach: how far the surface may be continued beyond a face's border, in units of length a texel.

    Returns:
        ``[N, 3]`` float32.
    """
    out = torch.empty((len(texels), 3), device=corners.device)
    load(texel_points, corners.device)
    inputs = [texels, faces, corners, positions, triangles, size, float(margin), wp.vec2(*offset), float(reach), out]
    launch(texel_points, len(texels), inputs, corners.device)
    return out


def _launch_faces(kernel: wp.Kernel, corners: Tensor, inputs: list, out: Tensor) -> None:
    """Launch over faces, the rows of each shared by several threads on a GPU."""
    device, count = corners.device, len(corners)
    load(kernel, device)
    parts = splits(count, device, SPLIT)
    launch(kernel, (count, parts), [corners.contiguous(), *inputs, parts, out], device)
