"""What lies in a model's folder, before any library opens it: its parts, their weights, and what is wrong with them.

Nothing of a folder is ever run. Only safetensors are opened, and of these only the header; a folder that brings code of
its own (Python files, an ``auto_map``) is refused as a whole, and so is one that has its weights as pickles only.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import JobError, quoted, shortened
from .contents import AGAIN, Header, check_file, read_header, read_json, readable, refuse_code, unreadable, values_of
from .families import DEFINING, FAMILIES, Family, find_family, sees_cameras
from .parts import ModelFiles, Part
from .single_file import read_single_file

INDEX = "model_index.json"
WORDS_LIMIT = 64 * 2**20  # bytes of a tokenizer's vocabulary; CLIP's has one of them, T5's two
LARGEST_NUMBER, MOST_LAYERS = 10**7, 1000  # beyond these, settings are damaged and not a network's
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
_LABELS = [family.label for family in FAMILIES if family.told == "prompt"]
#: What a model draws after, for people.
TOLD = {
    "prompt": "which is told a prompt alone, and no picture or cameras",
    "views": "which is told cameras beside a prompt and draws several views at once (as MVDream)",
    "picture": "which is told a picture and a camera (as Zero-1-to-3) and no prompt",
}
#: Parts whose classes stand in a program of the model's own, which is never run: one linear layer, read as numbers.
LAYERS = ("cc_projection", "clip_camera_projection")
WHOLE = f"Choose the folder of a whole model: {', '.join(_LABELS[:-1])} or {_LABELS[-1]}."

#: What to choose for a job that has such a thing to tell.
WANTED = {
    "prompt": WHOLE,
    "picture": "Choose a Zero-1-to-3 in the diffusers layout.",
    "views": "Choose an MVDream, as one .safetensors file or in the diffusers layout.",
}


@readable()
def read_model(folder: Path, told: str = "prompt") -> ModelFiles:
    """Look through ``folder``, which has a ``model_index.json``, or is a single file.

    ``told``: what the model has to draw after, see :class:`~.families.Family`.

    Raises:
        JobError: ``model_unreadable`` for the first thing that is missing, damaged, of a family that this version
            cannot drive, or that brings code; the detail names the file, the fix says what to do.
    """
    if folder.is_file():
        files = read_single_file(folder)
        _check_told(folder, files.pipeline, next(f for f in FAMILIES if f.id == files.family), told)
        return files
    refuse_code(folder)
    index = read_json(folder / INDEX)
    pipeline = shortened(str(index.get("_class_name", "model without a name")))
    wanted = dict.fromkeys(name for family in FAMILIES for name in ("scheduler", *family.parts))
    classes = {name: str(index[name]) for name in DEFINING if index.get(name) not in (None, [None, None])}
    classes |= {name: _class_of(folder, index, name) for name in wanted}
    family = _find_family(folder, index, pipeline, classes)
    _check_told(folder, pipeline, family, told)
    return ModelFiles(
        folder,
        pipeline,
        family.id,
        _scheduler(folder / "scheduler", classes["scheduler"], flows="transformer" in family.parts),
        {name: _part(folder / name, classes[name]) for name in family.parts if classes[name]},
        {name: value for name, value in index.items() if isinstance(value, (bool, int, float))},
    )


def _part(folder: Path, class_name: str) -> Part:
    """A tokenizer, or a network; those of transformers call their files otherwise than those of diffusers."""
    if folder.name.startswith("tokenizer"):
        return _tokenizer(folder, class_name)
    stem = "model" if folder.name.startswith(("text_encoder", "image_encoder")) else "diffusion_pytorch_model"
    return read_network(folder, class_name, stem)


def _class_of(folder: Path, index: dict, name: str) -> str:
    """Class of a part; empty when the model has no such part."""
    entry = index.get(name)
    if entry is None:
        return ""
    if not isinstance(entry, list) or len(entry) != 2:
        raise unreadable(f"{folder / INDEX} is damaged at {quoted(name)}", AGAIN)
    library, class_name = entry
    if class_name is None:
        return ""
    if name in LAYERS and isinstance(class_name, str):
        return class_name
    if library not in ("diffusers", "transformers") or not isinstance(class_name, str):
        raise unreadable(f"{folder / INDEX} asks for {quoted(name)} from a program of its own", "Choose another model.")
    return class_name


def _find_family(folder: Path, index: dict, pipeline: str, classes: dict[str, str]) -> Family:
    """The model's family. Raises, with what is amiss, for a model that this version cannot drive."""
    family = find_family(classes)
    if family is not None and classes["scheduler"]:
        settings = folder / "unet" / "config.json"
        if family.id == "sd" and settings.is_file() and sees_cameras(read_json(settings)):
            return next(other for other in FAMILIES if other.told == "views")
        return family
    if classes.get("text_encoder_2") and not classes["text_encoder"]:
        raise unreadable(f"{folder} is a {pipeline} with the second text encoder alone: a refiner", WHOLE)
    if classes["image_encoder"] and not classes["text_encoder"]:
        raise unreadable(f"{folder} is a {pipeline}, {TOLD['picture']}", WHOLE)
    named = {name for name, class_name in classes.items() if class_name and name != "scheduler"}
    like = (f for f in FAMILIES if set(f.parts) - set(f.optional) <= named <= set(f.parts))
    for name, known in next(like, FAMILIES[0]).parts.items():
        if classes[name] and classes[name] not in known:
            kind = shortened(classes[name])
            raise unreadable(f"{folder} has a {name} of the kind {kind}, which cannot be used yet", WHOLE)
    if index.get("transformer") or index.get("prior") or index.get("controlnet"):
        raise unreadable(f"{folder} is a {pipeline}, a family that cannot be used yet", WHOLE)
    for name in ("unet", "text_encoder", "tokenizer", "scheduler"):
        if not classes[name]:
            raise unreadable(f"{folder / INDEX} names no {name}, so this is no text to image model", WHOLE)
    raise unreadable(f"{folder} is a {pipeline}, a family that cannot be used yet", WHOLE)


def _check_told(folder: Path, pipeline: str, family: Family, told: str) -> None:
    """Raise for a model that draws after something else than what the job has for it."""
    if family.told != told:
        raise unreadable(f"{folder} is a {pipeline}, {TOLD[family.told]}", WANTED[told])


@readable()
def read_network(folder: Path, class_name: str, stem: str) -> Part:
    """A part with weights. Raises ``JobError('model_unreadable')`` for what is missing, damaged or none."""
    if not folder.is_dir():
        raise unreadable(f"the folder {folder} is missing", AGAIN)
    config = read_json(folder / "config.json")
    if (folder / "adapter_config.json").exists():
        raise unreadable(f"{folder} holds a LoRA and not a whole network", WHOLE)
    if "quantization_config" in config:
        raise unreadable(f"{folder} has quantized weights, which cannot be used yet", "Choose the model's usual ones.")
    _check_sizes(folder / "config.json", config)
    problem = None
    for weights, variant in _choices_of_weights(folder, stem):
        try:
            shapes = read_shapes(weights)
        except JobError as error:  # a hub's cache may list the usual weights and have those of a variant only
            problem = problem or error
            continue
        _check_layers(folder / "config.json", config, len(shapes))
        return Part(folder, class_name, config, weights, variant)
    raise problem or _no_weights(folder, stem)


def _check_sizes(file: Path, config: dict) -> None:
    """Raise for numbers that would ask for more memory than any computer has."""
    for name, value in values_of(config):
        limit = MOST_LAYERS if "layers" in name else LARGEST_NUMBER
        if any(isinstance(n, int) and abs(n) > limit for n in (value if isinstance(value, list) else [value])):
            raise unreadable(f"{file} is damaged at {quoted(name)}", AGAIN)


def _check_layers(file: Path, config: dict, tensors: int) -> None:
    """Raise for more layers than there are tensors: a network of that many takes minutes to be made."""
    for name, value in values_of(config):
        numbers = value if isinstance(value, list) else [value]
        if "layers" in name and any(isinstance(n, int) and n > tensors for n in numbers):
            raise unreadable(f"{file} is damaged at {quoted(name)}", AGAIN)


def _choices_of_weights(folder: Path, stem: str) -> list[tuple[Path, str | None]]:
    """Files with the weights, or lists of their pieces, with their variants: the usual one first, then ``fp16`` …"""
    found: dict[str, str] = {}
    names = _names_in(folder)
    if stem.startswith("diffusion"):  # of a file and a list of pieces, diffusers takes the list, transformers the file
        names.sort(key=lambda name: not (name.endswith(".json") and (folder / name).is_file()))
    for name in names:
        if name in (f"{stem}.safetensors", f"{stem}.safetensors.index.json"):
            found.setdefault("", name)
        elif name.startswith(f"{stem}.safetensors.index.") and name.endswith(".json"):
            found.setdefault(name[len(stem) + len(".safetensors.index.") : -len(".json")], name)
        elif name.startswith(f"{stem}.") and name.endswith(".safetensors") and "-of-" not in name:
            found.setdefault(name[len(stem) + 1 : -len(".safetensors")], name)
    order = dict.fromkeys(("", "fp16", "bf16", "fp32", *sorted(found)))
    return [(folder / found[variant], variant or None) for variant in order if variant in found]


def _no_weights(folder: Path, stem: str) -> JobError:
    """What is there in place of weights."""
    names = _names_in(folder)
    pickle = next((name for name in names if name.endswith(PICKLES)), None)
    if pickle is not None:
        return unreadable(
            f"{folder / pickle} is a pickle, which may hold a program and is never opened",
            "Get the model with safetensors, or make such a file of it by “csd models convert FILE”.",
        )
    other = next((name for name in names if name.endswith(".safetensors")), None)
    if other is not None:
        return unreadable(f"{folder / other} is there in place of {stem}.safetensors", AGAIN)
    return unreadable(f"{folder / stem}.safetensors is missing", AGAIN)


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise unreadable(f"{folder} cannot be read ({error.strerror})", "Change its permissions.") from error


def read_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a part's tensors, by the headers of the file that holds them, or of all that a list names.
    Raises ``JobError('model_unreadable')`` for what is missing or damaged."""
    found = _read_shards(weights) if weights.suffix == ".json" else read_header(weights)
    return {name: shape for name, (_, shape) in found.items()}


def _read_shards(index_file: Path) -> Header:
    """All pieces of weights that are divided into several files."""
    pieces = read_json(index_file).get("weight_map")
    if not isinstance(pieces, dict) or not pieces or not all(_is_file_name(name) for name in pieces.values()):
        raise unreadable(f"{index_file} is damaged", AGAIN)
    found: Header = {}
    for piece in sorted(set(pieces.values())):
        held = read_header(index_file.parent / piece)
        lost = next((key for key, place in pieces.items() if place == piece and key not in held), None)
        if lost is not None:
            raise unreadable(f"{index_file.parent / piece} lacks {shortened(lost)}", AGAIN)
        found |= held
    return found


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and not set(name) & set("/\\\0")


#: Of each kind of tokenizer, the sets of files any of which is enough.
TOKENIZER_FILES = {
    "CLIPTokenizer": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "CLIPTokenizerFast": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "T5Tokenizer": (("tokenizer.json",), ("spiece.model",)),
    "T5TokenizerFast": (("tokenizer.json",), ("spiece.model",)),
    "PreTrainedTokenizerFast": (("tokenizer.json",),),
    "TokenizersBackend": (("tokenizer.json",),),
}


def _tokenizer(folder: Path, class_name: str) -> Part:
    if not folder.is_dir():
        raise unreadable(f"the folder {folder} is missing", AGAIN)
    for optional in ("config.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / optional).exists():
            read_json(folder / optional)
    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
    choices = TOKENIZER_FILES[class_name]
    present = [names for names in choices if any((folder / name).is_file() for name in names)]
    chosen = (present or choices[-1:])[0]
    for name in chosen:
        check_file(folder / name)
        if name.endswith(".json"):
            words = read_json(folder / name, WORDS_LIMIT)
            if name == "vocab.json":
                _check_words(folder, words)
    return Part(folder, class_name, config, folder / chosen[0])


def _check_words(folder: Path, words: dict) -> None:
    """CLIP's vocabulary: its two marks, letters, and one merge for each composed word.

    With fewer merges the library would read texts letter by letter, and say nothing.
    """
    marks = ("<|startoftext|>", "<|endoftext|>")
    lost = [mark for mark in marks if mark not in words]
    if lost or not all(type(number) is int and 0 <= number < LARGEST_NUMBER for number in words.values()):
        raise unreadable(f"{folder / 'vocab.json'} is damaged" + (f": it lacks {lost[0]}" if lost else ""), AGAIN)
    file = folder / "merges.txt"
    check_file(file)
    try:
        if file.stat().st_size > WORDS_LIMIT:
            raise ValueError("too large")
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise unreadable(f"{file} is damaged", AGAIN) from error
    merges = [line for line in lines if not line.startswith("#version")]
    composed = sum(1 for word in words if len(word.removesuffix("</w>")) > 1 and word not in marks)
    if len(merges) < 0.99 * composed:
        raise unreadable(f"{file} is cut off: it has {len(merges)} of {composed} merges", AGAIN)
    if any(len(line.split()) != 2 for line in merges):
        raise unreadable(f"{file} is damaged", AGAIN)


def _scheduler(folder: Path, class_name: str, flows: bool) -> Part:
    """``flows``: whether the family's noise is that of a flow; all others have betas."""
    if not folder.is_dir():
        raise unreadable(f"the folder {folder} is missing", AGAIN)
    file = folder / "scheduler_config.json"
    config = read_json(file)
    _check_sizes(file, config)
    if flows != ("Flow" in class_name or "Flow" in str(config.get("_class_name", ""))):
        what = (
            f"{file} is no schedule of a flow" if flows else f"{file} is of a flow matching model, and the rest is not"
        )
        raise unreadable(what, AGAIN)
    if not flows and not config.get("beta_schedule") and not config.get("trained_betas"):
        raise unreadable(f"{file} has no noise schedule (beta_schedule)", AGAIN)
    return Part(folder, class_name, config)
