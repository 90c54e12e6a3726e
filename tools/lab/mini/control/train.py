# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the mini model's ControlNet: one net that sees depth and normals, beside the frozen bundled model.

Every step draws its pictures and noise from a generator seeded by (seed, step), whatever the number of processes, each
of which takes a part of the batch; with the optimizer's state in the checkpoint, a resumed run takes the same steps as
one that was never interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..dataset import caption_words, load_parts
from ..tokenizer import encode_words
from ..train import Ema, Reporter, encode_latents, generators, learning_factor, save_state
from .hints import DROPS, drop, hint_pictures
from .pictures import render_cache

Log = Callable[[str], None]
#: Depth, and normals in three channels.
CHANNELS = 4
#: Three widths give a stride of 4: pictures of 64 pixels, latents of 16.
EMBEDDING = (16, 32, 64)


@dataclass
class Config:
    """What to train.

    Attributes:
        weights: the bundled model, frozen. cache: of pictures. out: of the checkpoint `control.pt`.
        batch: of a step, all processes together. rate: highest, of the layers that the UNet gave; new ones take
            ``new_layers`` times as much.
        empty_text: share of rows whose net reads no prompt, whatever the UNet reads: so it runs without one as well.
        processes: on the CPU, one thread each; with another device one renders and trains.
    """

    weights: Path
    cache: Path
    out: Path
    seed: int = 3
    count: int = 24000
    steps: int = 8000
    batch: int = 32
    rate: float = 6e-4
    new_layers: float = 2.5
    ema: float = 0.997
    empty_text: float = 0.4
    gamma: float = 5.0
    processes: int = 2
    device: str = "cpu"
    save_seconds: float = 180.0


@dataclass
class Frozen:
    """The bundled model's parts, none of which changes."""

    unet: UNet2DConditionModel
    text: CLIPTextModel
    alphas: Tensor


def load_frozen(weights: Path, device: str = "cpu") -> Frozen:
    """UNet, text encoder and noise schedule in float32."""
    unet = UNet2DConditionModel.from_pretrained(weights / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(weights / "text_encoder", torch_dtype=torch.float32)
    alphas = DDIMScheduler.from_pretrained(weights / "scheduler").alphas_cumprod
    networks = [network.requires_grad_(False).eval().to(device) for network in (unet, text)]
    return Frozen(*networks, alphas.to(device))


def make_control_net(unet: UNet2DConditionModel, seed: int) -> ControlNetModel:
    """A net that begins with the UNet's own weights; where published ones begin with zeros, small random numbers: all
    layers learn from the first step on, which short trainings need."""
    torch.manual_seed(seed)
    net = ControlNetModel.from_unet(unet, conditioning_channels=CHANNELS, conditioning_embedding_out_channels=EMBEDDING)
    for convolution in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        nn.init.normal_(convolution.weight, std=0.01)
    nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=0.05)
    return net.requires_grad_(True).train().to(unet.device)


def groups(net: ControlNetModel, rate: float, new_layers: float) -> list[dict]:
    """The net's parameters for an optimizer: those that the UNet gave, and the new ones."""
    new, given = [], []
    for name, value in net.named_parameters():
        (new if name.startswith("controlnet_") else given).append(value)
    return [{"params": given, "factor": 1.0, "lr": rate}, {"params": new, "factor": new_layers, "lr": rate}]


def control_loss(
    net: ControlNetModel, frozen: Frozen, latents: Tensor, hints: Tensor, tokens: Tensor, own: Tensor, noise: Tensor,
    t: Tensor, gamma: float,
) -> Tensor:  # fmt: skip
    """Mean squared error of the predicted noise, weighted by min(SNR, gamma) / SNR (2303.09556).

    Args:
        latents: ``[N, 4, 16, 16]``, scaled. hints: ``[N, 4, 64, 64]`` in [0, 1]. tokens: ``[N, 16]`` of the UNet's
            prompts. own: ``[N, 16]`` of the net's. noise: as latents. t: ``[N]``.
    """
    alpha = frozen.alphas[t].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    with torch.no_grad():
        words, own_words = frozen.text(torch.cat((tokens, own))).last_hidden_state.chunk(2)
    down, mid = net(noisy, t, own_words, hints, return_dict=False)
    predicted = frozen.unet(
        noisy, t, words, down_block_additional_residuals=down, mid_block_additional_residual=mid
    ).sample
    snr = frozen.alphas[t] / (1 - frozen.alphas[t])
    weight = snr.clamp_max(gamma) / snr
    return (weight * ((predicted - noise) ** 2).mean((1, 2, 3))).mean()


def train_control(config: Config, log: Log = lambda text: None) -> None:
    """Render the pictures that are missing, then train; goes on from `control.pt` where there is one."""
    config.out.mkdir(parents=True, exist_ok=True)
    paths = render_cache(config.cache, config.count, config.seed, config.processes, log)
    encoded = config.out / "latents.npz"
    if not encoded.exists() or len(np.load(encoded)["latents"]) != len(load_parts(paths, ("labels",))["labels"]):
        log("encoding pictures")
        vae = AutoencoderKL.from_pretrained(config.weights / "vae", torch_dtype=torch.float32).eval()
        latents, _ = encode_latents(vae.to(config.device), load_parts(paths, ("images",))["images"], config.device)
        np.savez(encoded, latents=latents, scale=vae.config.scaling_factor)
    if config.processes == 1:
        _train(0, config, paths, log)
        return
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    torch.multiprocessing.spawn(_worker, (config, paths), config.processes)


def _worker(rank: int, config: Config, paths: list[Path]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=config.processes)
    _train(rank, config, paths, lambda text: print(text, flush=True) if rank == 0 else None)
    dist.destroy_process_group()


def _train(rank: int, config: Config, paths: list[Path], log: Log) -> None:
    data = load_parts(paths, ("depth", "normals", "coverage", "labels"))
    stored = np.load(config.out / "latents.npz")
    latents, scale, labels = stored["latents"], float(stored["scale"]), data["labels"]
    frozen = load_frozen(config.weights, config.device)
    net = make_control_net(frozen.unet, config.seed)
    ema = Ema(net, config.ema)
    optimizer = torch.optim.AdamW(groups(net, config.rate, config.new_layers), weight_decay=1e-3, betas=(0.9, 0.99))
    path, first, before = config.out / "control.pt", 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=config.device)
        net.load_state_dict(state["net"])
        ema.average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, before = state["step"], state["elapsed"]
    start = saved = time.monotonic()
    reporter = Reporter(config.out / "progress.jsonl", "control", log) if rank == 0 else None

    def save(step: int) -> None:
        if rank == 0:
            networks = {"net": net.state_dict(), "average": ema.average.state_dict()}
            elapsed = before + time.monotonic() - start
            save_state(path, networks | {"optimizer": optimizer.state_dict(), "step": step, "elapsed": elapsed})

    for step in range(first, config.steps):
        rng, generator = generators(config.seed, 9, step)
        chosen = rng.integers(len(latents), size=config.batch)
        draw = torch.randn(2, config.batch, 4, *latents.shape[2:], generator=generator)
        t = torch.randint(len(frozen.alphas), (config.batch,), generator=generator)
        tokens = torch.tensor([encode_words(caption_words(labels[k], rng)) for k in chosen])
        nothing = torch.tensor(encode_words([]))
        own = torch.where(torch.from_numpy(rng.random(config.batch) < config.empty_text)[:, None], nothing, tokens)
        kinds = rng.choice(len(DROPS), size=config.batch, p=list(DROPS.values()))
        hard = rng.random(config.batch) < 0.5
        mine = slice(rank * config.batch // config.processes, (rank + 1) * config.batch // config.processes)

        rows = chosen[mine]
        moments = torch.from_numpy(latents[rows]).float()
        batch = scale * (moments[:, :4] + moments[:, 4:] * draw[0][mine])
        depth, normals, coverage = (torch.from_numpy(data[name][rows]) for name in ("depth", "normals", "coverage"))
        hints = drop(hint_pictures(depth, normals, coverage, torch.from_numpy(hard[mine])), kinds[mine])
        shown = (batch, hints, tokens[mine], own[mine], draw[1][mine], t[mine])
        loss = control_loss(net, frozen, *(values.to(config.device) for values in shown), config.gamma)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.processes > 1:
            loss = _mean_over_processes(net, loss.detach())
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        rate = config.rate * learning_factor(step, step / config.steps, warmup=60, hold=0.6)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.step()
        ema.update(net, step)
        if reporter is not None:
            reporter.add(step, loss, rate, before + time.monotonic() - start)
        if time.monotonic() - saved > config.save_seconds:
            saved = time.monotonic()
            save(step + 1)
    save(max(first, config.steps))


def _mean_over_processes(net: nn.Module, loss: Tensor) -> Tensor:
    """Average all gradients, and the loss, which is returned."""
    gradients = [value.grad for value in net.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients] + [loss.view(1)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return flat[-1]


def export(checkpoint: Path, unet: UNet2DConditionModel, folder: Path) -> int:
    """Write the averaged net in half precision as diffusers' layout has it; returns its step number."""
    state = torch.load(checkpoint / "control.pt", weights_only=True, map_location="cpu")
    net = make_control_net(unet, 0)
    net.load_state_dict(state["average"])
    net.half().save_pretrained(folder, safe_serialization=True)
    return state["step"]
