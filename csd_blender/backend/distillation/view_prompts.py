"""Prompts that know from where the object is seen, and their Perp-Neg companions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..diffusion.conditions import Conditions, cat, mix
from ..diffusion.model import DiffusionModel, encode_texts
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
        cameras: B of them; None for pictures of no object.
        names: a word of ``VIEWS`` per camera, or "" for one that none of them describes.
        close: whether each camera is a close-up; None when none is.
        kind: which of a guide's prompts they are judged by.
        surface: ``[B, S, S, 4]``: the surface point that each pixel sees, and 1, or 0 where it sees none; only needed
            for noise that is fixed to the surface.
        control: ``[B, C, S, S]`` pictures of the shape for the model's ControlNets; None for pictures without a shape
            that is to be followed.
    """

    cameras: Cameras | None
    names: Sequence[str]
    close: Sequence[bool] | None = None
    kind: str = "color"
    surface: Tensor | None = None
    control: Tensor | None = None


@dataclass(frozen=True)
class PromptBatch:
    """The conditions of one batch of views.

    Attributes:
        branches: B rows each, by the branch's name, in the order in which the network sees them.
        views: B * K rows of view prompts to stay away from (Perp-Neg), those of the first picture first, or None.
        view_weights: ``[B, K]``, zero or negative.
        plain: B rows of the prompt without any word for the view.
    """

    branches: dict[str, Conditions]
    views: Conditions | None = None
    view_weights: Tensor | None = None
    plain: Conditions | None = None

    def with_control(self, pictures: Tensor, weight: Tensor) -> PromptBatch:
        """The same with pictures for ControlNets ``[B, C, H, W]``, and how strongly each of them counts, ``[K]``: every
        row of a picture, whatever its prompt, has that picture's own."""
        return self._told(control=pictures, control_weight=weight.to(pictures).expand(len(pictures), -1))

    def with_cameras(self, cameras: Tensor) -> PromptBatch:
        """The same with cameras ``[B, K]`` as the model's network reads them, one for every row of a picture."""
        return self._told(cameras=cameras)

    def _told(self, **own: Tensor) -> PromptBatch:
        def told(rows: Conditions) -> Conditions:
            parts = {}
            for name, part in own.items():
                times = len(rows) // len(part)  # several rows of one picture stand together
                parts[name] = part.repeat_interleave(times, dim=0)
            return replace(rows, **parts)

        return replace(
            self,
            branches={name: told(rows) for name, rows in self.branches.items()},
            views=None if self.views is None else told(self.views),
            plain=None if self.plain is None else told(self.plain),
        )


@dataclass(frozen=True)
class PromptTable:
    """One prompt's conditions, a row each: by view word, and "" for none. ``close``: with the model's word for a close
    camera, where it has one. A prompt that does not name the view has "" alone."""

    far: dict[str, Conditions]
    close: dict[str, Conditions]

    def find(self, view: str, near: bool = False) -> Conditions:
        """The row for a view; that without a word where there is none for it."""
        table = self.close if near else self.far
        return table.get(view, table[""])


@dataclass(frozen=True)
class EncodedPrompts:
    """Conditions of one job's prompts, encoded once.

    Attributes:
        branches: by the branch of the equation that they are for.
        has_negative: the job has a negative prompt; else that of ``negative`` is empty.
    """

    branches: dict[str, PromptTable]
    view_dependent: bool
    has_negative: bool

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
        seen = [view if self.view_dependent else "" for view in views]
        branches = {
            name: cat([table.find(view, near) for view, near in zip(seen, close, strict=True)])
            for name, table in self.branches.items()
        }
        positive = self.branches["positive"]
        plain = cat([positive.find("", near) for near in close])
        if not perp_neg:
            return PromptBatch(branches, plain=plain)
        mixed, negatives, weights = [], [], []
        for view, az, near in zip(views, azimuth.tolist(), close, strict=True):
            prompt = positive.find(view if self.view_dependent else "", near)
            wanted = perp_neg_mix(az, view)
            if self.view_dependent and view in ("front", "side", "back"):
                prompt = mix([w for _, w in wanted.positive], [positive.find(v, near) for v, _ in wanted.positive])
            negatives += [positive.find(v, near) for v, _ in wanted.negative]
            weights.append([w for _, w in wanted.negative])
            mixed.append(prompt)
        return PromptBatch(branches | {"positive": cat(mixed)}, cat(negatives), torch.tensor(weights), plain)


def encode_job_prompts(
    model: DiffusionModel,
    prompt: str,
    negative_prompt: str = "",
    *,
    view_dependent: bool = True,
    extra: str = "",
    close_up: str = "",
    negative_views: bool = False,
    per_view: Mapping[str, str] | None = None,
    wordings: tuple[str, str] | None = None,
    worded: Mapping[str, str] = {},
) -> EncodedPrompts:
    """Encode all prompts of a job in one call.

    Args:
        extra: words of the model for an unlit picture, appended to the positive prompts.
        close_up: the model's words for a close camera; empty when it has none.
        negative_views: the negative prompt is one for the same views, as the source of an edit, with the same words
            behind it.
        per_view: another prompt for some of the view words, as prompt debiasing makes them.
        wordings: good and bad words behind the prompt, for the branches ``good`` and ``bad``; None leaves them out.
        worded: what these words stand behind, by view word as ``per_view``, and "" for the prompt; where it is another.
    """
    per_view, heads = per_view or {}, dict[str, str]()

    def texts_of(text: str, *more: str, own: Mapping[str, str] = {}) -> tuple[dict[str, str], dict[str, str]]:
        def behind(*parts: str) -> dict[str, str]:
            words = ", ".join(part for part in parts if part)
            made = {v: view_prompt(own.get(v, text), v, words) for v in ("", *VIEWS)}
            heads.update({full: view_prompt(own.get(v, text), None) for v, full in made.items()})
            return made

        return behind(extra, *more), behind(extra, close_up, *more)

    texts = {
        "positive": texts_of(prompt, own=per_view),
        "negative": texts_of(negative_prompt) if negative_views else ({"": negative_prompt},) * 2,
        "null": ({"": ""},) * 2,
    }
    for name, words in zip(("good", "bad"), wordings or ()):
        texts[name] = texts_of(worded.get("", prompt), words, own=worded or per_view)
    distinct = list(dict.fromkeys(text for pair in texts.values() for table in pair for text in table.values()))
    encoded = encode_texts(model, distinct, heads)
    rows = {text: encoded.select(slice(i, i + 1)) for i, text in enumerate(distinct)}
    branches = {
        name: PromptTable(*({view: rows[text] for view, text in table.items()} for table in pair))
        for name, pair in texts.items()
    }
    return EncodedPrompts(branches, view_dependent, bool(negative_prompt))


def job_prompts(
    model: DiffusionModel,
    prompt: str,
    negative_prompt: str,
    view_prompts: bool,
    words: GuidanceWords,
    reporter: Reporter,
    lit: bool = False,
    negative_views: bool = False,
    per_view: Mapping[str, str] | None = None,
    wordings: bool = False,
) -> EncodedPrompts:
    """All prompts of a job, encoded once. ``lit``: of a shaded object. ``wordings``: with a good and a bad
    wording, as some methods compare them. The rest as in :func:`encode_job_prompts`."""
    ending = longest_ending(words.unlit, words.close_up)
    fitting = model.fitting_prompt(prompt, ending)
    if fitting != prompt:
        reporter.warn("prompt_cut", f"The model cannot read so long a prompt; it goes by “{fitting}”.")
    worded = {}
    if wordings:
        longer = f"{ending}, {max(words.good, words.bad, key=len)}"
        worded = {view: model.fitting_prompt(text, longer) for view, text in {"": prompt, **(per_view or {})}.items()}
        if fitting == prompt != worded[""]:
            said = f"for SDS-Bridge, whose words stand behind it, it goes by “{worded['']}”"
            reporter.warn("prompt_cut", f"The model cannot read so long a prompt; {said}.")
    away = model.fitting_prompt(negative_prompt, ending if negative_views else "")
    if away != negative_prompt:
        what = "the source's prompt" if negative_views else "the negative prompt"
        reporter.warn("prompt_cut", f"The model cannot read so long a text; of {what} it goes by “{away}”.")
    return encode_job_prompts(
        model,
        fitting,
        away if negative_views else negative_prompt,
        view_dependent=view_prompts,
        extra=words.lit if lit else words.unlit,
        close_up=words.close_up,
        negative_views=negative_views,
        per_view={view: model.fitting_prompt(text, ending) for view, text in (per_view or {}).items()},
        wordings=(words.good, words.bad) if wordings else None,
        worded=worded,
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
