"""What sort of model a name stands for, as far as presets and recipes go by it."""

from __future__ import annotations

from pathlib import PurePath

from ..errors import JobError
from ..models.catalogue import find_entry
from ..models.contents import read_json
from ..models.files import INDEX
from ..models.places import find_folder


def works_on_pixels(model: str) -> bool:
    """Whether a model is one like DeepFloyd IF (pixels of 64 x 64, a T5 text encoder), not one like Stable Diffusion.

    Args:
        model: a catalogue id, a repository of the hub that is in its cache, or a path. One that is not here, or cannot
            be read, is taken for Stable Diffusion, unless it has DeepFloyd's name.
    """
    name = str(model) if isinstance(model, (str, PurePath)) else ""  # the job's check names what is no name
    entry = find_entry(name)
    if entry is not None:
        return entry.family == "if"
    try:
        index = read_json(find_folder(name) / INDEX)
    except JobError:
        return name.lower().startswith("deepfloyd/if-i-")
    return not any(_named(index, "vae")) and "T5" in str(_named(index, "text_encoder")[-1:])


def predicts_a_flow(model: str) -> bool:
    """Whether a model is one like Stable Diffusion 3, whose noise is that of a flow; arguments as above."""
    name = str(model) if isinstance(model, (str, PurePath)) else ""  # the job's check names what is no name
    entry = find_entry(name)
    if entry is not None:
        return entry.family == "sd3"
    try:
        place = find_folder(name)
        return place.is_dir() and any(_named(read_json(place / INDEX), "transformer"))
    except JobError:
        return False


def _named(index: dict, part: str) -> list:
    entry = index.get(part)
    return entry if isinstance(entry, list) else []
