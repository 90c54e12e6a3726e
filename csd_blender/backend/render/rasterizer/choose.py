"""The choice of a rasterizer."""

from __future__ import annotations

from .interface import Rasterizer
from .nvdiffrast import NvdiffrastRasterizer
from .torch_twin import TorchRasterizer
from .warp import WarpRasterizer


def get_rasterizer(name: str = "auto", allow_noncommercial: bool = False) -> Rasterizer:
    """The rasterizer of that name; ``auto`` is Warp, which needs neither a GPU nor a compiler.

    nvdiffrast is taken only when it is named, can be imported, and ``allow_noncommercial`` is true.

    Raises:
        ValueError: for other names, or when nvdiffrast may not or cannot be used; the message says what to do.
    """
    if name in ("auto", "warp"):
        return WarpRasterizer()
    if name == "torch":
        return TorchRasterizer()
    if name == "nvdiffrast":
        if not allow_noncommercial:
            raise ValueError(
                "nvdiffrast is licensed for non-commercial use only; allow non-commercial parts, or choose warp."
            )
        return NvdiffrastRasterizer()
    raise ValueError(f"There is no rasterizer {name!r}; choose auto, warp, torch or nvdiffrast.")
