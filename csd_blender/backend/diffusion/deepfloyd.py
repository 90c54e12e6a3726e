"""The first stage of DeepFloyd IF (StabilityAI 2023): noise on the pixels themselves, text read by a T5.

Its network predicts a variance in three more channels, which nobody needs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...job.models.files import ModelFiles
from ..support.draws import Draws
from .conditions import Conditions
from .control import ControlNets
from .cost.thrift import Thrift
from .model import NoiseSchedule, counted_noise, resize, unet_noise
from .parts import check_channels, check_told, load_noise, load_text_reader, load_unet, native_size
from .small_encoder import SmallEncoder
from .text import TextReader

CHANNELS = 3


@dataclass
class DeepFloyd:
    """A :class:`~.model.DiffusionModel` on pixels in [-1, 1].

    Attributes:
        unet: ``UNet2DConditionModel``.
        text: a T5, which gets a mask of the padding, and texts in lower case. (The family's own pipeline can also clean
            web captions of addresses and the like, if two more packages are there; prompts need none of it.)
        control: always None, since there are no ControlNets for this family. small_encoder: None, too, since nothing is
            encoded.
    """

    name: str
    unet: torch.nn.Module
    text: TextReader
    schedule: NoiseSchedule
    native_size: int
    device: torch.device
    thrift: Thrift = field(default_factory=Thrift)
    refused_predictions: int = 0
    on_pixels: bool = True
    control: ControlNets | None = None
    small_encoder: SmallEncoder | None = None

    @property
    def latent_channels(self) -> int:
        return CHANNELS

    @property
    def latent_factor(self) -> int:
        return 1

    def encode_prompts(self, prompts: Sequence[str]) -> Conditions:
        return Conditions(text=self.text.read(prompts))

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        return self.text.fitting(prompt, ending)

    def free_text_encoder(self) -> None:
        self.text.free()

    def encode_images(self, images: Tensor, generator: Draws | None = None) -> Tensor:
        return resize(images * 2 - 1, self.native_size)

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        network = self.unet if unet is None else unet
        self.thrift.bring(network)
        return unet_noise(network, self.schedule, noisy, t, conditions.text)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        return (latents / 2 + 0.5).clamp(0, 1)

    def predict_noise(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return counted_noise(self, noisy, t, conditions)


def load(name: str, files: ModelFiles, device: torch.device) -> DeepFloyd:
    """The model that the files hold. Raises ``JobError('model_unreadable')`` naming the file that does not fit."""
    check_told(files)
    schedule = load_noise(files, device)
    unet = load_unet(files, device)
    check_channels(files, unet, CHANNELS)
    text = load_text_reader(files, unet, device)
    return DeepFloyd(name, unet, text, schedule, native_size(files.unet, unet, 1), device)
