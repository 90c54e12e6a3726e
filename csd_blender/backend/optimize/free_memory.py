"""What a stage's steps will ask of memory, and how much of it the device has left."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from ..diffusion.model import DiffusionModel, latent_side
from ..support.memory import Load, Network

MOMENTS = 3  # of each learned number, in float32 beside itself: its gradient, and the two that Adam keeps


def networks_of(model: DiffusionModel) -> list[nn.Module]:
    """All networks that a step uses, each once: the one that predicts, the encoder with its decoder, ControlNets."""
    encoder = getattr(model, "vae", None)
    controls = [] if model.control is None else [net.network for net in model.control.nets]
    return list(dict.fromkeys([model.unet, *([] if encoder is None else [encoder]), *controls]))


def load_of(
    model: DiffusionModel, views: int, rows: int, learned: int, learns: bool = False, own_network: bool = False
) -> Load:
    """What a step asks of a model that is loaded.

    Args:
        views: pictures in it. rows: of each, how many prompts go through the network at once.
        learned: bytes of what the stage optimizes.
        learns, own_network: as in :class:`~csd_blender.backend.support.memory.Load`.
    """
    encoder = getattr(model, "vae", None)
    controls = () if model.control is None else model.control.nets
    return Load(
        network=_network(model.unet),
        encoder=None if encoder is None or model.on_pixels else _network(encoder),
        side=model.native_size,
        latent_side=latent_side(model),
        views=views,
        rows=rows,
        controls=tuple(_network(net.network) for net in controls),
        learns=learns,
        own_network=own_network,
        beside=MOMENTS * learned,
    )


def _network(network: nn.Module) -> Network:
    first = next(network.parameters())
    weights = sum(p.numel() * p.element_size() for p in (*network.parameters(), *network.buffers()))
    return Network(dict(network.config), weights, first.element_size())


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken; None where nobody tells in a moment."""
    try:
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if device.type == "mps":
            return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        return _of_computer()
    except (RuntimeError, OSError, ValueError, AttributeError, IndexError):
        return None


def _of_computer() -> int | None:
    """What programs can have without swapping; None on a Mac, where the system gives no such number."""
    if sys.platform == "win32":
        return _of_windows()
    if sys.platform != "linux":
        return None
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _of_windows() -> int | None:
    import ctypes

    class Status(ctypes.Structure):
        """``MEMORYSTATUSEX`` of Windows."""

        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "free", "page_total", "page_free", "virtual", "virtual_free", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    library = ctypes.WinDLL("kernel32")  # ty: ignore[missing-attribute]
    return status.free if library.GlobalMemoryStatusEx(ctypes.byref(status)) else None
