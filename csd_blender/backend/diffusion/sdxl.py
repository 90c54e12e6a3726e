"""Stable Diffusion XL (Podell et al. 2023, arXiv 2307.01952): two CLIP text encoders, read in their last layer but one.

The UNet is also told what the second encoder makes of the whole text, and of which size and cut its picture is. All
pictures here are uncut and of the model's own size, as in the family's own pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...job.models.contents import unreadable
from ...job.models.files import ModelFiles, Part
from ..support.draws import Draws
from .conditions import Conditions
from .control import ControlNets, residuals
from .cost.thrift import Thrift
from .model import NoiseSchedule, counted_noise, resize, unet_noise
from .parts import (
    check_channels,
    check_told,
    check_vae,
    load_network,
    load_noise,
    load_text_reader,
    load_unet,
    native_size,
    network_dtypes,
    text_width,
)
from .small_encoder import SmallEncoder
from .text import TextReader, layer_before_last, layer_before_last_and_whole
from .vae import decode_pictures, encode_pictures, latent_factor

TIME_IDS = 6  # height and width of the training picture, top and left of its cut, height and width wanted


@dataclass
class StableDiffusionXL:
    """A :class:`~.model.DiffusionModel` on latents.

    Attributes:
        unet: ``UNet2DConditionModel``. vae: ``AutoencoderKL``.
        text, second_text: CLIP of two sizes; the second gives a vector for the whole text too.
        empty_is_zero: the empty prompt is zeros and not its encoding: what the network saw for it in training
            (``force_zeros_for_empty_prompt`` of the folder's index).
    """

    name: str
    unet: torch.nn.Module
    vae: torch.nn.Module
    text: TextReader
    second_text: TextReader
    schedule: NoiseSchedule
    native_size: int
    device: torch.device
    empty_is_zero: bool = True
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
        first, (second, pooled) = self.text.read(prompts), self.second_text.read_all(prompts)
        text = torch.cat([first, second], dim=-1)
        if self.empty_is_zero:
            told = torch.tensor([bool(prompt) for prompt in prompts], device=self.device)
            text, pooled = text * told[:, None, None], pooled * told[:, None]
        side = float(self.native_size)
        sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]], device=self.device)
        return Conditions(text=text, pooled=pooled, time_ids=sizes.repeat(len(prompts), 1))

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        return self.text.fitting(prompt, ending)

    def free_text_encoder(self) -> None:
        self.text.free()
        self.second_text.free()

    def encode_images(self, images: Tensor, generator: Draws | None = None) -> Tensor:
        pixels = resize(images * 2 - 1, self.native_size)
        return encode_pictures(self.vae, pixels, self.thrift, generator, self.small_encoder)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_pictures(self.vae, latents, self.thrift)

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        network, pooled, sizes = self.unet if unet is None else unet, conditions.pooled, conditions.time_ids
        if pooled is None or sizes is None:
            raise ValueError("the network wants a text's vector and sizes too")
        told = {"text_embeds": pooled.to(network.dtype), "time_ids": sizes}
        found = residuals(self.control, noisy, t, conditions, told, self.thrift)
        self.thrift.bring(network)
        return unet_noise(network, self.schedule, noisy, t, conditions.text, added_cond_kwargs=told, **found)

    def predict_noise(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return counted_noise(self, noisy, t, conditions)


def load(name: str, files: ModelFiles, device: torch.device) -> StableDiffusionXL:
    """The model that the files hold. Raises ``JobError('model_unreadable')`` naming the file that does not fit."""
    from transformers import CLIPTextModelWithProjection

    check_told(files, ("text_time",))
    schedule = load_noise(files, device)
    unet = load_unet(files, device)
    vae_part = files.parts["vae"]
    vae = load_network(vae_part, _vae_dtype(vae_part, device), device)
    check_vae(vae_part, vae.config)
    check_channels(files, unet, vae.config.latent_channels)
    widths = [text_width(files.parts[encoder]) for encoder in ("text_encoder", "text_encoder_2")]
    if sum(widths) != unet.config.cross_attention_dim:
        wanted = f"wants texts {unet.config.cross_attention_dim} wide"
        raise unreadable(f"{files.unet.folder} {wanted}, but the two text encoders give {widths[0]} and {widths[1]}")
    text = load_text_reader(files, unet, device, width=widths[0], take=layer_before_last)
    second = load_text_reader(
        files, unet, device, "_2", widths[1], CLIPTextModelWithProjection, take=layer_before_last_and_whole
    )
    _check_added(files, unet, second)
    return StableDiffusionXL(
        name,
        unet,
        vae,
        text,
        second,
        schedule,
        native_size(files.unet, unet, latent_factor(vae)),
        device,
        empty_is_zero=files.options.get("force_zeros_for_empty_prompt", True) is not False,
    )


def _vae_dtype(part: Part, device: torch.device) -> torch.dtype:
    """The published VAE overflows in half precision and says so (``force_upcast``): it stays in float32 then. A folder
    with the corrected one says that it need not."""
    return torch.float32 if part.config.get("force_upcast", True) else network_dtypes(device)[1]


def _check_added(files: ModelFiles, unet: torch.nn.Module, second: TextReader) -> None:
    """The network's vector of what it is told besides must be as long as that is."""
    encoder = second.encoder
    pooled = int(encoder.config.projection_dim) if encoder is not None else 0
    wanted = unet.config.projection_class_embeddings_input_dim
    sizes = unet.config.addition_time_embed_dim or 0
    if wanted != TIME_IDS * sizes + pooled:
        raise unreadable(
            f"{files.unet.folder / 'config.json'} wants {wanted} numbers beside the text, but {TIME_IDS} sizes of "
            f"{sizes} and a text of {pooled} make {TIME_IDS * sizes + pooled}: it is a refiner or another model",
            "Choose the folder of the base model.",
        )
