"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022), and the bundled mini model of the same build.

Pictures go through a VAE's encoder to latents; a UNet that reads the last layer of a CLIP text encoder predicts the
noise in them, or v.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...job.models.files import ModelFiles
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
)
from .small_encoder import SmallEncoder
from .text import TextReader
from .vae import decode_pictures, encode_pictures, latent_factor


@dataclass
class StableDiffusion:
    """A :class:`~.model.DiffusionModel` on latents.

    Attributes:
        unet: ``UNet2DConditionModel``. vae: ``AutoencoderKL``.
        text: CLIP, which reads the padding as it reads the text, unless its settings ask for a mask.
    """

    name: str
    unet: torch.nn.Module
    vae: torch.nn.Module
    text: TextReader
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
        return Conditions(text=self.text.read(prompts))

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        return self.text.fitting(prompt, ending)

    def free_text_encoder(self) -> None:
        self.text.free()

    def encode_images(self, images: Tensor, generator: Draws | None = None) -> Tensor:
        pixels = resize(images * 2 - 1, self.native_size)
        return encode_pictures(self.vae, pixels, self.thrift, generator, self.small_encoder)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_pictures(self.vae, latents, self.thrift)

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        unet = self.unet if unet is None else unet
        told = residuals(self.control, noisy, t, conditions, thrift=self.thrift)
        if conditions.cameras is not None:
            told["class_labels"] = conditions.cameras.to(noisy.device, unet.dtype)
        self.thrift.bring(unet)
        return unet_noise(unet, self.schedule, noisy, t, conditions.text, **told)

    def predict_noise(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return counted_noise(self, noisy, t, conditions)


def load(
    name: str, files: ModelFiles, device: torch.device, classes: tuple[str | None, ...] = (None,)
) -> StableDiffusion:
    """The model that the files hold. Raises ``JobError('model_unreadable')`` naming the file that does not fit.

    ``classes``: what may be added to the time, as diffusers' ``class_embed_type`` has it.
    """
    _, vae_dtype = network_dtypes(device)
    check_told(files, classes=classes)
    schedule = load_noise(files, device)
    unet = load_unet(files, device)
    vae = load_network(files.parts["vae"], vae_dtype, device)
    check_vae(files.parts["vae"], vae.config)
    check_channels(files, unet, vae.config.latent_channels)
    text = load_text_reader(files, unet, device)
    size = native_size(files.unet, unet, latent_factor(vae))
    return StableDiffusion(name, unet, vae, text, schedule, size, device)
