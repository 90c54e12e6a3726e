# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of the mini model: ordinary classes of diffusers and transformers in miniature, and their export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from .tokenizer import MAX_LENGTH, TOKEN_IDS, save_tokenizer

#: Side of the latents for pictures of 64 pixels.
LATENT_SIZE = 16


@dataclass(frozen=True)
class Sizes:
    """Widths of the networks; the defaults are the bundled model's, tests use smaller ones."""

    vae: tuple[int, ...] = (16, 32, 64)
    unet: tuple[int, ...] = (64, 96, 128)
    text: int = 96
    text_layers: int = 3


def make_vae(sizes: Sizes = Sizes()) -> AutoencoderKL:
    """Autoencoder of 64 x 64 pictures (in -1..1) to latents [4, 16, 16]."""
    depth = len(sizes.vae)
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=sizes.vae, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * depth, up_block_types=("UpDecoderBlock2D",) * depth,
        norm_num_groups=8, sample_size=64,
    )  # fmt: skip


def make_unet(sizes: Sizes = Sizes()) -> UNet2DConditionModel:
    """Noise predictor; attends to the words at the two lower levels only, since attention at 16 x 16 is slow."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE, in_channels=4, out_channels=4, block_out_channels=sizes.unet, layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=sizes.text, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


def unet_like(plain: UNet2DConditionModel, **settings: Any) -> UNet2DConditionModel:
    """A fresh one with the settings of another but for these, and without the folder that it was read from, which would
    be written down with the weights."""
    own = {name: value for name, value in plain.config.items() if not name.startswith("_")}
    return UNet2DConditionModel.from_config(own | settings)


def make_text_encoder(sizes: Sizes = Sizes()) -> CLIPTextModel:
    """Text encoder with hidden states [N, 16, text]."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(TOKEN_IDS), hidden_size=sizes.text, intermediate_size=2 * sizes.text,
            num_hidden_layers=sizes.text_layers, num_attention_heads=4, max_position_embeddings=MAX_LENGTH,
            projection_dim=sizes.text, pad_token_id=TOKEN_IDS["<pad>"], bos_token_id=TOKEN_IDS["<bos>"],
            eos_token_id=TOKEN_IDS["<eos>"],
        )
    )  # fmt: skip


def make_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.x, predicting noise."""
    return DDIMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon",
    )  # fmt: skip


def save_pipeline(folder: Path, vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
    """Writes everything in half precision in the layout of a diffusers pipeline (`model_index.json` and folders)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in (("vae", vae), ("unet", unet), ("text_encoder", text_encoder)):
        kept = {k: v.detach().clone() for k, v in module.state_dict().items()}
        module.to(torch.float16).save_pretrained(folder / name, safe_serialization=True)
        # Back to full precision with the very same values as before.
        module.to(torch.float32).load_state_dict(kept)
    make_scheduler().save_pretrained(folder / "scheduler")
    save_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
        "feature_extractor": [None, None], "image_encoder": [None, None], "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
