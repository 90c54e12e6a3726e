# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the contrastive head on rendered pictures with their captions, of a seed of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from csd_blender.backend.mini import vocabulary as voc

from .. import dataset
from .judge import load_judge
from .judge_train import augment
from .pairs import PAIRS_FILE, Pairs, PairsNet, bags, load_pairs

COPIES = 6  # augmented copies of each picture
TEST_PARTS = 2  # at the end of the cache


def all_words(label: np.ndarray) -> list[str]:
    """Every word that is true of a picture with these labels."""
    shape, material, color, view = (int(v) for v in label[:4])
    words = {voc.SHAPES[shape], "object", voc.MATERIALS[material], voc.VIEWS[view]}
    return sorted(words | ({voc.COLORS[color]} if color >= 0 else set()))


def told_words(label: np.ndarray, rng: np.random.Generator) -> list[str]:
    """A caption of the picture without what it says of light, distance and flaws."""
    unsaid = (voc.FLAT, voc.LIT, voc.CLOSE, *voc.QUALITY, "<unk>")
    return [word for word in dict.fromkeys(dataset.caption_words(label, rng, empty=0.0)) if word not in unsaid]


def contrastive_loss(net: PairsNet, features: torch.Tensor, said: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Cross-entropy both ways over a batch (Radford et al. 2021).

    Captions that are true of another picture as well are no wrong answers for it: they are left out.

    Args:
        features: [N, 256]. said: bags [N, words] of the captions. true: bags of all words that are true.
    """
    scores = net.of_features(features) @ net.of_bags(said).T * net.log_scale.exp()
    fits = said @ (1 - true).T == 0  # [caption, picture]
    others = fits.T & ~torch.eye(len(scores), dtype=torch.bool)
    scores = scores.masked_fill(others, -torch.inf)
    right = torch.arange(len(scores))
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2


@torch.no_grad()
def first_ranked(pairs: Pairs, images: torch.Tensor, labels: np.ndarray, among: int = 60, seed: int = 0) -> float:
    """Share of pictures whose own prompt (color, material, shape) ranks first among others that are not true of them.

    Args:
        images: uint8 [N, 64, 64, 3]. among: prompts for each picture, its own included.
    """
    rng = np.random.default_rng(seed)
    own = [[w for w in all_words(label) if w not in (*voc.VIEWS, "object")] or ["object"] for label in labels]
    said, true = bags(own), bags([all_words(label) for label in labels])
    texts = pairs.net.of_bags(said)
    seen = torch.cat([pairs.pictures(chunk.permute(0, 3, 1, 2) / 255) for chunk in images.split(256)])
    hits = []
    for i in range(len(seen)):
        wrong = torch.nonzero(said @ (1 - true[i]) > 0).squeeze(1).numpy()
        others = rng.choice(wrong, min(among - 1, len(wrong)), replace=False)
        hits.append(float(seen[i] @ texts[i]) > float((texts[others] @ seen[i]).max()))
    return float(np.mean(hits))


def train_pairs(
    cache: Path, weights: Path = PAIRS_FILE, seed: int = 2001, count: int = 5760, steps: int = 2000, batch: int = 256,
    rate: float = 2e-3, processes: int = 2, log: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:  # fmt: skip
    """Renders `count` pictures, trains on all but the last parts, writes `weights` (half precision), and returns the
    share of pictures of the parts left out, whole objects without flaws, whose prompt ranks first among 60."""
    data = dataset.load_parts(dataset.render_cache(cache, count, seed, processes, log))
    labels, test = data["labels"], np.arange(len(data["labels"])) >= len(data["labels"]) - TEST_PARTS * dataset.PART
    judge, clean = load_judge().net, data["labels"][:, 6] == 0
    learned = clean & ~test
    images = torch.from_numpy(data["images"][learned]).permute(0, 3, 1, 2)
    copies = []
    for copy in range(COPIES):
        generator = torch.Generator().manual_seed(seed + copy)
        with torch.no_grad():
            copies.append(torch.cat([judge.pooled(augment(part / 255, generator)) for part in images.split(256)]))
        log(f"looked {copy + 1} of {COPIES} times")
    labels, true = labels[learned], bags([all_words(label) for label in labels[learned]])
    torch.manual_seed(seed)
    net = PairsNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    for step in range(steps):
        rng = np.random.default_rng((seed, 5, step))
        chosen = rng.choice(len(labels), batch, replace=False)
        said = bags([told_words(labels[i], rng) for i in chosen])
        loss = contrastive_loss(net, copies[rng.integers(COPIES)][chosen], said, true[chosen])
        optimizer.param_groups[0]["lr"] = (
            rate * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 500 == 499:
            log(f"pairs step {step + 1}: loss {loss.item():.3f}")
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().half().contiguous() for name, value in net.state_dict().items()}, weights)
    return held_out(weights, data)


def held_out(weights: Path, data: dict[str, np.ndarray]) -> dict[str, float]:
    """What :func:`train_pairs` returns, of weights as they are in their file."""
    labels = data["labels"]
    test = np.arange(len(labels)) >= len(labels) - TEST_PARTS * dataset.PART
    test &= (labels[:, 6] == 0) & (labels[:, 4] == 0)
    named = test & (labels[:, 0] < len(voc.SHAPES) - 1)
    return {
        "prompt first among 60": round(
            first_ranked(load_pairs(weights), torch.from_numpy(data["images"][named]), labels[named]), 4
        ),
        "pictures": int(named.sum()),
    }
