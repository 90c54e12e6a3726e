"""Words a model needs to hear beyond the user's prompt, and words of the prompt it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...job.presets.texture import FLAT_WORDS, MINI_WORDS
from .model import DiffusionModel

LISTED = 8  # unknown words that are named

#: Of SDS-Bridge (arXiv 2406.09417): behind the prompt of what is wanted, and of what distillation makes by itself.
GOOD_WORDS = "detailed, high resolution, high quality, sharp"
BAD_WORDS = "oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
MINI_BAD_WORDS = "oversaturated, blurry, noisy"  # those of them that the bundled model knows


@dataclass(frozen=True)
class GuidanceWords:
    """Model-specific additions to a prompt.

    Attributes:
        unlit: asks for bare surface color, so that light is not painted into the albedo.
        lit: asks for a lit object; empty when the model draws one anyway.
        close_up: says that the camera is near; empty when the model has no such word.
        unknown: words of a prompt that the model cannot know; None when its vocabulary is open.
        good, bad: what SDS-Bridge puts behind the prompt in its second stage.
        understood: words of a prompt that the model knows; asked where ``unknown`` finds none.
        known: what to try instead of an unknown word.
    """

    unlit: str = ""
    lit: str = ""
    close_up: str = ""
    unknown: Callable[[str], list[str]] | None = None
    known: str = ""
    understood: Callable[[str], list[str]] | None = None
    good: str = GOOD_WORDS
    bad: str = BAD_WORDS

    def warnings(self, *prompts: str) -> list[str]:
        """At most one sentence, naming the unknown words of all prompts, or a prompt without any word that counts."""
        if self.unknown is None:
            return []
        words = list(dict.fromkeys(word for prompt in prompts for word in self.unknown(prompt)))
        if not words:
            empty = [p.strip() for p in prompts if p.strip() and self.understood and not self.understood(p)]
            return [f"The model knows no word of “{cut(empty[0])}”; try {self.known}."] if empty else []
        listed = ", ".join(f"“{cut(word)}”" for word in words[:LISTED])
        listed += f" and {len(words) - LISTED} other words" if len(words) > LISTED else ""
        return [f"The model has never seen {listed} and passes over it; try {self.known}."]


def cut(text: str, limit: int = 40) -> str:
    """``text``, or the beginning of a long one."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def guidance_words(model: DiffusionModel, extra_words: str = "auto") -> GuidanceWords:
    """The additions for ``model``: the mini model's own words, plain English for others.

    ``extra_words``: a job's own choice of those for unlit pictures; empty for none.
    """
    words = _usual_words(model)
    return words if extra_words == "auto" else replace(words, unlit=extra_words.strip().strip(","))


def object_words(model: DiffusionModel, extra_words: str = "auto") -> GuidanceWords:
    """As :func:`guidance_words`, for objects: no published system adds any words there, so that ``auto`` is none for
    other models, also where the bundled one has the job's other stage."""
    words = guidance_words(model, extra_words)
    return replace(words, unlit="") if extra_words == "auto" and model.name != "mini" else words


def _usual_words(model: DiffusionModel) -> GuidanceWords:
    if model.name == "mini":
        from ..mini.vocabulary import OWN_MATERIALS, canonical, unknown_words

        materials = f"{', '.join(OWN_MATERIALS[:-1])} or {OWN_MATERIALS[-1]}"
        known = f"a color and a pattern such as “blue striped”, or {materials}"
        return GuidanceWords(
            MINI_WORDS, "studio light", "close-up", unknown_words, known, canonical, "", MINI_BAD_WORDS
        )
    return GuidanceWords(unlit=FLAT_WORDS, close_up="close-up")
