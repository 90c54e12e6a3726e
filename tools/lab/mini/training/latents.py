# SPDX-License-Identifier: GPL-3.0-or-later
"""The latents of a training's pictures, encoded once by the bundled model and kept beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from ..dataset import load_parts
from ..train import encode_latents
from .loop import Log

FILE = "latents.npz"


def make_latents(out: Path, weights: Path, paths: list[Path], device: str, log: Log, counted: str = "labels") -> None:
    """Write them for the parts' pictures, where they are not there already.

    Args:
        counted: an array of the parts that has one entry a picture.
    """
    if (out / FILE).exists() and len(np.load(out / FILE)["latents"]) == len(load_parts(paths, (counted,))[counted]):
        return
    log("encoding pictures")
    vae = AutoencoderKL.from_pretrained(weights / "vae", torch_dtype=torch.float32).eval()
    latents, _ = encode_latents(vae.to(device), load_parts(paths, ("images",))["images"], device)
    np.savez(out / FILE, latents=latents, scale=vae.config.scaling_factor)


def sampled(latents: np.ndarray, rows: np.ndarray, scale: float, draw: torch.Tensor) -> torch.Tensor:
    """Latents ``[N, 4, 16, 16]`` of these rows, scaled, from as many standard normal numbers."""
    moments = torch.from_numpy(latents[rows]).float()
    return scale * (moments[:, :4] + moments[:, 4:] * draw)


def load_latents(out: Path) -> tuple[np.ndarray, float]:
    """Means and deviations, float16 ``[N, 8, 16, 16]``, and the scale that samples of them are multiplied with."""
    stored = np.load(out / FILE)
    return stored["latents"], float(stored["scale"])
