"""A text encoder with its tokenizer: prompts in, one vector for each token out, each prompt once."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

#: Words with the blanks before them and the commas behind them; all together they are the text again.
WORDS = re.compile(r"\s*[^\s,，、。]+[,，、。]*|\s*[,，、。]+|\s+$")
LONG_WORD = 32  # characters; a shorter one is left out as a whole, but not in
#: scripts that have no blanks between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u3190-\ua4cf\uf900-\ufaff\uff66-\uff9d"
    r"\U00020000-\U0003ffff]"
)


def largest(count: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to ``count`` for which ``holds``, which holds up to some number; 0 is not asked."""
    least, most = 0, count
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if holds(middle) else (least, middle - 1)
    return least


def last_layer(encoder: torch.nn.Module, tokens: Tensor, **mask: Tensor) -> tuple[Tensor, ...]:
    """What most families read of a text encoder: ``[N, L, D]``, its last layer."""
    return (encoder(tokens, **mask)[0],)


def layer_before_last(encoder: torch.nn.Module, tokens: Tensor, **mask: Tensor) -> tuple[Tensor, ...]:
    """``[N, L, D]``, the last layer but one, before the encoder's last normalization."""
    return (encoder(tokens, output_hidden_states=True, **mask).hidden_states[-2],)


def layer_before_last_and_whole(encoder: torch.nn.Module, tokens: Tensor, **mask: Tensor) -> tuple[Tensor, ...]:
    """The same, and ``[N, P]``, the projected vector of the whole text."""
    read = encoder(tokens, output_hidden_states=True, **mask)
    return read.hidden_states[-2], read.text_embeds


@dataclass
class TextReader:
    """Reads prompts as the family's own pipeline in diffusers does.

    Attributes:
        encoder: released by :meth:`free` once the prompts are encoded; ``load_encoder`` brings it back.
        tokens: so many tokens of a text are read, and shorter texts are padded to.
        lower_case: texts are read in lower case and without blanks around them.
        masked: the encoder is told which tokens are padding.
        dtype: of the vectors, the network's.
        take: what is read of the encoder, from (encoder, tokens ``[N, L]``, the mask by name): one row a text each.
    """

    tokenizer: Any
    encoder: torch.nn.Module | None
    load_encoder: Callable[[], torch.nn.Module]
    tokens: int
    dtype: torch.dtype
    device: torch.device
    lower_case: bool = False
    masked: bool = False
    take: Callable[..., tuple[Tensor, ...]] = last_layer
    _known: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)

    def read(self, prompts: Sequence[str]) -> Tensor:
        """``[N, L, D]``, the first that ``take`` gives; each distinct prompt is encoded once and remembered."""
        return self.read_all(prompts)[0]

    @torch.no_grad()
    def read_all(self, prompts: Sequence[str]) -> tuple[Tensor, ...]:
        """All that ``take`` gives, as for example a vector for the whole text beside those for the tokens."""
        missing = [p for p in dict.fromkeys(prompts) if p not in self._known]
        if missing:
            encoder = self.load_encoder() if self.encoder is None else self.encoder
            self.encoder = encoder
            tokens = self.tokenizer(
                [self._as_read(p) for p in missing],
                padding="max_length",
                truncation=True,
                max_length=self.tokens,
                return_attention_mask=True,
                return_tensors="pt",
            )
            mask = {"attention_mask": tokens.attention_mask.to(self.device)} if self.masked else {}
            taken = [rows.to(self.dtype) for rows in self.take(encoder, tokens.input_ids.to(self.device), **mask)]
            self._known.update(zip(missing, zip(*taken, strict=True), strict=True))
        return tuple(torch.stack(rows) for rows in zip(*(self._known[p] for p in prompts), strict=True))

    def fitting(self, prompt: str, ending: str) -> str:
        """As much of the prompt as is read with ``ending`` after it; all of it, mostly. It is cut between words, and
        within one where a language has no blanks, or it is very long."""
        if self._fits(prompt + ending):
            return prompt
        words = WORDS.findall(prompt)
        whole = largest(len(words), lambda n: self._fits("".join(words[:n]) + ending))
        kept = "".join(words[:whole])
        word = words[whole] if whole < len(words) else ""
        if whole and len(word) < LONG_WORD and not UNSPACED.search(word):
            return kept
        part = largest(len(word), lambda n: self._fits(kept + word[:n] + ending))
        return kept + word[:part] or word  # where the ending alone is too long, it is cut, too

    def _fits(self, text: str) -> bool:
        return self._count(text) <= self.tokens

    def free(self) -> None:
        """Give the encoder's memory back; encoded prompts stay."""
        self.encoder = None

    def _as_read(self, prompt: str) -> str:
        return prompt.lower().strip() if self.lower_case else prompt

    def _count(self, text: str) -> int:
        return len(self.tokenizer(self._as_read(text), truncation=False, verbose=False).input_ids)
