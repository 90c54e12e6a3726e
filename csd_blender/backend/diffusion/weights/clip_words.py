"""CLIP's own words (Radford et al. 2021), which all models of Stable Diffusion 1, 2 and XL read texts by; models in a
single file bring none.

``clip_merges.txt.gz`` has the pairs of pieces that make words, the most frequent first: the first 48,894 of the list in
https://github.com/openai/CLIP, under the MIT licence beside it. The words and their numbers follow from it.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

MERGES = Path(__file__).with_name("clip_merges.txt.gz")
MARKS = ("<|startoftext|>", "<|endoftext|>")


def clip_tokenizer(pad_token: str, length: int) -> Any:
    """The tokenizer, which reads ``length`` tokens of a text at most."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer(
        vocab=clip_vocabulary(),
        merges=list(clip_merges()),
        pad_token=pad_token,
        model_max_length=length,
    )


@cache
def clip_merges() -> tuple[tuple[str, str], ...]:
    """Pairs of pieces, in the order in which they are put together."""
    lines = gzip.decompress(MERGES.read_bytes()).decode("utf-8").splitlines()
    return tuple((first, second) for first, second in (line.split() for line in lines))


def clip_vocabulary() -> dict[str, int]:
    """Numbers of all 49,408 pieces: bytes, bytes that end a word, what the pairs make, and the two marks."""
    letters = _letters()
    made = ("".join(pair) for pair in clip_merges())
    return {word: i for i, word in enumerate((*letters, *(letter + "</w>" for letter in letters), *made, *MARKS))}


def _letters() -> list[str]:
    """A visible letter for each byte: its own where it has one, else the next free one from 256 on; those first."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in own]
    return [chr(byte) for byte in own] + [chr(256 + i) for i in range(len(others))]
