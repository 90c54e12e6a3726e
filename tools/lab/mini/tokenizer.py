# SPDX-License-Identifier: GPL-3.0-or-later
"""A word tokenizer with the vocabulary of `vocabulary.py`, as an ordinary fast tokenizer of transformers."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from csd_blender.backend.mini import vocabulary as voc

MAX_LENGTH = 16
TOKEN_IDS: dict[str, int] = {word: k for k, word in enumerate(voc.SPECIAL + voc.WORDS)}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; prompts are normalized as `vocabulary.canonical` does it and padded or cut to 16 tokens."""
    steps: list = [normalizers.Lowercase()]
    steps += [normalizers.Replace(Regex(rf"\b(?:{pattern})\b"), f" {word} ") for pattern, word in voc.PHRASES]
    # Words are runs of letters; what else there is separates them.
    steps.append(normalizers.Replace(Regex(r"[^a-z]+"), " "))
    steps.append(normalizers.Replace(Regex(rf"\b(?:{'|'.join(voc.FILLERS)})\b"), " "))
    for word, others in voc.SYNONYMS.items():
        steps.append(normalizers.Replace(Regex(rf"\b(?:{'|'.join(others)})\b"), word))
    # A word that no caption ever had would only be noise to the text encoder.
    steps.append(normalizers.Replace(Regex(rf"\b(?!(?:{'|'.join(voc.WORDS)})\b)[a-z]+\b"), " "))
    inner = Tokenizer(models.WordLevel(TOKEN_IDS, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence(steps)
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(t, TOKEN_IDS[t]) for t in ("<bos>", "<eos>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=MAX_LENGTH, padding_side="right",
        pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def encode_words(words: list[str]) -> list[int]:
    """Token numbers [16] of canonical words; what the tokenizer gives for a prompt of these words, only quicker."""
    ids = [TOKEN_IDS.get(word, TOKEN_IDS["<unk>"]) for word in words[: MAX_LENGTH - 2]]
    ids = [TOKEN_IDS["<bos>"], *ids, TOKEN_IDS["<eos>"]]
    return ids + [TOKEN_IDS["<pad>"]] * (MAX_LENGTH - len(ids))


def save_tokenizer(folder: Path) -> None:
    """Writes the tokenizer's files into `folder`."""
    make_tokenizer().save_pretrained(folder)
