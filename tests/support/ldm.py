"""Tiny models as one ``.safetensors`` file with the keys of the models' first code, beside the folder that diffusers
wrote. The names are put together here once more, the other way round: nothing of the package or of diffusers is used.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from csd_blender.backend.diffusion.weights.clip_words import clip_merges, clip_vocabulary
from tests.support.tiny_models import SD_BETAS, write_index

WIDE = 16  # of texts
OPEN_CLIP = ("sd2", "mvdream")
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "class_embedding.linear_1": "camera_embed.0",
    "class_embedding.linear_2": "camera_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}


def write_folder(folder: Path, family: str, seed: int = 0, v: bool = False) -> Path:
    """``sd1``, ``sd2``, ``sdxl`` or ``mvdream`` in small, all of CLIP's words, each with its own heads and layers."""
    torch.manual_seed(seed)
    predicts = "v_prediction" if v else "epsilon"
    DDIMScheduler(**SD_BETAS, prediction_type=predicts, clip_sample=False, steps_offset=1).save_pretrained(
        folder / "scheduler"
    )
    xl = family == "sdxl"
    settings: dict = {
        "sample_size": {"sd1": 64, "sd2": 96 if v else 64, "sdxl": 128, "mvdream": 32}[family],
        "block_out_channels": (32, 64, 128),
        "down_block_types": ("DownBlock2D",) * xl + ("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",) * (not xl),
        "up_block_types": ("UpBlock2D",) * (not xl) + ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",) * xl,
        "layers_per_block": 2,
        "cross_attention_dim": WIDE + (24 if xl else 0),
        "attention_head_dim": 8 if family == "sd1" else (1, 1, 2),
        "use_linear_projection": family != "sd1",
    }
    if family == "mvdream":
        settings |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 16}
    if xl:
        settings |= {
            "transformer_layers_per_block": (1, 1, 2),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 24,
        }
    UNet2DConditionModel(**settings).save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 64),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        scaling_factor=0.13025 if xl else 0.18215,
    )
    vae.save_pretrained(folder / "vae")
    _write_text(folder, "", WIDE, CLIPTextModel, "gelu" if family in OPEN_CLIP else "quick_gelu")
    if xl:
        _write_text(folder, "_2", 24, CLIPTextModelWithProjection, "gelu")
    write_index(
        folder, "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline", CLIPTextModel, CLIPTokenizer, True
    )
    if xl:
        index = json.loads((folder / "model_index.json").read_text())
        index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
        index["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
        (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _write_text(folder: Path, which: str, wide: int, cls: type, act: str) -> None:
    config = CLIPTextConfig(
        hidden_size=wide,
        intermediate_size=2 * wide,
        num_hidden_layers=3,
        num_attention_heads=1,
        projection_dim=wide,
        hidden_act=act,
    )
    cls(config).save_pretrained(folder / f"text_encoder{which}")
    words = folder / f"tokenizer{which}"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps(clip_vocabulary()), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in clip_merges())]
    (words / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special["pad_token"] = "<|endoftext|>" if act == "quick_gelu" else "!"
    (words / "special_tokens_map.json").write_text(json.dumps(special))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (words / "tokenizer_config.json").write_text(json.dumps(config))


def single_file_of(folder: Path, family: str) -> dict[str, torch.Tensor]:
    """The folder's weights under LDM's keys."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    config = json.loads((folder / "unet" / "config.json").read_text())
    found = {f"model.diffusion_model.{_unet_key(key, unet, config)}": value for key, value in unet.items()}
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    for key, value in vae.items():
        key = "first_stage_model." + _vae_key(key)
        found[key] = value[:, :, None, None] if ".attn_1." in key and value.ndim == 2 else value
    text = _text_weights(folder / "text_encoder")
    if family in OPEN_CLIP:
        found |= _open_clip(text, "cond_stage_model.model.", None)
        return found
    prefix = "conditioner.embedders.0.transformer." if family == "sdxl" else "cond_stage_model.transformer."
    found |= {prefix + "text_model." + key: value for key, value in text.items()}
    found[prefix + "text_model.embeddings.position_ids"] = torch.arange(77)[None]
    if family == "sdxl":
        second = load_file(folder / "text_encoder_2" / "model.safetensors")
        projection = second.pop("text_projection.weight")
        found |= _open_clip(_without_prefix(second), "conditioner.embedders.1.model.", projection)
    else:  # as the first published files have it
        found["model_ema.num_updates"] = torch.tensor(5, dtype=torch.int32)
    return found


def write_single_file(folder: Path, family: str, file: Path, change=None, metadata: dict | None = None) -> Path:
    tensors = single_file_of(folder, family)
    if change is not None:
        change(tensors)
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, file, metadata=metadata)
    return file


def _unet_key(key: str, weights: dict, config: dict) -> str:
    length = config["layers_per_block"] + 1
    place = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key)
    if place is None:
        outer = next(name for name in OUTER if key.startswith(name + "."))
        rest = key[len(outer) + 1 :]
        return f"{OUTER[outer]}.{_resnet(rest) if 'resnets' in outer else rest}"
    side, block, kind, layer, rest = place[1], int(place[2]), place[3], int(place[4]), place[5]
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{block * length + length}.0.op.{rest.removeprefix('conv.')}"
        at = f"input_blocks.{1 + block * length + layer}"
    else:
        if kind == "upsamplers":
            sees_text = any(name.startswith(f"up_blocks.{block}.attentions.") for name in weights)
            return f"output_blocks.{block * length + length - 1}.{2 if sees_text else 1}.{rest}"
        at = f"output_blocks.{block * length + layer}"
    return f"{at}.1.{rest}" if kind == "attentions" else f"{at}.0.{_resnet(rest)}"


def _resnet(key: str) -> str:
    name, last = key.rsplit(".", 1)
    return f"{RESNET[name]}.{last}"


def _vae_key(key: str) -> str:
    key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_shortcut", "nin_shortcut")
    key = key.replace("conv_norm_out", "norm_out").replace("group_norm", "norm").replace("to_out.0", "proj_out")
    return re.sub(r"attn_1\.to_([qkv])", r"attn_1.\1", key)


def _without_prefix(weights: dict) -> dict:
    return {key.removeprefix("text_model."): value for key, value in weights.items()}


def _text_weights(folder: Path) -> dict:
    return _without_prefix(load_file(folder / "model.safetensors"))


def _open_clip(text: dict, prefix: str, projection: torch.Tensor | None) -> dict:
    width = text["final_layer_norm.weight"].shape[0]
    found = {
        "positional_embedding": text["embeddings.position_embedding.weight"],
        "token_embedding.weight": text["embeddings.token_embedding.weight"],
        "ln_final.weight": text["final_layer_norm.weight"],
        "ln_final.bias": text["final_layer_norm.bias"],
        "text_projection": torch.randn(width, width) if projection is None else projection.T,
        "logit_scale": torch.tensor(4.6),
    }
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    names["self_attn.out_proj"] = "attn.out_proj"
    for i in range(3):
        for kind in ("weight", "bias"):
            layer, block = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
            for name, old in names.items():
                found[f"{block}{old}.{kind}"] = text[f"{layer}{name}.{kind}"]
            rows = [text[f"{layer}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found[f"{block}attn.in_proj_{kind}"] = torch.cat(rows)
    return {prefix + key: value for key, value in found.items()}
