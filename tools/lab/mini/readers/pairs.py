# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures and prompts of the mini world in one space, as CLIP has them for the real one.

A small contrastive head on the judge's frozen features. Like the judge it has seen rendered pictures only, and shares
nothing with the diffusion model but the list of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from csd_blender.backend.mini import vocabulary as voc

from .judge import JudgeNet, load_judge

PAIRS_FILE = Path(__file__).parent / "judge_weights" / "pairs.safetensors"
WIDTH = 64
_PLACE = {word: i for i, word in enumerate(voc.WORDS)}


def said_words(prompt: str) -> list[str]:
    """The prompt's words that say what is to be seen, each once and in the order of the vocabulary."""
    unsaid = (voc.FLAT, voc.LIT, voc.CLOSE, *voc.QUALITY)
    return sorted({w for w in voc.canonical(prompt) if w not in unsaid}, key=_PLACE.__getitem__)


def bags(sentences: Sequence[Sequence[str]]) -> torch.Tensor:
    """[N, words] of ones where a word is said."""
    rows = torch.zeros(len(sentences), len(voc.WORDS))
    for row, words in zip(rows, sentences, strict=True):
        row[[_PLACE[word] for word in words]] = 1.0
    return rows


class PairsNet(nn.Module):
    """Two small networks into one space of 64 dimensions: from the judge's features, and from a bag of words."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, WIDTH))
        self.text = nn.Sequential(nn.Linear(len(voc.WORDS), 128), nn.ReLU(), nn.Linear(128, WIDTH))
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def of_features(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, 64] of the judge's features [N, 256]."""
        return F.normalize(self.picture(features), dim=1)

    def of_bags(self, rows: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, 64] of :func:`bags`."""
        return F.normalize(self.text(rows), dim=1)


class Pairs:
    """The trained head on its judge."""

    def __init__(self, net: PairsNet, judge: JudgeNet) -> None:
        self.net, self.judge = net.eval().requires_grad_(False), judge

    @torch.no_grad()
    def pictures(self, images: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, 64] of images [N, 3, 64, 64] in 0..1."""
        return self.net.of_features(self.judge.pooled(images.float().clamp(0, 1)))

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Unit vectors [N, 64] of prompts; words that the mini world does not have are passed over."""
        return self.net.of_bags(bags([said_words(prompt) for prompt in prompts]))


def load_pairs(weights: Path = PAIRS_FILE) -> Pairs:
    """The bundled head. `weights` is its safetensors file (half precision)."""
    net = PairsNet()
    net.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return Pairs(net, load_judge().net)
