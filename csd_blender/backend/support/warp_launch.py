"""The one place where Warp kernels are loaded and launched: devices, streams, threads, and torch's memory as Warp's.

A kernel is given torch tensors; its own signature says as what it reads them. On a GPU a launch goes to torch's current
stream. On the CPU Warp's kernels take one thread each and release Python's lock, so work that writes to different
places is shared out to threads here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import torch
import warp as wp
from torch import Tensor

from .warp_setup import start_warp

ITEMS_A_THREAD = 4096  # fewer items (points, rays, pixels) than this are not worth a second thread
GPU_THREADS = 1 << 20  # that a launch should have; see `splits`
MOST_SPLITS = 64


def is_warp_device(device: torch.device) -> bool:
    """Whether Warp's kernels can run there (not on mps)."""
    return device.type in ("cpu", "cuda")


def home_of(device: torch.device) -> torch.device:
    """Where kernels for tensors on ``device`` run: there, or on the CPU for a device that Warp does not know (mps)."""
    return device if is_warp_device(device) else torch.device("cpu")


@cache
def load(module: ModuleType | wp.Kernel, device: torch.device) -> None:
    """Compile (the first time on a machine, some seconds) and load a module's kernels, or a single kernel's.

    To be called before threads launch them: loading is not thread-safe.
    """
    start_warp()
    wp.load_module(module.module if isinstance(module, wp.Kernel) else module.__name__, device=_warp_device(device))


def wrap(tensor: Tensor, dtype: Any) -> wp.array:
    """The contiguous tensor's memory as a Warp array of ``dtype``; for what several launches share.

    Raises:
        ValueError: for a tensor whose numbers are of another kind or shape.
    """
    if not tensor.numel():  # torch calls any strides contiguous then, Warp does not
        tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    try:
        return wp.from_torch(tensor.detach(), dtype=dtype)
    except RuntimeError as error:
        shape, kind = list(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        raise ValueError(f"A kernel cannot read an array {shape} of {kind} as {dtype.__name__}: {error}") from error


def launch(kernel: wp.Kernel, dim: int | Sequence[int], inputs: Sequence[Any], device: torch.device) -> None:
    """Launch once, in this thread.

    Args:
        dim: how many threads, along one axis or several.
        inputs: the kernel's arguments: numbers, Warp's own arrays and vectors, and contiguous tensors on ``device``.

    Raises:
        ValueError: for a tensor on another device, or one that `wrap` cannot read.
    """
    _start(kernel, dim, _arrays(kernel, inputs, device), device)


def launch_parts(kernel: wp.Kernel, count: int, inputs: Sequence[Any], device: torch.device) -> None:
    """Launch over the items 0 to ``count``, which must not write to the same places; on the CPU threads share them.

    The kernel's first argument, which ``inputs`` leave out, is the number of the first item.
    """
    arrays = _arrays(kernel, [0, *inputs], device)[1:]
    run_all([lambda a=a, b=b: _start(kernel, b - a, [a, *arrays], device) for a, b in shares(count, device)], device)


def launch_views(
    kernel: wp.Kernel, dim: Sequence[int], inputs: Sequence[Any], per_view: Sequence[str], device: torch.device
) -> None:
    """Launch over ``dim = (views, ...)``; on the CPU threads share the views.

    Args:
        per_view: names of the kernel's arguments whose first axis is the view. Whatever it writes must be among them,
            for on the CPU atomics guard nothing.
    """
    arrays = _arrays(kernel, inputs, device)
    views, items = dim[0], torch.Size(dim).numel()
    workers = min(views, torch.get_num_threads(), items // ITEMS_A_THREAD)
    if device.type == "cuda" or workers <= 1:
        _start(kernel, dim, arrays, device)
        return
    own = [argument.label in per_view for argument in kernel.adj.args]

    def part(first: int, last: int) -> None:
        some = [a[first:last] if mine else a for a, mine in zip(arrays, own, strict=True)]
        _start(kernel, (last - first, *dim[1:]), some, device)

    cuts = [views * i // workers for i in range(workers + 1)]
    run_all([lambda a=a, b=b: part(a, b) for a, b in zip(cuts, cuts[1:], strict=False)], device)


def launch_levels(kernel: wp.Kernel, items: int, levels: int, inputs: Sequence[Any], device: torch.device) -> None:
    """Launch over items that write into tables of which each of ``levels`` has its own; threads share the levels.

    The kernel's first two arguments, which ``inputs`` leave out, are the first level and the one behind the last.
    """
    if not items:
        return
    arrays = _arrays(kernel, [0, 0, *inputs], device)[2:]
    step = 1 if device.type == "cpu" and torch.get_num_threads() > 1 else levels
    run_all([lambda i=i: _start(kernel, items, [i, i + step, *arrays], device) for i in range(0, levels, step)], device)


def shares(count: int, device: torch.device) -> list[tuple[int, int]]:
    """The items 0 to ``count`` cut into ranges (first, behind the last), one for each thread worth its while."""
    workers = 1 if device.type == "cuda" else max(1, min(torch.get_num_threads(), count // ITEMS_A_THREAD))
    cuts = [count * i // workers for i in range(workers + 1)]
    return [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]


def splits(items: int, device: torch.device, threads: int = GPU_THREADS) -> int:
    """Among how many threads a kernel should divide each of ``items`` that may be large, a triangle's rows for one.

    On a GPU one thread that walks over all of a large one would keep all others waiting.
    """
    return 1 if device.type == "cpu" else max(1, min(threads // max(items, 1), MOST_SPLITS))


def run_all(tasks: Sequence[Callable[[], None]], device: torch.device) -> None:
    """Run independent launches side by side on the CPU. A GPU's return at once, and stay on this thread's stream."""
    if device.type == "cuda" or len(tasks) == 1 or torch.get_num_threads() == 1:
        for task in tasks:
            task()
    else:
        for done in [_pool(torch.get_num_threads()).submit(task) for task in tasks]:
            done.result()


@contextmanager
def triangle_tree(vertices: Tensor, triangles: Tensor, winding_numbers: bool = False) -> Iterator[wp.uint64]:
    """The id of :func:`build_tree`'s tree, for kernels to ask while it lasts."""
    mesh = build_tree(vertices, triangles, winding_numbers)
    try:
        yield mesh.id
    finally:
        wp.synchronize_device(mesh.device)  # before the tree is freed


def build_tree(vertices: Tensor, triangles: Tensor, winding_numbers: bool = False) -> wp.Mesh:
    """A bounding volume hierarchy over a mesh, which lasts as long as it is held; kernels ask it by its ``id``.

    Args:
        vertices: ``[V, 3]`` float32. triangles: ``[F, 3]`` int32. Both contiguous.
        winding_numbers: make it able to tell inside from outside by them.
    """
    start_warp()
    device = _warp_device(vertices.device)
    if device.is_cuda:
        torch.cuda.synchronize(vertices.device)  # Warp builds the tree on a stream of its own
    with wp.ScopedDevice(device):
        mesh = wp.Mesh(
            wrap(vertices, wp.vec3), wrap(triangles.flatten(), wp.int32), support_winding_number=winding_numbers
        )
    wp.synchronize_device(device)
    return mesh


def _arrays(kernel: wp.Kernel, inputs: Sequence[Any], device: torch.device) -> list[Any]:
    """Tensors among a kernel's arguments wrapped as its signature says."""
    arrays = []
    for argument, value in zip(kernel.adj.args, inputs, strict=True):
        if isinstance(value, Tensor):
            if value.device != device:
                raise ValueError(f"{argument.label} is on {value.device}, but {kernel.key} runs on {device}.")
            value = wrap(value, argument.type.dtype)
        arrays.append(value)
    return arrays


def _start(kernel: wp.Kernel, dim: int | Sequence[int], arguments: list[Any], device: torch.device) -> None:
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, dim=dim, inputs=arguments, device=_warp_device(device), stream=stream)


@cache
def _warp_device(device: torch.device) -> wp.Device:
    start_warp()
    return wp.device_from_torch(device)


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=threads, thread_name_prefix="warp")
