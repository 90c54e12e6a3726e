"""A job's small encoder from its folder, held against its files and against the model that it is for."""

from __future__ import annotations

from typing import Any

import torch

from ....job.models.contents import stamp_of
from ....job.models.encoder import FULL, OTHER, EncoderFiles, chosen_encoder
from ....job.models.files import read_model, unreadable
from ....job.models.language import in_its_own_words
from ..loading import MINI_FOLDER, find_model
from ..model import DiffusionModel
from ..parts import check_vae, load_network, network_dtypes, quiet_libraries
from ..small_encoder import SmallEncoder
from ..views.mvdream import MVDream

#: Of the bundled model.
MINI_ENCODER = MINI_FOLDER.parent / "encoder"
FITTING = "Choose one that was made for this model, or set Encoder to full."
COLORS = 3


def use_encoder(words: str, model: DiffusionModel) -> None:
    """Give the model the encoder that the setting ``encoder`` asks for; one of a job before is gone then.

    Raises ``JobError`` as :func:`encoder_files` and :func:`load_encoder` do.
    """
    had, model.small_encoder = model.small_encoder, None
    told = "views" if isinstance(model, MVDream) else "prompt"
    files = None if model.on_pixels else encoder_files(words, model.name, told)
    if files is not None:
        model.small_encoder = load_encoder(files, model.latent_channels, model.latent_factor, model.device, had)


def encoder_files(words: str, name: str, told: str = "prompt") -> EncoderFiles | None:
    """Which small encoder a model of that name gets; None for its own, and for a model on pixels, which needs none.

    ``told``: what the model draws after, as in :func:`~..loading.load_model`. Raises ``JobError`` as
    :func:`~....job.models.encoder.chosen_encoder` does, and for a model that cannot be read.
    """
    if words == FULL:
        return None
    place = find_model(name, told)
    files = read_model(place, told)
    if "vae" not in files.parts:
        return None
    return chosen_encoder(words, files.family, MINI_ENCODER if place == MINI_FOLDER else None)


def load_encoder(
    files: EncoderFiles, channels: int, factor: int, device: torch.device, had: SmallEncoder | None = None
) -> SmallEncoder:
    """The encoder on the device, for a model with so many channels in its latents, and pixels per latent along a side.

    ``had``: one that the model has already; it is kept where it is the same, with the same files.

    Raises:
        JobError: ``encoder_unreadable`` naming the file, as :func:`~..parts.load_network`, and for one that does
            not fit the model.
    """
    from diffusers import AutoencoderTiny

    stamp = stamp_of(files.part.folder)
    if had is not None and (had.folder, had.stamp) == (files.part.folder, stamp):
        return had
    with in_its_own_words("encoder"), quiet_libraries():
        whole = load_network(files.part, network_dtypes(device)[1], device, AutoencoderTiny)
        config = whole.config
        check_vae(files.part, config)
        _check_fit(files, config, channels, factor)
    # Few channels side by side: the layout that is quickest for them, on every device.
    network = whole.encoder.to(memory_format=torch.channels_last)
    shift, scale = config.shift_factor or 0.0, config.scaling_factor
    return SmallEncoder(files.name, files.part.folder, network, shift, scale, stamp)


def _check_fit(files: EncoderFiles, config: Any, channels: int, factor: int) -> None:
    """Raise for a network that gives other latents than the model takes."""
    place = files.part.folder / "config.json"
    if config.in_channels != COLORS:
        raise unreadable(f"{place} reads {config.in_channels} channels, and pictures have {COLORS}", OTHER)
    if config.latent_channels != channels:
        found = f"latents of {config.latent_channels} channels, but the model's have {channels}"
        raise unreadable(f"{place} makes {found}", FITTING)
    own = 2 ** (len(config.encoder_block_out_channels) - 1)
    if own != factor:
        raise unreadable(f"{place}: it makes pictures {own} times smaller, but the model {factor} times", FITTING)
