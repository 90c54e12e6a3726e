"""Whole models in one ``.safetensors`` file, as they are published for WebUIs: which family one is of, and the settings
of its parts, all from names and shapes in its header.

Such files have the keys of the models' first code (Rombach et al. 2022, "LDM") and no settings. Sizes are read from the
shapes; the few that have no shape, as the number of heads, are facts of each family. What a network predicts is told by
a mark among the keys, a remark in the header, a ``.yaml`` of the same name, or, for Stable Diffusion 2, a weight.
"""

from __future__ import annotations

import re
from pathlib import Path

from .contents import Header, check_file, read_header, read_numbers, read_remarks, unreadable
from .parts import ModelFiles, Part

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
XL_FIRST, XL_SECOND, XL_REFINER = (
    "conditioner.embedders.0.transformer.",
    "conditioner.embedders.1.model.",
    "conditioner.embedders.0.model.",
)
CAMERA = UNET + "camera_embed."  # MVDream's, which is a Stable Diffusion 2 but for this
FOLDER = "Choose a whole model, or the same one as a folder in the diffusers layout."
YAML_LIMIT = 2**20  # bytes
HEAD = 64  # numbers in a head of attention, of all text encoders, and of the networks since Stable Diffusion 2
SD1_HEADS = 8
CAMERA_SIZE = 32  # MVDream's latents, of 256 x 256 pixels
SD2_READ = 23  # of OpenCLIP's 24 layers: Stable Diffusion 2 reads the last but one
SIZES = 6  # that SDXL's network is told
V_SETTING = re.compile(r"""\s*["']?parameterization["']?\s*:\s*["']?v["']?\s*(#.*)?$""")  # a line of a .yaml
#: At the end of its last block, weights of the networks that predict v spread more: ComfyUI tells them apart so.
V_SPREAD, V_WEIGHT = 0.09, UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias"
#: The noise of Stable Diffusion 1, 2 and XL.
SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
#: Keys of XL models that were trained under another noise (Karras et al. 2022, "EDM"), with what is known of each.
EDM = {"edm_mean": "Playground v2.5", "edm_std": "Playground v2.5", "edm_vpred.sigma_max": "CosXL"}
#: Parts of keys of models that are none of these.
OTHERS = (
    ("double_blocks.", "a Flux model"),
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("clip_txt_mapper.", "a Stable Cascade model"),
    ("control_model.", "a ControlNet"),
)


def is_single_file(header: Header) -> bool:
    """Whether these are the keys of a model with a UNet or another network in LDM's way."""
    return any(key.startswith(UNET) for key in header) and not any(key.startswith("control_model.") for key in header)


def read_single_file(file: Path) -> ModelFiles:
    """Look through a whole model in one file.

    Raises:
        JobError: ``model_unreadable`` when it is damaged, of another family, or a part is missing; the detail names it.
    """
    header = read_header(file)
    family = _family_of(file, header)
    unet = _unet(file, header, family)
    v = _predicts_v(file, header, family)
    unet["sample_size"] = {"sd1": 64, "sd2": 96 if v else 64, "sdxl": 128}[family]
    sees = f"{CAMERA}0.weight" in header
    if sees:
        sides = _shape(file, header, f"{CAMERA}0.weight")
        unet |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": sides[-1]}
        unet["sample_size"] = CAMERA_SIZE
    encoders = {"text_encoder": _text(file, header, family, second=False)}
    if family == "sdxl":
        encoders["text_encoder_2"] = second = _text(file, header, family, second=True)
        unet["addition_time_embed_dim"] = (
            unet["projection_class_embeddings_input_dim"] - second.config["projection_dim"]
        ) // SIZES
    parts = {"unet": Part(file, "UNet2DConditionModel", unet, file, prefix=UNET), **encoders}
    for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        if encoder in parts:  # OpenCLIP's own pads with zeros, which is "!"
            pad = "<|endoftext|>" if parts[encoder].config["hidden_act"] == "quick_gelu" else "!"
            parts[tokenizer] = Part(file, "CLIPTokenizer", {"pad_token": pad, "model_max_length": 77}, prefix="clip")
    parts["vae"] = Part(file, "AutoencoderKL", _vae(file, header, family), file, prefix=VAE)
    schedule = {**SCHEDULE, "prediction_type": "v_prediction" if v else "epsilon"}
    schedule["rescale_betas_zero_snr"] = "ztsnr" in header
    pipeline = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    scheduler = Part(file, "DDIMScheduler", schedule)
    if sees:
        return ModelFiles(file, "MVDreamPipeline", "mvdream", scheduler, parts)
    return ModelFiles(file, pipeline, "sdxl" if family == "sdxl" else "sd", scheduler, parts)


def _family_of(file: Path, header: Header) -> str:
    """``sd1``, ``sd2`` or ``sdxl``. Raises for all others, with what they are."""
    for mark, what in OTHERS:
        if any(mark in key for key in header):
            raise unreadable(f"{file} is {what}, which cannot be used as a single file", FOLDER)
    edm = next((key for key in EDM if key in header), None)
    if edm is not None:
        raise unreadable(
            f"{file} has noise of another kind ({edm}, as in {EDM[edm]}), which cannot be used", "Choose another model."
        )
    kinds = {"sd1": CLIP, "sd2": OPEN_CLIP, "sdxl": XL_SECOND}
    family = next((name for name, mark in kinds.items() if any(key.startswith(mark) for key in header)), None)
    if family is None and any(key.startswith(XL_REFINER) for key in header):
        raise unreadable(f"{file} is a refiner, which only finishes pictures", "Choose the base model.")
    needed = {"network (UNet)": UNET, "encoder of pictures (VAE)": VAE + "encoder."}
    if family == "sdxl":
        needed["first text encoder"] = XL_FIRST
    lost = [what for what, mark in needed.items() if not any(key.startswith(mark) for key in header)]
    if family is None or lost:
        raise unreadable(f"{file} has no {lost[0] if lost else 'text encoder'} and is not a whole model", FOLDER)
    return family


def _predicts_v(file: Path, header: Header, family: str) -> bool:
    """Whether the network predicts v and not the noise."""
    if "v_pred" in header:
        return True
    remarks = read_remarks(file)
    remark = (remarks.get("modelspec.prediction_type") or remarks.get("modelspec.predict_key") or "").lower()
    if remark:
        return remark.startswith("v")
    settings = file.with_suffix(".yaml")
    if settings.is_file():
        check_file(settings)
        with open(settings, "rb") as file_of_settings:
            lines = file_of_settings.read(YAML_LIMIT).decode("utf-8", "replace").splitlines()
        return any(V_SETTING.match(line) for line in lines)
    numbers = read_numbers(file, V_WEIGHT) if family == "sd2" and V_WEIGHT in header else []
    if not numbers:
        return False
    mean = sum(numbers) / len(numbers)
    return (sum((number - mean) ** 2 for number in numbers) / len(numbers)) ** 0.5 > V_SPREAD


def _shape(file: Path, header: Header, key: str, sides: int = 0) -> tuple[int, ...]:
    """The shape of a tensor, of so many ``sides`` where that is told. Raises where it is missing or has another."""
    if key not in header:
        raise unreadable(f"{file} lacks {key}", FOLDER)
    shape = header[key][1]
    if not shape or not all(type(side) is int and side > 0 for side in shape) or sides not in (0, len(shape)):
        raise unreadable(f"{file} has no usable shape for {key}", FOLDER)
    return shape


def _count(header: Header, prefix: str) -> int:
    """How many numbers from 0 on follow ``prefix`` in the keys."""
    found = {key[len(prefix) :].split(".", 1)[0] for key in header if key.startswith(prefix)}
    count = 0
    while str(count) in found:
        count += 1
    return count


def _unet(file: Path, header: Header, family: str) -> dict:
    """The network's settings, as diffusers' ``UNet2DConditionModel`` has them, but for the pictures' size."""
    first = _shape(file, header, UNET + "input_blocks.0.0.weight", 4)
    widths, resnets, depths, linear, context = [], [0], [0], False, 0
    for i in range(1, _count(header, UNET + "input_blocks.")):
        block = f"{UNET}input_blocks.{i}."
        if block + "0.op.weight" in header:  # half the size from here on
            resnets.append(0)
            depths.append(0)
            continue
        width = _shape(file, header, block + "0.out_layers.3.weight")[0]
        widths = widths if resnets[-1] else [*widths, width]
        resnets[-1] += 1
        if block + "1.proj_in.weight" in header:
            depths[-1] = _count(header, block + "1.transformer_blocks.")
            linear = len(_shape(file, header, block + "1.proj_in.weight")) == 2
            context = _shape(file, header, block + "1.transformer_blocks.0.attn2.to_k.weight")[-1]
    if not any(depths) or len(set(resnets)) != 1:
        raise unreadable(f"{file} has a network whose levels are unlike each other, which cannot be used", FOLDER)
    cross = [depth > 0 for depth in depths]
    config = {
        "in_channels": first[1],
        "out_channels": _shape(file, header, UNET + "out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": resnets[0],
        "down_block_types": ["CrossAttnDownBlock2D" if there else "DownBlock2D" for there in cross],
        "up_block_types": ["CrossAttnUpBlock2D" if there else "UpBlock2D" for there in reversed(cross)],
        "transformer_layers_per_block": [max(depth, 1) for depth in depths],
        "cross_attention_dim": context,
        "use_linear_projection": linear,
        "attention_head_dim": SD1_HEADS if family == "sd1" else [max(width // HEAD, 1) for width in widths],
    }
    if family == "sdxl":
        config["addition_embed_type"] = "text_time"
        config["projection_class_embeddings_input_dim"] = _shape(file, header, UNET + "label_emb.0.0.weight")[-1]
    return config


def _vae(file: Path, header: Header, family: str) -> dict:
    """Settings of an ``AutoencoderKL``."""
    down = VAE + "encoder.down."
    levels = _count(header, down)
    widths = [_shape(file, header, f"{down}{i}.block.0.conv1.weight")[0] for i in range(levels)]
    attention = VAE + "encoder.mid.attn_1.q.weight" in header
    return {
        "latent_channels": _shape(file, header, VAE + "decoder.conv_in.weight", 4)[1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": _count(header, f"{down}0.block."),
        "mid_block_add_attention": attention,
        "scaling_factor": 0.13025 if family == "sdxl" else 0.18215,
        "force_upcast": family == "sdxl",
    }


def _text(file: Path, header: Header, family: str, second: bool) -> Part:
    """A text encoder with its settings, as transformers' ``CLIPTextConfig`` has them."""
    open_clip = family == "sd2" or second
    prefix = {"sd1": CLIP, "sd2": OPEN_CLIP, "sdxl": XL_SECOND if second else XL_FIRST}[family]
    if open_clip:
        words, places, layers = "token_embedding.weight", "positional_embedding", "transformer.resblocks."
        middle = f"{layers}0.mlp.c_fc.weight"
    else:
        words, places = (f"text_model.embeddings.{name}_embedding.weight" for name in ("token", "position"))
        layers = "text_model.encoder.layers."
        middle = f"{layers}0.mlp.fc1.weight"
    vocabulary, width = _shape(file, header, prefix + words, 2)
    count = _count(header, prefix + layers)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_position_embeddings": _shape(file, header, prefix + places)[0],
        "num_hidden_layers": min(count, SD2_READ) if family == "sd2" else count,
        "num_attention_heads": max(width // HEAD, 1),
        "intermediate_size": _shape(file, header, prefix + middle)[0],
        "hidden_act": "gelu" if open_clip else "quick_gelu",
        "projection_dim": _shape(file, header, prefix + "text_projection")[-1] if second else width,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }
    return Part(file, "CLIPTextModelWithProjection" if second else "CLIPTextModel", config, file, prefix=prefix)
