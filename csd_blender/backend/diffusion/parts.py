"""The parts of a diffusers folder as torch modules, each held against its files before anything is made with it.

Only safetensors and local files; nothing of a folder is ever run.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...job.errors import JobError, quoted, shortened
from ...job.models.contents import AGAIN, unreadable
from ...job.models.files import ModelFiles, Part, read_shapes
from ...job.models.language import in_its_own_words
from .model import NoiseSchedule
from .text import TextReader, last_layer
from .weights.clip_words import clip_tokenizer
from .weights.lora import add_lora
from .weights.single_file import network_of_single_file

log = logging.getLogger(__name__)

LARGEST_PICTURE = 4096  # pixels along a side
MOST_ASKED = 4  # times what the files hold: of what they lack, the error names the weights
LEAST_STEPS = 50  # of a noise schedule; published models have 1000
#: Of a picture, at the end of a schedule with zero terminal SNR (Lin et al. 2023, arXiv 2305.08891): clean pictures are
#: found by a division by its root, which must not be zero. The library's Euler schedulers have the same number.
LEAST_LEFT = 2.0**-24
LEAST_TOKENS = 8  # of a text; CLIP reads 77
IF_TOKENS = 77  # DeepFloyd IF was trained on texts of that length, though its T5 reads longer ones
#: Endings of keys that old checkpoints have and no network needs: a buffer that counts from 0, and parts of a whole
#: CLIP beside its text encoder.
HARMLESS = ("position_ids", "logit_scale", "text_projection.weight", "visual_projection.weight")


def network_dtypes(device: torch.device) -> tuple[torch.dtype, torch.dtype]:
    """Precision of (UNet, VAE). The VAE passes gradients, which overflow in float16; bfloat16 or float32 do not."""
    if device.type != "cuda":
        return torch.float32, torch.float32
    return torch.float16, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32


@contextmanager
def or_unreadable(sentence: str) -> Iterator[None]:
    """Whatever a library raises becomes ``sentence``; there are a dozen kinds, and the log has the details."""
    try:
        yield
    except (JobError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        log.exception("%s", sentence)
        raise unreadable(sentence) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Their progress bars would be drawn across the job's own, and their reports repeat what the errors here say."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    libraries = (diffusers_logging, transformers_logging)
    levels = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.set_verbosity(level)


def load_noise(files: ModelFiles, device: torch.device) -> NoiseSchedule:
    """The noise of a schedule with betas, and what the network predicts."""
    from diffusers import DDPMScheduler

    with or_unreadable(f"{files.scheduler.folder / 'scheduler_config.json'} is no noise schedule that is known"):
        scheduler = DDPMScheduler.from_config(files.scheduler.config)
    _check_schedule(files.scheduler, scheduler.betas, scheduler.alphas_cumprod)
    predicts = scheduler.config.prediction_type
    if predicts not in ("epsilon", "v_prediction"):
        raise unreadable(f"{files.scheduler.folder} predicts {quoted(predicts)}, which is not known")
    return NoiseSchedule(scheduler.alphas_cumprod.float().clamp_min(LEAST_LEFT), predicts, device)


def load_unet(files: ModelFiles, device: torch.device) -> torch.nn.Module:
    """The network that predicts noise, laid out as ``device`` likes it."""
    return laid_out(load_network(files.unet, network_dtypes(device)[0], device), device)


def laid_out(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """A network of convolutions in the order of numbers that ``device`` is quickest with."""
    return network.to(memory_format=torch.channels_last) if device.type == "cuda" else network


def check_channels(files: ModelFiles, unet: torch.nn.Module, channels: int) -> None:
    """Raise for a network that takes more than the noisy latents of so many channels, or predicts less."""
    if unet.config.in_channels != channels or unet.config.out_channels < channels:
        kind = "an upscaler or for inpainting, depth or the like, not plain text to image"
        raise unreadable(f"{files.unet.folder} takes {unet.config.in_channels} channels: it is {kind}")


def load_text_reader(
    files: ModelFiles,
    unet: torch.nn.Module,
    device: torch.device,
    which: str = "",
    width: int | None = None,
    cls: Any = None,
    take: Callable[..., tuple[torch.Tensor, ...]] = last_layer,
) -> TextReader:
    """Tokenizer and text encoder, which must fit each other and ``unet``.

    Args:
        which: of several pairs, the ending of this one's names: ``_2`` for ``tokenizer_2`` and ``text_encoder_2``.
        width: of its vectors, where the network reads those of several encoders side by side; None: the network's.
        cls: class of the encoder, see :func:`load_network`. take: as in :class:`TextReader`.
    """
    words, network = files.parts["tokenizer" + which], files.parts["text_encoder" + which]

    def load_encoder() -> torch.nn.Module:
        with quiet_libraries():
            return load_network(network, unet.dtype, device, cls)

    tokenizer, encoder = _load_tokenizer(words), load_encoder()
    _check_words(words, tokenizer, network, encoder)
    wanted = width or unet.config.encoder_hid_dim or unet.config.cross_attention_dim
    wide = encoder.config.hidden_size
    if wanted != wide:
        folder = files.network.folder
        raise unreadable(f"{folder} wants texts {wanted} wide, but {network.folder} gives {wide}")
    if tokenizer.pad_token is None:
        raise unreadable(f"{words.folder} has no token to pad with")
    t5 = _is_t5(network)
    return TextReader(
        tokenizer=tokenizer,
        encoder=encoder,
        load_encoder=load_encoder,
        tokens=_text_tokens(network, tokenizer, encoder),
        dtype=unet.dtype,
        device=device,
        lower_case=t5,
        masked=t5 or bool(getattr(encoder.config, "use_attention_mask", False)),
        take=take,
    )


def check_told(
    files: ModelFiles, added: tuple[str | None, ...] = (None, "text"), classes: tuple[str | None, ...] = (None,)
) -> None:
    """Raise for networks that want to be told more than a text; ``added``, ``classes``: what the family adds to the
    time."""
    config, place = files.unet.config, files.unet.folder
    wanted = {
        "class_embed_type": classes,
        "num_class_embeds": (None,),
        "addition_embed_type": added,
        "encoder_hid_dim_type": (None, "text_proj"),
        "time_cond_proj_dim": (None,),
    }
    for setting, known in wanted.items():
        if config.get(setting) not in known:
            found = f"{setting} {quoted(config[setting])}"
            raise unreadable(f"{place / 'config.json'}: a network with {found} is not one of plain text to image")


def _check_schedule(part: Part, betas: torch.Tensor, alphas: torch.Tensor) -> None:
    """The share of the picture that is left must fall from almost all to little, within [0, 1]."""
    place = part.folder / "scheduler_config.json"
    if len(alphas) < LEAST_STEPS:
        raise unreadable(f"{place} has {len(alphas)} steps of noise, and at least {LEAST_STEPS} are wanted")
    sound = bool(((betas >= 0) & (betas <= 1) & (alphas >= 0) & (alphas <= 1)).all())  # (nan is neither)
    if not sound or alphas[0] < 0.5 or alphas[-1] > 0.5:
        raise unreadable(f"{place} has a noise schedule that does not lead from a picture to noise")


def check_vae(part: Part, config: Any) -> None:
    """The numbers that a latent is moved and scaled by."""
    channels = (config.in_channels, config.out_channels)
    if part.class_name == "AutoencoderKL" and channels != (3, 3):
        raise unreadable(f"{part.folder / 'config.json'}: its pictures have {channels} channels and not three colors")
    if getattr(config, "latents_mean", None) is not None or getattr(config, "latents_std", None) is not None:
        raise unreadable(f"{part.folder / 'config.json'}: latents that are moved channel by channel cannot be used yet")
    scale, shift = config.scaling_factor, getattr(config, "shift_factor", None) or 0.0
    for name, value, least in (("scaling_factor", scale, 1e-6), ("shift_factor", shift, -100.0)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 100.0:
            raise unreadable(f"{part.folder / 'config.json'} is damaged at {name!r}")


def load_network(
    part: Part, dtype: torch.dtype, device: torch.device, cls: Any = None, spare: tuple[str, ...] = ()
) -> torch.nn.Module:
    """One network with exactly the weights that its files hold.

    Args:
        cls: of diffusers or transformers; None for those that families share (UNet, VAE, T5, and CLIP's text model
            without its projection).
        spare: parts of names of weights that files may hold besides, or hold as zeros.

    Raises:
        JobError: ``model_unreadable`` naming the file and the first key that is missing, unknown, of another shape, or
            holds something else than numbers.
    """
    cls = cls or _network_class(part)
    config = f"{part.folder / 'config.json'} and {part.weights.name}"
    with or_unreadable(f"{part.folder if part.prefix else config} do not make a {shortened(part.class_name)}"):
        if _is_text(cls) and not part.prefix and part.weights is not None:
            _check_asked(part, part.weights, cls)
        options = {"config": _text_config(cls, part), "trust_remote_code": False} if _is_text(cls) else {}
        if part.prefix:
            network, report = network_of_single_file(cls, part, options.get("config", part.config), dtype)
        else:
            network, report = cls.from_pretrained(
                part.folder,
                torch_dtype=dtype,
                variant=part.variant,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # to be told of all of them, not to load them
                output_loading_info=True,
                **options,
            )
    _check_keys(part, report, spare)
    network.requires_grad_(False).eval().to(device)
    _check_numbers(part, network, dtype, spare)
    if part.lora is not None:
        with in_its_own_words("lora"):
            add_lora(network, part)
    return network


def _check_asked(part: Part, weights: Path, cls: Any) -> None:
    """Raise, before memory is taken for it, for a network that asks for far more numbers than its files hold: the
    library makes what is not there of random ones."""
    with torch.device("meta"):
        network = cls(_text_config(cls, part))
    asked = sum(value.numel() for value in network.parameters())
    held = sum(math.prod(shape) for shape in read_shapes(weights).values())
    if asked > MOST_ASKED * held:
        place = part.folder / "config.json"
        raise unreadable(f"{place} asks for {asked:,} numbers, and {weights.name} holds {held:,}", AGAIN)


def _check_keys(part: Part, report: dict, spare: tuple[str, ...] = ()) -> None:
    """Raise unless file and network have the same weights; random ones in their place would ruin a job silently."""

    def first(keys: Iterable) -> str:
        names = sorted(key[0] if isinstance(key, tuple) else key for key in keys)
        return shortened(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")

    unknown = [key for key in report["unexpected_keys"] if not any(name in key for name in spare)]
    if part.class_name.startswith("CLIP"):
        unknown = [key for key in unknown if not key.endswith(HARMLESS) and not key.startswith("vision_model.")]
    found = [
        f"{what} {first(keys)}"
        for keys, what in (
            (report["missing_keys"], "lacks"),
            (unknown, "has unknown weights:"),
            (report["mismatched_keys"], "has weights of another shape than config.json says:"),
        )
        if keys
    ]
    if found:
        whole = f"Get a whole copy of the model's {part.folder.name}."
        raise unreadable(f"{part.weights} {'; it '.join(found)}", whole)


def _check_numbers(part: Part, network: torch.nn.Module, dtype: torch.dtype, spare: tuple[str, ...] = ()) -> None:
    for name, value in network.named_parameters():
        if value.is_meta:
            raise unreadable(f"{part.weights} lacks {shortened(name)}")
        if not bool(torch.isfinite(value).all()):
            raise unreadable(f"{part.weights} holds invalid numbers (NaN or infinite, as {dtype}) in {shortened(name)}")
        if any(part_of_name in name for part_of_name in spare):
            continue
        if value.ndim > 1 and not bool(value.any()):  # downloads reserve their place, and fill it with zeros
            what = f"{part.weights} holds nothing but zeros in {shortened(name)}"
            raise unreadable(what, "Download the model again.")


def _is_text(cls: type) -> bool:
    return cls.__module__.startswith("transformers")


def _is_t5(part: Part) -> bool:
    return part.class_name == "T5EncoderModel"


def _network_class(part: Part) -> Any:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, T5EncoderModel

    known = (AutoencoderKL, UNet2DConditionModel, T5EncoderModel)
    return {cls.__name__: cls for cls in known}.get(part.class_name, CLIPTextModel)


def _text_config(cls: Any, part: Part) -> Any:
    """The text encoder's settings, less those that choose files, kernels or programs for the library to fetch."""
    usual = cls.config_class().to_dict()
    kept = ("use_attention_mask", *(k for k in usual if not k.startswith("_") and "implementation" not in k))
    left_out = ("dtype", "torch_dtype", "transformers_weights")
    return cls.config_class(**{k: v for k, v in part.config.items() if k in kept and k not in left_out})


def _load_tokenizer(part: Part) -> Any:
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Tokenizer

    if part.prefix:  # of a single file, which brings none
        return clip_tokenizer(part.config["pad_token"], part.config["model_max_length"])
    kind = part.class_name.removesuffix("Fast")
    cls = {"CLIPTokenizer": CLIPTokenizer, "T5Tokenizer": T5Tokenizer}.get(kind, PreTrainedTokenizerFast)
    with or_unreadable(f"{part.weights} does not make a {shortened(part.class_name)}"):
        return cls.from_pretrained(part.folder, local_files_only=True, trust_remote_code=False)


def _check_words(part: Part, tokenizer: Any, network: Part, text_encoder: torch.nn.Module) -> None:
    """The tokenizer and the text encoder must fit each other."""
    words, known = len(tokenizer), text_encoder.config.vocab_size
    if words > known:
        raise unreadable(f"{part.folder} has {words} tokens, but {network.folder} knows {known}")
    numbers = list(tokenizer.get_vocab().values())
    if len(set(numbers)) < len(numbers) or not 0 <= min(numbers) <= max(numbers) < known:
        wrong = f"it numbers its words otherwise than from 0 to {known - 1}"
        raise unreadable(f"{part.weights} is damaged: {wrong}")
    length = tokenizer.model_max_length
    if isinstance(length, bool) or not isinstance(length, (int, float)) or length < LEAST_TOKENS:
        raise unreadable(f"{part.folder / 'tokenizer_config.json'} is damaged at 'model_max_length'")


def _text_tokens(network: Part, tokenizer: Any, text_encoder: torch.nn.Module) -> int:
    """Tokens of a text: as many as the family's own pipeline gives the encoder."""
    if _is_t5(network):
        return IF_TOKENS
    return int(min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings))


def text_width(part: Part) -> int:
    """How many numbers a text encoder gives for a token, as its settings say."""
    width = part.config.get("d_model" if _is_t5(part) else "hidden_size")
    if isinstance(width, bool) or not isinstance(width, int):
        raise unreadable(f"{part.folder / 'config.json'} does not say how wide its texts are (hidden_size)")
    return width


def native_size(network: Part, unet: torch.nn.Module, factor: int) -> int:
    """Side of the pictures in pixels, for latents of so many pixels along one side."""
    size = unet.config.sample_size
    if isinstance(size, (list, tuple)):
        size = size[0] if len(set(size)) == 1 else None
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size * factor <= LARGEST_PICTURE:
        raise unreadable(f"{network.folder / 'config.json'} does not say how large its pictures are (sample_size)")
    return size * factor
