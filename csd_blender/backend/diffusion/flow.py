"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv 2403.03206): a transformer that predicts a flow's velocity.

Between picture and noise lies a straight line, ``x_t = (1 - sigma) x + sigma eps``; the network predicts ``eps - x``.
As a prediction of the noise it is ``x_t + (1 - sigma) v``, so that a difference of two predictions, as CSD's, is that
of the velocities times ``1 - sigma``. Texts are read by two CLIP encoders side by side and, where it is there, by a T5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.models.contents import unreadable
from ...job.models.files import ModelFiles
from ..support.draws import Draws
from .conditions import Conditions
from .control import ControlNets
from .cost.thrift import Thrift
from .model import NoiseSchedule, counted_noise, resize
from .parts import (
    LEAST_LEFT,
    LEAST_STEPS,
    check_vae,
    load_network,
    load_text_reader,
    native_size,
    network_dtypes,
    or_unreadable,
    text_width,
)
from .small_encoder import SmallEncoder
from .text import TextReader, layer_before_last_and_whole
from .vae import decode_pictures, encode_pictures, latent_factor

T5_TOKENS = 256  # of a text, as the family's own pipeline gives them


@dataclass
class FlowModel:
    """A :class:`~.model.DiffusionModel` on latents.

    Attributes:
        unet: ``SD3Transformer2DModel``; the name is that of the other families' networks. vae: ``AutoencoderKL``.
        text, second_text: CLIP of two sizes. long_text: a T5, or None; the network reads zeros in its place.
        width: of the texts that the network reads.
        control: always None: those of this family are networks of another kind.
    """

    name: str
    unet: torch.nn.Module
    vae: torch.nn.Module
    text: TextReader
    second_text: TextReader
    long_text: TextReader | None
    width: int
    schedule: NoiseSchedule
    native_size: int
    device: torch.device
    thrift: Thrift = field(default_factory=Thrift)
    refused_predictions: int = 0
    on_pixels: bool = False
    control: ControlNets | None = None
    small_encoder: SmallEncoder | None = None

    @property
    def latent_channels(self) -> int:
        return int(self.unet.config.in_channels)

    @property
    def latent_factor(self) -> int:
        return latent_factor(self.vae)

    def encode_prompts(self, prompts: Sequence[str]) -> Conditions:
        return self.encode_headed(prompts, {})

    def encode_headed(self, prompts: Sequence[str], heads: Mapping[str, str]) -> Conditions:
        """See :func:`~.model.encode_texts`: where a T5 reads the whole text, CLIP is given less of its head."""
        shorter = [self._for_clip(text, heads.get(text, text)) for text in prompts]
        (first, pooled), (second, second_pooled) = self.text.read_all(shorter), self.second_text.read_all(shorter)
        both = torch.cat([first, second], dim=-1)
        both = F.pad(both, (0, self.width - both.shape[-1]))
        if self.long_text is None:
            long = both.new_zeros((len(prompts), T5_TOKENS, self.width))
        else:
            long = self.long_text.read(prompts)
        return Conditions(text=torch.cat([both, long], dim=1), pooled=torch.cat([pooled, second_pooled], dim=-1))

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        reader = self.text if self.long_text is None else self.long_text
        return reader.fitting(prompt, ending)

    def _for_clip(self, text: str, head: str) -> str:
        """As much of the head as CLIP reads with what stands behind it; a text that is its head is cut by the
        tokenizer, as the family's own pipeline does."""
        ending = text[len(head) :]
        if self.long_text is None or not ending:
            return text
        return self.text.fitting(head, ending) + ending

    def free_text_encoder(self) -> None:
        for reader in (self.text, self.second_text, self.long_text):
            if reader is not None:
                reader.free()

    def encode_images(self, images: Tensor, generator: Draws | None = None) -> Tensor:
        pixels = resize(images * 2 - 1, self.native_size)
        return encode_pictures(self.vae, pixels, self.thrift, generator, self.small_encoder)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_pictures(self.vae, latents, self.thrift)

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        network, pooled = self.unet if unet is None else unet, conditions.pooled
        if pooled is None:
            raise ValueError("the network wants a text's vector too")
        _, sigma = self.schedule.alpha_sigma(t)
        self.thrift.bring(network)
        velocity = network(
            noisy.to(network.dtype),
            timestep=sigma.flatten() * len(self.schedule),
            encoder_hidden_states=conditions.text.to(network.dtype),
            pooled_projections=pooled.to(network.dtype),
        ).sample
        return self.schedule.to_noise(velocity.float(), noisy, t)

    def predict_noise(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return counted_noise(self, noisy, t, conditions)


def load(name: str, files: ModelFiles, device: torch.device) -> FlowModel:
    """The model that the files hold. Raises ``JobError('model_unreadable')`` naming the file that does not fit."""
    from diffusers import SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

    dtype = network_dtypes(device)[1]  # trained in bfloat16
    part, vae_part = files.parts["transformer"], files.parts["vae"]
    vae = load_network(vae_part, dtype, device)
    check_vae(vae_part, vae.config)
    transformer = load_network(part, dtype, device, SD3Transformer2DModel)
    size = native_size(part, transformer, latent_factor(vae))
    schedule = load_flow(files, transformer, device)
    clip = [
        load_text_reader(
            files,
            transformer,
            device,
            which,
            text_width(files.parts["text_encoder" + which]),
            CLIPTextModelWithProjection,
            layer_before_last_and_whole,
        )
        for which in ("", "_2")
    ]
    long = None
    if "text_encoder_3" in files.parts:
        if "tokenizer_3" not in files.parts:
            raise unreadable(f"{files.folder} has a text_encoder_3 and no tokenizer_3", "Download the model again.")
        long = load_text_reader(files, transformer, device, "_3", text_width(files.parts["text_encoder_3"]))
        long = replace(long, lower_case=False, masked=False, tokens=T5_TOKENS)
    width = _check_fit(files, transformer, vae)
    return FlowModel(name, transformer, vae, clip[0], clip[1], long, width, schedule, size, device)


def load_flow(files: ModelFiles, transformer: torch.nn.Module, device: torch.device) -> NoiseSchedule:
    """The noise of a flow: its T levels evenly, moved towards the noise as the folder says (``shift``).

    Where it says that the move depends on the pictures' size, it is that for the model's own.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    place = files.scheduler.folder / "scheduler_config.json"
    with or_unreadable(f"{place} is no schedule of a flow that is known"):
        config = FlowMatchEulerDiscreteScheduler.from_config(files.scheduler.config).config
        steps, shift = int(config.num_train_timesteps), float(config.shift)
        if config.use_dynamic_shifting:
            shift = _shift_of_size(config, (transformer.config.sample_size // transformer.config.patch_size) ** 2)
    if steps < LEAST_STEPS or not 0.01 <= shift <= 100:
        raise unreadable(f"{place} has {steps} levels of noise moved by {shift:g}, which is no sound schedule")
    even = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    # At the very end nothing is left of the picture; see LEAST_LEFT.
    sigmas = (shift * even / (1 + (shift - 1) * even)).clamp_max(1 - LEAST_LEFT**0.5)
    alpha_bar = (1 - sigmas) ** 2 / ((1 - sigmas) ** 2 + sigmas**2)
    return NoiseSchedule(alpha_bar.float(), "flow_prediction", device, sigmas.float())


def _shift_of_size(config: Any, tokens: int) -> float:
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    mu = config.base_shift + slope * (tokens - config.base_image_seq_len)
    return math.exp(mu) if config.time_shift_type == "exponential" else mu


def _check_fit(files: ModelFiles, transformer: torch.nn.Module, vae: torch.nn.Module) -> int:
    """The width of the texts that the transformer reads; raises where a part gives it something else."""
    config, folder, parts = transformer.config, files.parts["transformer"].folder, files.parts
    if config.in_channels != vae.config.latent_channels or (config.out_channels or 0) != config.in_channels:
        raise unreadable(f"{folder} takes {config.in_channels} channels: it is not one of plain text to image")
    clip = [parts[name] for name in ("text_encoder", "text_encoder_2")]
    width, given = int(config.joint_attention_dim), sum(text_width(part) for part in clip)
    if given > width or ("text_encoder_3" in parts and text_width(parts["text_encoder_3"]) != width):
        raise unreadable(f"{folder} wants texts {width} wide, and the text encoders give others")
    pooled = sum(int(part.config.get("projection_dim") or 0) for part in clip)
    if pooled != config.pooled_projection_dim:
        wanted = f"wants {config.pooled_projection_dim} numbers for a whole text"
        raise unreadable(f"{folder} {wanted}, and the text encoders give {pooled}")
    return width
