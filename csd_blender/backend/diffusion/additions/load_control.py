"""A job's ControlNets from their folders, each held against its files and against the model that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ....job.errors import quoted
from ....job.models.contents import stamp_of
from ....job.models.control import OTHER, ControlFiles, channels_of
from ....job.models.files import unreadable
from ....job.models.language import in_its_own_words
from ..control import ControlNet, ControlNets
from ..loading import MINI_FOLDER, find_model
from ..model import DiffusionModel
from ..parts import laid_out, load_network, quiet_libraries

#: Of the bundled model; it need not be there.
MINI_CONTROL = MINI_FOLDER.parent / "control"


def bundled_control(name: str) -> Path | None:
    """The folder of the ControlNet that comes with the model of that name; None where none does."""
    there = (MINI_CONTROL / "config.json").is_file() and find_model(name) == MINI_FOLDER
    return MINI_CONTROL if there else None


def load_controls(files: Sequence[ControlFiles], model: DiffusionModel) -> ControlNets | None:
    """The networks on the model's device and in its precision; None for no files.

    Those that the model has already are taken from there, while their files are the same.

    Raises:
        JobError: ``control_unreadable`` naming the file, as :func:`~..parts.load_network`, and for one that does
            not fit the model.
    """
    had = {} if model.control is None else {(net.folder, net.stamp): net for net in model.control.nets}
    nets = []
    for one in files:
        with in_its_own_words("control"):
            stamp = stamp_of(one.part.folder)
            known = had.get((one.part.folder, stamp))
            network = _load(one, model) if known is None else known.network
            _check_kinds(one, network)
        nets.append(ControlNet(one.name, one.part.folder, one.kinds, network, one.weight, stamp))
    return ControlNets(tuple(nets)) if nets else None


def _load(files: ControlFiles, model: DiffusionModel):
    from diffusers import ControlNetModel

    with quiet_libraries():
        network = load_network(files.part, model.unet.dtype, model.device, ControlNetModel)
    _check_fit(files, network, model)
    return laid_out(network, model.device)


def _check_fit(files: ControlFiles, network, model: DiffusionModel) -> None:
    """Raise for a network that is of another build than the model's, or wants to be told something else."""
    place, own, of_model = files.part.folder / "config.json", network.config, model.unet.config
    for setting in ("in_channels", "cross_attention_dim", "block_out_channels", "layers_per_block"):
        if _plain(own[setting]) != _plain(of_model[setting]):
            found = f"{setting} {quoted(_plain(own[setting]))}, but the model has {_plain(of_model[setting])}"
            raise unreadable(f"{place} says {found}", "Choose a ControlNet that was made for this model.")
    if own.addition_embed_type != of_model.addition_embed_type or own.class_embed_type or own.num_class_embeds:
        raise unreadable(f"{place}: the network wants to be told more than the model", OTHER)
    if own.global_pool_conditions:
        raise unreadable(f"{place}: it takes over a picture's style and does not follow a shape", OTHER)
    order = own.controlnet_conditioning_channel_order
    if order not in ("rgb", "bgr"):
        raise unreadable(f"{place} has colors in the order {quoted(order)}, which is not known", OTHER)
    factor = 2 ** (len(own.conditioning_embedding_out_channels) - 1)
    if factor != model.latent_factor:
        raise unreadable(
            f"{place}: it makes pictures {factor} times smaller, but the model {model.latent_factor} times",
            "Choose a ControlNet that was made for this model.",
        )


def _plain(value):
    """A setting as JSON has it."""
    return list(value) if isinstance(value, (list, tuple)) else value


def _check_kinds(files: ControlFiles, network) -> None:
    """Raise where a network reads another number of channels than what it is to follow has."""
    wanted = channels_of(files.kinds)
    if network.config.conditioning_channels != wanted:
        what = " and ".join(files.kinds)
        raise unreadable(
            f"{files.part.folder / 'config.json'} reads {network.config.conditioning_channels} channels, {what} has "
            f"{wanted}",
            OTHER,
        )
