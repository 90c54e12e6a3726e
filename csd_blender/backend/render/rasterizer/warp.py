"""The default rasterizer: NVIDIA Warp kernels on CPU or CUDA, memory shared with torch, no compiler needed."""

from __future__ import annotations

import torch
from torch import Tensor

from ...support.warp_launch import home_of, launch_views, load, splits
from . import edge_kernels as edge_kernels
from . import kernels as kernels
from .interface import Raster
from .topology import Topology


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Tensor:
        device, (height, width) = clip.device, size
        views, faces = clip.shape[0], triangles.shape[0]
        rast = torch.empty((views, height, width, 4), device=device)
        nearest = torch.full((views, height, width), kernels.NOTHING_VALUE, dtype=torch.int64, device=device)
        if faces:
            parts = splits(views * faces, device)
            inputs = [clip, triangles, width, height, parts, nearest]
            launch_views(kernels.depth_test, (views, faces, parts), inputs, ("clip", "nearest"), device)
        inputs = [clip, triangles, nearest, rast]
        launch_views(kernels.resolve, (views, height, width), inputs, ("clip", "nearest", "rast"), device)
        ctx.save_for_backward(clip, triangles, rast)
        return rast

    @staticmethod
    def backward(ctx, grad: Tensor):
        clip, triangles, rast = ctx.saved_tensors
        out = torch.zeros_like(clip)
        inputs, own = [clip, triangles, rast, grad.contiguous(), out], ("clip", "rast", "grad_rast", "grad_clip")
        launch_views(kernels.resolve_backward, rast.shape[:3], inputs, own, clip.device)
        return out, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
        out = torch.zeros((*rast.shape[:3], attributes.shape[2]), device=rast.device)
        shared = int(attributes.shape[0] == 1)
        own = ("rast", "out") if shared else ("attributes", "rast", "out")
        inputs = [attributes, shared, triangles, rast, out]
        launch_views(kernels.interpolate, rast.shape[:3], inputs, own, rast.device)
        ctx.save_for_backward(attributes, rast, triangles)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        attributes, rast, triangles = ctx.saved_tensors
        want_attributes, want_rast = ctx.needs_input_grad[:2]
        shared, views = int(attributes.shape[0] == 1), rast.shape[0]
        # one gradient a view even for shared attributes, so that views may run side by side
        grad_attributes = torch.zeros(
            (views, *attributes.shape[1:]) if want_attributes else (views, 1, 1), device=rast.device
        )
        grad_rast = torch.zeros_like(rast) if want_rast else torch.zeros((views, 1, 1, 4), device=rast.device)
        inputs = [attributes, shared, triangles, rast, grad.contiguous(), int(want_attributes), int(want_rast)]
        inputs += [grad_attributes, grad_rast]
        own = ("rast", "grad", "grad_attributes", "grad_rast", *(() if shared else ("attributes",)))
        launch_views(kernels.interpolate_backward, rast.shape[:3], inputs, own, rast.device)
        if want_attributes and shared:
            grad_attributes = grad_attributes.sum(0, keepdim=True)
        return grad_attributes if want_attributes else None, grad_rast if want_rast else None, None


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, color: Tensor, clip: Tensor, rast: Tensor, triangles: Tensor, edges: Tensor, opposite: Tensor
    ) -> Tensor:
        right = torch.full(rast.shape[:3], kernels.NOTHING_VALUE, dtype=torch.int64, device=rast.device)
        below = right.clone()
        out = color.clone()
        ctx.save_for_backward(color, clip, rast, triangles, edges, opposite, right, below)
        shared, own = [clip, triangles, edges, opposite, rast, right, below], ("clip", "rast", "right", "below")
        dim = (len(rast), len(edges), 1)
        if len(edges):
            launch_views(edge_kernels.claim, dim, shared, own, rast.device)
            launch_views(edge_kernels.blend, dim, [*shared, color, out], (*own, "color", "out"), rast.device)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        color, clip, rast, triangles, edges, opposite, right, below = ctx.saved_tensors
        grad, (want_color, want_clip) = grad.contiguous(), ctx.needs_input_grad[:2]
        views = len(rast)
        grad_color = grad.clone() if want_color else grad.new_zeros((views, 1, 1, 1))
        grad_clip = torch.zeros_like(clip) if want_clip else clip.new_zeros((views, 1, 4))
        if len(edges):
            inputs = [clip, triangles, edges, opposite, rast, right, below, color, grad]
            inputs += [int(want_color), int(want_clip), grad_color, grad_clip]
            own = ("clip", "rast", "right", "below", "color", "grad", "grad_color", "grad_clip")
            launch_views(edge_kernels.blend_backward, (views, len(edges), 1), inputs, own, rast.device)
        return grad_color if want_color else None, grad_clip if want_clip else None, None, None, None, None


def _prepare(tensor: Tensor, home: torch.device) -> Tensor:
    return tensor.to(home, torch.float32).contiguous()


def _home(tensor: Tensor) -> torch.device:
    """Where the kernels run: the tensor's device, or the CPU for those Warp does not know (mps)."""
    home = home_of(tensor.device)
    load(kernels, home)
    load(edge_kernels, home)
    return home


def check_triangles(triangles: Tensor, vertices: int, home: torch.device) -> Tensor:
    """``[F, 3]`` int32 on ``home``; numbers are checked where that costs nothing (not on a GPU).

    Raises:
        ValueError: for another shape, or numbers of vertices that do not exist.
    """
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"triangles must be [F, 3], not {list(triangles.shape)}.")
    triangles = triangles.to(home, torch.int32).contiguous()
    if home.type == "cpu" and len(triangles):
        low, high = triangles.aminmax()
        if int(low) < 0 or int(high) >= vertices:
            raise ValueError(f"triangles name vertices {int(low)} to {int(high)}, but there are only {vertices}.")
    return triangles


class WarpRasterizer:
    """`interface.Rasterizer` by Warp."""

    name = "warp"

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int]) -> Raster:
        """See `interface.Rasterizer`.

        Raises:
            ValueError: for arrays of another shape, or triangles with vertices that do not exist.
        """
        if clip.ndim != 3 or clip.shape[2] != 4:
            raise ValueError(f"clip must be [B, V, 4], not {list(clip.shape)}.")
        home = _home(clip)
        triangles = check_triangles(triangles, clip.shape[1], home)
        return Raster(_Rasterize.apply(_prepare(clip, home), triangles, tuple(size)).to(clip.device))

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """See `interface.Rasterizer`."""
        home = _home(raster.rast)
        values, triangles = self._attributes(attributes, raster, triangles, home)
        return _Interpolate.apply(values, _prepare(raster.rast, home), triangles).to(raster.rast.device)

    @staticmethod
    def _attributes(attributes: Tensor, raster: Raster, triangles: Tensor, home: torch.device) -> tuple[Tensor, Tensor]:
        values = attributes[None] if attributes.ndim == 2 else attributes
        if values.ndim != 3 or values.shape[0] not in (1, raster.rast.shape[0]):
            raise ValueError(f"attributes must be [V, C] or [B, V, C], not {list(attributes.shape)}.")
        return _prepare(values, home), check_triangles(triangles, values.shape[1], home)

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """See `interface.Rasterizer`. ``triangles`` are those rasterized, ``topology`` their (welded) edges.

        Where surfaces run through one another they meet at no edge; that line is neither smoothed nor given gradients.
        """
        home = _home(color)
        triangles = check_triangles(triangles, clip.shape[1], home)
        edges, opposite = topology.edges.to(home), topology.opposite.to(home)
        rast = _prepare(raster.rast.detach(), home)
        out = _Antialias.apply(_prepare(color, home), _prepare(clip, home), rast, triangles, edges, opposite)
        return out.to(color.device)
