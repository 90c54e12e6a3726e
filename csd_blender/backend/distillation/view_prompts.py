"""Prompts that know from where the object is seen, and their Perp-Neg companions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.model import DiffusionModel
from .score import PromptEmbeddings

VIEWS = ("front", "side", "back", "overhead")


def view_prompt(prompt: str, view: str | None, extra: str = "") -> str:
    """``prompt, <view> view, extra``; empty parts are left out."""
    parts = [prompt.strip().rstrip(",")]
    if view:
        parts.append(f"{view} view")
    if extra:
        parts.append(extra)
    return ", ".join(parts)


def longest_ending(extra: str = "", close_up: str = "") -> str:
    """The most that is ever put behind a prompt."""
    return view_prompt("", "overhead", ", ".join(part for part in (extra, close_up) if part))


@dataclass(frozen=True)
class EncodedPrompts:
    """Embeddings ``[L, D]`` of one job's prompts, one for each view word, encoded once.

    ``close`` holds the same view prompts with the model's word for a close camera, where it has one.
    """

    views: dict[str, Tensor]
    close: dict[str, Tensor]
    negative: Tensor
    null: Tensor
    view_dependent: bool

    def batch(
        self, views: Sequence[str], azimuth: Tensor, close: Sequence[bool] | None = None, perp_neg: bool = False
    ) -> PromptEmbeddings:
        """Embeddings for a batch of cameras.

        Args:
            views: a word of ``VIEWS`` per camera, or "" for a camera that none of them describes.
            azimuth: ``[B]`` degrees, for the interpolation of Perp-Neg.
            close: whether each camera is a close-up.
        """
        close = close or [False] * len(views)
        positive, negatives, weights = [], [], []
        for view, az, near in zip(views, azimuth.tolist(), close, strict=True):
            table = self.close if near else self.views
            embedding = table.get(view, table[""]) if self.view_dependent else table[""]
            if perp_neg:
                mix = perp_neg_mix(az, view)
                if self.view_dependent and view in ("front", "side", "back"):
                    embedding = sum(w * table[v] for v, w in mix.positive)
                negatives.append(torch.stack([table[v] for v, _ in mix.negative]))
                weights.append([w for _, w in mix.negative])
            positive.append(embedding)
        batch = len(views)
        return PromptEmbeddings(
            positive=torch.stack(positive),
            negative=self.negative.expand(batch, -1, -1),
            null=self.null.expand(batch, -1, -1),
            perp_negative=torch.stack(negatives) if perp_neg else None,
            perp_weights=torch.tensor(weights) if perp_neg else None,
        )


def encode_job_prompts(
    model: DiffusionModel,
    prompt: str,
    negative_prompt: str = "",
    *,
    view_dependent: bool = True,
    extra: str = "",
    close_up: str = "",
) -> EncodedPrompts:
    """Encode all prompts of a job in one call.

    Args:
        extra: words of the model for an unlit picture, appended to the positive prompts.
        close_up: the model's words for a close camera; empty when it has none.
    """
    far = {v: view_prompt(prompt, v, extra) for v in ("", *VIEWS)}
    near = {v: view_prompt(prompt, v, ", ".join(p for p in (extra, close_up) if p)) for v in ("", *VIEWS)}
    texts = [*far.values(), *near.values(), negative_prompt, ""]
    table = dict(zip(texts, model.encode_prompts(texts), strict=True))
    return EncodedPrompts(
        views={v: table[text] for v, text in far.items()},
        close={v: table[text] for v, text in near.items()},
        negative=table[negative_prompt],
        null=table[""],
        view_dependent=view_dependent,
    )


@dataclass(frozen=True)
class PerpNegMix:
    """View words with weights: what to mix for the positive prompt, what to stay away from."""

    positive: tuple[tuple[str, float], ...]
    negative: tuple[tuple[str, float], ...]


def perp_neg_mix(azimuth: float, view: str) -> PerpNegMix:
    """Interpolated view prompts of Perp-Neg (Armandpour et al. 2023) with the weights in common use.

    Weights are ``-(A exp(-B r) + C)`` with (A, B, C) = (4, .5, -2.426) between front and side,
    (1, .5, -.606) for side against back and (1, .5, .967) for front against back.
    """
    if view not in ("front", "side", "back"):
        return PerpNegMix(((view, 1.0),), (("side", 0.0), ("front", 0.0)))
    angle = abs((azimuth + 180.0) % 360.0 - 180.0)

    def falloff(r: float, a: float, c: float) -> float:
        return -(a * math.exp(-0.5 * r) + c)

    if angle < 90.0:
        r = 1.0 - angle / 90.0
        negative = (("front", falloff(r, 4.0, -2.426)), ("side", falloff(1.0 - r, 4.0, -2.426)))
        return PerpNegMix((("front", r), ("side", 1.0 - r)), negative)
    r = 2.0 - angle / 90.0
    negative = (("side", falloff(r, 1.0, -0.606)), ("front", falloff(r, 1.0, 0.967)))
    return PerpNegMix((("side", r), ("back", 1.0 - r)), negative)
