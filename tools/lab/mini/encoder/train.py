# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the small encoder: a few convolutions that give the full encoder's latents and gradients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from ..control.pictures import PART
from ..dataset import load_parts
from ..training.loop import Course, Log, train_network
from .targets import latent_gradients, make_targets, pixels_of, pulled_back

#: Of the small encoder: channels, and blocks of three convolutions at 64, 32 and 16 pixels.
WIDTH, BLOCKS = 16, (0, 1, 1)
DECODER_WIDTH = 16


@dataclass
class Config:
    """What to train.

    Attributes:
        weights: the bundled model, whose encoder is the full one. cache: of pictures.
        out: of targets, and of the checkpoint `encoder.pt`.
        pictures_seed: of the pictures, which are the ControlNet's.
        count: of pictures to learn from; as many parts as ``held_out`` says are kept apart behind them.
        decoded: rows of each batch from which the decoder learns, which is there since the layout wants one: jobs
            decode by the model's own.
    """

    weights: Path
    cache: Path
    out: Path
    seed: int = 5
    pictures_seed: int = 3
    count: int = 4320
    held_out: int = 1
    steps: int = 1500
    batch: int = 8
    decoded: int = 1
    rate: float = 3e-3
    ema: float = 0.998
    processes: int = 2
    device: str = "cpu"
    save_seconds: float = 120.0


def make_small(width: int = WIDTH, blocks: tuple[int, ...] = BLOCKS) -> AutoencoderTiny:
    """The untrained network: encoder and decoder for pictures of any size, latents a quarter of it along each side."""
    levels = len(blocks)
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * levels, num_encoder_blocks=blocks,
        decoder_block_out_channels=(DECODER_WIDTH,) * levels, num_decoder_blocks=(0,) * levels,
    ).to(memory_format=torch.channels_last)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Pictures with what the full encoder makes of them, as tensors of all rows; see :mod:`.targets`."""

    images: np.ndarray
    latents: np.ndarray
    gradients: np.ndarray
    asked: Tensor

    def batch(self, rows: np.ndarray, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels in -1..1, latent gradients, and the full encoder's latents and pixel gradients."""
        told = (torch.from_numpy(values[rows]).float() for values in (self.latents, self.gradients))
        found = (pixels_of(self.images[rows]), self.asked[torch.from_numpy(rows)], *told)
        pixels, asked, latents, gradients = (values.to(device) for values in found)
        return pixels.contiguous(memory_format=torch.channels_last), asked, latents, gradients


def load_rows(paths: list[Path], seed: int, first: int) -> Rows:
    """The rows of target files, of which the first is part number ``first``."""
    data = load_parts(paths, ("images", "latents", "gradients"))
    asked = [latent_gradients(seed, first + i, PART) for i in range(len(paths))]
    return Rows(data["images"], data["latents"], data["gradients"], torch.cat(asked))


def encoder_loss(net: AutoencoderTiny, batch: tuple[Tensor, Tensor, Tensor, Tensor], decoded: int) -> Tensor:
    """Mean squared error of latents, relative one of pixel gradients, and that of some decoded pictures."""
    pixels, asked, latents, gradients = batch
    found, back = pulled_back(net.encoder, pixels, asked, create_graph=True)
    missed = (back - gradients).flatten(1).square().sum(1) / gradients.flatten(1).square().sum(1)
    drawn = net.decoder(latents[:decoded])
    return F.mse_loss(found, latents) + missed.mean() + F.mse_loss(drawn, pixels[:decoded])


def cosines(net: AutoencoderTiny, rows: Rows, device: str, batch: int = 16) -> tuple[Tensor, float]:
    """Cosine between the small encoder's and the full one's pixel gradient of each picture ``[N]``, and the root mean
    square error of latents."""
    found, squares = [], []
    for first in range(0, len(rows.images), batch):
        chosen = np.arange(first, min(first + batch, len(rows.images)))
        pixels, asked, latents, gradients = rows.batch(chosen, device)
        own, back = pulled_back(net.encoder, pixels, asked)
        found.append(F.cosine_similarity(back.flatten(1), gradients.flatten(1)).cpu())
        squares.append((own.detach() - latents).square().flatten(1).mean(1).cpu())
    return torch.cat(found), float(torch.cat(squares).mean().sqrt())


def train_encoder(config: Config, log: Log = lambda text: None) -> None:
    """Make the pictures and targets that are missing, then train; goes on from `encoder.pt` where there is one."""
    config.out.mkdir(parents=True, exist_ok=True)
    learned = -(-config.count // PART)
    paths = make_targets(
        config.weights, config.cache, config.out / "targets", (learned + config.held_out) * PART,
        (config.pictures_seed, config.seed), config.processes, log,
    )  # fmt: skip
    rows = load_rows(paths[:learned], config.seed, 0)
    torch.manual_seed(config.seed)
    net = make_small().to(config.device)
    course = Course(
        config.out, "encoder", config.seed, 12, config.steps, config.rate, hold=0.5, decay=1e-4, ema=config.ema,
        device=config.device, save_seconds=config.save_seconds,
    )  # fmt: skip

    def loss_of(step: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        batch = rows.batch(rng.integers(len(rows.images), size=config.batch), config.device)
        return encoder_loss(net, batch, config.decoded)

    ema = train_network(net, [{"params": list(net.parameters()), "factor": 1.0}], course, loss_of, log)
    if config.held_out:
        found, error = cosines(ema.average, load_rows(paths[learned:], config.seed, learned), config.device)
        report = {"cosine": float(found.mean()), "lowest_cosine": float(found.min()), "latent_error": error}
        report = {name: round(value, 4) for name, value in report.items()}
        with (config.out / "progress.jsonl").open("a") as file:
            file.write(json.dumps({"stage": "held out", **report}) + "\n")
        log(f"on {len(found)} pictures that it did not learn from: {report}")


def export(checkpoint: Path, folder: Path) -> int:
    """Write the averaged network in half precision as diffusers' layout has it; returns its step number."""
    state = torch.load(checkpoint / "encoder.pt", weights_only=True, map_location="cpu")
    net = make_small()
    net.load_state_dict(state["average"])
    net.half().save_pretrained(folder, safe_serialization=True)
    return state["step"]
