"""Zero-1-to-3 (Liu et al. 2023, arXiv 2303.11328): how an object looks from another side, after one picture of it.

A Stable Diffusion whose UNet sees the picture's latents beside the noisy ones, and reads, in place of a prompt, one
vector: CLIP's for the picture with the way from its camera to the new one, through a linear layer. The empty condition
is all zeros: no vector and no latents. Numbers are those of the authors' program as the diffusers library's community
pipeline repeats it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ....job.errors import shortened
from ....job.models.contents import unreadable
from ....job.models.files import ModelFiles, Part
from ...support.draws import Draws
from ..conditions import Conditions
from ..control import ControlNets
from ..cost.thrift import Thrift
from ..model import NoiseSchedule, counted_noise, resize, unet_noise
from ..parts import (
    check_told,
    check_vae,
    load_network,
    load_noise,
    load_unet,
    native_size,
    network_dtypes,
)
from ..small_encoder import SmallEncoder
from ..vae import decode_pictures, encode_pictures, latent_factor

#: Mean and deviation of CLIP's pictures, red, green and blue (Radford et al. 2021).
CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
POSE = 4  # numbers that say where the new camera is


def pose(elevation: Tensor, azimuth: Tensor, distance: Tensor) -> Tensor:
    """The way from the picture's camera to a new one as the network reads it, ``[N, 4]``.

    Args:
        elevation: ``[N]`` degrees, how much higher the new camera stands. The network reads the angle from the pole,
            which falls as a camera rises.
        azimuth: ``[N]`` degrees, how far it went around, counterclockwise as seen from above.
        distance: ``[N]``, how much farther away it is, in units of the training renders, whose cameras stood 1.5 to
            2.2 from an object in a box of side 1.
    """
    around = torch.deg2rad(azimuth)
    return torch.stack((-torch.deg2rad(elevation), around.sin(), around.cos(), distance), 1)


@dataclass(frozen=True)
class Shown:
    """One picture as the network is shown it: CLIP's vector ``[1, D]`` and latents ``[1, 4, h, w]``."""

    vector: Tensor
    latents: Tensor


@dataclass
class Zero123:
    """A model on latents that is told a picture and a camera.

    A :class:`~..model.DiffusionModel` that reads no prompts: conditions come from :meth:`conditions`.

    Attributes:
        image_encoder: ``CLIPVisionModelWithProjection``. projection: of the vector and the pose, ``[D + 4] -> [D']``.
    """

    name: str
    unet: torch.nn.Module
    vae: torch.nn.Module
    image_encoder: torch.nn.Module
    projection: torch.nn.Linear
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
        return int(self.vae.config.latent_channels)

    @property
    def latent_factor(self) -> int:
        return latent_factor(self.vae)

    def encode_prompts(self, prompts: Sequence[str]) -> Conditions:
        """Raises ``ValueError``: there is no text encoder."""
        raise ValueError(f"{self.name} is told a picture, and no prompt")

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        return prompt

    def free_text_encoder(self) -> None:
        """There is none."""

    @torch.no_grad()
    def show(self, picture: Tensor) -> Shown:
        """A picture ``[1, 3, H, W]`` in [0, 1] of the object alone, on white, as published pictures are.

        CLIP sees it resized bicubically, corners on corners, which is what the network was trained with; its latents
        are the posterior's mean, and not scaled by the VAE's factor as all others are.
        """
        pixels = picture.to(self.device) * 2 - 1
        side = self.image_encoder.config.image_size
        small = F.interpolate(pixels, (side, side), mode="bicubic", align_corners=True)
        mean, deviation = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION))
        seen = ((small + 1) / 2 - mean) / deviation
        vector = self.image_encoder(seen.to(self.image_encoder.dtype)).image_embeds
        own = resize(pixels, self.native_size)
        latents = encode_pictures(self.vae, own, self.thrift, None) / self.vae.config.scaling_factor
        return Shown(vector.float(), latents)

    @torch.no_grad()
    def conditions(self, shown: Shown, poses: Tensor) -> Conditions:
        """One row for each of ``poses [N, 4]``, see :func:`pose`: text ``[N, 1, D']``, picture ``[N, 4, h, w]``."""
        count = len(poses)
        told = torch.cat((shown.vector.expand(count, -1), poses.to(shown.vector)), 1)
        text = self.projection(told.to(self.projection.weight.dtype))[:, None]
        return Conditions(text=text, picture=shown.latents.expand(count, -1, -1, -1))

    def empty(self, count: int) -> Conditions:
        """As many rows without a picture and a camera: zeros."""
        side = self.native_size // self.latent_factor
        text = torch.zeros(count, 1, self.projection.out_features, device=self.device)
        return Conditions(text, picture=torch.zeros(count, self.latent_channels, side, side, device=self.device))

    def encode_images(self, images: Tensor, generator: Draws | None = None) -> Tensor:
        pixels = resize(images * 2 - 1, self.native_size)
        return encode_pictures(self.vae, pixels, self.thrift, generator, self.small_encoder)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        return decode_pictures(self.vae, latents, self.thrift)

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        network = self.unet if unet is None else unet
        self.thrift.bring(network)
        return unet_noise(network, self.schedule, noisy, t, conditions.text, beside=conditions.picture)

    def predict_noise(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return counted_noise(self, noisy, t, conditions)


def load(name: str, files: ModelFiles, device: torch.device) -> Zero123:
    """The model that the files hold. Raises ``JobError('model_unreadable')`` naming the file that does not fit."""
    from transformers import CLIPVisionModelWithProjection

    dtype, vae_dtype = network_dtypes(device)
    check_told(files)
    schedule = load_noise(files, device)
    unet = load_unet(files, device)
    vae = load_network(files.parts["vae"], vae_dtype, device)
    check_vae(files.parts["vae"], vae.config)
    wanted = 2 * vae.config.latent_channels
    if unet.config.in_channels != wanted or unet.config.out_channels < vae.config.latent_channels:
        raise unreadable(f"{files.unet.folder} takes {unet.config.in_channels} channels, and not {wanted}")
    image_encoder = load_network(files.parts["image_encoder"], dtype, device, CLIPVisionModelWithProjection)
    part = next(part for key, part in files.parts.items() if key.endswith("projection"))
    sizes = (image_encoder.config.projection_dim + POSE, unet.config.cross_attention_dim)
    projection = load_projection(part, sizes, dtype, device)
    size = native_size(files.unet, unet, latent_factor(vae))
    return Zero123(name, unet, vae, image_encoder, projection, schedule, size, device)


def load_projection(part: Part, sizes: tuple[int, int], dtype: torch.dtype, device: torch.device) -> torch.nn.Linear:
    """The linear layer in a file that has nothing else, by whatever name; ``sizes``: numbers in, and out.

    Raises:
        JobError: ``model_unreadable`` for other weights, or numbers that are none.
    """
    if part.weights is None or part.weights.suffix == ".json":
        raise unreadable(f"{part.weights} lists pieces of what is one layer")
    values = load_file(part.weights)
    found = {key.rpartition(".")[2]: value for key, value in values.items()}
    shapes: Sequence[tuple[str, tuple[int, ...]]] = (("weight", (sizes[1], sizes[0])), ("bias", (sizes[1],)))
    if len(values) != len(shapes) or set(found) != {name for name, _ in shapes}:
        raise unreadable(f"{part.weights} is to hold one layer, and holds {shortened(', '.join(sorted(values)))}")
    layer = torch.nn.Linear(*sizes)
    for key, shape in shapes:
        if tuple(found[key].shape) != shape:
            raise unreadable(f"{part.weights} has a {key} of the shape {tuple(found[key].shape)}, and not {shape}")
        if not bool(torch.isfinite(found[key].float()).all()):
            raise unreadable(f"{part.weights} holds invalid numbers (NaN or infinite) in {key}")
    layer.load_state_dict({key: found[key] for key, _ in shapes})
    return layer.to(device, dtype).requires_grad_(False).eval()
