"""The way from pictures to latents and back through an ``AutoencoderKL``, the same for all families that have one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..support.draws import Draws, normal
from .small_encoder import SmallEncoder


def encode_pictures(
    vae: torch.nn.Module,
    pixels: Tensor,
    one_by_one: bool,
    generator: Draws | None,
    small: SmallEncoder | None = None,
) -> Tensor:
    """Latents ``[B, C, h, w]``, float32 of about unit variance, of ``pixels`` ``[B, 3, H, W]`` in [-1, 1].

    A gradient passes. ``one_by_one``: one picture's activations at a time. ``generator``: for a sample of the
    posterior; None takes its mean. ``small``: an encoder in the place of the VAE's own.
    """
    if small is not None:
        return small.encode(pixels, one_by_one, generator)
    pixels = pixels.to(vae.dtype)
    if one_by_one:  # and made again on the way back
        rows = [checkpoint(_moments, vae, row, use_reentrant=False) for row in pixels.split(1)]
        moments = torch.cat(rows).float()
    else:
        moments = _moments(vae, pixels).float()
    mean, log_variance = moments.chunk(2, dim=1)
    if generator is not None:
        noise = normal(mean.shape, generator).to(mean)
        mean = mean + (0.5 * log_variance.clamp(-30.0, 20.0)).exp() * noise
    return (mean - _shift(vae)) * vae.config.scaling_factor


def decode_pictures(vae: torch.nn.Module, latents: Tensor, one_by_one: bool) -> Tensor:
    """Pictures ``[B, 3, H, W]`` in [0, 1], float32, of latents ``[B, C, h, w]`` in any size."""
    hidden = (latents / vae.config.scaling_factor + _shift(vae)).to(vae.dtype)
    rows = hidden.split(1) if one_by_one else [hidden]
    return torch.cat([_decoded(vae, row) for row in rows])


def latent_factor(vae: torch.nn.Module) -> int:
    """Pixels per latent along one side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def _moments(vae: torch.nn.Module, pixels: Tensor) -> Tensor:
    hidden = vae.encoder(pixels)
    return hidden if vae.quant_conv is None else vae.quant_conv(hidden)


def _decoded(vae: torch.nn.Module, hidden: Tensor) -> Tensor:
    if vae.post_quant_conv is not None:
        hidden = vae.post_quant_conv(hidden)
    return (vae.decoder(hidden).float() / 2 + 0.5).clamp(0, 1)


def _shift(vae: torch.nn.Module) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0
