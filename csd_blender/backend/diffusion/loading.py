"""Diffusers folders to :class:`DiffusionModel`. Only safetensors and local files: jobs never go online."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

from ...job.errors import JobError
from .model import DiffusionModel

log = logging.getLogger(__name__)

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


def network_dtypes(device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """Precision of (UNet, VAE). The VAE passes gradients, which overflow in float16; bfloat16 or float32 do not."""
    if device.type != "cuda":
        return torch.float32, torch.float32
    return torch.float16, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32


def find_model(name: str) -> Path:
    """Folder of a model given as ``mini``, a catalogue id, or a path. Raises ``JobError('model_missing')``."""
    if name == "mini":
        return MINI_FOLDER
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from ...job.models import CATALOGUE

    entry = next((e for e in CATALOGUE if e.id == name), None)
    for source in entry.sources if entry else ():
        cached = _in_hub_cache(source)
        if cached is not None:
            return cached
    raise JobError("model_missing", f"no model {name!r} on this computer")


def _in_hub_cache(repo: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None


def load_model(name: str, device: torch.device) -> DiffusionModel:
    """Load ``mini``, a catalogue id or a diffusers folder onto ``device``, frozen and in evaluation mode.

    Raises:
        JobError: ``model_missing`` when there is no such model, ``model_unreadable`` when its files are damaged,
            are not safetensors or are of a family this version cannot drive.
    """
    folder = find_model(name)
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise JobError("model_missing", f"{folder} has no model_index.json")
    try:
        index = json.loads(index_file.read_text(encoding="utf-8"))
        if index.get("text_encoder_2", [None, None])[1] or index["unet"][1] != "UNet2DConditionModel":
            raise JobError("model_unreadable", f"{folder} is not of the Stable Diffusion 1 or 2 family")
        return _load_components(name, folder, index, device)
    except JobError:
        raise
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the libraries raise a dozen kinds; the log has the details
        log.exception("loading %s failed", folder)
        raise JobError("model_unreadable", f"{folder}: {type(error).__name__}") from error


def _load_components(name: str, folder: Path, index: dict, device: torch.device) -> DiffusionModel:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # it would be drawn across the job's own

    unet_dtype, vae_dtype = network_dtypes(device)
    options = {"use_safetensors": True, "local_files_only": True}
    unet = UNet2DConditionModel.from_pretrained(
        folder / "unet", torch_dtype=unet_dtype, variant=_variant(folder / "unet"), **options
    )
    vae = None
    if "vae" in index:
        vae = AutoencoderKL.from_pretrained(
            folder / "vae", torch_dtype=vae_dtype, variant=_variant(folder / "vae"), **options
        )
    encoder_class = T5EncoderModel if index["text_encoder"][1] == "T5EncoderModel" else CLIPTextModel

    def load_text_encoder() -> torch.nn.Module:
        place = folder / "text_encoder"
        encoder = encoder_class.from_pretrained(place, dtype=unet_dtype, variant=_variant(place), **options)
        return encoder.requires_grad_(False).eval().to(device)

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    channels = 3 if vae is None else vae.config.latent_channels
    plain = unet.config.in_channels == channels and not unet.config.class_embed_type
    if not plain or scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise JobError("model_unreadable", f"{folder} is for inpainting, depth or the like, not plain text to image")
    for network in (unet, vae):
        if network is not None:
            network.requires_grad_(False).eval().to(device)
    if device.type == "cuda":
        unet.to(memory_format=torch.channels_last)
    factor = 1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1)
    return DiffusionModel(
        name=name,
        vae=vae,
        unet=unet,
        text_encoder=load_text_encoder(),
        tokenizer=tokenizer,
        alphas_cumprod=scheduler.alphas_cumprod.float(),
        prediction_type=scheduler.config.prediction_type,
        native_size=int(unet.config.sample_size) * factor,
        device=device,
        load_text_encoder=load_text_encoder,
    )


def _variant(folder: Path) -> str | None:
    """``fp16`` where the weights come in that variant only (``model.fp16.safetensors``), None for the usual names."""
    names = [path.name for path in folder.glob("*.safetensors*")]
    return "fp16" if names and all(".fp16" in name for name in names) else None
