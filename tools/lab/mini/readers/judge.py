# SPDX-License-Identifier: GPL-3.0-or-later
"""A small classifier of 64 x 64 pictures that says what an object is made of, its color, its shape and the view.

It was trained on its own rendered pictures, shares no weights with the diffusion model and has never seen a picture
made by one, so its opinion of generated pictures and textures is independent.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from csd_blender.backend.mini import vocabulary as voc

WEIGHTS_FILE = Path(__file__).parent / "judge_weights" / "judge.safetensors"
HEADS: dict[str, tuple[str, ...]] = {
    "material": voc.MATERIALS, "color": voc.COLORS, "shape": voc.SHAPES, "view": voc.VIEWS,
}  # fmt: skip


def _block(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU())


class JudgeNet(nn.Module):
    """Convolutions down to 4 x 4, mean and maximum over the picture, one linear head a question; 0.4 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(3, 24, 2), _block(24, 48, 1), _block(48, 64, 2), _block(64, 64, 1),
            _block(64, 96, 2), _block(96, 128, 2), _block(128, 128, 1),
        )  # fmt: skip
        self.heads = nn.ModuleDict({name: nn.Linear(256, len(labels)) for name, labels in HEADS.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Unnormalized scores [N, classes] per head of images [N, 3, 64, 64] in 0..1."""
        pooled = self.pooled(images)
        return {name: head(pooled) for name, head in self.heads.items()}

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """What the heads look at: [N, 256]."""
        features = self.body(images * 4.0 - 2.0)
        return torch.cat((features.mean((2, 3)), features.amax((2, 3))), 1)

    def levels(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Features [N, channels, H, W] after the last convolution at each of the four sizes, from fine to coarse."""
        features, found = images * 4.0 - 2.0, []
        for number, block in enumerate(self.body):
            features = block(features)
            if number in (1, 3, 4, 6):
                found.append(features)
        return found


class Judge:
    """The trained classifier; see the module's text."""

    MATERIALS, COLORS, SHAPES, VIEWS = voc.MATERIALS, voc.COLORS, voc.SHAPES, voc.VIEWS

    def __init__(self, net: JudgeNet, device: str = "cpu") -> None:
        self.net, self.device = net.to(device).eval().requires_grad_(False), device

    @torch.no_grad()
    def classify(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Log-probabilities [N, classes] for "material", "color", "shape" and "view".

        `images` [N, 3, 64, 64] in 0..1. The color is that of plain or patterned surfaces and means nothing for
        materials with their own palette; the view means something for shapes with a front only.
        Raises `ValueError` for pictures of another size.
        """
        scores = self.net(self._checked(images))
        return {name: value.log_softmax(-1).cpu() for name, value in scores.items()}

    @torch.no_grad()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the answers are made from, [N, 256], for distances between pictures.

        `images` as in `classify`. Raises `ValueError` for pictures of another size.
        """
        return self.net.pooled(self._checked(images)).cpu()

    def _checked(self, images: torch.Tensor) -> torch.Tensor:
        if images.ndim != 4 or images.shape[1:] != (3, 64, 64):
            raise ValueError(f"expected pictures [N, 3, 64, 64], not {list(images.shape)}")
        return images.to(self.device, torch.float32).clamp(0, 1)

    def verdict(self, images: torch.Tensor) -> dict[str, str | None]:
        """One name each for material, color and shape from several views of one object [N, 3, 64, 64].

        The log-probabilities are averaged over the views. The color is None for materials with their own palette.
        """
        means = {name: value.mean(0) for name, value in self.classify(images).items()}
        named = {name: HEADS[name][int(means[name].argmax())] for name in ("material", "color", "shape")}
        return named | ({} if named["material"] in voc.PATTERNS else {"color": None})


def load_judge(device: str = "cpu", weights: Path = WEIGHTS_FILE) -> Judge:
    """The bundled judge. `weights` is its safetensors file (half precision)."""
    net = JudgeNet()
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    return Judge(net, device)
