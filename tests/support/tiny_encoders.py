"""Small encoders of a few hundred random weights, written by diffusers itself."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny


def write_small_encoder(folder: Path, channels: int = 4, stride: int = 8, seed: int = 0, **settings) -> Path:
    """An ``AutoencoderTiny`` of few channels. ``stride``: pixels of a picture for each latent, along a side."""
    torch.manual_seed(seed)
    levels = stride.bit_length()
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(4,) * levels, decoder_block_out_channels=(4,) * levels,
        num_encoder_blocks=(0,) * (levels - 2) + (1, 1), num_decoder_blocks=(0,) * levels, latent_channels=channels,
        **settings,
    )  # fmt: skip
    tiny.save_pretrained(folder)
    return folder
