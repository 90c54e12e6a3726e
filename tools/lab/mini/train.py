# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the mini model: render pictures, train the autoencoder, encode the pictures, train the noise predictor
together with the text encoder, export.

Every step draws its pictures and noise from generators seeded by (seed, stage, step); with the optimizer's state in the
checkpoint, a resumed run therefore takes the same steps as one that was never interrupted.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from csd_blender.backend.mini.vocabulary import FRONT_SHAPES

from . import dataset, models
from .tokenizer import encode_words

Log = Callable[[str], None]


@dataclass
class Config:
    """What to train. `hours` limits the noise predictor's training time (its learning rate then falls with time).

    `front_share` of each of its batches is drawn from clear views of whole shapes with a front alone, at the noise
    levels where a picture's layout is decided: the model learns view words last, for they explain little of its loss.
    """

    out: Path
    cache: Path
    seed: int = 0
    data_count: int = 48000
    vae_data: int = 12000
    vae_steps: int = 3000
    unet_steps: int = 8000
    hours: float | None = None
    vae_batch: int = 16
    unet_batch: int = 64
    vae_rate: float = 1.5e-3
    unet_rate: float = 1e-3
    front_share: float = 0.0
    ema: float = 0.9985
    device: str = "cpu"
    processes: int = 2
    save_seconds: float = 180.0
    resume: bool = False
    sizes: models.Sizes = field(default_factory=models.Sizes)


def learning_factor(step: int, progress: float, warmup: int = 200, hold: float = 0.7) -> float:
    """Learning rate relative to its peak: linear warm-up by steps, constant, then a cosine fall over the last part."""
    factor = min(1.0, (step + 1) / warmup)
    if progress > hold:
        factor *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - hold) / (1 - hold))))
    return factor


def save_state(path: Path, state: dict) -> None:
    partial = path.with_suffix(".tmp")
    torch.save(state, partial)
    partial.replace(path)


def generators(seed: int, stage: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    rng = np.random.default_rng((seed, stage, step))
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


class Reporter:
    """Appends every 50th step's mean loss to a JSONL file and says a line a minute."""

    def __init__(self, path: Path, stage: str, log: Log) -> None:
        self.path, self.stage, self.log = path, stage, log
        self.losses: list[torch.Tensor] = []
        self.spoken = time.monotonic()

    def add(self, step: int, loss: torch.Tensor, rate: float, elapsed: float, every: int = 50) -> None:
        self.losses.append(loss.detach())
        if (step + 1) % every:
            return
        mean = float(torch.stack(self.losses).mean())
        self.losses.clear()
        if not math.isfinite(mean):
            raise FloatingPointError(f"{self.stage}: the loss is no longer finite at step {step + 1}")
        row = {
            "stage": self.stage,
            "step": step + 1,
            "loss": round(mean, 6),
            "rate": rate,
            "elapsed": round(elapsed, 1),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if time.monotonic() - self.spoken > 60:
            self.spoken = time.monotonic()
            self.log(f"{self.stage} step {step + 1}: loss {mean:.5f}, {elapsed / 60:.1f} min")


# ---- autoencoder ---------------------------------------------------------------------------------------------------


def vae_loss(vae: torch.nn.Module, images: torch.Tensor, masks: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Weighted squared error, plus that of the differences of neighboring pixels, plus a trace of KL divergence.

    `images` [N, 3, S, S] in -1..1, `masks` [N, 1, S, S] in 0..1, `noise` [N, 4, S/4, S/4]. The object counts five times
    as much as the background. A plain absolute error instead would give up rare colors.
    """
    posterior = vae.encode(images).latent_dist
    decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    weight = 1.0 + 4.0 * masks
    weight = weight / weight.mean()
    error = decoded - images
    loss = (weight * error**2).mean()
    edges = (error.diff(dim=2) ** 2).mean() + (error.diff(dim=3) ** 2).mean()
    return loss + 0.25 * edges + 1e-6 * posterior.kl().mean()


def train_vae(config: Config, images: np.ndarray, masks: np.ndarray, log: Log) -> torch.nn.Module:
    """Trains the autoencoder on uint8 pictures [N, 64, 64, 3]; resumes from `vae.pt` where that is asked for."""
    torch.manual_seed(config.seed)
    vae = models.make_vae(config.sizes).to(config.device)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.vae_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    path, first, before = config.out / "vae.pt", 0, 0.0
    if config.resume and path.exists():
        state = torch.load(path, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        first, before = state["step"], state["elapsed"]
    start = saved = time.monotonic()
    reporter = Reporter(config.out / "progress.jsonl", "vae", log)

    def save(step: int) -> None:
        save_state(path, {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                     "elapsed": before + time.monotonic() - start})  # fmt: skip

    for step in range(first, config.vae_steps):
        rng, generator = generators(config.seed, 1, step)
        chosen = rng.integers(len(images), size=config.vae_batch)
        batch = torch.from_numpy(images[chosen]).to(config.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        mask = torch.from_numpy(masks[chosen]).to(config.device)[:, None].float() / 255
        side = models.LATENT_SIZE * batch.shape[-1] // dataset.SIZE
        noise = torch.randn(len(chosen), 4, side, side, generator=generator).to(config.device)
        rate = config.vae_rate * learning_factor(step, step / config.vae_steps, warmup=100, hold=0.5)
        optimizer.param_groups[0]["lr"] = rate
        loss = vae_loss(vae, batch, mask, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        reporter.add(step, loss, rate, before + time.monotonic() - start)
        if time.monotonic() - saved > config.save_seconds:
            saved = time.monotonic()
            save(step + 1)
    save(max(first, config.vae_steps))
    return vae.eval()


@torch.no_grad()
def encode_latents(vae: torch.nn.Module, images: np.ndarray, device: str, batch: int = 128) -> tuple[np.ndarray, float]:
    """Posterior means and deviations of all pictures, float16 [N, 8, 16, 16], unscaled, and the scaling factor that
    gives samples unit deviation."""
    rows = []
    for first in range(0, len(images), batch):
        pixels = torch.from_numpy(images[first : first + batch]).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        posterior = vae.encode(pixels).latent_dist
        rows.append(torch.cat((posterior.mean, posterior.std), 1).half().cpu().numpy())
    latents = np.concatenate(rows)
    some = latents[:: max(1, len(latents) // 4000)].astype(np.float32)
    return latents, float(1.0 / math.sqrt(some[:, :4].var() + (some[:, 4:] ** 2).mean()))


# ---- noise predictor and text encoder ------------------------------------------------------------------------------


class Ema:
    """Running average of a module's parameters, slower as training goes on."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        """Takes in the parameters after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(module.parameters()), 1 - decay)


def unet_loss(
    networks: torch.nn.ModuleDict, latents: torch.Tensor, tokens: torch.Tensor, noise: torch.Tensor,
    timesteps: torch.Tensor, alphas: torch.Tensor, gamma: float = 5.0,
) -> torch.Tensor:  # fmt: skip
    """Mean squared error of the predicted noise, weighted by min(SNR, gamma) / SNR of each timestep."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    words = networks["text_encoder"](tokens).last_hidden_state
    return weighted_error(networks["unet"](noisy, timesteps, words).sample, noise, alphas[timesteps], gamma)


def weighted_error(
    predicted: torch.Tensor,
    noise: torch.Tensor,
    alphas: torch.Tensor,
    gamma: float,
    emphasis: torch.Tensor | float = 1.0,
    floor: float = 0.0,
) -> torch.Tensor:
    """Mean squared error of noise ``[N, C, h, w]``, weighted by min(SNR, gamma) / SNR (Hang et al. 2023, 2303.09556).

    So an error of the clean picture counts min(SNR, gamma) times, which is hardly at all where there is much noise, and
    it is decided what stands where. With a ``floor`` it counts that much at least; 1 is the truncated SNR of Salimans
    and Ho (2022, 2202.00512, eq. 9).

    ``alphas``: ``[N]``, the products alpha-bar of the rows' timesteps. ``emphasis``: how much places count besides.
    """
    snr = alphas / (1 - alphas)
    weight = snr.clamp(floor, gamma) / snr
    return (weight * (emphasis * (predicted - noise) ** 2).mean((1, 2, 3))).mean()


def train_unet(config: Config, latents: np.ndarray, scale: float, labels: np.ndarray, log: Log) -> torch.nn.ModuleDict:
    """Trains noise predictor and text encoder; returns their averaged weights. Resumes from `unet.pt`."""
    torch.manual_seed(config.seed + 1)
    networks = torch.nn.ModuleDict(
        {"unet": models.make_unet(config.sizes), "text_encoder": models.make_text_encoder(config.sizes)}
    ).to(config.device)
    networks.train()
    ema = Ema(networks, config.ema)
    optimizer = torch.optim.AdamW(networks.parameters(), lr=config.unet_rate, weight_decay=1e-3, betas=(0.9, 0.99))
    path, first, before = config.out / "unet.pt", 0, 0.0
    if config.resume and path.exists():
        state = torch.load(path, weights_only=True)
        networks.load_state_dict(state["networks"])
        ema.average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, before = state["step"], state["elapsed"]
    start = saved = time.monotonic()
    reporter = Reporter(config.out / "progress.jsonl", "unet", log)
    alphas = models.make_scheduler().alphas_cumprod.to(config.device)

    def save(step: int) -> None:
        save_state(path, {"networks": networks.state_dict(), "average": ema.average.state_dict(), "scale": scale,
                     "optimizer": optimizer.state_dict(), "step": step, "sizes": asdict(config.sizes),
                     "elapsed": before + time.monotonic() - start})  # fmt: skip

    done = first
    fronts = np.flatnonzero((labels[:, 0] < len(FRONT_SHAPES)) & (labels[:, 4] == 0) & (labels[:, 7] == 1))
    for step in range(first, config.unet_steps):
        elapsed = before + time.monotonic() - start
        progress = step / config.unet_steps
        if config.hours is not None:
            progress = max(progress, elapsed / (3600 * config.hours))
            if progress >= 1:
                break
        rng, generator = generators(config.seed, 2, step)
        chosen = rng.integers(len(latents), size=config.unet_batch)
        favored = rng.random(config.unet_batch) < config.front_share
        chosen[favored] = fronts[rng.integers(len(fronts), size=int(favored.sum()))]
        stored = torch.from_numpy(latents[chosen]).float()
        draw = torch.randn(2, *stored[:, :4].shape, generator=generator)
        batch = scale * (stored[:, :4] + stored[:, 4:] * draw[0])
        timesteps = torch.randint(1000, (len(chosen),), generator=generator)
        timesteps = torch.where(torch.from_numpy(favored), 200 + timesteps * 7 // 10, timesteps)
        tokens = torch.tensor([encode_words(dataset.caption_words(labels[k], rng)) for k in chosen])
        batch, noise, timesteps, tokens = (x.to(config.device) for x in (batch, draw[1], timesteps, tokens))
        rate = config.unet_rate * learning_factor(step, progress)
        optimizer.param_groups[0]["lr"] = rate
        loss = unet_loss(networks, batch, tokens, noise, timesteps, alphas)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimizer.step()
        ema.update(networks, step)
        done = step + 1
        reporter.add(step, loss, rate, elapsed)
        if time.monotonic() - saved > config.save_seconds:
            saved = time.monotonic()
            save(done)
    save(done)
    return ema.average


# ---- all of it -----------------------------------------------------------------------------------------------------


def train(config: Config, log: Log = lambda text: None) -> None:
    """Runs all stages into `config.out`: `vae.pt`, `latents.npz`, `unet.pt`, `progress.jsonl`.

    Without `resume` the out folder must not hold a training yet; raises `FileExistsError` otherwise.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    if not config.resume and any((config.out / name).exists() for name in ("vae.pt", "unet.pt")):
        raise FileExistsError(f"{config.out} already holds a training; resume it or choose another folder")
    parts = dataset.render_cache(
        config.cache, min(config.vae_data, config.data_count), config.seed, config.processes, log
    )
    data = dataset.load_parts(parts)
    vae = train_vae(config, data["images"], data["masks"], log)
    parts = dataset.render_cache(config.cache, config.data_count, config.seed, config.processes, log)
    data = dataset.load_parts(parts)
    path = config.out / "latents.npz"
    if config.resume and path.exists() and len(np.load(path)["latents"]) == len(data["labels"]):
        stored = np.load(path)
        latents, scale = stored["latents"], float(stored["scale"])
    else:
        log("encoding pictures")
        latents, scale = encode_latents(vae, data["images"], config.device)
        np.savez(path, latents=latents, scale=scale)
    train_unet(config, latents, scale, data["labels"], log)


def load_trained(out: Path) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module, int]:
    """Autoencoder (with its scaling factor), averaged noise predictor and text encoder, and the number of steps."""
    state = torch.load(out / "unet.pt", weights_only=True, map_location="cpu")
    stored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state["sizes"].items()}
    sizes = models.Sizes(**stored)
    vae = models.make_vae(sizes)
    vae.load_state_dict(torch.load(out / "vae.pt", weights_only=True, map_location="cpu")["vae"])
    vae.register_to_config(scaling_factor=round(state["scale"], 5))
    networks = torch.nn.ModuleDict({"unet": models.make_unet(sizes), "text_encoder": models.make_text_encoder(sizes)})
    networks.load_state_dict(state["average"])
    return vae.eval(), networks["unet"].eval(), networks["text_encoder"].eval(), state["step"]


def export(checkpoint: Path, weights_dir: Path) -> int:
    """Writes the training in folder `checkpoint` as a half precision diffusers pipeline; returns its step number."""
    vae, unet, text_encoder, step = load_trained(checkpoint)
    models.save_pipeline(weights_dir, vae, unet, text_encoder)
    return step
