"""Checks of an installation, each one a small piece of real work."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("torch", "diffusers", "transformers", "warp-lang", "xatlas", "trimesh", "numpy", "pillow", "safetensors")


@dataclass
class Check:
    """One examined thing: its name, whether it works, and a sentence about it."""

    name: str
    ok: bool
    text: str


def examine() -> list[Check]:
    """Run all checks; none of them raises."""
    checks = [Check("python", True, platform.python_version())]
    for name, work in (
        ("packages", _packages),
        ("device", _device),
        ("rasterizer", _rasterizer),
        ("unwrapping", _unwrap),
        ("mini model", _mini_model),
        ("other models", _other_models),
        ("distillation", _distill),
        ("temporary files", _temporary_files),
    ):
        checks.append(_attempt(name, work))
    return checks


def report(checks: list[Check]) -> str:
    """The checks as lines of text."""
    lines = [f"{'ok ' if c.ok else 'BAD'}  {c.name:16} {c.text}" for c in checks]
    bad = sum(not c.ok for c in checks)
    lines.append("Everything works." if not bad else f"{bad} of {len(checks)} checks failed; run Set Up again.")
    return "\n".join(lines)


def _attempt(name: str, work: Callable[[], str]) -> Check:
    try:
        return Check(name, True, work())
    except Exception as error:  # a check tells what is wrong, whatever it is
        return Check(name, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def _packages() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            raise RuntimeError(f"the package {package} is missing") from None
    return ", ".join(found)


def _device() -> str:
    import torch

    from ..diffusion.loading import select_device

    device = select_device("auto")
    product = torch.eye(64, device=device) @ torch.ones(64, 64, device=device)
    if float(product.sum()) != 64 * 64:
        raise RuntimeError(f"{device} multiplies matrices wrongly")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{device} ({name}), {torch.get_num_threads()} threads"


def _rasterizer() -> str:
    import torch

    from ..render.rasterizer.choose import get_rasterizer

    clip = torch.tensor([[[-1.0, -1.0, 0.0, 1.0], [3.0, -1.0, 0.0, 1.0], [-1.0, 3.0, 0.0, 1.0]]])
    raster = get_rasterizer("auto").rasterize(clip, torch.tensor([[0, 1, 2]], dtype=torch.int32), (8, 8))
    if not bool((raster.rast[..., 3] == 1).all()):
        raise RuntimeError("a triangle over the whole picture leaves holes")
    return "Warp fills a triangle"


def _unwrap() -> str:
    import numpy as np
    import xatlas

    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.uint32)
    _, _, uv = xatlas.parametrize(corners, faces)
    return f"xatlas gives a tetrahedron {len(uv)} UV corners"


def _mini_model() -> str:
    import torch

    from ..diffusion.loading import load_model

    model: Any = load_model("mini", torch.device("cpu"))  # the parts of this very family
    networks = (model.unet, model.vae, model.text.encoder)
    weights = sum(p.numel() for network in networks for p in network.parameters())
    return f"{weights / 1e6:.1f} million weights, {model.native_size} pixel pictures"


def _other_models() -> str:
    from ...job.models.catalogue import CATALOGUE
    from ...job.models.places import state_of

    return "; ".join(f"{entry.id} {state_of(entry)}" for entry in CATALOGUE if entry.sources and entry.can_be_used)


def _distill() -> str:
    import torch

    from ...job.spec.guidance import Guidance
    from ...job.spec.methods import METHODS
    from ..diffusion.loading import load_model
    from ..distillation.guide import Guide
    from ..distillation.view_prompts import Seen, encode_job_prompts
    from ..render.cameras import orbit

    model = load_model("mini", torch.device("cpu"))
    guide = Guide(model, {"color": encode_job_prompts(model, "a red ball")}, METHODS[0], Guidance())
    pictures, numbers = torch.full((1, 3, model.native_size, model.native_size), 0.5), torch.Generator().manual_seed(0)
    start = time.perf_counter()
    for step in range(2):
        grad = guide.gradient(pictures, Seen(orbit(1), ["front"]), guide.begin(1, step, numbers)).pictures
    if not bool(torch.isfinite(grad).all()) or float(grad.abs().max()) == 0.0:
        raise RuntimeError("the classifier score is not a finite number")
    return f"two steps in {time.perf_counter() - start:.2f} s"


def _temporary_files() -> str:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 2**20)
    return "can be written"
