"""Prompt debiasing: words that do not go with a side are left out of that side's prompt.

Hong, Ahn and Kim, "Debiasing Scores and Prompts of 2D Diffusion for View-consistent Text-to-3D Generation" (D-SDS,
arXiv 2303.15413), with the constants of the code in threestudio and CSD. A masked language model says how likely a
picture of the prompt is a front, side, back or overhead view, with each word and without it. A word that makes a view
less likely (pointwise mutual information as a ratio, below 0.95) is left out there: "smiling" from behind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...job.errors import quoted
from ...job.kinds import JobSpec
from ...job.models.files import Part
from ...job.models.language import (
    BUNDLED,
    find_language_model,
    in_its_own_words,
    read_language_model,
    unreadable_language_model,
)
from ..diffusion.parts import load_network, or_unreadable, quiet_libraries
from ..support.reporting import Reporter
from .view_prompts import VIEWS

MINI_LANGUAGE = Path(__file__).resolve().parent.parent / "mini" / "language"
LEAST_PMI = 0.95  # a word stays unless it is below: the comparison is strict
TEMPLATE = "This image is depicting a {view} view of {prompt}"
PUNCTUATION = ".,;:!?\"'()[]“”„‘’"
BATCH = 16  # sentences in one call of the language model
#: Weights that published files hold besides those of a masked language model, or leave at zero.
SPARE = ("pooler.", "seq_relationship.", "position_ids", "token_type_embeddings")

#: From N prompts to how likely each view is, ``[N, 4]`` in the order of ``VIEWS``; rows sum to one.
ViewChances = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class Debiased:
    """A prompt for each view.

    Attributes:
        prompts: by word of ``VIEWS``; empty where every word was dropped.
        dropped: the words that are missing there, in the order of the prompt.
    """

    prompts: dict[str, str]
    dropped: dict[str, tuple[str, ...]]

    @property
    def stats(self) -> dict[str, dict[str, list[str]]]:
        """For ``result.json``: the dropped words by view, of those views that lack any."""
        return {"dropped_words": {view: list(words) for view, words in self.dropped.items() if words}}

    @property
    def note(self) -> str:
        """The same in one sentence."""
        listed = [
            f"{', '.join(f'“{word}”' for word in words)} in the {view} view"
            for view, words in self.dropped.items()
            if words
        ]
        if not listed:
            return "The language model found no word of the prompt that does not go with a side; all of them stay."
        return f"Left out of the prompt, since they do not go with that side: {'; '.join(listed)}."


def pmi_ratio(with_word: Tensor, without: Tensor) -> Tensor:
    """``P(v | prompt) / (½ P(v | prompt) + ½ P(v | prompt without the word))``: below 1 where the word makes the view
    less likely.

    Args:
        with_word: ``[4]``, or as ``without``: ``[N, 4]``.
    """
    return with_word / torch.lerp(without, with_word.expand_as(without), 0.5)


def debias(prompt: str, chances: ViewChances, allowed: Collection[str] = ()) -> Debiased:
    """The prompt of each view without the words that make that view less likely.

    Words are what blanks separate. Each is judged alone, with all others in place, as in the published code.

    Args:
        allowed: words that may be dropped, whatever their case and the punctuation around them; none: all may.
    """
    words = prompt.split()
    plain = {bare(word) for word in allowed}
    candidates = [i for i, word in enumerate(words) if not plain or bare(word) in plain]
    gone: dict[str, set[int]] = {view: set() for view in VIEWS}
    if candidates:
        texts = [" ".join(words), *(" ".join(words[:i] + words[i + 1 :]) for i in candidates)]
        found = chances(texts).double()
        ratios = pmi_ratio(found[0], found[1:])
        for i, row in zip(candidates, ratios.tolist(), strict=True):
            for view, ratio in zip(VIEWS, row, strict=True):
                if ratio < LEAST_PMI:  # (of a view that is impossible either way the ratio is no number, and it stays)
                    gone[view].add(i)
    return Debiased(
        {view: " ".join(word for i, word in enumerate(words) if i not in gone[view]) for view in VIEWS},
        {view: tuple(word for i, word in enumerate(words) if i in gone[view]) for view in VIEWS},
    )


def bare(word: str) -> str:
    """In lower case, without the punctuation around it."""
    return word.casefold().strip(PUNCTUATION)


def listed_words(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word for entry in text.split(",") for word in entry.split())


def debias_job(job: JobSpec, reporter: Reporter) -> Debiased | None:
    """What prompt debiasing makes of a job's prompt, told to the user; None where the job does without.

    Raises:
        JobError: ``language_model_missing`` or ``language_model_unreadable``.
    """
    if not job.debias_prompt or not job.view_prompts:
        return None
    allowed = listed_words(job.debias_words)
    held = {bare(word) for word in job.prompt.split()}
    unknown = [word for word in allowed if bare(word) not in held]
    if unknown:
        listed = ", ".join(f"“{word}”" for word in unknown)
        reporter.warn("debias_words", f"Of the optional words, {listed} is not in the prompt.")
    found = debias(job.prompt, load_view_chances(job.debias_prompt), allowed)
    reporter.warn("debiased", found.note)
    empty = [view for view, prompt in found.prompts.items() if not prompt]
    if empty:
        views = " and the ".join(empty)
        text = f"No word of the prompt is left for the {views} view; list those that may go to keep the others."
        reporter.warn("debiased_all", text)
    return found


@dataclass(frozen=True)
class MaskedViews:
    """View chances by a masked language model.

    Attributes:
        tokens: that it reads of a sentence at most; what is beyond has no say.
        views: numbers of the tokens of the four view words.
    """

    model: Any
    tokenizer: Any
    tokens: int
    views: tuple[int, ...]

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """As :data:`ViewChances`; a softmax over the four words alone, which is one over all of them renormalized."""
        mask, rows = self.tokenizer.mask_token, []
        for start in range(0, len(prompts), BATCH):
            texts = [TEMPLATE.format(view=mask, prompt=prompt) for prompt in prompts[start : start + BATCH]]
            read = self.tokenizer(texts, padding=True, truncation=True, max_length=self.tokens, return_tensors="pt")
            logits = self.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits
            # The template's is the first: a prompt may bring another one.
            place = (read["input_ids"] == self.tokenizer.mask_token_id).int().argmax(1)
            rows.append(logits[torch.arange(len(texts)), place][:, list(self.views)].double().softmax(1))
        return torch.cat(rows)


def load_view_chances(name: str) -> MaskedViews:
    """A masked language model as view chances, on the CPU: ``mini``, a folder, or a repository in the hub's cache.

    Raises:
        JobError: ``language_model_missing`` or ``language_model_unreadable``, naming the file.
    """
    folder = MINI_LANGUAGE if name == BUNDLED else find_language_model(name)
    part = read_language_model(folder)
    with in_its_own_words(), or_unreadable(f"{folder} does not make a language model"), quiet_libraries():
        model = load_network(part, torch.float32, torch.device("cpu"), _network_class(part), SPARE)
        tokenizer = _load_tokenizer(folder)
        tokens = min(tokenizer.model_max_length, _positions(model.config))
        if tokenizer.mask_token_id is None:
            raise unreadable_language_model(f"the tokenizer in {folder} has no token for a masked word")
        if max(tokenizer.get_vocab().values()) >= model.config.vocab_size:
            raise unreadable_language_model(f"the tokenizer in {folder} has more words than the network")
        views = tuple(_token_of(tokenizer, view, folder) for view in VIEWS)
        return MaskedViews(model, tokenizer, tokens, views)


def _network_class(part: Part) -> Any:
    from transformers import CONFIG_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    kind = part.config.get("model_type")
    if kind not in CONFIG_MAPPING or CONFIG_MAPPING[kind] not in MODEL_FOR_MASKED_LM_MAPPING:
        what = f"{part.folder} is of the kind {quoted(kind)}, which has no masked language model"
        raise unreadable_language_model(what)
    return MODEL_FOR_MASKED_LM_MAPPING[CONFIG_MAPPING[kind]]


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _positions(config: Any) -> int:
    """Tokens that the network can number; RoBERTa's kind begins behind the padding's number."""
    return int(getattr(config, "max_position_embeddings", 512)) - 2


def _token_of(tokenizer: Any, view: str, folder: Path) -> int:
    """The one token that stands for a view word where the mask stands in the template.

    Raises:
        JobError: ``language_model_unreadable`` when it takes several, or is unknown.
    """
    masked, said = (
        tokenizer(TEMPLATE.format(view=word, prompt=""))["input_ids"] for word in (tokenizer.mask_token, view)
    )
    differ = [new for old, new in zip(masked, said) if old != new]
    if len(masked) != len(said) or len(differ) != 1 or differ[0] == tokenizer.unk_token_id:
        raise unreadable_language_model(f"the tokenizer in {folder} does not know “{view}” as one word")
    return differ[0]
