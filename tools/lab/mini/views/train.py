# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the mini model's multi-view variant: the bundled model's own network, which learns to draw four views of
a thing at once, as MVDream learned it from Stable Diffusion (Shi et al. 2023, arXiv 2308.16512).

The bundled ControlNet, which stays as it is, is beside it for a share of the things, so that it can be there later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from csd_blender.backend.diffusion.views.mvdream import NUMBERS, see_all_views
from csd_blender.backend.mini import vocabulary as voc

from ..control.hints import hint_pictures
from ..control.train import Frozen, load_frozen
from ..dataset import COLUMNS, caption_words, load_parts
from ..models import unet_like
from ..tokenizer import encode_words
from ..train import weighted_error
from ..training.latents import load_latents, make_latents, sampled
from ..training.loop import Course, Log, groups, in_processes, train_network
from .pictures import RING, render_cache

NEW = "class_embedding."  # what the names of the layers for cameras begin with
OFTEN = 8


@dataclass
class Config:
    """What to train.

    Attributes:
        weights: the bundled model. control: its ControlNet. cache: of pictures. out: of the checkpoint `views.pt`.
        batch: things in a step, all processes together; pictures are four times as many.
        rate: highest, of the layers that the bundled model gave; new ones take ``new_layers`` times as much.
        controlled: share of things whose geometry is told by the ControlNet.
        fronts: share of things that have a front; the others are drawn evenly by their kind. None: half of them, and of
            the rest what comes.
        often: shapes that come :data:`OFTEN` times as often as others of their sort, where ``fronts`` is given, and
            of which more pictures are rendered.
        start: folder of such a network to go on from, in place of the bundled model's own.
        processes: on the CPU, one thread each; with another device one renders and trains.
    """

    weights: Path
    control: Path
    cache: Path
    out: Path
    seed: int = 6
    count: int = 36000
    steps: int = 4000
    batch: int = 12
    rate: float = 4e-4
    new_layers: float = 2.0
    ema: float = 0.997
    controlled: float = 0.4
    gamma: float = 5.0
    fronts: float | None = None
    often: tuple[str, ...] = ()
    start: Path | None = None
    processes: int = 2
    device: str = "cpu"
    save_seconds: float = 180.0


def make_view_unet(plain: UNet2DConditionModel, seed: int) -> UNet2DConditionModel:
    """A network that begins as the plain one: its weights, and two new layers for cameras, the last one zero."""
    torch.manual_seed(seed)
    unet = unet_like(plain, class_embed_type="projection", projection_class_embeddings_input_dim=NUMBERS)
    missing, unexpected = unet.load_state_dict(plain.state_dict(), strict=False)
    if unexpected or any(not name.startswith(NEW) for name in missing):
        raise ValueError(f"the plain network does not fit: {missing}, {unexpected}")
    nn.init.zeros_(unet.class_embedding.linear_2.weight)
    nn.init.zeros_(unet.class_embedding.linear_2.bias)
    see_all_views(unet, RING)
    return unet.requires_grad_(True).train().to(plain.device)


def view_loss(
    unet: UNet2DConditionModel, control: ControlNetModel, frozen: Frozen, latents: Tensor, hints: Tensor, told: Tensor,
    tokens: Tensor, cameras: Tensor, noise: Tensor, t: Tensor, gamma: float,
) -> Tensor:  # fmt: skip
    """:func:`~..train.weighted_error` of the predicted noise.

    Args:
        latents: ``[N, 4, 16, 16]``, scaled, in rings of four. hints: ``[N, 4, 64, 64]`` in [0, 1].
        told: ``[N]``, 1 where the ControlNet counts, else 0. tokens: ``[N, 16]``. cameras: ``[N, 16]``.
        noise: as latents. t: ``[N]``, alike in a ring.
    """
    alpha = frozen.alphas[t].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    with torch.no_grad():
        words = frozen.text(tokens).last_hidden_state
        down, mid = control(noisy, t, words, hints, return_dict=False)
        weight = told.view(-1, 1, 1, 1)
        down, mid = [residual * weight for residual in down], mid * weight
    predicted = unet(
        noisy, t, words, class_labels=cameras, down_block_additional_residuals=down, mid_block_additional_residual=mid
    ).sample
    return weighted_error(predicted, noise, frozen.alphas[t], gamma)


def ring_words(labels: np.ndarray, rng: np.random.Generator) -> list[str]:
    """A caption for a ring, by the labels of its first picture: a side is never named, the cameras tell it."""
    label = labels.copy()
    label[COLUMNS.index("clear")] = 0
    return caption_words(label, rng)


def drawn_by_kind(
    kinds: Sequence[np.ndarray], with_front: np.ndarray, rng: np.random.Generator, often: Sequence[str] = ()
) -> np.ndarray:
    """A ring for each of ``with_front [N]``, whether it shall have one, evenly over the kinds of shapes, but for those
    that shall come ``often``; ``kinds``: the rings of each, in the vocabulary's order."""
    count = len(voc.FRONT_SHAPES)
    some = [[k for k in names if len(kinds[k])] for names in (range(count, len(kinds)), range(count))]
    some = [[k for k in names for _ in range(OFTEN if voc.SHAPES[k] in often else 1)] for names in some]
    chosen = [kinds[some[int(front)][rng.integers(len(some[int(front)]))]] for front in with_front]
    return np.array([rings[rng.integers(len(rings))] for rings in chosen])


def train_views(config: Config, log: Log = lambda text: None) -> None:
    """Render the pictures that are missing, then train; goes on from `views.pt` where there is one."""
    config.out.mkdir(parents=True, exist_ok=True)
    paths = render_cache(config.cache, config.count, config.seed, config.processes, log, config.often)
    make_latents(config.out, config.weights, paths, config.device, log)
    in_processes(_train, config.processes, log, config, paths)


def _train(rank: int, log: Log, config: Config, paths: list[Path]) -> None:
    data = load_parts(paths, ("depth", "normals", "coverage", "labels", "cameras"))
    labels, (latents, scale) = data["labels"], load_latents(config.out)
    fronts = np.flatnonzero(labels[::RING, 0] < len(voc.FRONT_SHAPES))
    kinds = [np.flatnonzero(labels[::RING, 0] == k) for k in range(len(voc.SHAPES))]
    frozen = load_frozen(config.weights, config.device)
    control = ControlNetModel.from_pretrained(config.control, torch_dtype=torch.float32).requires_grad_(False).eval()
    control = control.to(config.device)
    unet = make_view_unet(frozen.unet, config.seed)
    if config.start is not None:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(config.start, torch_dtype=torch.float32).state_dict())
    course = Course(
        config.out, "views", config.seed, 15, config.steps, config.rate, hold=0.5, decay=1e-3, ema=config.ema,
        device=config.device, rank=rank, processes=config.processes, save_seconds=config.save_seconds,
    )  # fmt: skip
    mine = course.part_of(config.batch)

    def loss_of(step: int, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        if config.fronts is None:
            rings = rng.integers(len(latents) // RING, size=config.batch)
            half = config.batch // 2  # what has a front is what a ring can get wrong
            rings[:half] = fronts[rng.integers(len(fronts), size=half)]
        else:
            rings = drawn_by_kind(kinds, rng.random(config.batch) < config.fronts, rng, config.often)
        draw = torch.randn(2, config.batch * RING, 4, *latents.shape[2:], generator=generator)
        t = torch.randint(len(frozen.alphas), (config.batch,), generator=generator)
        tokens = torch.tensor([encode_words(ring_words(labels[ring * RING], rng)) for ring in rings])
        controlled = torch.from_numpy(rng.random(config.batch) < config.controlled).float()

        rows = (rings[mine][:, None] * RING + np.arange(RING)).ravel()
        some = slice(mine.start * RING, mine.stop * RING)
        batch = sampled(latents, rows, scale, draw[0][some])
        depth, normals, coverage = (torch.from_numpy(data[name][rows]) for name in ("depth", "normals", "coverage"))
        hints = hint_pictures(depth, normals, coverage, torch.ones(len(rows), dtype=torch.bool))
        told, words, times = (values[mine].repeat_interleave(RING, 0) for values in (controlled, tokens, t))
        cameras = torch.from_numpy(data["cameras"][rows])
        shown = (batch, hints, told, words, cameras, draw[1][some], times)
        return view_loss(unet, control, frozen, *(values.to(config.device) for values in shown), config.gamma)

    train_network(unet, groups(unet, NEW, config.new_layers), course, loss_of, log)


def export(checkpoint: Path, plain: UNet2DConditionModel, folder: Path) -> int:
    """Write the averaged network in half precision as diffusers' layout has it; returns its step number."""
    state = torch.load(checkpoint / "views.pt", weights_only=True, map_location="cpu")
    unet = make_view_unet(plain, 0)
    unet.load_state_dict(state["average"])
    unet.half().save_pretrained(folder, safe_serialization=True)
    return state["step"]
