"""The default rasterizer: NVIDIA Warp kernels on CPU or CUDA, memory shared with torch, no compiler needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any, Literal

import torch
import warp as wp
from torch import Tensor

from ...support.warp_setup import start_warp
from . import edge_kernels as edge_kernels
from . import kernels as kernels
from . import texture_kernels as texture_kernels
from .interface import Raster, Topology

PIXELS_A_THREAD = 4096  # fewer pixels than this are not worth a second thread


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1), thread_name_prefix="rasterizer")


@cache
def load_kernels(device: str) -> None:
    """Compile (the first time on a machine, some seconds) and load the kernels for ``cpu``, ``cuda:0`` ..."""
    start_warp()
    for module in (kernels, texture_kernels, edge_kernels):
        wp.load_module(module.__name__, device=device)


def _wrap(tensor: Tensor, dtype: Any) -> wp.array:
    return wp.from_torch(tensor.detach(), dtype=dtype)


def _launch(kernel: wp.Kernel, dim: Sequence[int], arguments: list[Any], device: torch.device) -> None:
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, dim=tuple(dim), inputs=arguments, device=wp.device_from_torch(device), stream=stream)


def _launch_views(
    kernel: wp.Kernel, dim: Sequence[int], arguments: list[Any], split: Sequence[int], device: torch.device
) -> None:
    """Launch over ``dim = (views, ...)``; on the CPU views are shared out to threads.

    Warp's CPU kernels take one thread each and release the GIL. ``split`` are the positions of the arguments whose
    first axis is the view; whatever is written must be among them, for CPU atomics guard nothing.
    """
    views, pixels = dim[0], dim[0] * dim[1] * dim[2]
    workers = min(views, torch.get_num_threads(), pixels // PIXELS_A_THREAD)
    if device.type != "cpu" or workers <= 1:
        _launch(kernel, dim, arguments, device)
        return

    def part(first: int, last: int) -> None:
        own = [a[first:last] if i in split else a for i, a in enumerate(arguments)]
        _launch(kernel, (last - first, *dim[1:]), own, device)

    cuts = [views * i // workers for i in range(workers + 1)]
    for done in [_pool().submit(part, a, b) for a, b in zip(cuts, cuts[1:], strict=False)]:
        done.result()


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, clip: Tensor, triangles: Tensor, size: tuple[int, int], want: bool):
        device, (height, width) = clip.device, size
        views, faces = clip.shape[0], triangles.shape[0]
        rast = torch.empty((views, height, width, 4), device=device)
        derivatives = torch.empty((views, height, width, 4) if want else (views, 1, 1, 4), device=device)
        nearest = torch.full((views, height, width), kernels.NOTHING_VALUE, dtype=torch.int64, device=device)
        c, t, n = _wrap(clip, wp.vec4), _wrap(triangles, wp.vec3i), _wrap(nearest, wp.int64)
        # a GPU thread walking a triangle as large as the picture would keep all others waiting
        splits = 1 if device.type == "cpu" else max(1, min((1 << 20) // max(views * faces, 1), 64))
        if faces:
            _launch_views(kernels.depth_test, (views, faces, splits), [c, t, width, height, splits, n], (0, 5), device)
        outputs = [_wrap(rast, wp.vec4), _wrap(derivatives, wp.vec4)]
        _launch_views(kernels.resolve, (views, height, width), [c, t, n, int(want), *outputs], (0, 2, 4, 5), device)
        ctx.save_for_backward(clip, triangles, rast)
        ctx.mark_non_differentiable(derivatives)
        return rast, derivatives

    @staticmethod
    def backward(ctx, grad: Tensor, _):
        clip, triangles, rast = ctx.saved_tensors
        out = torch.zeros_like(clip)
        arrays = [_wrap(rast, wp.vec4), _wrap(grad.contiguous(), wp.vec4), _wrap(out, wp.vec4)]
        arguments = [_wrap(clip, wp.vec4), _wrap(triangles, wp.vec3i), *arrays]
        _launch_views(kernels.resolve_backward, rast.shape[:3], arguments, (0, 2, 3, 4), clip.device)
        return out, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
        out = torch.zeros((*rast.shape[:3], attributes.shape[2]), device=rast.device)
        shared = int(attributes.shape[0] == 1)
        arguments = [_wrap(attributes, wp.float32), shared, _wrap(triangles, wp.vec3i), _wrap(rast, wp.vec4)]
        split = (3, 4) if shared else (0, 3, 4)
        _launch_views(kernels.interpolate, rast.shape[:3], [*arguments, _wrap(out, wp.float32)], split, rast.device)
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
        arguments = [
            _wrap(attributes, wp.float32), shared, _wrap(triangles, wp.vec3i), _wrap(rast, wp.vec4),
            _wrap(grad.contiguous(), wp.float32), int(want_attributes), int(want_rast),
            _wrap(grad_attributes, wp.float32), _wrap(grad_rast, wp.vec4),
        ]  # fmt: skip
        split = (3, 4, 7, 8) if shared else (0, 3, 4, 7, 8)
        _launch_views(kernels.interpolate_backward, rast.shape[:3], arguments, split, rast.device)
        if want_attributes and shared:
            grad_attributes = grad_attributes.sum(0, keepdim=True)
        return grad_attributes if want_attributes else None, grad_rast if want_rast else None, None


class _Texture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pyramid: Tensor, uv: Tensor, footprint: Tensor | None, levels: Tensor, repeat: bool) -> Tensor:
        out = torch.zeros((*uv.shape[:3], pyramid.shape[2]), device=uv.device)
        mip = footprint is not None
        footprint = footprint if mip else torch.zeros((uv.shape[0], 1, 1, 4), device=uv.device)
        ctx.save_for_backward(pyramid, uv, footprint, levels)
        ctx.modes = [int(pyramid.shape[0] == 1), int(mip), int(repeat)]
        arguments = [*_Texture.arguments(ctx.modes, pyramid, uv, footprint, levels), _wrap(out, wp.float32)]
        split = (3, 4, 7) if ctx.modes[0] else (0, 3, 4, 7)
        _launch_views(texture_kernels.texture, uv.shape[:3], arguments, split, uv.device)
        return out

    @staticmethod
    def arguments(modes, pyramid, uv, footprint, levels) -> list[Any]:
        """What forward and backward share."""
        shared, mip, repeat = modes
        arrays = [_wrap(levels, wp.vec3i), _wrap(uv, wp.vec2), _wrap(footprint, wp.vec4)]
        return [_wrap(pyramid, wp.float32), shared, *arrays, mip, repeat]

    @staticmethod
    def backward(ctx, grad: Tensor):
        pyramid, uv = ctx.saved_tensors[:2]
        want_pyramid, want_uv = ctx.needs_input_grad[:2]
        grad_pyramid = torch.zeros_like(pyramid) if want_pyramid else pyramid.new_zeros((pyramid.shape[0], 1, 1))
        grad_uv = torch.zeros_like(uv) if want_uv else uv.new_zeros((uv.shape[0], 1, 1, 2))
        outputs = [_wrap(grad_pyramid, wp.float32), _wrap(grad_uv, wp.vec2)]
        arguments = [
            *_Texture.arguments(ctx.modes, *ctx.saved_tensors),
            _wrap(grad.contiguous(), wp.float32),
            int(want_pyramid),
            int(want_uv),
            *outputs,
        ]
        if ctx.modes[0] and want_pyramid:  # all views write into one pyramid
            _launch(texture_kernels.texture_backward, uv.shape[:3], arguments, uv.device)
        else:
            split = (3, 4, 7, 11) if ctx.modes[0] else (0, 3, 4, 7, 10, 11)
            _launch_views(texture_kernels.texture_backward, uv.shape[:3], arguments, split, uv.device)
        return grad_pyramid if want_pyramid else None, grad_uv if want_uv else None, None, None, None


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, color: Tensor, clip: Tensor, rast: Tensor, triangles: Tensor, edges: Tensor, opposite: Tensor
    ) -> Tensor:
        right = torch.full(rast.shape[:3], kernels.NOTHING_VALUE, dtype=torch.int64, device=rast.device)
        below = right.clone()
        out = color.clone()
        ctx.save_for_backward(color, clip, rast, triangles, edges, opposite, right, below)
        shared = _Antialias.arguments(clip, rast, triangles, edges, opposite, right, below)
        dim = (len(rast), len(edges), 1)
        if len(edges):
            _launch_views(edge_kernels.claim, dim, shared, (0, 4, 5, 6), rast.device)
            arguments = [*shared, _wrap(color, wp.float32), _wrap(out, wp.float32)]
            _launch_views(edge_kernels.blend, dim, arguments, (0, 4, 5, 6, 7, 8), rast.device)
        return out

    @staticmethod
    def arguments(clip, rast, triangles, edges, opposite, right, below) -> list[Any]:
        """What all three kernels share."""
        return [
            _wrap(clip, wp.vec4), _wrap(triangles, wp.vec3i), _wrap(edges, wp.vec2i), _wrap(opposite, wp.vec2i),
            _wrap(rast, wp.vec4), _wrap(right, wp.int64), _wrap(below, wp.int64),
        ]  # fmt: skip

    @staticmethod
    def backward(ctx, grad: Tensor):
        color, clip, rast, _, edges = ctx.saved_tensors[:5]
        grad, (want_color, want_clip) = grad.contiguous(), ctx.needs_input_grad[:2]
        views = len(rast)
        grad_color = grad.clone() if want_color else grad.new_zeros((views, 1, 1, 1))
        grad_clip = torch.zeros_like(clip) if want_clip else clip.new_zeros((views, 1, 4))
        if len(edges):
            arguments = [
                *_Antialias.arguments(*ctx.saved_tensors[1:]), _wrap(color, wp.float32), _wrap(grad, wp.float32),
                int(want_color), int(want_clip), _wrap(grad_color, wp.float32), _wrap(grad_clip, wp.vec4),
            ]  # fmt: skip
            split = (0, 4, 5, 6, 7, 8, 11, 12)
            _launch_views(edge_kernels.blend_backward, (views, len(edges), 1), arguments, split, rast.device)
        return grad_color if want_color else None, grad_clip if want_clip else None, None, None, None, None


def _prepare(tensor: Tensor, home: torch.device) -> Tensor:
    return tensor.to(home, torch.float32).contiguous()


def _home(tensor: Tensor) -> torch.device:
    """Where the kernels run: the tensor's device, or the CPU for those Warp does not know (mps)."""
    home = tensor.device if tensor.device.type in ("cpu", "cuda") else torch.device("cpu")
    load_kernels("cpu" if home.type == "cpu" else f"cuda:{home.index or 0}")
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
    """`rasterizer.Rasterizer` by Warp."""

    name = "warp"

    def rasterize(self, clip: Tensor, triangles: Tensor, size: tuple[int, int], derivatives: bool = False) -> Raster:
        """See `rasterizer.Rasterizer`.

        Raises:
            ValueError: for arrays of another shape, or triangles with vertices that do not exist.
        """
        if clip.ndim != 3 or clip.shape[2] != 4:
            raise ValueError(f"clip must be [B, V, 4], not {list(clip.shape)}.")
        home = _home(clip)
        triangles = check_triangles(triangles, clip.shape[1], home)
        rast, change = _Rasterize.apply(_prepare(clip, home), triangles, tuple(size), derivatives)
        return Raster(rast.to(clip.device), change.to(clip.device) if derivatives else None)

    def interpolate(self, attributes: Tensor, raster: Raster, triangles: Tensor) -> Tensor:
        """See `rasterizer.Rasterizer`."""
        home = _home(raster.rast)
        values, triangles = self._attributes(attributes, raster, triangles, home)
        return _Interpolate.apply(values, _prepare(raster.rast, home), triangles).to(raster.rast.device)

    def interpolate_with_derivatives(
        self, attributes: Tensor, raster: Raster, triangles: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `rasterizer.Rasterizer`; the derivatives carry no gradient."""
        if raster.derivatives is None:
            raise ValueError("rasterize with derivatives=True first.")
        home = _home(raster.rast)
        values, triangles = self._attributes(attributes, raster, triangles, home)
        rast, change = _prepare(raster.rast, home), _prepare(raster.derivatives, home)
        out = torch.zeros((*rast.shape[:3], values.shape[2], 2), device=home)
        shared = int(values.shape[0] == 1)
        arguments = [_wrap(values, wp.float32), shared, _wrap(triangles, wp.vec3i), _wrap(rast, wp.vec4)]
        arguments += [_wrap(change, wp.vec4), _wrap(out, wp.vec2)]
        _launch_views(
            kernels.interpolate_change, rast.shape[:3], arguments, (3, 4, 5) if shared else (0, 3, 4, 5), home
        )
        return _Interpolate.apply(values, rast, triangles).to(raster.rast.device), out.to(raster.rast.device)

    @staticmethod
    def _attributes(attributes: Tensor, raster: Raster, triangles: Tensor, home: torch.device) -> tuple[Tensor, Tensor]:
        values = attributes[None] if attributes.ndim == 2 else attributes
        if values.ndim != 3 or values.shape[0] not in (1, raster.rast.shape[0]):
            raise ValueError(f"attributes must be [V, C] or [B, V, C], not {list(attributes.shape)}.")
        return _prepare(values, home), check_triangles(triangles, values.shape[1], home)

    def texture(
        self,
        texture: Tensor,
        uv: Tensor,
        uv_derivatives: Tensor | None = None,
        wrap: Literal["clamp", "repeat"] = "clamp",
    ) -> Tensor:
        """See `rasterizer.Rasterizer`; the pyramid goes on as long as both sides are even."""
        home = _home(uv)
        if texture.ndim != 4 or texture.shape[0] not in (1, uv.shape[0]):
            raise ValueError(f"texture must be [1 or B, S, S, C], not {list(texture.shape)}.")
        footprint = None if uv_derivatives is None else _prepare(uv_derivatives.detach(), home).flatten(3)
        pyramid, levels = mip_pyramid(texture.to(home, torch.float32), footprint is not None)
        out = _Texture.apply(pyramid, _prepare(uv, home), footprint, levels, wrap == "repeat")
        return out.to(uv.device)

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, triangles: Tensor, topology: Topology) -> Tensor:
        """See `rasterizer.Rasterizer`. ``triangles`` are those rasterized, ``topology`` their (welded) edges.

        Where surfaces run through one another they meet at no edge; that line is neither smoothed nor given gradients.
        """
        home = _home(color)
        triangles = check_triangles(triangles, clip.shape[1], home)
        edges, opposite = topology.edges.to(home), topology.opposite.to(home)
        rast = _prepare(raster.rast.detach(), home)
        out = _Antialias.apply(_prepare(color, home), _prepare(clip, home), rast, triangles, edges, opposite)
        return out.to(color.device)


def mip_pyramid(texture: Tensor, mip: bool) -> tuple[Tensor, Tensor]:
    """All 2 x 2 box-filtered levels of ``[N, H, W, C]`` as one ``[N, T, C]``, and (height, width, first row) of each.

    Differentiable: gradients of coarse levels fold into the finest, a quarter to each texel.
    """
    rows, sizes, first = [], [], 0
    level = texture
    while True:
        n, height, width, channels = level.shape
        rows.append(level.reshape(n, height * width, channels))
        sizes.append((height, width, first))
        first += height * width
        if not mip or height % 2 or width % 2:
            break
        level = level.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    flat = rows[0] if len(rows) == 1 else torch.cat(rows, 1)
    return flat.contiguous(), torch.tensor(sizes, dtype=torch.int32, device=texture.device)
