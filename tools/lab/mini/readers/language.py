# SPDX-License-Identifier: GPL-3.0-or-later
"""A masked language model of the mini world: sentences about its pictures, a tokenizer, training, and what it learned.

It is asked for the word at `This image is depicting a [MASK] view of ...` and is bundled for prompt debiasing. The
sentences say of a picture what `sights` sees in it; colors, materials and shapes occur with every view alike.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from csd_blender.backend.mini import vocabulary as voc

from ..dataset import random_camera
from .sights import WORDS as SEEN
from .sights import Sight, look_around

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEMPLATE = "this image is depicting a {view} view of"
JOINING = ("the", "with", "and", "its", "in", "on", "has", "that", "looking", "big", "small")
VOCABULARY: tuple[str, ...] = tuple(
    dict.fromkeys([*SPECIAL, *TEMPLATE.format(view="").split(), *JOINING, *voc.WORDS, *SEEN])
)
IDS = {word: i for i, word in enumerate(VOCABULARY)}
#: Other words for what is seen; those for colors, materials and shapes are `vocabulary`'s.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "smiling": ("smile", "smiles", "grin", "grins", "grinning", "laughing"),
    "face": ("faces", "facial"), "eyes": ("eye",), "mouth": ("mouths", "lips"), "nose": ("noses", "carrot"),
    "snout": ("muzzle",), "beak": ("bill",), "windows": ("window",), "door": ("doors", "doorway"),
    "buttons": ("button",), "headlights": ("headlight", "headlamps"), "taillights": ("taillight",),
    "grille": ("grill",), "screen": ("display",), "dial": ("clockface",), "hands": ("hand",), "wheels": ("wheel",),
    "feet": ("foot", "claws"), "hat": ("hats",), "antenna": ("antennas", "aerial"), "stem": ("stalk",),
}  # fmt: skip
POSITIONS = 64


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words in lower case; synonyms are one word, and what the world does not have is unknown."""
    steps: list = [normalizers.Lowercase(), normalizers.Replace(Regex(r"[^a-z]+"), " ")]
    steps.append(normalizers.Replace(Regex(r"\btail lights?\b"), "taillights"))
    known = {word: [s for s in others if s not in VOCABULARY] for word, others in voc.SYNONYMS.items()}
    for word, others in [*known.items(), *SYNONYMS.items()]:
        if others and word not in voc.VIEWS:  # of the views, the four words themselves are wanted
            steps.append(normalizers.Replace(Regex(rf"\b(?:{'|'.join(others)})\b"), word))
    inner = Tokenizer(models.WordLevel(IDS, unk_token="[UNK]"))
    inner.normalizer = normalizers.Sequence(steps)
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(t, IDS[t]) for t in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=POSITIONS, padding_side="right", pad_token="[PAD]",
        unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def make_network(seed: int) -> BertForMaskedLM:
    """Two layers, 64 wide: 0.1 M parameters."""
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        max_position_embeddings=POSITIONS, type_vocab_size=1, pad_token_id=IDS["[PAD]"],
    ))  # fmt: skip


# ---- sentences -----------------------------------------------------------------------------------------------------


def caption(sight: Sight, rng: np.random.Generator) -> list[str]:
    """Words that describe a picture: a color, a material, the thing, and some of what is seen of it."""
    words = [str(rng.choice(("a", "the")))] if rng.random() < 0.8 else []
    surface = [str(rng.choice(voc.COLORS))] if rng.random() < 0.5 else []
    surface += [str(rng.choice(voc.MATERIALS))] if rng.random() < 0.5 else []
    thing = sight.shape if rng.random() < 0.9 else "object"
    seen = sorted(sight.words)
    told = [seen[i] for i in rng.permutation(len(seen))[: rng.choice(4, p=(0.35, 0.3, 0.2, 0.15))]]
    before = ["smiling"] if "smiling" in told else []
    words += [*before, *surface] if rng.random() < 0.5 else [*surface, *before]
    words.append(thing)
    for i, name in enumerate(word for word in told if word != "smiling"):
        words.append("with" if i == 0 else "and")
        if rng.random() < 0.4:
            words.append(str(rng.choice(("a", "its", "the", "big", "small", "[UNK]", *voc.COLORS))))
        words.append(name)
    if rng.random() < 0.15:
        words.insert(int(rng.integers(len(words) + 1)), "[UNK]")
    return words


def draw_sight(sights: Sequence[Sight], rng: np.random.Generator) -> Sight:
    """One of the sights of figures, or two times in five a shape without a front from a random camera."""
    if rng.random() < 0.6:
        return sights[rng.integers(len(sights))]
    while True:
        camera = random_camera(rng, False)
        if voc.clear_view(camera.azimuth, camera.elevation):
            break
    shape = str(rng.choice((*voc.OTHER_SHAPES, "object")))
    return Sight(shape, voc.view_word(camera.azimuth, camera.elevation), frozenset())


def make_sentences(sights: Sequence[Sight], rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers [count, length] of whole sentences, padded, and the chance [count, length] that each is masked.

    The view's word is masked in three sentences of four, any other in one of eight.
    """
    sentences = []
    for _ in range(count):
        sight = draw_sight(sights, rng)
        sentences.append(["[CLS]", *TEMPLATE.format(view=sight.view).split(), *caption(sight, rng), "[SEP]"])
    length = max(map(len, sentences))
    ids, chances = np.full((count, length), IDS["[PAD]"]), np.zeros((count, length))
    place = TEMPLATE.split().index("{view}") + 1
    for row, words in enumerate(sentences):
        ids[row, : len(words)] = [IDS[word] for word in words]
        chances[row, : len(words)] = [0.0 if word in SPECIAL else 0.125 for word in words]
        chances[row, place] = 0.75
    return ids, chances


def masked_batch(
    ids: np.ndarray, chances: np.ndarray, rng: np.random.Generator, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some sentences of :func:`make_sentences` with words masked: token numbers, which are no padding, and what the
    masked ones were (-100 elsewhere)."""
    chosen = rng.integers(len(ids), size=count)
    whole, hide = ids[chosen], rng.random((count, ids.shape[1])) < chances[chosen]
    longest = int((whole != IDS["[PAD]"]).sum(1).max())
    read = torch.from_numpy(np.where(hide, IDS["[MASK]"], whole)[:, :longest])
    wanted = torch.from_numpy(np.where(hide, whole, -100)[:, :longest])
    return read, (read != IDS["[PAD]"]).long(), wanted


# ---- training ------------------------------------------------------------------------------------------------------


def train_language(
    folder: Path, seed: int = 7, steps: int = 1500, batch: int = 64, rate: float = 3e-3, instances: int = 16,
    sentences: int = 30000, log: Callable[[str], None] = lambda text: None,
) -> dict[str, object]:  # fmt: skip
    """Looks at the figures, trains on sentences about them, writes `folder` as transformers saves a BERT in half
    precision, with its card, and returns what was measured.

    The learning rate rises over the first 100 steps and then falls to zero along a cosine.
    """
    began, begun = time.monotonic(), time.process_time()
    sights = look_around(seed, instances)
    log(f"{len(sights)} sights in {time.monotonic() - began:.0f} s")
    every, chances = make_sentences(sights, np.random.default_rng((seed, 0)), sentences)
    network = make_network(seed).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    for step in range(steps):
        ids, mask, wanted = masked_batch(every, chances, np.random.default_rng((seed, 1, step)), batch)
        logits = network(input_ids=ids, attention_mask=mask).logits
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100)
        optimizer.param_groups[0]["lr"] = rate * min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 250 == 249:
            log(f"language step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - began:.0f} s")
    network.eval().half().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    from .language_card import write_card

    settings: dict[str, Any] = {"seed": seed, "steps": steps, "batch": batch, "rate": rate, "instances": instances}
    settings["sentences"] = sentences
    report = write_card(folder, settings, look_around(seed + 1, max(instances // 2, 1)), time.process_time() - begun)
    (folder / "accuracy.json").write_text(json.dumps(report, indent=2) + "\n")
    return report
