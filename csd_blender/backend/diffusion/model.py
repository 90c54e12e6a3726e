"""What every family of diffusion models offers to score distillation, and the noise schedule that describes each.

Nothing here needs a gradient of the network; the encoder does pass one on to the picture. A model is one of the
families' dataclasses (:mod:`.stable_diffusion`, :mod:`.deepfloyd`); :class:`DiffusionModel` says what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..support.draws import Draws
from .conditions import Conditions
from .control import ControlNets
from .cost.thrift import Thrift
from .small_encoder import SmallEncoder

#: What networks may predict: the noise, v (Salimans and Ho 2022), or a flow's velocity (Lipman et al. 2022).
PREDICTION_TYPES = ("epsilon", "v_prediction", "flow_prediction")


def to_noise(prediction_type: str, prediction: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Any prediction as one of the noise, for ``x_t = alpha x + sigma eps``; shapes ``[N, C, h, w]``, ``[N, 1, 1, 1]``.

    ``epsilon`` is the noise itself; ``v = alpha eps - sigma x``, with ``alpha^2 + sigma^2 = 1``, gives
    ``eps = sigma x_t + alpha v``; a flow's ``u = eps - x`` gives ``eps = (x_t + alpha u) / (alpha + sigma)``.

    Raises:
        ValueError: for another type.
    """
    if prediction_type == "epsilon":
        return prediction
    if prediction_type == "v_prediction":
        return sigma * noisy + alpha * prediction
    if prediction_type == "flow_prediction":
        return (noisy + alpha * prediction) / (alpha + sigma)
    raise ValueError(f"{prediction_type!r} is no prediction; known are {', '.join(PREDICTION_TYPES)}")


@dataclass
class NoiseSchedule:
    """How much of a picture is left at each of T steps.

    Attributes:
        alphas_cumprod: float32 ``[T]``, the products written as alpha-bar in DDPM (Ho et al. 2020).
        prediction_type: what the network predicts, of :data:`PREDICTION_TYPES`.
        device: where pictures are.
        sigmas: of a flow, float32 ``[T]``: ``x_t = (1 - sigma_t) x + sigma_t eps``. Its alpha-bar is that of a schedule
            with as much of the picture in as much noise: ``(1 - sigma)^2 / ((1 - sigma)^2 + sigma^2)``.
    """

    alphas_cumprod: Tensor
    prediction_type: str
    device: torch.device
    sigmas: Tensor | None = None

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def alpha_bar(self, t: Tensor) -> Tensor:
        """The share of the picture at integer steps ``t [B]``, ``[B, 1, 1, 1]``; weights are counted with it."""
        return self.alphas_cumprod[t.to(self.alphas_cumprod.device)].to(self.device).view(-1, 1, 1, 1)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """What picture and noise are multiplied by at integer steps ``t [B]``, each ``[B, 1, 1, 1]``:
        ``sqrt(alpha-bar_t)`` and ``sqrt(1 - alpha-bar_t)``, or a flow's ``1 - sigma_t`` and ``sigma_t``."""
        if self.sigmas is not None:
            sigma = self.sigmas[t.to(self.sigmas.device)].to(self.device).view(-1, 1, 1, 1)
            return 1 - sigma, sigma
        alpha_bar = self.alpha_bar(t)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``x_t = alpha_t x + sigma_t noise``."""
        alpha, sigma = self.alpha_sigma(t)
        return alpha * latents + sigma * noise

    def to_noise(self, prediction: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """The network's prediction as one of the noise, see :func:`to_noise`."""
        return to_noise(self.prediction_type, prediction, noisy, *self.alpha_sigma(t))


class DiffusionModel(Protocol):
    """A frozen, text-conditioned diffusion model.

    Attributes:
        name: as jobs give it. device: of its network. unet: that network.
        native_size: side of the square pictures the model was trained on, in pixels.
        schedule: its noise.
        on_pixels: latents are the picture's own pixels in [-1, 1], so nothing is encoded.
        latent_channels: C of its latents. latent_factor: pixels per latent along one side.
        thrift: what it does for memory's sake; nothing of it changes a number.
        refused_predictions: how many calls of the network gave NaN or infinite numbers.
        control: the job's ControlNets, which count where the conditions have pictures for them; None for none.
        small_encoder: in the place of the model's own; None for that.
    """

    name: str
    device: torch.device
    unet: torch.nn.Module
    native_size: int
    schedule: NoiseSchedule
    on_pixels: bool
    thrift: Thrift
    refused_predictions: int
    control: ControlNets | None
    small_encoder: SmallEncoder | None

    @property
    def latent_channels(self) -> int: ...

    @property
    def latent_factor(self) -> int: ...

    def encode_prompts(self, prompts: Sequence[str]) -> Conditions:
        """One row for each prompt; each distinct one is encoded once and remembered."""
        ...

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        """As many of the prompt's words as the model reads with ``ending`` after them; all of them, mostly."""
        ...

    def free_text_encoder(self) -> None:
        """Give the text encoder's memory back; encoded prompts stay, and a new one brings it back."""
        ...

    def encode_images(self, images: Tensor, generator: Draws | None = None) -> Tensor:
        """Latents ``[B, C, h, w]``, float32 of about unit variance, of pictures ``[B, 3, H, W]`` in [0, 1].

        It passes a gradient on. Pictures of another size than the model's own are resized to that, see :func:`resize`.
        ``generator``: on the CPU, one or one for each picture, for the posterior's sample, where there is one; None
        takes the posterior's mean.
        """
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pictures ``[B, 3, H, W]`` in [0, 1], float32 without a gradient, of latents ``[B, C, h, w]`` in any size."""
        ...

    def predict_noise(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The network's noise prediction, float32 ``[N, C, h, w]``, without a gradient.

        Args:
            noisy: ``[N, C, h, w]`` latents at the integer steps ``t [N]``.
            conditions: N rows.

        Whatever the network predicts, noise comes out. Calls that give invalid numbers are counted.
        """
        ...

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        """The same with a gradient where that is on, not counted; ``unet``: of another network of the same build."""
        ...


def unet_noise(
    unet: torch.nn.Module,
    schedule: NoiseSchedule,
    noisy: Tensor,
    t: Tensor,
    text: Tensor,
    beside: Tensor | None = None,
    **told: Any,
) -> Tensor:
    """The noise that a UNet predicts with a text beside it, float32 ``[N, C, h, w]``.

    A network of more channels than it is given predicts a variance in the rest. ``beside``: further channels that it
    sees, ``[N, C', h, w]``. ``told``: its further arguments.
    """
    dtype = unet.dtype
    seen = noisy if beside is None else torch.cat((noisy, beside.to(noisy)), 1)
    prediction = unet(seen.to(dtype), t.to(schedule.device), encoder_hidden_states=text.to(dtype), **told).sample
    return schedule.to_noise(prediction[:, : noisy.shape[1]].float(), noisy, t)


@torch.no_grad()
def counted_noise(model: DiffusionModel, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
    """A model's :meth:`~DiffusionModel.predict_noise`, of what its network says: calls without valid numbers count."""
    noise = asked_noise(model, noisy, t, conditions)
    if not bool(torch.isfinite(noise).all()):
        model.refused_predictions += 1
    return noise


def asked_noise(model: DiffusionModel, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
    """What the network says of all rows: in one call, or with ``saving.rows`` in one for each, or for as many as
    belong together."""
    few = model.thrift.least_rows
    if not model.thrift.saving.rows or len(noisy) <= few:
        return model.network_noise(noisy, t, conditions)
    rows = [slice(i, i + few) for i in range(0, len(noisy), few)]
    return torch.cat([model.network_noise(noisy[row], t[row], conditions.select(row)) for row in rows])


def latent_side(model: DiffusionModel) -> int:
    """Side of the model's own latents."""
    return model.native_size // model.latent_factor


def resize(pictures: Tensor, side: int) -> Tensor:
    """Square pictures ``[B, C, side, side]`` by bilinear interpolation, differentiable; of that size, they stay.

    The published systems hand every picture to the model so, whatever it was rendered at: CSD's and threestudio's
    guidance classes enlarge the coarse stage's 64 pixels to Stable Diffusion's 512. Plain bilinear interpolation, which
    is theirs, sees all pixels of a picture up to twice as large; where there is more to leave out, each new pixel is
    an average over its whole area.
    """
    height, width = pictures.shape[-2:]
    if height == width == side:
        return pictures
    shrinks = max(height, width) > 2 * side
    return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=shrinks)


def encode_texts(model: DiffusionModel, texts: Sequence[str], heads: Mapping[str, str]) -> Conditions:
    """Texts encoded as ``encode_prompts`` does, by a model that has an encoder of few tokens beside one of many, with
    what stands behind the prompt read by both.

    Args:
        heads: by text, the prompt that it begins with.
    """
    headed: Callable[[Sequence[str], Mapping[str, str]], Conditions] | None = getattr(model, "encode_headed", None)
    return model.encode_prompts(texts) if headed is None else headed(texts, heads)
