"""Words a model needs to hear beyond the user's prompt, and words of the prompt it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ...job.presets import FLAT_WORDS, MINI_WORDS
from .model import DiffusionModel


@dataclass(frozen=True)
class GuidanceWords:
    """Model-specific additions to a prompt.

    Attributes:
        unlit: asks for bare surface color, so that light is not painted into the albedo.
        lit: asks for a lit object; empty when the model draws one anyway.
        close_up: says that the camera is near; empty when the model has no such word.
        unknown: words of a prompt that the model cannot know; None when its vocabulary is open.
        known: what to try instead of an unknown word.
    """

    unlit: str = ""
    lit: str = ""
    close_up: str = ""
    unknown: Callable[[str], list[str]] | None = None
    known: str = ""

    def warnings(self, *prompts: str) -> list[str]:
        """At most one sentence, naming the unknown words of all prompts."""
        if self.unknown is None:
            return []
        words = list(dict.fromkeys(word for prompt in prompts for word in self.unknown(prompt)))
        if not words:
            return []
        listed = ", ".join(f"“{word}”" for word in words)
        return [f"The model has never seen {listed} and passes over it; try {self.known}."]


def guidance_words(model: DiffusionModel, extra_words: str = "auto") -> GuidanceWords:
    """The additions for ``model``: the mini model's own words, plain English for others.

    ``extra_words``: a job's own choice of those for unlit pictures; empty for none.
    """
    words = _usual_words(model)
    return words if extra_words == "auto" else replace(words, unlit=extra_words.strip().strip(","))


def _usual_words(model: DiffusionModel) -> GuidanceWords:
    if model.name == "mini":
        from ..mini.vocabulary import OWN_MATERIALS, unknown_words

        materials = f"{', '.join(OWN_MATERIALS[:-1])} or {OWN_MATERIALS[-1]}"
        known = f"a color and a pattern such as “blue striped”, or {materials}"
        return GuidanceWords(MINI_WORDS, "studio light", "close-up", unknown_words, known)
    return GuidanceWords(unlit=FLAT_WORDS, close_up="close-up")
