"""What a model consists of, whatever layout its files have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class LoraLayer:
    """What a LoRA file adds to one layer: ``weight * alpha / rank * up @ down``.

    Attributes:
        part: of the model, as ``model_index.json`` has it.
        layer: its name with underscores for points, as kohya's scripts write it, without ``text_model_``.
        down, up: names of the tensors. rank: inner size of the two.
        alpha: name of the tensor that holds it, or itself; None for the rank.
    """

    part: str
    layer: str
    down: str
    up: str
    rank: int
    alpha: str | float | None


@dataclass(frozen=True)
class LoraPart:
    """What a LoRA file adds to one part of a model, so many times over."""

    file: Path
    weight: float
    layers: tuple[LoraLayer, ...]


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        class_name: as the model's index names it.
        config: its settings, as they are in its JSON file.
        weights: file that holds, or lists, its weights, or a tokenizer's vocabulary; None for what has neither.
        variant: word in the names of its weight files, such as ``fp16``; None where there is none.
        lora: what is added to its weights once they are loaded.
        prefix: of a part within a single file, that of its weights' names, which are not diffusers' own then.
    """

    folder: Path
    class_name: str
    config: dict = field(default_factory=dict)
    weights: Path | None = None
    variant: str | None = None
    prefix: str = ""
    lora: LoraPart | None = None


@dataclass(frozen=True)
class ModelFiles:
    """A model in the diffusers layout, or in a single file, which then is the ``folder`` of it and of all its parts.

    ``pipeline`` is the class that its index names, ``family`` an id of ``families``, ``parts`` those of the family,
    ``options`` what the index says of the model as a whole.
    """

    folder: Path
    pipeline: str
    family: str
    scheduler: Part
    parts: Mapping[str, Part]
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def unet(self) -> Part:
        return self.parts["unet"]

    @property
    def network(self) -> Part:
        """The one that predicts: a UNet or a transformer."""
        return self.parts.get("unet") or self.parts["transformer"]

    @property
    def text_encoder(self) -> Part:
        return self.parts["text_encoder"]

    @property
    def tokenizer(self) -> Part:
        return self.parts["tokenizer"]
