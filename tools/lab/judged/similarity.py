"""How well pictures fit prompts: a cosine as CLIP's score is one, and R-precision.

Two models can say it: the small contrastive head of `mini.readers.pairs`, which is bundled and knows the mini world,
and a CLIP in a local folder as transformers saves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from csd_blender.backend.diffusion.parts import load_network, or_unreadable, quiet_libraries
from csd_blender.job.models.contents import AGAIN, check_file, read_json, refuse_code, unreadable
from csd_blender.job.models.files import read_network

from ..mini.readers.pairs import load_pairs, said_words
from .perceptual import Distance, by_layers, clip_pictures, judge_distance


@dataclass(frozen=True)
class TextImageModel:
    """Pictures and prompts in one space.

    Attributes:
        name: for tables.
        size: side in pixels of the pictures that it wants.
        pictures: from ``[N, 3, size, size]`` in [0, 1] to unit vectors ``[N, D]``.
        texts: from N prompts to unit vectors ``[N, D]``.
        says: what a prompt says to it; one that says no more than another is as true of the other's pictures.
        distance: how different two pictures look to it.
    """

    name: str
    size: int
    pictures: Callable[[Tensor], Tensor]
    texts: Callable[[Sequence[str]], Tensor]
    says: Callable[[str], frozenset[str]]
    distance: Distance


def similarity(pictures: Tensor, prompts: Sequence[str], model: TextImageModel | None = None) -> Tensor:
    """The cosine between pictures and each prompt, the mean over the pictures: ``[len(prompts)]``, in [-1, 1].

    Args:
        pictures: ``[N, 3, H, W]`` in [0, 1] of one thing, from N sides.
        model: that tells; the bundled one by itself.
    """
    model = model or mini_model()
    if pictures.shape[-2:] != (model.size, model.size):
        pictures = F.interpolate(pictures, size=(model.size, model.size), mode="bicubic", antialias=True).clamp(0, 1)
    seen = torch.cat([model.pictures(part) for part in pictures.split(16)])
    return (seen @ model.texts(prompts).T).mean(0)


def candidates(own: Sequence[str], others: Sequence[str], model: TextImageModel) -> list[str]:
    """Prompts to be told apart, each meaning once: ``own`` first, then those of ``others`` that mean something else."""
    found: dict[frozenset[str], str] = {}
    for prompt in (*own, *others):
        found.setdefault(model.says(prompt), prompt)
    return list(found.values())


def nearest(values: Tensor, own: str, prompts: Sequence[str], model: TextImageModel) -> str:
    """The prompt that is nearest to a result: ``own`` or one that says something else (R-precision at 1, for one).

    Args:
        values: of ``similarity`` for ``prompts``, which hold ``own`` or a prompt that says the same.
    """
    said = model.says(own)
    told = [model.says(prompt) for prompt in prompts]
    rivals = [i for i, words in enumerate(told) if words == said or not words <= said]
    best = max(rivals, key=lambda i: float(values[i]))
    return own if told[best] == said else prompts[best]


def mini_model() -> TextImageModel:
    """The contrastive head on the judge."""
    pairs = load_pairs()
    return TextImageModel(
        name="mini pairs",
        size=64,
        pictures=pairs.pictures,
        texts=pairs.texts,
        says=lambda prompt: frozenset(said_words(prompt)),
        distance=judge_distance(),
    )


def clip_model(folder: Path) -> TextImageModel:
    """A CLIP in a folder as transformers saves it, with safetensors and its tokenizer, on the CPU.

    Raises:
        JobError: ``model_unreadable`` naming what is missing or damaged.
    """
    from transformers import AutoTokenizer, CLIPModel

    if not (folder / "config.json").is_file():
        raise unreadable(f"{folder} has no config.json and is no CLIP", "Choose the folder of a CLIP model.")
    refuse_code(folder)
    if read_json(folder / "config.json").get("model_type") != "clip":
        raise unreadable(f"{folder} is no CLIP", "Choose the folder of a CLIP model.")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise unreadable(f"{folder} has no tokenizer", AGAIN)
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        if (folder / name).exists():
            check_file(folder / name)
    part = read_network(folder, "CLIPModel", "model")
    with or_unreadable(f"{folder} does not make a CLIP"), quiet_libraries():
        net = load_network(part, torch.float32, torch.device("cpu"), CLIPModel, spare=("position_ids",))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    size, tokens = int(net.config.vision_config.image_size), int(net.config.text_config.max_position_embeddings)

    @torch.no_grad()
    def pictures(images: Tensor) -> Tensor:
        seen = net.vision_model(pixel_values=clip_pictures(images, size)).pooler_output
        return F.normalize(net.visual_projection(seen), dim=1)

    @torch.no_grad()
    def texts(prompts: Sequence[str]) -> Tensor:
        read = tokenizer(list(prompts), padding=True, truncation=True, max_length=tokens, return_tensors="pt")
        said = net.text_model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).pooler_output
        return F.normalize(net.text_projection(said), dim=1)

    def layers(images: Tensor) -> list[Tensor]:
        states = net.vision_model(pixel_values=clip_pictures(images, size), output_hidden_states=True).hidden_states
        return [state[:, 1:].transpose(1, 2) for state in states[1:]]  # without the token for the whole picture

    return TextImageModel(
        folder.name, size, pictures, texts, lambda prompt: frozenset([" ".join(prompt.split())]), by_layers(layers)
    )
