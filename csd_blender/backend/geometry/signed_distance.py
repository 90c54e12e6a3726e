"""Distances from points to a triangle mesh, through Warp's bounding volume hierarchy, on the CPU or a CUDA device."""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from ..render.warp_setup import start_warp

FAR = 1e6  # farther than anything in a scene


@wp.kernel(enable_backward=False)
def _signed(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    query = wp.mesh_query_point_sign_winding_number(mesh, points[i], FAR)
    nearest = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
    out[i] = query.sign * wp.length(points[i] - nearest)


@wp.kernel(enable_backward=False)
def _unsigned(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), reach: wp.float32, out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    out[i] = reach
    query = wp.mesh_query_point_no_sign(mesh, points[i], reach)
    if query.result:
        out[i] = wp.length(points[i] - wp.mesh_eval_position(mesh, query.face, query.u, query.v))


def signed_distance(points: Tensor, vertices: Tensor, triangles: Tensor) -> Tensor:
    """Distances to a mesh, negative where it winds around a point by more than half, ``[N]`` float32; no gradients.

    Generalized winding numbers (Jacobson et al. 2013) still tell inside from outside when the mesh has small holes or
    pieces that intersect. A mesh whose faces look inward, by its volume, is taken the other way around.

    Args:
        points: ``[N, 3]``. vertices: ``[V, 3]``. triangles: ``[F, 3]`` integer. All on one device.

    Raises:
        ValueError: when the mesh has no faces.
    """
    if not len(triangles):
        raise ValueError("A mesh without faces has no inside.")
    corners = vertices.double()[triangles.long()]
    if torch.linalg.det(corners - corners.mean((0, 1))).sum() < 0:
        triangles = triangles.flip(1)
    return _query(points, vertices, triangles, None)


def distance_within(points: Tensor, vertices: Tensor, triangles: Tensor, reach: float) -> Tensor:
    """Distances to a mesh without a sign, at most ``reach``: ``[N]`` float32; quick, and without gradients."""
    return _query(points, vertices, triangles, reach)


def _query(points: Tensor, vertices: Tensor, triangles: Tensor, reach: float | None) -> Tensor:
    start_warp()
    points = points.detach().float().contiguous()
    out = torch.empty(len(points), device=points.device)
    if not len(points):
        return out
    device = points.device
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    with wp.ScopedStream(stream) if stream is not None else wp.ScopedDevice(wp.device_from_torch(device)):
        mesh = wp.Mesh(
            wp.from_torch(vertices.detach().float().contiguous(), dtype=wp.vec3),
            wp.from_torch(triangles.int().contiguous().flatten()),
            support_winding_number=reach is None,
        )
        arrays = [wp.from_torch(points, dtype=wp.vec3), wp.from_torch(out)]
        if reach is None:
            wp.launch(_signed, dim=len(points), inputs=[mesh.id, *arrays])
        else:
            wp.launch(_unsigned, dim=len(points), inputs=[mesh.id, arrays[0], reach, arrays[1]])
    return out
