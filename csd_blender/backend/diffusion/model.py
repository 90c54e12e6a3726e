"""A frozen, text-conditioned diffusion model as score distillation sees it.

The bundled mini model, Stable Diffusion 1.x / 2.x and the first stage of DeepFloyd IF come in the same diffusers folder
layout and pass through the same code. Nothing here needs a gradient of the network; the VAE encoder does pass one on to
the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@dataclass
class DiffusionModel:
    """Networks and noise schedule of one diffusion model.

    Attributes:
        vae: ``AutoencoderKL``, or None for a model that works on pixels in [-1, 1].
        unet: ``UNet2DConditionModel``.
        text_encoder: released by :meth:`free_text_encoder` once the prompts are encoded; ``load_text_encoder``
            brings it back for the next job.
        alphas_cumprod: float32 ``[T]``, the products written as alpha-bar in DDPM (Ho et al. 2020).
        prediction_type: ``"epsilon"`` or ``"v_prediction"`` (Salimans and Ho 2022).
        native_size: side of the square pictures the model was trained on, in pixels.
        text_tokens: so many tokens of a text are read, and shorter texts are padded to.
        reads_t5: the text encoder is a T5, as DeepFloyd IF's, and no CLIP.
        vae_slicing: encode one picture at a time, the cheapest step when memory runs out.
        refused_predictions: how many calls of the network gave NaN or infinite numbers.
    """

    name: str
    vae: torch.nn.Module | None
    unet: torch.nn.Module
    text_encoder: torch.nn.Module | None
    tokenizer: object | None
    alphas_cumprod: Tensor
    prediction_type: str
    native_size: int
    device: torch.device
    load_text_encoder: Callable[[], torch.nn.Module] | None = None
    text_tokens: int = 77
    reads_t5: bool = False
    vae_slicing: bool = False
    refused_predictions: int = 0
    _embeddings: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_train_timesteps(self) -> int:
        return len(self.alphas_cumprod)

    @property
    def latent_channels(self) -> int:
        return int(self.unet.config.in_channels)

    @property
    def latent_factor(self) -> int:
        """Pixels per latent along one side."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``sqrt(alpha-bar_t)`` and ``sqrt(1 - alpha-bar_t)`` for integer steps ``t [B]``, each ``[B, 1, 1, 1]``."""
        alpha_bar = self.alphas_cumprod[t.to(self.alphas_cumprod.device)].to(self.device).view(-1, 1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """``x_t = sqrt(alpha-bar_t) x + sqrt(1 - alpha-bar_t) noise``."""
        alpha, sigma = self.alpha_sigma(t)
        return alpha * latents + sigma * noise

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings ``[N, L, D]``; each distinct prompt is encoded once and remembered.

        They are those of the family's own pipeline in diffusers: CLIP reads the padding as it reads the text, unless
        its settings ask for a mask, while T5 gets the mask, and texts in lower case. (That pipeline can also clean web
        captions of addresses and the like, if two more packages are there; prompts need none of it.)
        """
        missing = [p for p in dict.fromkeys(prompts) if p not in self._embeddings]
        if missing:
            if self.text_encoder is None:
                self.text_encoder = self.load_text_encoder()
            tokens = self.tokenizer(
                [self._as_read(p) for p in missing],
                padding="max_length",
                truncation=True,
                max_length=self.text_tokens,
                return_attention_mask=True,
                return_tensors="pt",
            )
            config = getattr(self.text_encoder, "config", None)
            with_mask = self.reads_t5 or getattr(config, "use_attention_mask", False)
            mask = {"attention_mask": tokens.attention_mask.to(self.device)} if with_mask else {}
            embeddings = self.text_encoder(tokens.input_ids.to(self.device), **mask)[0]
            self._embeddings.update(zip(missing, embeddings.to(self.unet.dtype), strict=True))
        return torch.stack([self._embeddings[p] for p in prompts])

    def _as_read(self, prompt: str) -> str:
        return prompt.lower().strip() if self.reads_t5 else prompt

    def fitting_prompt(self, prompt: str, ending: str) -> str:
        """As many of the prompt's words as the text encoder reads with ``ending`` after them; all of them, mostly."""
        words = prompt.split(" ")
        while len(words) > 1 and self._count_tokens(" ".join(words) + ending) > self.text_tokens:
            words.pop()
        return " ".join(words)

    def _count_tokens(self, text: str) -> int:
        return len(self.tokenizer(self._as_read(text), truncation=False).input_ids)

    def free_text_encoder(self) -> None:
        """Give the text encoder's memory back; encoded prompts stay."""
        self.text_encoder = None

    def encode_images(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents of pictures, differentiable.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1]; of another size than the model's own they are resized to that, see
                :func:`resize`.
            generator: CPU generator for the posterior sample; None takes the posterior mean.

        Returns:
            ``[B, C, h, w]`` float32, scaled to about unit variance.
        """
        pixels = resize(images * 2 - 1, self.native_size)
        if self.vae is None:
            return pixels
        pixels = pixels.to(self.vae.dtype)
        if self.vae_slicing:  # one picture's activations at a time, made again on the way back
            rows = [checkpoint(self._moments, row, use_reentrant=False) for row in pixels.split(1)]
            moments = torch.cat(rows).float()
        else:
            moments = self._moments(pixels).float()
        mean, log_variance = moments.chunk(2, dim=1)
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator).to(mean)
            mean = mean + (0.5 * log_variance.clamp(-30.0, 20.0)).exp() * noise
        shift = getattr(self.vae.config, "shift_factor", None) or 0.0
        return (mean - shift) * self.vae.config.scaling_factor

    def _moments(self, pixels: Tensor) -> Tensor:
        hidden = self.vae.encoder(pixels)
        return hidden if self.vae.quant_conv is None else self.vae.quant_conv(hidden)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pictures ``[B, 3, H, W]`` in [0, 1] from latents."""
        if self.vae is None:
            return (latents * 0.5 + 0.5).clamp(0, 1)
        shift = getattr(self.vae.config, "shift_factor", None) or 0.0
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor + shift
        return (self.vae.decode(scaled).sample.float() * 0.5 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def predict_noise(self, noisy: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        """The network's noise prediction, float32.

        Args:
            noisy: ``[N, C, h, w]`` latents at step ``t``.
            t: ``[N]`` integer steps.
            embeddings: ``[N, L, D]``.

        A ``v`` prediction is turned into noise by ``eps = sigma x_t + alpha v``. Of a model that also predicts a
        variance (twice the channels), only the noise half is kept. Calls that give invalid numbers are counted.
        """
        dtype = self.unet.dtype
        prediction = self.unet(noisy.to(dtype), t.to(self.device), encoder_hidden_states=embeddings.to(dtype)).sample
        prediction = prediction[:, : noisy.shape[1]].float()
        if self.prediction_type == "v_prediction":
            alpha, sigma = self.alpha_sigma(t)
            prediction = sigma * noisy + alpha * prediction
        if not bool(torch.isfinite(prediction).all()):
            self.refused_predictions += 1
        return prediction

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        negative_prompt: str = "",
        steps: int = 25,
        guidance_scale: float = 5.0,
        seed: int = 0,
        size: int | None = None,
    ) -> Tensor:
        """Pictures ``[N, 3, H, W]`` by DDIM (Song et al. 2020, eta 0) with classifier-free guidance."""
        side = (size or self.native_size) // self.latent_factor
        generator = torch.Generator().manual_seed(seed)
        shape = (len(prompts), self.latent_channels, side, side)
        x = torch.randn(shape, generator=generator).to(self.device)
        embeddings = torch.cat([self.encode_prompts(prompts), self.encode_prompts([negative_prompt] * len(prompts))])
        grid = torch.linspace(self.num_train_timesteps - 1, 0, steps + 1).round().long()
        for t, t_next in zip(grid[:-1], grid[1:], strict=True):
            batch_t = t.expand(2 * len(prompts))
            positive, negative = self.predict_noise(torch.cat([x, x]), batch_t, embeddings).chunk(2)
            noise_pred = negative + guidance_scale * (positive - negative)
            alpha, sigma = self.alpha_sigma(t[None])
            alpha_next, sigma_next = self.alpha_sigma(t_next[None])
            x = alpha_next * (x - sigma * noise_pred) / alpha + sigma_next * noise_pred
        return self.decode_latents(x)


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
