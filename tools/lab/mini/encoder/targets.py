# SPDX-License-Identifier: GPL-3.0-or-later
"""What the small encoder learns from: pictures, and what the full encoder makes of them, in parts on the disk.

Score distillation wants two things of an encoder: latents, and a gradient at the latents brought back to the picture.
A part has `images` uint8 [K, 64, 64, 3], `latents` float16 [K, 4, 16, 16] (the posterior's mean, scaled as the network
takes it) and `gradients` float16 [K, 3, 64, 64]: the full encoder's vector-Jacobian products at pixels in -1..1 for the
latent gradients of :func:`latent_gradients`. These are white noise, which is what differences of noise predictions are
like, and which by the mean of its squares tells the distance of whole Jacobians.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from .. import dataset
from ..control.pictures import PART, render_cache

#: Of the pictures, those that are changed to what half-made textures look like.
HALF_MADE = 0.5
BATCH = 8


def load_full(weights: Path, device: str = "cpu") -> AutoencoderKL:
    """The bundled model's autoencoder in float32, frozen."""
    vae = AutoencoderKL.from_pretrained(weights / "vae", torch_dtype=torch.float32)
    return vae.requires_grad_(False).eval().to(device)


def full_latents(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """Scaled means of the posterior, ``[N, 4, 16, 16]``, of ``pixels [N, 3, 64, 64]`` in -1..1."""
    return vae.quant_conv(vae.encoder(pixels)).chunk(2, 1)[0] * vae.config.scaling_factor


def pulled_back(
    encode: Callable[[Tensor], Tensor], pixels: Tensor, gradients: Tensor, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Latents, and their gradients brought back to the pixels; ``create_graph``: so that both can be trained."""
    leaf = pixels.detach().requires_grad_(True)
    latents = encode(leaf)
    return latents, torch.autograd.grad(latents, leaf, gradients, create_graph=create_graph)[0]


def latent_gradients(seed: int, part: int, count: int, shape: Sequence[int] = (4, 16, 16)) -> Tensor:
    """The latent gradients of a part's pictures, N(0, 1), ``[count, 4, 16, 16]``."""
    rng = np.random.default_rng((seed, 78, part))
    return torch.from_numpy(rng.standard_normal((count, *shape)).astype(np.float32))


def half_made(image: Tensor, coverage: Tensor, rng: np.random.Generator) -> Tensor:
    """A picture ``[3, S, S]`` in 0..1 as if its texture were still being made: paler or stronger colors, noise of
    several sizes on the object, a plain background of any color behind it. ``coverage [S, S]`` in 0..1."""
    side = image.shape[-1]
    strength = float(rng.uniform(0.0, 1.0) if rng.random() < 0.4 else rng.uniform(1.0, 1.8))
    body = 0.5 + strength * (image - 0.5)
    for size in (side, side // 2, side // 4):
        noise = torch.from_numpy(rng.standard_normal((1, 3, size, size)).astype(np.float32))
        spread = F.interpolate(noise, (side, side), mode="bilinear", align_corners=False)[0]
        body = body + float(rng.uniform(0, 0.14)) * spread
    behind = torch.from_numpy(rng.random(3).astype(np.float32))[:, None, None]
    return torch.lerp(behind.expand_as(body), body, coverage).clamp(0, 1)


def pixels_of(images: np.ndarray) -> Tensor:
    """Bytes ``[N, S, S, 3]`` as pixels ``[N, 3, S, S]`` in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def make_part(weights: Path, pictures: Sequence[Path], seed: int, part: int) -> dict[str, np.ndarray]:
    """One part from one of the pictures' parts. Same arguments, same values."""
    vae, data = load_full(weights), dataset.load_parts([pictures[part]], ("images", "coverage"))
    rng, images = np.random.default_rng((seed, 79, part)), data["images"].copy()
    for row in np.flatnonzero(rng.random(len(images)) < HALF_MADE):
        image = torch.from_numpy(images[row]).permute(2, 0, 1).float() / 255
        made = half_made(image, torch.from_numpy(data["coverage"][row]).float() / 255, rng)
        images[row] = (made * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    shown, asked = pixels_of(images), latent_gradients(seed, part, len(images))
    latents, gradients = [], []
    for first in range(0, len(images), BATCH):
        rows = slice(first, first + BATCH)
        found, back = pulled_back(partial(full_latents, vae), shown[rows], asked[rows])
        latents.append(found.detach().half().numpy())
        gradients.append(back.half().numpy())
    return {"images": images, "latents": np.concatenate(latents), "gradients": np.concatenate(gradients)}


def make_targets(
    weights: Path, cache: Path, out: Path, count: int, seeds: tuple[int, int], processes: int, log=lambda text: None
) -> list[Path]:
    """What is missing of the targets of ``count`` pictures (rounded up to whole parts); returns the files in order.

    Args:
        cache: of the pictures, as the ControlNet's training renders them; what is missing is rendered.
        out: folder of the targets. seeds: of the pictures, and of the targets.
    """
    pictures = render_cache(cache, count, seeds[0], processes, log)
    return dataset.render_parts(out, -(-count // PART), seeds[1], partial(make_part, weights, pictures), processes, log)
