# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the mini model's variant that is told a picture and a camera, in Zero-1-to-3's build (Liu et al. 2023,
arXiv 2303.11328): the noise predictor sees the picture's latents beside its own, and one vector, of an eye for pictures
and the way to the camera. That eye, which published ones have from CLIP, is learned along here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from csd_blender.backend.diffusion.views.zero123 import CLIP_DEVIATION, CLIP_MEAN, POSE

from ..control.train import load_frozen
from ..dataset import SIZE, load_parts
from ..models import unet_like
from ..train import encode_latents, weighted_error
from ..training.latents import load_latents, make_latents, sampled
from ..training.loop import Course, Log, groups, in_processes, train_network
from .pictures import OTHERS, render_cache

WIDTHS = (64, 80, 96)  # of the network's levels: with the eye less than 8 MB
EYE = {
    "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": SIZE,
    "patch_size": 8, "projection_dim": 64,
}  # fmt: skip
SHOWN_FILE = "shown.npz"


@dataclass
class Config:
    """What to train; as :class:`..views.train.Config`.

    Attributes:
        count: things as they are shown. batch: pictures in a step, all processes together.
        empty: share of pictures that are drawn after nothing.
    """

    weights: Path
    cache: Path
    out: Path
    seed: int = 8
    count: int = 12000
    steps: int = 8000
    batch: int = 48
    rate: float = 1e-3
    ema: float = 0.998
    empty: float = 0.1
    gamma: float = 5.0
    processes: int = 2
    device: str = "cpu"
    save_seconds: float = 180.0


class PictureNet(nn.Module):
    """What is learned: the noise predictor, the eye, and the layer between."""

    def __init__(self, plain: UNet2DConditionModel, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.unet = unet_like(plain, in_channels=2 * plain.config.in_channels, block_out_channels=WIDTHS)
        inherit(self.unet, plain)
        self.image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**EYE))
        self.projection = nn.Linear(EYE["projection_dim"] + POSE, plain.config.cross_attention_dim)

    def forward(self, noisy: Tensor, t: Tensor, shown: Tensor, latents: Tensor, poses: Tensor, told: Tensor) -> Tensor:
        """The noise in ``noisy``, ``[N, 4, 16, 16]``.

        Args:
            shown: pictures ``[N, 3, 64, 64]`` in [0, 1]. latents: of them, the posterior's mean, not scaled.
            poses: ``[N, 4]``. told: ``[N]``, 1 where these are told, else 0.
        """
        mean, deviation = (torch.tensor(v, device=shown.device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_DEVIATION))
        vector = self.image_encoder((shown - mean) / deviation).image_embeds
        words = self.projection(torch.cat((vector, poses), 1)) * told[:, None]
        beside = torch.cat((noisy, latents * told.view(-1, 1, 1, 1)), 1)
        return self.unet(beside, t, words[:, None]).sample


def inherit(unet: UNet2DConditionModel, plain: UNet2DConditionModel) -> None:
    """Begin with the plain network's weights wherever it has some of the same shape."""
    own, given = unet.state_dict(), plain.state_dict()
    unet.load_state_dict(own | {name: value for name, value in given.items() if value.shape == own[name].shape})


def train_picture(config: Config, log: Log = lambda text: None) -> None:
    """Render the pictures that are missing, then train; goes on from `picture.pt` where there is one."""
    config.out.mkdir(parents=True, exist_ok=True)
    paths = render_cache(config.cache, config.count, config.seed, config.processes, log)
    make_latents(config.out, config.weights, paths, config.device, log, "poses")
    if not (config.out / SHOWN_FILE).exists():
        vae = AutoencoderKL.from_pretrained(config.weights / "vae", torch_dtype=torch.float32).eval()
        latents, _ = encode_latents(vae.to(config.device), load_parts(paths, ("shown",))["shown"], config.device)
        np.savez(config.out / SHOWN_FILE, latents=latents[:, :4])
    in_processes(_train, config.processes, log, config, paths)


def _train(rank: int, log: Log, config: Config, paths: list[Path]) -> None:
    data = load_parts(paths, ("shown", "poses"))
    latents, scale = load_latents(config.out)
    seen = np.load(config.out / SHOWN_FILE)["latents"]
    frozen = load_frozen(config.weights, config.device)
    net = PictureNet(frozen.unet, config.seed).train().to(config.device)
    course = Course(
        config.out, "picture", config.seed, 17, config.steps, config.rate, hold=0.5, decay=1e-3, ema=config.ema,
        warmup=200, device=config.device, rank=rank, processes=config.processes, save_seconds=config.save_seconds,
    )  # fmt: skip
    mine = course.part_of(config.batch)

    def loss_of(step: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        rows = rng.integers(len(latents), size=config.batch)
        told = torch.from_numpy(rng.random(config.batch) >= config.empty).float()
        draw = torch.randn(2, config.batch, 4, *latents.shape[2:], generator=generator)
        t = torch.randint(len(frozen.alphas), (config.batch,), generator=generator)
        rows, told, draw, t = rows[mine], told[mine], draw[:, mine].to(config.device), t[mine].to(config.device)
        clean = sampled(latents, rows, scale, draw[0].cpu()).to(config.device)
        alpha = frozen.alphas[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * draw[1]
        shown = torch.from_numpy(data["shown"][rows // OTHERS]).permute(0, 3, 1, 2).float() / 255
        given = (shown, torch.from_numpy(seen[rows // OTHERS]).float(), torch.from_numpy(data["poses"][rows]), told)
        predicted = net(noisy, t, *(values.to(config.device) for values in given))
        return weighted_error(predicted, draw[1], frozen.alphas[t], config.gamma)

    train_network(net, groups(net, "image_encoder.", 1.0), course, loss_of, log)


def export(checkpoint: Path, plain: UNet2DConditionModel, folder: Path) -> int:
    """Write the averaged networks in half precision in Zero-1-to-3's layout; returns their step number."""
    state = torch.load(checkpoint / "picture.pt", weights_only=True, map_location="cpu")
    net = PictureNet(plain, 0)
    net.load_state_dict(state["average"])
    net.half()
    net.unet.save_pretrained(folder / "unet", safe_serialization=True)
    net.image_encoder.save_pretrained(folder / "image_encoder", safe_serialization=True)
    layer = folder / "cc_projection"
    layer.mkdir(parents=True, exist_ok=True)
    weights = {f"projection.{name}": value.contiguous() for name, value in net.projection.state_dict().items()}
    save_file(weights, layer / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    (layer / "config.json").write_text(json.dumps({"_class_name": "CCProjection"}) + "\n")
    return state["step"]
