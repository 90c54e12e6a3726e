# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the mini model's ControlNet: one net that sees depth and normals, beside the frozen bundled model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..dataset import caption_words, load_parts
from ..tokenizer import encode_words
from ..train import weighted_error
from ..training.latents import load_latents, make_latents, sampled
from ..training.loop import Course, Log, groups, in_processes, train_network
from .hints import DROPS, drop, hint_pictures
from .pictures import render_cache

#: Depth, and normals in three channels.
CHANNELS = 4
MOST = 16.0  # times that a small thing counts
#: Three widths give a stride of 4: pictures of 64 pixels, latents of 16.
EMBEDDING = (16, 32, 64)


@dataclass
class Config:
    """What to train.

    Attributes:
        weights: the bundled model, frozen. cache: of pictures. out: of the checkpoint `control.pt`.
        batch: of a step, all processes together. rate: highest, of the layers that the UNet gave; new ones take
            ``new_layers`` times as much.
        often, builds, soft, near: shapes that come more often, the share of other builds, how round normals are at
            most, and the share of cameras that come near (``pictures.render_part``).
        floor: least weight of a row's error as that of the clean picture, see :func:`~..train.weighted_error`.
        even: small things of a color of their own, as panes and doors, count in the loss as if they covered this
            share of the picture, see :func:`emphasis`; 0: as they are.
        start: folder of such a net to go on from, in place of the UNet's weights.
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
    often: tuple[str, ...] = ()
    builds: float = 0.0
    soft: float = 0.0
    near: float = 0.0
    floor: float = 0.0
    even: float = 0.0
    start: Path | None = None
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


def control_loss(
    net: ControlNetModel, frozen: Frozen, latents: Tensor, hints: Tensor, tokens: Tensor, own: Tensor, noise: Tensor,
    t: Tensor, counts: Tensor, gamma: float, floor: float = 0.0,
) -> Tensor:  # fmt: skip
    """:func:`~..train.weighted_error` of the predicted noise.

    Args:
        latents: ``[N, 4, 16, 16]``, scaled. hints: ``[N, 4, 64, 64]`` in [0, 1]. tokens: ``[N, 16]`` of the UNet's
            prompts. own: ``[N, 16]`` of the net's. noise: as latents. t: ``[N]``. counts: ``[N, 1, 16, 16]``, how
            much each place counts.
    """
    alpha = frozen.alphas[t].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    with torch.no_grad():
        words, own_words = frozen.text(torch.cat((tokens, own))).last_hidden_state.chunk(2)
    down, mid = net(noisy, t, own_words, hints, return_dict=False)
    predicted = frozen.unet(
        noisy, t, words, down_block_additional_residuals=down, mid_block_additional_residual=mid
    ).sample
    return weighted_error(predicted, noise, frozen.alphas[t], gamma, counts, floor)


def emphasis(painted: Tensor, even: float, side: int) -> Tensor:
    """How much the places of latents ``[N, 1, side, side]`` count, at least 1.

    A pane is a hundredth of a picture, so that by its plain mean error a net may draw bricks in its place and lose
    nothing. Here a part or feature that covers a share ``a`` of the picture counts ``even / a`` times, at most
    :data:`MOST` times, as if it covered ``even``.

    Args:
        painted: ``[N, S, S]`` uint8, see :func:`.pictures.painted_map`.
    """
    own = F.one_hot(painted.long()).flatten(1, 2)  # [N, S * S, things]
    times = (even / own.float().mean(1).clamp_min(1e-6)).clamp(1, MOST)
    times[:, 0] = 1.0  # the material, and what is beside the shape
    counts = (own * times[:, None]).sum(2).view(painted.shape)
    return F.adaptive_avg_pool2d(counts[:, None], side)


def train_control(config: Config, log: Log = lambda text: None) -> None:
    """Render the pictures that are missing, then train; goes on from `control.pt` where there is one."""
    config.out.mkdir(parents=True, exist_ok=True)
    paths = render_cache(
        config.cache, config.count, config.seed, config.processes, log, config.often, config.builds, config.soft,
        config.near,
    )  # fmt: skip
    make_latents(config.out, config.weights, paths, config.device, log)
    in_processes(_train, config.processes, log, config, paths)


def _train(rank: int, log: Log, config: Config, paths: list[Path]) -> None:
    data = load_parts(paths, ("depth", "normals", "coverage", "labels", *(["painted"] if config.even else [])))
    labels, (latents, scale) = data["labels"], load_latents(config.out)
    frozen = load_frozen(config.weights, config.device)
    net = make_control_net(frozen.unet, config.seed)
    if config.start is not None:
        net.load_state_dict(ControlNetModel.from_pretrained(config.start, torch_dtype=torch.float32).state_dict())
    course = Course(
        config.out, "control", config.seed, 9, config.steps, config.rate, hold=0.6, decay=1e-3, ema=config.ema,
        device=config.device, rank=rank, processes=config.processes, save_seconds=config.save_seconds,
    )  # fmt: skip
    mine = course.part_of(config.batch)

    def loss_of(step: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        chosen = rng.integers(len(latents), size=config.batch)
        draw = torch.randn(2, config.batch, 4, *latents.shape[2:], generator=generator)
        t = torch.randint(len(frozen.alphas), (config.batch,), generator=generator)
        tokens = torch.tensor([encode_words(caption_words(labels[k], rng)) for k in chosen])
        nothing = torch.tensor(encode_words([]))
        own = torch.where(torch.from_numpy(rng.random(config.batch) < config.empty_text)[:, None], nothing, tokens)
        kinds = rng.choice(len(DROPS), size=config.batch, p=list(DROPS.values()))
        hard = rng.random(config.batch) < 0.5

        rows = chosen[mine]
        batch = sampled(latents, rows, scale, draw[0][mine])
        depth, normals, coverage = (torch.from_numpy(data[name][rows]) for name in ("depth", "normals", "coverage"))
        hints = drop(hint_pictures(depth, normals, coverage, torch.from_numpy(hard[mine])), kinds[mine])
        counts = torch.ones(len(rows), 1, *latents.shape[2:])
        if config.even:
            counts = emphasis(torch.from_numpy(data["painted"][rows]), config.even, latents.shape[2])
        shown = (batch, hints, tokens[mine], own[mine], draw[1][mine], t[mine], counts)
        return control_loss(net, frozen, *(values.to(config.device) for values in shown), config.gamma, config.floor)

    train_network(net, groups(net, "controlnet_", config.new_layers), course, loss_of, log)


def export(checkpoint: Path, unet: UNet2DConditionModel, folder: Path) -> int:
    """Write the averaged net in half precision as diffusers' layout has it; returns its step number."""
    state = torch.load(checkpoint / "control.pt", weights_only=True, map_location="cpu")
    net = make_control_net(unet, 0)
    net.load_state_dict(state["average"])
    net.half().save_pretrained(folder, safe_serialization=True)
    return state["step"]
