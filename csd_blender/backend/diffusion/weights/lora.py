"""A LoRA added to a network's weights for good: ``W += weight * alpha / rank * up @ down``, layer by layer."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from ....job.models.contents import unreadable
from ....job.models.parts import LoraLayer, LoraPart, Part

#: Modules of a residual block, as LDM's code numbers them.
_RESNET = {
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
}
_PLACE = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


@torch.no_grad()
def add_lora(network: torch.nn.Module, part: Part) -> None:
    """Add ``part.lora`` to the network's weights, whatever their precision; the sum is made in float32.

    Raises:
        JobError: ``model_unreadable`` naming the first tensor that fits no layer, no weight was changed then; or the
            first by which weights are no longer numbers.
    """
    lora = part.lora
    if lora is None:
        return
    modules = _layers(network)
    changes = []
    for layer, down, up, scale in _factors(lora):
        module = modules.get(layer.layer)
        if module is None:
            what = f"{lora.file} adds to a layer that {part.folder} has not ({layer.down})"
            raise unreadable(f"{what}: it was made for another family of models", "Choose a LoRA for this model.")
        weight = module.weight
        fits = up.shape[0] == weight.shape[0] and down[0].numel() == weight[0].numel()
        if not fits or any(side > 1 for side in up.shape[2:]):
            sizes = " x ".join(str(side) for side in (up.shape[0], *down.shape[1:]))
            its = " x ".join(str(side) for side in weight.shape)
            what = f"{lora.file} does not fit {part.folder}: {layer.down} is for a layer of {sizes}, and it has {its}"
            raise unreadable(what, "Choose a LoRA for this model.")
        if not bool(torch.isfinite(down).all() and torch.isfinite(up).all()):
            raise unreadable(f"{lora.file} holds invalid numbers (NaN or infinite) in {layer.down}")
        changes.append((layer.down, weight, down, up, scale))
    for name, weight, down, up, scale in changes:
        down, up = (factor.to(weight.device).flatten(1) for factor in (down, up))
        weight.copy_((weight.float() + scale * (up @ down).view(weight.shape)).to(weight.dtype))
        if not bool(torch.isfinite(weight).all()):
            raise unreadable(f"{lora.file} makes weights too large for {weight.dtype} by {name}", "Lower its weight.")


def _factors(lora: LoraPart) -> list[tuple[LoraLayer, Tensor, Tensor, float]]:
    """Each layer with its two factors and what their product counts, all in float32."""
    from safetensors import safe_open

    found = []
    with safe_open(lora.file, "pt") as file:
        for layer in lora.layers:
            down, up = (file.get_tensor(name).float() for name in (layer.down, layer.up))
            alpha = layer.alpha
            if isinstance(alpha, str):
                told = file.get_tensor(alpha).flatten().tolist()
                alpha = told[0] if len(told) == 1 else math.nan
            if alpha is not None and not math.isfinite(alpha):
                raise unreadable(f"{lora.file} has an alpha that is no number for {layer.down}", "Download it again.")
            found.append((layer, down, up, lora.weight * (1.0 if alpha is None else alpha / layer.rank)))
    return found


def _layers(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers that can be added to, by their names with underscores: diffusers' own and those of LDM's code."""
    named = {
        name.removeprefix("text_model."): module
        for name, module in network.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
    }
    found = {name.replace(".", "_"): module for name, module in named.items()}
    length = getattr(getattr(network, "config", None), "layers_per_block", None)
    if isinstance(length, int):
        found |= {_ldm_name(name, named, length + 1): module for name, module in named.items()}
    return found


def _ldm_name(name: str, names: dict[str, torch.nn.Module], length: int) -> str:
    """What LDM's code calls a layer of a UNet; ``length``: its blocks per level of the picture's size."""
    outer = _OUTER.get(name)
    place = _PLACE.fullmatch(name)
    if place is None:
        return outer or name.replace(".", "_")
    side, kind, rest = place[1], place[3], place[5].replace(".", "_")
    block, layer = int(place[2] or 0), int(place[4])
    if kind == "downsamplers":
        return f"input_blocks_{length * (block + 1)}_0_op"
    if kind == "upsamplers":
        sees_text = any(other.startswith(f"up_blocks.{block}.attentions.") for other in names)
        return f"output_blocks_{length * (block + 1) - 1}_{2 if sees_text else 1}_conv"
    if side == "mid":
        at = f"middle_block_{1 if kind == 'attentions' else 2 * layer}"
        return f"{at}_{rest if kind == 'attentions' else _RESNET.get(rest, rest)}"
    at = f"input_blocks_{1 + length * block + layer}" if side == "down" else f"output_blocks_{length * block + layer}"
    return f"{at}_1_{rest}" if kind == "attentions" else f"{at}_0_{_RESNET.get(rest, rest)}"
