"""Diffusion models of a few thousand random weights, written by diffusers and transformers themselves in the layout of
each family, so that loading and calling them is what loading and calling the real ones is.

Every writer returns the folder it filled. They take well under a second; a session needs each of them only once.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

diffusers_logging.disable_progress_bar()

#: The noise schedule of Stable Diffusion 1 and 2.
SD_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
WORDS = "a red blue green mug wooden stone owl close-up front side back overhead view flat even lighting no shadows"


def write_sd15(folder: Path, seed: int = 0, variant: str | None = None, vae_attention: bool = False) -> Path:
    """Stable Diffusion 1.5 in small: pictures of 512 pixels, a VAE of four levels, latents of 64 x 64 x 4.

    ``vae_attention``: as the real one has it in the middle of the VAE; it takes most of a step's time.
    """
    torch.manual_seed(seed)
    PNDMScheduler(**SD_BETAS, skip_prk_steps=True, steps_offset=1).save_pretrained(folder / "scheduler")
    return write_sd(folder, sample_size=64, variant=variant, vae_attention=vae_attention)


def write_sd21(folder: Path, seed: int = 0, sample_size: int = 96) -> Path:
    """Stable Diffusion 2.1 in small: pictures of 768 pixels, a prediction of v, and padding by ``!``."""
    torch.manual_seed(seed)
    scheduler = DDIMScheduler(**SD_BETAS, prediction_type="v_prediction", clip_sample=False, steps_offset=1)
    scheduler.save_pretrained(folder / "scheduler")
    return write_sd(folder, sample_size, unet={"use_linear_projection": True}, pad_token="!")


def write_sd(
    folder: Path,
    sample_size: int,
    variant: str | None = None,
    unet: dict | None = None,
    pad_token: str = "<|endoftext|>",
    vae_attention: bool = False,
) -> Path:
    """What Stable Diffusion 1 and 2 have in common: all but the scheduler. ``unet``: changes to its settings."""
    options = {"safe_serialization": True, "variant": variant}
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=2,
        mid_block_add_attention=vae_attention,
        sample_size=sample_size * 8,
    )
    vae.save_pretrained(folder / "vae", **options)
    settings = {
        "sample_size": sample_size,
        "block_out_channels": (4, 8, 8),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
    }
    network = UNet2DConditionModel(**settings | (unet or {}))
    network.save_pretrained(folder / "unet", **options)
    tokenizer = clip_tokenizer(pad_token)
    write_clip_tokenizer(tokenizer, folder / "tokenizer")
    clip_text_encoder(tokenizer).save_pretrained(folder / "text_encoder", **options)
    return write_index(folder, "StableDiffusionPipeline", CLIPTextModel, CLIPTokenizer, vae=True)


def write_if(folder: Path, seed: int = 0, only_spiece: bool = False, sample_size: int = 64) -> Path:
    """The first stage of DeepFloyd IF in small: 64 x 64 pixels, text by a T5, six channels out of three.

    ``only_spiece``: the tokenizer's folder has ``spiece.model`` and no ``tokenizer.json``, as the published one.
    """
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=3,
        out_channels=6,
        block_out_channels=(8, 16),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        encoder_hid_dim=16,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        attention_head_dim=4,
        cross_attention_norm="group_norm",
        norm_num_groups=4,
        act_fn="gelu",
        resnet_time_scale_shift="scale_shift",
        resnet_skip_time_act=True,
        resnet_out_scale_factor=1.414,
        time_embedding_act_fn="gelu",
    )
    unet.save_pretrained(folder / "unet")
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True, clip_sample=True
    )
    scheduler.save_pretrained(folder / "scheduler")
    if only_spiece:
        write_spiece_tokenizer(sentencepiece_model(), folder / "tokenizer")
    else:
        t5_tokenizer().save_pretrained(folder / "tokenizer")
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu")
    )
    text_encoder.save_pretrained(folder / "text_encoder")
    return write_index(folder, "IFPipeline", T5EncoderModel, T5Tokenizer, vae=False)


def write_sdxl(folder: Path, seed: int = 0, sample_size: int = 24, empty_is_zero: bool = True) -> Path:
    """Stable Diffusion XL in small: two text encoders, a UNet that is told sizes and a vector for the whole text."""
    torch.manual_seed(seed)
    EulerDiscreteScheduler(**SD_BETAS, timestep_spacing="leading", steps_offset=1).save_pretrained(folder / "scheduler")
    unet = {
        "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2),
        "cross_attention_dim": 16 + 24,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 12,
    }
    write_sd(folder, sample_size, unet=unet)
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 0.13025}))
    tokenizer = clip_tokenizer("!")
    write_clip_tokenizer(tokenizer, folder / "tokenizer_2")
    settings = clip_text_encoder(tokenizer).config.to_dict() | {"hidden_size": 24, "projection_dim": 12}
    CLIPTextModelWithProjection(CLIPTextConfig(**settings)).save_pretrained(folder / "text_encoder_2")
    write_index(folder, "StableDiffusionXLPipeline", CLIPTextModel, CLIPTokenizer, vae=True)
    index = json.loads((folder / "model_index.json").read_text())
    del index["safety_checker"]
    index |= {
        "force_zeros_for_empty_prompt": empty_is_zero,
        "image_encoder": [None, None],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def write_sd3(folder: Path, seed: int = 0, sample_size: int = 24, t5: bool = True, shift: float = 3.0) -> Path:
    """Stable Diffusion 3.5 in small: a transformer, latents of 16 channels, three text encoders or two."""
    torch.manual_seed(seed)
    FlowMatchEulerDiscreteScheduler(shift=shift).save_pretrained(folder / "scheduler")
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=16,
        sample_size=sample_size * 8,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.5305,
        shift_factor=0.0609,
    )
    vae.save_pretrained(folder / "vae")
    transformer = SD3Transformer2DModel(
        sample_size=sample_size,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=16 + 12,
        pos_embed_max_size=32,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    transformer.save_pretrained(folder / "transformer")
    index: dict = {"_class_name": "StableDiffusion3Pipeline", "_diffusers_version": "0.32.0"}
    for which, pad, wide, projected in (("", "<|endoftext|>", 16, 16), ("_2", "!", 24, 12)):
        tokenizer = clip_tokenizer(pad)
        write_clip_tokenizer(tokenizer, folder / f"tokenizer{which}")
        settings = clip_text_encoder(tokenizer).config.to_dict() | {"hidden_size": wide, "projection_dim": projected}
        CLIPTextModelWithProjection(CLIPTextConfig(**settings)).save_pretrained(folder / f"text_encoder{which}")
        index[f"text_encoder{which}"] = ["transformers", "CLIPTextModelWithProjection"]
        index[f"tokenizer{which}"] = ["transformers", "CLIPTokenizer"]
    index |= {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    if t5:
        t5_tokenizer().save_pretrained(folder / "tokenizer_3")
        settings = T5Config(vocab_size=400, d_model=48, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
        T5EncoderModel(settings).save_pretrained(folder / "text_encoder_3")
        index |= {
            "text_encoder_3": ["transformers", "T5EncoderModel"],
            "tokenizer_3": ["transformers", "T5TokenizerFast"],
        }
    for part, name in (("vae", "AutoencoderKL"), ("transformer", "SD3Transformer2DModel")):
        index[part] = ["diffusers", name]
    index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def write_zero123(folder: Path, seed: int = 0, layer: str = "cc_projection") -> Path:
    """Zero-1-to-3 in small: pictures of 64 pixels, CLIP's eye for pictures of 24, eight channels in.

    ``layer``: what the linear layer is called, ``cc_projection`` or ``clip_camera_projection``.
    """
    torch.manual_seed(seed)
    DDIMScheduler(**SD_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1).save_pretrained(
        folder / "scheduler"
    )
    write_sd(folder, sample_size=8, unet={"in_channels": 8, "cross_attention_dim": 16})
    eye = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, projection_dim=12, num_hidden_layers=2, num_attention_heads=2,
        image_size=24, patch_size=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(eye).save_pretrained(folder / "image_encoder")
    own = {"cc_projection": ("projection", "CCProjection"), "clip_camera_projection": ("proj", "CLIPCameraProjection")}
    inner, class_name = own[layer]
    linear = torch.nn.Linear(12 + 4, 16)
    (folder / layer).mkdir()
    weights = {f"{inner}.{name}": value.detach() for name, value in linear.named_parameters()}
    save_file(weights, folder / layer / "diffusion_pytorch_model.safetensors")
    (folder / layer / "config.json").write_text(json.dumps({"_class_name": class_name}))
    for part in ("tokenizer", "text_encoder"):
        shutil.rmtree(folder / part)
    index = {
        "_class_name": "Zero1to3StableDiffusionPipeline",
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        layer: ["pipeline_zero1to3", class_name],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def write_index(folder: Path, pipeline: str, text_encoder: type, tokenizer: type, vae: bool) -> Path:
    """``model_index.json``, with the parts that the published ones name and a job does not need."""
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"]
    index = {
        "_class_name": pipeline,
        "_diffusers_version": "0.17.0",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", text_encoder.__name__],
        "tokenizer": ["transformers", tokenizer.__name__],
        "unet": ["diffusers", "UNet2DConditionModel"],
    }
    if vae:
        index["vae"] = ["diffusers", "AutoencoderKL"]
    else:
        index["watermarker"] = [None, None]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


# ---- text ----------------------------------------------------------------------------------------------------------


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's tokenizer, which knows letters and signs but no whole words; 77 tokens, as the real one."""
    letters = [chr(c) for c in range(33, 127)]
    pieces = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token=pad_token, model_max_length=77)


def write_clip_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """As the published folders have it: ``vocab.json`` and ``merges.txt``, no ``tokenizer.json``."""
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special["pad_token"] = tokenizer.pad_token
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def clip_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers wide enough for a difference between prompts."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def t5_tokenizer() -> T5Tokenizer:
    """T5's tokenizer with whole words, letters, and its hundred extra ones; 512 tokens, as the real one."""
    words = ["▁" + word for word in dict.fromkeys(WORDS.split())]
    pieces = ["<pad>", "</s>", "<unk>", "▁", *words, *(chr(c) for c in range(33, 127))]
    extra = [f"<extra_id_{i}>" for i in range(99, -1, -1)]
    vocab = [(piece, 0.0 if i < 3 else -float(i)) for i, piece in enumerate(pieces)] + [(e, 0.0) for e in extra]
    return T5Tokenizer(vocab=vocab, model_max_length=512)


def sentencepiece_model() -> bytes:
    """A small ``spiece.model``, trained as T5's."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS.split() + [WORDS]),
        model_writer=written,
        vocab_size=60,
        model_type="unigram",
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        num_threads=1,
    )
    return written.getvalue()


def write_spiece_tokenizer(pieces: bytes, folder: Path) -> None:
    """As DeepFloyd IF's folder has it."""
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(pieces)
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    special["additional_special_tokens"] = [f"<extra_id_{i}>" for i in range(100)]
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {"tokenizer_class": "T5Tokenizer", "model_max_length": 512, "extra_ids": 100, "sp_model_kwargs": {}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | special))


# ---- ControlNets ---------------------------------------------------------------------------------------------------


def write_control(
    folder: Path, model: Path, seed: int = 0, channels: int = 3, stride: int = 8, scale: float = 0.3
) -> Path:
    """A ControlNet for the model in the folder ``model``. ``stride``: pixels of a picture for each latent.

    Fresh ones begin with zeros and change nothing; these are given random numbers there, as training would.
    """
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    widths = {4: (4, 4, 8), 8: (4, 4, 4, 8)}[stride]
    net = ControlNetModel.from_unet(
        unet, conditioning_channels=channels, conditioning_embedding_out_channels=widths, load_weights_from_unet=False
    )
    new = [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]
    for layer in new:
        torch.nn.init.normal_(layer.weight, std=scale)
        torch.nn.init.normal_(layer.bias, std=scale)
    net.save_pretrained(folder)
    return folder
