"""Distances from points to a triangle mesh, and its nearest faces, through Warp's bounding volume hierarchy, on the CPU
or a CUDA device."""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from ..support.warp_launch import build_tree, home_of, launch, load, triangle_tree
from .cleanup import components

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
    pieces that intersect. Pieces whose faces look inward are taken the other way around (:func:`outward`).

    Args:
        points: ``[N, 3]``. vertices: ``[V, 3]``. triangles: ``[F, 3]`` integer. All on one device.

    Raises:
        ValueError: when the mesh has no faces.
    """
    if not len(triangles):
        raise ValueError("A mesh without faces has no inside.")
    return _query(_signed, points, vertices, outward(vertices, triangles), FAR)


def outward(vertices: Tensor, triangles: Tensor) -> Tensor:
    """The triangles ``[F, 3]``, those of pieces whose faces look inward, as a mirrored arm's may, turned round.

    A piece is what hangs together by its vertices, and looks inward when the volume in it is negative. One that lies
    wholly within those that look outward is a cavity, and stays as it is.
    """
    piece = torch.from_numpy(components(triangles.cpu().numpy())).long()
    corners = vertices.detach().cpu().double()[triangles.cpu().long()]
    count = torch.bincount(piece).clamp_min(1)
    middle = torch.zeros(len(count), 3, dtype=torch.float64).index_add_(0, piece, corners.mean(1)) / count[:, None]
    volume = torch.bincount(piece, torch.linalg.det(corners - middle[piece, None]))
    turned = torch.full((len(count),), bool(volume.sum() < 0))
    inward = (volume < 0) != turned
    if not (inward & (volume != 0)).any():
        return torch.where(turned[piece, None].to(triangles.device), triangles.flip(1), triangles)
    outer = ~inward[piece]
    rest = torch.where(turned[piece, None], triangles.cpu().flip(1), triangles.cpu())[outer].to(triangles.device)
    places = corners[~outer].reshape(-1, 3).float().to(vertices.device)
    outside = (_query(_signed, places, vertices, rest, FAR) >= 0).cpu().reshape(-1, 3).any(1)
    turned = turned ^ (torch.bincount(piece[~outer], outside.double(), minlength=len(count)) > 0)
    return torch.where(turned[piece, None].to(triangles.device), triangles.flip(1), triangles)


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
