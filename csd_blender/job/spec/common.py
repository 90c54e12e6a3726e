"""What all kinds of jobs have in common."""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial
from typing import Any

from ..errors import JobError
from ..models.control import wanted_kinds
from ..models.encoder import FULL, SMALL
from .fields import Option, bad, choice, number, switch, text, to_json
from .guidance import NOISE_OPTIONS, TIMES_OPTIONS
from .methods import KNOWN_METHODS, METHODS

QUALITY_OPTIONS = (
    Option("draft", "Draft", "A first impression: the quickest"),
    Option("normal", "Normal", "Good for most objects"),
    Option("best", "Best", "More steps for finer detail"),
)
QUALITIES = tuple(option.id for option in QUALITY_OPTIONS)
RASTERIZERS = ("auto", "warp", "torch", "nvdiffrast")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?")

# Fields that several kinds of jobs have: written once, called where a kind wants them.
NEGATIVE_PROMPT = partial(
    text,
    label="Negative Prompt",
    help="What it should not look like",
    place="top",
    flags=("--negative",),
    unset="the preset's own",
)
METHOD = partial(choice, KNOWN_METHODS, METHODS[0], label="Method", help="How the diffusion model guides the work")
MODEL = partial(
    text, "mini", label="Model", names=True,
    help="Diffusion model: a name from the list, or the path of a folder in diffusers layout or of a .safetensors file",
)  # fmt: skip
LORA = partial(
    text, "", True, label="LoRA", path="file", unset="none",
    help="A .safetensors file of small changes to the model, for a style or a subject; made for the same family",
)  # fmt: skip
LORA_WEIGHT = partial(
    number,
    -4,
    4,
    1.0,
    True,
    label="LoRA Strength",
    soft_high=1.5,
    help="How strongly the LoRA counts; 1 as it was made",
)
QUALITY = partial(
    choice, (*QUALITY_OPTIONS, "custom"), "normal", label="Quality", help="How long to work on it", place="top"
)
SEED = partial(number, 0, 2**31 - 1, 0, label="Seed", help="The same seed and settings give the same result")
STEPS = partial(number, 1, 20000, 300, label="Steps", help="Number of steps")
LEARNING_RATE = partial(number, 1e-6, 1, 0.03, label="Learning Rate", help="How far each step moves the colors")
DEVICE = partial(text, "auto", label="Device", help="What computes it: auto, cpu, cuda, cuda:N or mps")
TEXTURE_SIZE = partial(
    number, 64, 4096, 1024, label="Size", help="Width and height of the texture", unit="px", place="output",
    usual=(256, 512, 1024, 2048, 4096), flags=("--resolution",),
)  # fmt: skip
CLIP_OPTIONS = (
    Option("off", "As the Preset", "What the approach itself says, mostly no bound"),
    Option(
        "debiased",
        "Debiased",
        "Each step's pull is bounded, and the bound rises with the steps (D-SDS): fewer false faces",
    ),
)
ANNEAL_OPTIONS = (
    Option("usual", "As the Preset", "What the approach itself says"),
    Option("rising", "Rising", "From nothing to full strength at half time: CSD's first stage"),
    Option("falling", "Falling", "From full strength to half of it at the end: CSD's second stage"),
)
#: What may vary on any method: fields of the kinds that have these.
VARIANTS = ("perp_neg", "clip", "noise", "times")
# These stand for values of the guidance, which the preset functions set, and change none by themselves.
CLIP = partial(choice, CLIP_OPTIONS, "off", True, label="Score Clip", help="Whether each step's pull is bounded")
NOISE = partial(
    choice, NOISE_OPTIONS, "fresh", True, label="Noise", help="Which noise the diffusion model looks through"
)
TIMES = partial(choice, TIMES_OPTIONS, "uniform", True, label="Noise Levels", help="In which order noise levels come")
NEGATIVE_COURSE = partial(
    choice, ANNEAL_OPTIONS, "usual", True, label="Negative Curve",
    help="How the strength of the negative prompt changes over the steps",
)  # fmt: skip
PERP_NEG = partial(
    number, -1, 20, -1.0, True, label="Perp-Neg", soft_high=5.0, bare=1.0, unset="as the approach",
    help="How strongly each side stays away from the words of the others, against a second face; -1 is what the "
    "approach has",
)  # fmt: skip
VIEW_PROMPTS = partial(
    switch, True, label="Name the Side",
    help="Add “front view”, “side view”, “back view” or “overhead view” to the prompt as it is seen; without, a face "
    "may appear on every side",
)  # fmt: skip
EXTRA_WORDS = partial(
    text, "auto", True, label="Extra Words",
    help="Words added to the prompt of every picture, so that no light is painted into the texture",
)  # fmt: skip
DEBIAS_PROMPT = partial(
    text, "", True, label="Debias Prompt", names=("mini",), unset="off",
    help="Language model that tells which words do not go with a side, as “smiling” with the back; they are left out "
    "of the prompt there. Empty for none, mini for the bundled one, else a folder or a name in the hub's cache",
)  # fmt: skip
DEBIAS_WORDS = partial(
    text, "", True, label="Optional Words", unset="all",
    help="Words of the prompt that may be left out for a side, with commas between them; empty for all",
)  # fmt: skip
CONTROL = partial(
    text, "off", True, label="Control", names=("off", "auto", "depth", "normal", "depth,normal", "depth,normal,canny"),
    help="ControlNets that keep the work to the shape: depth, normal, canny with commas between them, each with a "
    "strength behind it if you like, as depth:0.8; auto takes those that are on this computer; off is none",
)  # fmt: skip
CONTROL_MODEL = partial(
    text, "", True, label="ControlNets", unset="the published ones", names=("depth=", "normal=", "canny="),
    help="Folders of these ControlNets, or names in the hub's cache, with commas between them; depth=FOLDER says what "
    "one is for where its name does not",
)  # fmt: skip
CONTROL_STRENGTH = partial(
    number, 0, 2, 1.0, True, label="Control Strength", help="How strongly ControlNets hold to the shape at first"
)
CONTROL_END = partial(
    number, 0, 2, 0.8, True, label="Control at End", help="Share of that strength that is left at the last step"
)
WARM_START = partial(
    number, 0, 32, 0, True, label="Warm Start",
    help="Begin from so many pictures that the model draws of all sides at once, so that few steps are left to do: of "
    "a texture under its ControlNets, of an object by fours; 0 begins from gray, or an object from fog",
)  # fmt: skip
WARM_STEPS = partial(
    number, 1, 200, 16, True, label="Warm Start Steps", help="Steps of the sampler that draws these pictures"
)
WARM_SCALE = partial(
    number, 0, 50, 4.0, True, label="Warm Start Scale", help="How strongly these pictures follow the prompt"
)
WARM_CONTROL = partial(
    number, 0, 2, 0.7, True, label="Warm Start Control",
    help="How strongly ControlNets hold these pictures to the shape",
)  # fmt: skip
#: Settings about the warm start beside ``warm_start`` itself, without effect where that is 0.
WARM_DETAILS = ("warm_steps", "warm_scale", "warm_control")
#: Settings about ControlNets beside ``control`` itself, without effect where that is off.
CONTROL_DETAILS = ("control_model", "control_strength", "control_end")
ANYWHERE, UNSEEN, CHANGING = "anywhere", "unseen", "changing"
LOOK_OPTIONS = (
    Option(ANYWHERE, "Anywhere", "From all sides alike"),
    Option(UNSEEN, "Least Seen", "Of some cameras those that see what was seen least so far"),
    Option(CHANGING, "Least Settled", "Of some cameras those that see what has changed most of late"),
)
LOOK = partial(choice, LOOK_OPTIONS, ANYWHERE, True, label="Look", help="From where each step looks at the surface")
EARLY_END = partial(
    number, 0, 20, 0.0, True, label="Early End", soft_high=2.0,
    help="End once a step changes the colors by less than so many of their 255 levels, on average; 0 takes all steps",
)  # fmt: skip
ENCODER = partial(
    text, FULL, True, label="Encoder", names=(FULL, SMALL),
    help="What brings pictures to the model's latents, and the gradient back: full is the model's own; small is a "
    "quicker one, bundled for mini and published for others; else the folder of an AutoencoderTiny, or its name in the "
    "hub's cache",
)  # fmt: skip
COMPILE = partial(
    switch, False, True, label="Compile",
    help="Let torch.compile make the diffusion network quicker; the first steps take minutes then",
)  # fmt: skip
RASTERIZER = partial(choice, RASTERIZERS, "auto", label="Rasterizer", help="Which renderer draws the mesh")
ALLOW_NONCOMMERCIAL = partial(
    switch, False, label="Allow Non-Commercial",
    help="Permit models and parts that are not for commercial use, such as DeepFloyd IF and nvdiffrast",
)  # fmt: skip
PREVIEW_INTERVAL = partial(
    number, 0, 600, 1.5, label="Preview Interval", unit="s", help="Seconds between two previews; 0 switches them off"
)
CHECKPOINT_INTERVAL = partial(
    number, 1, 3600, 60.0, label="Checkpoint Interval", unit="s", help="Seconds between two checkpoints"
)


def check_job(job: Any) -> None:
    """What all kinds of jobs have in common. Raises ``JobError('bad_setting')``."""
    if not job.prompt.strip():
        raise JobError("bad_setting", "the prompt is empty")
    if not _DEVICE.fullmatch(job.device):
        raise bad("device", job.device, "auto, cpu, cuda, cuda:N or mps")
    wanted_kinds(getattr(job, "control", "off"))  # refuses other words
    if not getattr(job, "encoder", FULL).strip():
        raise bad("encoder", job.encoder, "full, small, or a folder or name of an AutoencoderTiny")
    if not job.model:
        raise bad("model", job.model, "mini, the name of a model or a folder")


def without_kind(kind: str, data: object) -> dict:
    """A job's JSON without its kind. Raises ``JobError('bad_setting')`` when it is of another one, or no table."""
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise JobError("bad_setting", f"this is not a {kind} job")
    return {name: value for name, value in data.items() if name != "kind"}


#: Settings that a job's result does not depend on, so that they may change when it is resumed.
PASSING = ("preview_interval", "checkpoint_interval", "device", "compile")


def fingerprint(kind: str, job: Any) -> str:
    """Hash, 16 hexadecimal digits, of a job's JSON without what its result does not depend on, and without settings
    that came later and are not used."""
    settings = {"kind": kind, **to_json(job, for_fingerprint=True)}
    relevant = {name: value for name, value in settings.items() if name not in PASSING}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
