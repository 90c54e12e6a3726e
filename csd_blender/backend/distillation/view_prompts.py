"""Prompts that know from where the object is seen, and their Perp-Neg companions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.conditions import Conditions, cat, mix
from ..diffusion.model import DiffusionModel
from ..diffusion.words import GuidanceWords
from ..render.cameras import Cameras
from ..support.reporting import Reporter

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
class Seen:
    """From where a batch of pictures was taken, and what sort of pictures they are.

    Attributes:
        cameras: B of them.
        names: a word of ``VIEWS`` per camera, or "" for one that none of them describes.
        close: whether each camera is a close-up; None when none is.
        kind: which of a guide's prompts they are judged by.
    """

    cameras: Cameras
    names: Sequence[str]
    close: Sequence[bool] | None = None
    kind: str = "color"


@dataclass(frozen=True)
class PromptBatch:
    """The conditions of one batch of views.

    Attributes:
        branches: B rows each, by the branch's name, in the order in which the network sees them.
        views: B * K rows of view prompts to stay away from (Perp-Neg), those of the first picture first, or None.
        view_weights: ``[B, K]``, zero or negative.
    """

    branches: dict[str, Conditions]
    views: Conditions | None = None
    view_weights: Tensor | None = None


@dataclass(frozen=True)
class EncodedPrompts:
    """Conditions of one job's prompts, a row for each view word, encoded once.

    Attributes:
        views: by view word, and "" for none.
        close: the same with the model's word for a close camera, where it has one.
        has_negative: the job has a negative prompt; else that of ``negative`` is empty.
    """

    views: dict[str, Conditions]
    close: dict[str, Conditions]
    negative: Conditions
    null: Conditions
    view_dependent: bool
    has_negative: bool
    negative_views: dict[str, Conditions] | None = None

    def batch(
        self, views: Sequence[str], azimuth: Tensor, close: Sequence[bool] | None = None, perp_neg: bool = False
    ) -> PromptBatch:
        """The conditions of a batch of cameras.

        Args:
            views: a word of ``VIEWS`` per camera, or "" for a camera that none of them describes.
            azimuth: ``[B]`` degrees, for the interpolation of Perp-Neg.
            close: whether each camera is a close-up.
        """
        close = close or [False] * len(views)
        positive, negatives, weights = [], [], []
        for view, az, near in zip(views, azimuth.tolist(), close, strict=True):
            table = self.close if near else self.views
            prompt = table.get(view, table[""]) if self.view_dependent else table[""]
            if perp_neg:
                wanted = perp_neg_mix(az, view)
                if self.view_dependent and view in ("front", "side", "back"):
                    prompt = mix([w for _, w in wanted.positive], [table[v] for v, _ in wanted.positive])
                negatives += [table[v] for v, _ in wanted.negative]
                weights.append([w for _, w in wanted.negative])
            positive.append(prompt)
        batch = len(views)
        branches = {
            "positive": cat(positive),
            "negative": self.negative.repeat(batch) if self.negative_views is None else cat([self.negative_views[v if self.view_dependent else ""] for v in views]),
            "null": self.null.repeat(batch),
        }
        if not perp_neg:
            return PromptBatch(branches)
        return PromptBatch(branches, cat(negatives), torch.tensor(weights))


def encode_job_prompts(
    model: DiffusionModel,
    prompt: str,
    negative_prompt: str = "",
    *,
    view_dependent: bool = True,
    extra: str = "",
    close_up: str = "",
    negative_views: bool = False,
) -> EncodedPrompts:
    """Encode all prompts of a job in one call.

    Args:
        extra: words of the model for an unlit picture, appended to the positive prompts.
        close_up: the model's words for a close camera; empty when it has none.
    """
    far = {v: view_prompt(prompt, v, extra) for v in ("", *VIEWS)}
    near = {v: view_prompt(prompt, v, ", ".join(p for p in (extra, close_up) if p)) for v in ("", *VIEWS)}
    other = {v: view_prompt(negative_prompt, v, extra) for v in ("", *VIEWS)} if negative_views else {}
    texts = [*far.values(), *near.values(), negative_prompt, *other.values(), ""]
    encoded = model.encode_prompts(texts)
    table = {text: encoded.select(slice(i, i + 1)) for i, text in enumerate(texts)}
    return EncodedPrompts(
        views={v: table[text] for v, text in far.items()},
        close={v: table[text] for v, text in near.items()},
        negative=table[negative_prompt],
        null=table[""],
        view_dependent=view_dependent,
        has_negative=bool(negative_prompt),
        negative_views={v: table[text] for v, text in other.items()} or None,
    )


def job_prompts(
    model: DiffusionModel,
    prompt: str,
    negative_prompt: str,
    view_prompts: bool,
    words: GuidanceWords,
    reporter: Reporter,
    lit: bool = False,
    negative_views: bool = False,
) -> EncodedPrompts:
    """All prompts of a job, encoded once. ``lit``: of a shaded object."""
    fitting = model.fitting_prompt(prompt, longest_ending(words.unlit, words.close_up))
    if fitting != prompt:
        reporter.warn("prompt_cut", f"The model cannot read so long a prompt; it goes by “{fitting}”.")
    return encode_job_prompts(
        model,
        fitting,
        negative_prompt,
        view_dependent=view_prompts,
        extra=words.lit if lit else words.unlit,
        close_up=words.close_up,
        negative_views=negative_views,
    )


def make_room(model: DiffusionModel) -> None:
    """Once all prompts of a job are encoded, the text encoder leaves a GPU's memory to the pictures."""
    if model.device.type == "cuda":
        model.free_text_encoder()


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
