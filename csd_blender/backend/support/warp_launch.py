"""Launching Warp kernels over many items: one launch on a GPU, one share for each thread on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import torch
import warp as wp
from torch import Tensor

from .warp_setup import start_warp

ITEMS_A_THREAD = 4096  # fewer items than this are not worth a second thread


def is_warp_device(device: torch.device) -> bool:
    """Whether Warp's kernels can run there (not on mps)."""
    return device.type in ("cpu", "cuda")


@cache
def load_module(module: ModuleType, device: torch.device) -> None:
    """Compile and load a module's kernels; to be called before threads launch them (loading is not thread-safe)."""
    start_warp()
    wp.load_module(module.__name__, device=wp.device_from_torch(device))


def wrap(tensor: Tensor, dtype: Any) -> wp.array:
    """The contiguous tensor's memory as a Warp array."""
    if not tensor.numel():  # torch calls any strides contiguous then, Warp does not
        tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return wp.from_torch(tensor.detach(), dtype=dtype)


def launch(kernel: wp.Kernel, count: int, first: int, inputs: list[Any], device: torch.device) -> None:
    """Launch over ``count`` items; the kernel's first argument is the number of the first item."""
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, dim=count, inputs=[first, *inputs], device=wp.device_from_torch(device), stream=stream)


def launch_parts(kernel: wp.Kernel, count: int, inputs: list[Any], device: torch.device) -> None:
    """Launch over the items 0 to ``count``, which must not write to the same places; on the CPU threads share them."""
    workers = 1 if device.type == "cuda" else max(1, min(torch.get_num_threads(), count // ITEMS_A_THREAD))
    cuts = [count * i // workers for i in range(workers + 1)]
    shares = [(b - a, a) for a, b in zip(cuts, cuts[1:], strict=False) if b > a]
    run_all([lambda s=s: launch(kernel, *s, inputs, device) for s in shares], device)


def run_all(tasks: list[Callable[[], None]], device: torch.device) -> None:
    """Run independent launches side by side: Warp's CPU kernels take one thread each and release the GIL."""
    if device.type == "cuda" or len(tasks) == 1 or torch.get_num_threads() == 1:
        for task in tasks:
            task()
    else:
        for done in [_pool().submit(task) for task in tasks]:
            done.result()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=max(torch.get_num_threads(), 1), thread_name_prefix="volume")
