"""Distances from points to a triangle mesh, and its nearest faces, through Warp's bounding volume hierarchy, on the CPU
or a CUDA device."""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from ..support.warp_launch import build_tree, home_of, launch, load, triangle_tree

FAR = 1e6  # farther than anything in a scene


@wp.kernel(enable_backward=False)
def _signed(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), reach: wp.float32, out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    query = wp.mesh_query_point_sign_winding_number(mesh, points[i], reach)
    nearest = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
    out[i] = query.sign * wp.length(points[i] - nearest)


@wp.kernel(enable_backward=False)
def _unsigned(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), reach: wp.float32, out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    out[i] = reach
    query = wp.mesh_query_point_no_sign(mesh, points[i], reach)
    if query.result:
        out[i] = wp.length(points[i] - wp.mesh_eval_position(mesh, query.face, query.u, query.v))


@wp.kernel(enable_backward=False)
def _nearest(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), reach: wp.float32, out: wp.array(dtype=wp.int32)):
    i = wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], reach)
    if query.result:
        out[i] = query.face


class NearestFaces:
    """Tells which face of a mesh is the nearest one. Its tree is built once.

    Attributes:
        device: of the mesh, where points may be.
    """

    def __init__(self, vertices: Tensor, triangles: Tensor) -> None:
        """``vertices [V, 3]``; ``triangles [F, 3]`` integer, at least one."""
        self.device, self._home = vertices.device, home_of(vertices.device)
        corners = vertices.detach().to(self._home, torch.float32).contiguous()
        self._tree = build_tree(corners, triangles.to(self._home, torch.int32).contiguous())
        load(_nearest, self._home)

    def __call__(self, points: Tensor) -> Tensor:
        """Numbers of the faces that are nearest to ``points [N, 3]``, ``[N]`` int64; no gradients."""
        points = points.detach().to(self._home, torch.float32).contiguous()
        out = torch.zeros(len(points), dtype=torch.int32, device=self._home)
        if len(points):
            launch(_nearest, len(points), [self._tree.id, points, FAR, out], self._home)
        return out.to(self.device).long()


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
    corners = vertices.detach().double()[triangles.long()]
    if torch.linalg.det(corners - corners.mean((0, 1))).sum() < 0:
        triangles = triangles.flip(1)
    return _query(_signed, points, vertices, triangles, FAR)


def distance_within(points: Tensor, vertices: Tensor, triangles: Tensor, reach: float) -> Tensor:
    """Distances to a mesh without a sign, at most ``reach``: ``[N]`` float32; quick, and without gradients."""
    return _query(_unsigned, points, vertices, triangles, reach)


def _query(kernel: wp.Kernel, points: Tensor, vertices: Tensor, triangles: Tensor, reach: float) -> Tensor:
    points = points.detach().float().contiguous()
    vertices, triangles = vertices.detach().float().contiguous(), triangles.int().contiguous()
    out = torch.empty(len(points), device=points.device)
    if not len(points):
        return out
    load(kernel, points.device)
    with triangle_tree(vertices, triangles, winding_numbers=kernel is _signed) as tree:
        launch(kernel, len(points), [tree, points, reach, out], points.device)
    return out
