"""What is behind the pictures of a step, where that is more than a color drawn by chance."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ....job.spec.scene_stages import CoarseStage, RefineStage
from ...render.background import LearnedBackground
from ...render.cameras import Cameras


def make_background(stage: CoarseStage | RefineStage, activation: str, seed: int) -> LearnedBackground | None:
    """A fresh background for a stage that learns one.

    The refine stage has one of its own, as in threestudio, which hands nothing but the geometry and its colors on.
    """
    return LearnedBackground(activation, seed) if stage.background == "learned" else None


def behind_pictures(
    stage: CoarseStage | RefineStage,
    drawn: Tensor,
    learned: LearnedBackground | None,
    directions: Callable[[], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Colors behind a step's pictures: ``[B, 3]``, or ``[B, 3, S, S]`` where there is one for each pixel.

    With the share ``random_background`` of the steps, every picture has one color of its own, any one alike; where
    cameras come in rings, all have the same. Numbers are drawn only where the stage asks for more than ``colors``.

    Args:
        drawn: ``[B, 3]`` what is behind them in a stage of ``colors``.
        directions: unit vectors ``[B, 3]`` or ``[B, S, S, 3]`` in which the learned background is looked at.
    """
    if stage.background == "colors":
        return drawn
    numbers = torch.rand(1 + drawn.numel(), generator=generator)
    if numbers[0] < stage.random_background:
        colors = numbers[1:].view_as(drawn).to(drawn)
        return colors[:1].expand_as(colors) if stage.cameras.ring > 1 else colors
    if learned is None:
        return torch.ones_like(drawn)
    colors = learned(directions())
    return colors if colors.dim() == 2 else colors.permute(0, 3, 1, 2)


def behind_mesh(
    stage: RefineStage,
    kind: str,
    drawn: Tensor,
    learned: LearnedBackground | None,
    cameras: Cameras,
    generator: torch.Generator,
) -> Tensor:
    """Colors ``[B, 3]`` behind the refine stage's pictures; a learned background is one color for each picture.

    So it is in threestudio, whose renderer takes the direction to the scene's center for all pixels beside the mesh.

    Args:
        kind: of the pictures, as in `shading.Look`. drawn, learned: as in `behind_pictures`.
    """

    def inward() -> Tensor:
        return F.normalize(-cameras.positions(), dim=1)

    colors = behind_pictures(stage, drawn.to(cameras.azimuth), learned, inward, generator)
    return torch.zeros_like(colors) if kind == "normal" and stage.normals_background == "black" else colors


def as_pictures(background: Tensor) -> Tensor:
    """``[B, 3]`` or ``[B, 3, S, S]`` so that it spreads over pictures ``[B, 3, S, S]``."""
    return background[:, :, None, None] if background.dim() == 2 else background
