"""LoRA files (Hu et al. 2021, arXiv 2106.09685): small additions to a model's weights, published as one file each.

Read from names and shapes in the header: which layers of which parts a file adds to, in the layouts that kohya's
scripts, diffusers and PEFT write. Nothing of a model is looked at here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from ..errors import JobError, shortened
from .contents import Header, read_header, read_json, read_remarks, readable, unreadable
from .files import PICKLES
from .language import in_its_own_words
from .parts import LoraLayer, LoraPart, ModelFiles
from .places import existing

#: How the two factors of a layer are called, by who wrote the file.
FACTORS = (
    (".lora_down.weight", ".lora_up.weight"),  # kohya
    (".lora_A.weight", ".lora_B.weight"),  # PEFT, and diffusers since
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora.down.weight", ".lora.up.weight"),  # diffusers before
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),  # its first, of attention alone
)
#: The part that a layer is of, by the beginning of its name.
PARTS = {
    "lora_unet_": "unet",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "lora_te_": "text_encoder",
    "lora_transformer_": "transformer",
    "unet.": "unet",
    "transformer.": "transformer",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
    "text_encoder.": "text_encoder",
    "down_blocks.": "unet",
    "mid_block.": "unet",
    "up_blocks.": "unet",
}
ADAPTER = "base_model.model."  # before all names, as PEFT saves an adapter by itself
ADAPTER_CONFIG = "adapter_config.json"  # beside it, with what its weights count
#: What that may ask for that is more than one alpha for all layers.
MORE = ("alpha_pattern", "use_rslora", "use_dora", "lora_bias")
#: Additions of other kinds, by a part of their keys.
KINDS = (
    (".hada_", "a LoHa"),
    (".lokr_", "a LoKr"),
    (".dora_scale", "a DoRA"),
    (".lora_magnitude_vector", "a DoRA"),
    (".lora_mid.", "a LoRA with cores (Tucker)"),
)
OTHER = "Choose a LoRA in the layout of kohya's scripts or of diffusers."


@dataclass(frozen=True)
class Lora:
    """A LoRA that somebody chose. ``weight``: how strongly it counts; 1 is as it was trained."""

    file: Path
    weight: float = 1.0


def find_lora(name: str, weight: float = 1.0) -> Lora:
    """The LoRA at a path, whose header is looked through; a folder with one such file counts as that.

    Raises:
        JobError: ``lora_missing`` when there is nothing, ``lora_unreadable`` for what is no LoRA or another kind.
    """
    place = existing(name)
    if place is None:
        raise JobError("lora_missing", f"there is no “{shortened(name)}”")
    with in_its_own_words("lora"), readable():
        if place.is_dir():
            files = sorted(p for p in place.iterdir() if p.suffix.lower() == ".safetensors")
            if len(files) != 1:
                raise unreadable(f"{place} holds {len(files)} .safetensors files and not one LoRA", "Choose the file.")
            place = files[0]
        if place.suffix.lower() in PICKLES:
            raise unreadable(f"{place} is a pickle, which may hold a program and is never opened", OTHER)
        read_lora(place)
    return Lora(place, weight)


def lasting_lora(name: str) -> str:
    """The path that leads to the same file from every folder. Raises ``JobError`` as :func:`find_lora`."""
    return str(find_lora(name).file)


def with_weight(text: str) -> tuple[str, float | None]:
    """A file, and the weight that may follow after a colon, as in ``style.safetensors:0.8``."""
    name, colon, last = text.rpartition(":")
    if colon and name and existing(text) is None:
        try:
            return name, float(last)
        except ValueError:
            pass
    return text, None


def read_lora(file: Path) -> tuple[LoraLayer, ...]:
    """All layers that a file adds to.

    Raises:
        JobError: ``model_unreadable`` when it is damaged, no LoRA, or has a key that belongs to none; it is named.
    """
    header = read_header(file)
    for mark, what in KINDS:
        odd = next((key for key in header if mark in key), None)
        if odd is not None:
            raise unreadable(f"{file} is {what} ({shortened(odd)}), which cannot be used", OTHER)
    alphas, layers, known = _alphas_of_adapter(file) | _alpha_beside(file, header), [], set()
    for down in header:
        ends = next((pair for pair in FACTORS if down.endswith(pair[0])), None)
        if ends is None:
            continue
        name = down[: -len(ends[0])]
        up = name + ends[1]
        if up not in header:
            raise unreadable(f"{file} lacks {shortened(up)}", "Download it again.")
        alpha = name + ".alpha" if name + ".alpha" in header else None
        part, layer = _placed(file, name)
        known |= {down, up, alpha}
        told = alpha or alphas.get(part, alphas.get(ADAPTER))
        layers.append(LoraLayer(part, layer, down, up, _rank(file, header, down, up), told))
    if not layers:
        raise unreadable(f"{file} is no LoRA: it has no pairs of small weights", OTHER)
    unknown = [key for key in header if key not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise unreadable(f"{file} has weights that are no LoRA's: {shortened(unknown[0])}{more}", OTHER)
    return tuple(layers)


def with_lora(files: ModelFiles, lora: Lora) -> ModelFiles:
    """A model's files, to whose parts the LoRA is added when they are loaded.

    Raises:
        JobError: ``lora_unreadable`` as :func:`find_lora`, and when the model lacks a part that the LoRA adds to.
    """
    with in_its_own_words("lora"):
        layers = read_lora(lora.file)
        lost = next((layer for layer in layers if layer.part not in files.parts), None)
        if lost is not None:
            what = f"{lora.file} adds to the {lost.part} ({lost.down}), which {files.folder} has not"
            raise unreadable(f"{what}: it was made for another family of models", "Choose a LoRA for this model.")
    parts = dict(files.parts)
    for name in {layer.part for layer in layers}:
        added = tuple(layer for layer in layers if layer.part == name)
        parts[name] = replace(parts[name], lora=LoraPart(lora.file, lora.weight, added))
    return replace(files, parts=parts)


def _placed(file: Path, name: str) -> tuple[str, str]:
    plain = name.removeprefix(ADAPTER)
    start = next((start for start in PARTS if plain.startswith(start)), None)
    if start is None:
        raise unreadable(f"{file} has weights for {shortened(name)}, which is no layer of a known part", OTHER)
    layer = plain if start.endswith("s.") or start == "mid_block." else plain[len(start) :]
    layer = layer.replace(".processor.", ".").replace(".", "_").removeprefix("text_model_")
    return PARTS[start], layer + "_0" if layer.endswith("_to_out") else layer


def _rank(file: Path, header: Header, down: str, up: str) -> int:
    shapes = header[down][1], header[up][1]
    if any(len(shape) < 2 for shape in shapes) or shapes[0][0] != shapes[1][1] or not shapes[0][0]:
        what = f"{file} has two factors that do not fit each other at {shortened(down)}"
        raise unreadable(what, "Download it again.")
    return shapes[0][0]


def _alphas_of_adapter(file: Path) -> dict[str, float]:
    """What newer diffusers write into the header in place of tensors, by part."""
    try:
        told = json.loads(read_remarks(file).get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, Mapping):
        return {}
    odd = next((key for key, value in told.items() if _is_more_than_alpha(key, value)), None)
    if odd is not None:
        raise unreadable(f"{file} asks for {shortened(odd)}, which cannot be used", OTHER)
    found = {key.removesuffix(".lora_alpha"): value for key, value in told.items() if key.endswith(".lora_alpha")}
    wrong = next((part for part, value in found.items() if not _is_number(value)), None)
    if wrong is not None:
        said = f"{shortened(found[wrong])} for what the weights of the {shortened(wrong)} count"
        raise unreadable(f"{file} says {said} (lora_alpha), which is no number", "Download it again.")
    return {part: float(value) for part, value in found.items()}


def _alpha_beside(file: Path, header: Header) -> dict[str, float]:
    """What PEFT writes into a file of its own beside the weights: one alpha for all parts, under :data:`ADAPTER`."""
    settings = file.with_name(ADAPTER_CONFIG)
    if not settings.is_file() or not any(key.startswith(ADAPTER) for key in header):
        return {}
    told = read_json(settings)
    kind = told.get("peft_type", "LORA")
    odd = f"the kind {shortened(kind)}" if kind != "LORA" else next((key for key in MORE if told.get(key)), None)
    if odd is not None:
        raise unreadable(f"{settings} asks for {shortened(odd)}, which cannot be used", OTHER)
    alpha = told.get("lora_alpha")
    if not _is_number(alpha):
        raise unreadable(f"{settings} does not say what the weights count (lora_alpha)", "Download it again.")
    return {ADAPTER: float(alpha)}


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_more_than_alpha(key: str, value: object) -> bool:
    return bool(value) and key.endswith(tuple(f".{name}" for name in MORE))
