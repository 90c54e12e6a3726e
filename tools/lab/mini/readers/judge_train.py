# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the judge on pictures of its own, rendered with another seed than those of the diffusion model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from csd_blender.backend.mini import vocabulary as voc

from .. import dataset
from .judge import WEIGHTS_FILE, JudgeNet, load_judge


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Slightly moved, resized, blurred, noisy and tinted versions of images [N, 3, S, S] in 0..1.

    Generated pictures and renderings of generated textures are softer and less exact than the rendered ones; this
    keeps the judge from relying on sharp pixels.
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return (low + (high - low) * torch.rand(*shape, generator=generator)).to(device)

    zoom, shift = uniform(0.85, 1.1, count), uniform(-0.1, 0.1, count, 2)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = shift
    images = F.grid_sample(images, F.affine_grid(theta, list(images.shape), align_corners=False),
                           padding_mode="border", align_corners=False)  # fmt: skip
    # A share of the batch loses detail, as the autoencoder's pictures do.
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    half = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear", align_corners=False)
    amount = uniform(0.0, 1.0, count, 1, 1, 1)
    images = torch.lerp(images, torch.where(uniform(0, 1, count, 1, 1, 1) < 0.5, soft, half), amount)
    tint = uniform(0.92, 1.08, count, 3, 1, 1)
    noise = torch.randn(images.shape, generator=generator).to(device) * uniform(0.0, 0.05, count, 1, 1, 1)
    return (images * tint + uniform(-0.03, 0.03, count, 1, 1, 1) + noise).clamp(0, 1)


def _targets(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Class numbers per head, -100 where the question makes no sense."""
    shape, view = labels[:, 0], labels[:, 3]
    front = shape < len(voc.FRONT_SHAPES)
    return {"material": labels[:, 1], "color": torch.where(labels[:, 2] >= 0, labels[:, 2], -100), "shape": shape,
            "view": torch.where(front, view, -100)}  # fmt: skip


def _loss(scores: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    targets = _targets(labels)
    # An "object" may by chance look like a named shape, and a patch of a close-up shows no shape at all.
    weights = {"material": 1.0, "color": 1.0, "shape": 0.5, "view": 0.7}
    return sum(w * F.cross_entropy(scores[h], targets[h], label_smoothing=0.03) for h, w in weights.items())


@torch.no_grad()
def accuracy(net: JudgeNet, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Share of right answers per head on pictures uint8 [N, 64, 64, 3] with labels [N, 7]."""
    net.eval()
    scores = [net(chunk.permute(0, 3, 1, 2).float() / 255) for chunk in images.split(256)]
    result = {}
    for head, target in _targets(labels).items():
        guess = torch.cat([s[head] for s in scores]).argmax(1)
        valid = target >= 0
        result[head] = round(float((guess == target)[valid].float().mean()), 4)
    return result


def _split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures to learn from and which to test on, both without flaws, as masks [N]."""
    clean = labels[:, 6] == 0
    # Pictures of one part share shapes, so the test pictures come from parts of their own.
    part = np.arange(len(clean)) // dataset.PART
    test = part >= part.max() - 1 if part.max() > 1 else np.arange(len(clean)) % 5 == 0
    return clean & ~test, clean & test


def held_out_accuracy(cache: Path, weights: Path = WEIGHTS_FILE) -> dict[str, float]:
    """Share of right answers per head of a trained judge on the pictures that its training left out."""
    data = dataset.load_parts(sorted(cache.glob("part_*.npz")))
    _, test = _split(data["labels"])
    net = load_judge(weights=weights).net
    return accuracy(net, torch.from_numpy(data["images"][test]), torch.from_numpy(data["labels"][test]).long())


def train_judge(
    cache: Path, weights: Path, seed: int = 1001, count: int = 33600, steps: int = 7000, batch: int = 64,
    rate: float = 4e-3, device: str = "cpu", processes: int = 2, start: Path | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:  # fmt: skip
    """Renders `count` pictures, trains on all but the last parts, writes `weights/judge.safetensors` (half precision)
    and returns the share of right answers per head on the clean pictures of the parts left out.

    `start` is a judge to go on from (a safetensors file), else the weights are random. The learning rate falls from
    `rate` to nothing in a cosine.
    """
    data = dataset.load_parts(dataset.render_cache(cache, count, seed, processes, log))
    learn, test = _split(data["labels"])
    images, labels = torch.from_numpy(data["images"][learn]), torch.from_numpy(data["labels"][learn]).long()
    torch.manual_seed(seed)
    net = load_judge(device, start).net.requires_grad_(True) if start else JudgeNet().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    spoken = time.monotonic()
    net.train()
    for step in range(steps):
        rng = np.random.default_rng((seed, 4 if start else 3, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        chosen = torch.from_numpy(rng.integers(len(images), size=batch))
        pictures = images[chosen].to(device).permute(0, 3, 1, 2).float() / 255
        loss = _loss(net(augment(pictures, generator)), labels[chosen].to(device))
        progress = step / steps
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if time.monotonic() - spoken > 30:
            spoken = time.monotonic()
            log(f"judge step {step + 1}: loss {loss.item():.4f}")
    net = net.cpu()
    state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    weights.mkdir(parents=True, exist_ok=True)
    save_file(state, weights / "judge.safetensors")
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return accuracy(net, torch.from_numpy(data["images"][test]), torch.from_numpy(data["labels"][test]).long())
