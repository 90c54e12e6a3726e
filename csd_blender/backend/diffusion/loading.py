"""Diffusers folders to :class:`DiffusionModel`. Only safetensors and local files: jobs never go online."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from ...job.errors import JobError
from ...job.models.files import ModelFiles, read_model
from ...job.models.lora import Lora, with_lora
from ...job.models.places import find_folder
from . import deepfloyd, flow, sdxl, stable_diffusion
from .model import DiffusionModel
from .parts import or_unreadable, quiet_libraries
from .views import mvdream, zero123

#: What makes a model of a folder's files, by the families of ``job/models/families``.
FAMILIES = {"sd": stable_diffusion.load, "if": deepfloyd.load, "sdxl": sdxl.load, "sd3": flow.load}

Model = TypeVar("Model")

MINI_FOLDER = Path(__file__).resolve().parent.parent / "mini" / "weights"


def select_device(wanted: str = "auto") -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS, then the CPU. Raises ``JobError('no_gpu')`` for an absent device."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    device = torch.device(wanted)
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise JobError("no_gpu", f"the device {wanted!r} was asked for")
    return device


def find_model(name: str) -> Path:
    """Folder of a model given as ``mini``, a catalogue id, a repository in the hub's cache, or a path.

    Raises:
        JobError: as :func:`~csd_blender.job.models.places.find_folder` does.
    """
    return MINI_FOLDER if name == "mini" else find_folder(name)


def load_model(name: str, device: torch.device, lora: Lora | None = None) -> DiffusionModel:
    """Load a model, named as in :func:`find_model`, onto ``device``, frozen and in evaluation mode.

    ``lora``: is added to its weights.

    Raises:
        JobError: ``model_missing`` when there is no such model; ``model_unreadable`` when a file is missing, damaged or
            no safetensors, when a weight is missing, unknown, of the wrong shape or no number, when the folder brings
            programs, or when it is of a family that this version cannot drive. The detail names the file and the key.
    """
    files = read_model(find_model(name))
    if lora is not None:
        files = with_lora(files, lora)
    return _loaded(FAMILIES[files.family], name, files, device)


def load_picture_model(name: str, device: torch.device) -> zero123.Zero123:
    """The same for a model that is told a picture and a camera, in place of a prompt. Raises as :func:`load_model`."""
    return _load_told("picture", zero123.load, name, device)


def load_view_model(name: str, device: torch.device) -> mvdream.MVDream:
    """The same for a model that is told a prompt and draws several views at once. Raises as :func:`load_model`."""
    return _load_told("views", mvdream.load, name, device)


def _load_told(
    told: str, load: Callable[[str, ModelFiles, torch.device], Model], name: str, device: torch.device
) -> Model:
    """A model that is told something else than a prompt alone, see :class:`~csd_blender.job.models.families.Family`."""
    read = partial(read_model, told=told)
    return _loaded(load, name, read(find_folder(name, read)), device)


def _loaded(
    load: Callable[[str, ModelFiles, torch.device], Model], name: str, files: ModelFiles, device: torch.device
) -> Model:
    with or_unreadable(f"{files.folder} does not make a model; the log tells more"), quiet_libraries():
        return load(name, files, device)
