"""The way from pictures to latents and back through an ``AutoencoderKL``, the same for all families that have one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..support.draws import Draws, normal
from .cost.thrift import Thrift
from .small_encoder import SmallEncoder


def encode_pictures(
    vae: torch.nn.Module,
    pixels: Tensor,
    thrift: Thrift,
    generator: Draws | None,
    small: SmallEncoder | None = None,
) -> Tensor:
    """Latents ``[B, C, h, w]``, float32 of about unit variance, of ``pixels`` ``[B, 3, H, W]`` in [-1, 1].

    A gradient passes. ``generator``: for a sample of the posterior; None takes its mean. ``small``:
    an encoder in the place of the VAE's own.

    With ``saving.pictures`` there are one picture's activations at a time, which are made again on the way back; with
    ``saving.layers`` of these one layer's at a time. (Tiles would save as much, and give other latents: the encoder's
    normalizations and its attention look at the whole picture.)
    """
    if small is not None:
        return small.encode(pixels, thrift.saving.pictures or thrift.saving.layers, generator)
    thrift.bring(vae)
    pixels, saving = pixels.to(vae.dtype), thrift.saving
    by_layers = saving.layers
    if saving.pictures or by_layers:
        encode = _moments_by_layers if by_layers else _moments
        if by_layers and len(pixels) == 1:  # what lies between its layers may stay meanwhile
            moments = encode(vae, pixels).float()
        else:
            moments = torch.cat([_made_again(encode, vae, row) for row in pixels.split(1)]).float()
    else:
        moments = _moments(vae, pixels).float()
    moments = thrift.guard(moments, vae)
    mean, log_variance = moments.chunk(2, dim=1)
    if generator is not None:
        noise = normal(mean.shape, generator).to(mean)
        mean = mean + (0.5 * log_variance.clamp(-30.0, 20.0)).exp() * noise
    return (mean - _shift(vae)) * vae.config.scaling_factor


def decode_pictures(vae: torch.nn.Module, latents: Tensor, thrift: Thrift) -> Tensor:
    """Pictures ``[B, 3, H, W]`` in [0, 1], float32, of latents ``[B, C, h, w]`` in any size."""
    hidden = (latents / vae.config.scaling_factor + _shift(vae)).to(vae.dtype)
    thrift.bring(vae)
    rows = hidden.split(1) if thrift.saving.pictures else [hidden]
    return torch.cat([_decoded(vae, row) for row in rows])


def latent_factor(vae: torch.nn.Module) -> int:
    """Pixels per latent along one side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def _moments(vae: torch.nn.Module, pixels: Tensor) -> Tensor:
    hidden = vae.encoder(pixels)
    return hidden if vae.quant_conv is None else vae.quant_conv(hidden)


def _moments_by_layers(vae: torch.nn.Module, pixels: Tensor) -> Tensor:
    """The same numbers; of what is needed on the way back only the layers' inputs are kept, the rest is made again."""
    hidden = pixels
    for layer in _layers(vae.encoder):
        hidden = _made_again(layer, hidden)
    return hidden if vae.quant_conv is None else vae.quant_conv(hidden)


def _layers(encoder: torch.nn.Module) -> list[Callable[[Tensor], Tensor]]:
    """What an ``Encoder`` of diffusers does, in its order; one of another build is a single layer."""
    if not all(hasattr(encoder, name) for name in ("conv_in", "down_blocks", "mid_block", "conv_norm_out")):
        return [encoder]
    layers: list[Callable[[Tensor], Tensor]] = [encoder.conv_in]
    for block in encoder.down_blocks:
        layers += [partial(resnet, temb=None) for resnet in block.resnets]
        layers += list(block.downsamplers or ())
    first, *rest = encoder.mid_block.resnets
    layers.append(partial(first, temb=None))
    for attention, resnet in zip(encoder.mid_block.attentions, rest, strict=True):
        layers += [partial(part, temb=None) for part in (attention, resnet) if part is not None]
    return [*layers, lambda hidden: encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(hidden)))]


def _made_again(work: Callable[..., Tensor], *given: Any) -> Tensor:
    return checkpoint(work, *given, use_reentrant=False)


def _decoded(vae: torch.nn.Module, hidden: Tensor) -> Tensor:
    if vae.post_quant_conv is not None:
        hidden = vae.post_quant_conv(hidden)
    return (vae.decoder(hidden).float() / 2 + 0.5).clamp(0, 1)


def _shift(vae: torch.nn.Module) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0
