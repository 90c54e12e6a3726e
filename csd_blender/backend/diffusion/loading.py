"""Diffusers folders to :class:`DiffusionModel`. Only safetensors and local files: jobs never go online."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from ...job.errors import JobError, quoted
from ...job.models import places
from ...job.models.files import ModelFiles, read_model, read_network
from ...job.models.lora import Lora, with_lora
from ...job.models.places import check_bundled, find_folder
from . import deepfloyd, flow, sdxl, stable_diffusion
from .model import DiffusionModel
from .parts import or_unreadable, quiet_libraries
from .views import mvdream, zero123

#: What makes a model of a folder's files, by the families of ``job/models/families``.
FAMILIES = {
    "sd": stable_diffusion.load, "mvdream": mvdream.load, "if": deepfloyd.load, "sdxl": sdxl.load, "sd3": flow.load,
    "zero123": zero123.load,
}  # fmt: skip

Model = TypeVar("Model")

EYE = "CLIPVisionModelWithProjection"
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
        raise JobError("no_gpu", f"the device {quoted(wanted)} was asked for")
    return device


def find_model(name: str, told: str = "prompt") -> Path:
    """Folder of a model given as ``mini``, a catalogue id, a repository in the hub's cache, or a path.

    ``told``: what it has to draw after, see :class:`~csd_blender.job.models.families.Family`.

    Raises:
        JobError: as :func:`~csd_blender.job.models.places.find_folder` does; ``bad_setting`` where the bundled model is
            to draw several views at once, or after a picture, and its networks for that are not there.
    """
    if name != "mini":
        return find_folder(name, partial(read_model, told=told))
    check_bundled(told)
    return MINI_FOLDER


def look_through(name: str, told: str = "prompt") -> ModelFiles:
    """What lies in the folder of a model, named and told as in :func:`find_model`. Raises ``JobError`` as that and
    :func:`~csd_blender.job.models.files.read_model` do."""
    folder = find_model(name, told)
    if name != "mini" or told == "prompt":
        return read_model(folder, told)
    plain, stem = read_model(folder), "diffusion_pytorch_model"
    unet_class = plain.parts["unet"].class_name
    if told == "views":
        unet = read_network(places.BUNDLED_VIEWS, unet_class, stem)
        return replace(plain, family="mvdream", parts={**plain.parts, "unet": unet})
    own = {"unet": (unet_class, stem), "image_encoder": (EYE, "model"), "cc_projection": ("CCProjection", stem)}
    parts = {part: read_network(places.BUNDLED_PICTURE / part, *named) for part, named in own.items()}
    return replace(plain, family="zero123", parts={"vae": plain.parts["vae"], **parts})


def load_model(name: str, device: torch.device, lora: Lora | None = None, told: str = "prompt") -> DiffusionModel:
    """Load a model, named as in :func:`find_model`, onto ``device``, frozen and in evaluation mode.

    Args:
        lora: is added to its weights.
        told: a ``prompt``; or a prompt and cameras, of a model that draws several ``views`` at once
            (:class:`~.views.mvdream.MVDream`); or a ``picture`` and a camera (:class:`~.views.zero123.Zero123`).

    Raises:
        JobError: ``model_missing`` when there is no such model; ``model_unreadable`` when a file is missing, damaged or
            no safetensors, when a weight is missing, unknown, of the wrong shape or no number, when the folder brings
            programs, when it is told something else, or when it is of a family that this version cannot drive. The
            detail names the file and the key.
    """
    files = look_through(name, told)
    if lora is not None:
        files = with_lora(files, lora)
    return _loaded(FAMILIES[files.family], name, files, device)


def _loaded(
    load: Callable[[str, ModelFiles, torch.device], Model], name: str, files: ModelFiles, device: torch.device
) -> Model:
    with or_unreadable(f"{files.folder} does not make a model; the log tells more"), quiet_libraries():
        return load(name, files, device)
