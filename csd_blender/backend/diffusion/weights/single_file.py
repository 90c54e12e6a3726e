"""Parts of a whole model in one file: diffusers' own networks, with the weights under the names that they know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....job.models.parts import Part

#: Of a VAE, what judged it in training, and the means of its weights from there.
TRAINING = ("first_stage_model.loss.", "first_stage_model.model_ema.")


def network_of_single_file(cls: Any, part: Part, config: Any, dtype: torch.dtype) -> tuple[torch.nn.Module, dict]:
    """A network with those weights that the file has for it, and a report as ``from_pretrained`` gives it.

    Args:
        config: as ``cls`` takes it, diffusers' as keywords. dtype: of the weights.

    Only the part's own weights are read. What the file lacks stays without numbers, and is in the report.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        network = cls(**config) if isinstance(config, Mapping) else cls(config)
    weights = _read(part, dtype)
    found = _converted(network, part, weights)
    known = network.state_dict()
    fits = {key: value for key, value in found.items() if key in known and known[key].shape == value.shape}
    network.load_state_dict(fits, strict=False, assign=True)
    report = {
        "missing_keys": [key for key in known if key not in found],
        "unexpected_keys": [key for key in found if key not in known] + _passed_over(part, weights, found),
        "mismatched_keys": [key for key in found if key in known and key not in fits],
    }
    return network, report


def _read(part: Part, dtype: torch.dtype) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(part.weights, "pt") as file:
        return {key: file.get_tensor(key).to(dtype) for key in file.keys() if key.startswith(part.prefix)}


def _passed_over(part: Part, weights: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """What the conversion left out: it takes what it knows, and without a word nothing of a network that has more.

    (Those of text encoders it hands on, but for a few that no network needs.)
    """
    if part.class_name not in ("UNet2DConditionModel", "AutoencoderKL"):
        return []
    taken = {value.data_ptr() for value in found.values()}  # it changes shapes at the most
    return [key for key, value in weights.items() if value.data_ptr() not in taken and not key.startswith(TRAINING)]


def _converted(network: torch.nn.Module, part: Part, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the names of diffusers and transformers, by diffusers' own conversion."""
    from diffusers.loaders import single_file_utils as ldm

    if part.class_name == "UNet2DConditionModel":
        # MVDream's camera goes the way of the classes that the first UNets knew.
        weights = {key.replace(".camera_embed.", ".label_emb.0."): value for key, value in weights.items()}
        return ldm.convert_ldm_unet_checkpoint(weights, network.config)
    if part.class_name == "AutoencoderKL":
        return ldm.convert_ldm_vae_checkpoint(weights, network.config)
    if part.prefix.endswith(".model."):
        found = ldm.convert_open_clip_checkpoint(network, weights, prefix=part.prefix)
    else:
        found = ldm.convert_ldm_clip_checkpoint(weights)
        found = {key: value for key, value in found.items() if not key.endswith("position_ids")}
    if hasattr(network, "text_model"):
        return found
    return {key.removeprefix("text_model."): value for key, value in found.items()}
