"""Parts of a whole model in one file: diffusers' own networks, with the weights under the names that they know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....job.models.parts import Part


def network_of_single_file(cls: Any, part: Part, config: Any, dtype: torch.dtype) -> tuple[torch.nn.Module, dict]:
    """A network with those weights that the file has for it, and a report as ``from_pretrained`` gives it.

    Args:
        config: as ``cls`` takes it, diffusers' as keywords. dtype: of the weights.

    Only the part's own weights are read. What the file lacks stays without numbers, and is in the report.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        network = cls(**config) if isinstance(config, Mapping) else cls(config)
    found = _converted(network, part, _read(part, dtype))
    known = network.state_dict()
    fits = {key: value for key, value in found.items() if key in known and known[key].shape == value.shape}
    network.load_state_dict(fits, strict=False, assign=True)
    report = {
        "missing_keys": [key for key in known if key not in found],
        "unexpected_keys": [key for key in found if key not in known],
        "mismatched_keys": [key for key in found if key in known and key not in fits],
    }
    return network, report


def _read(part: Part, dtype: torch.dtype) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(part.weights, "pt") as file:
        return {key: file.get_tensor(key).to(dtype) for key in file.keys() if key.startswith(part.prefix)}


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
