"""Single pictures, optimised by score distillation with nothing behind them: what a method does, seen by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from . import common
from .common import check_job, fingerprint, without_kind
from .fields import Option, check, choice, from_json, number, text, to_json
from .guidance import TIMES_OPTIONS, Guidance
from .inputs import NoInput
from .methods import KNOWN_METHODS, METHODS
from .stages import Plan, picture_plan

ALL_METHODS = Option("all", "All Methods", "The same pictures by every method, a row each on one sheet")
LATENTS = "latents"
SPACE_OPTIONS = (
    Option(LATENTS, "Latents", "The model's own latents are optimised, and decoded at the end: quick"),
    Option("pixels", "Pixels", "The pictures themselves are optimised, through the model's encoder, as textures are"),
)
START_OPTIONS = (
    Option("gray", "Gray", "Nothing: every picture begins with the same gray"),
    Option("noise", "Noise", "Random numbers, others for each picture: more variety, and some of the noise stays"),
)
USUAL_TIMES = Option("usual", "As the Preset", "Falling for the bundled model, uniform as published for others")


@dataclass(frozen=True)
class PictureJob:
    """Make pictures of a prompt.

    Attributes:
        prompt: what they should show.
        method: id, or ``all``: every method makes the same pictures, from the same starts, with the same settings.
        model: ``mini``, a catalogue id, a folder in the diffusers layout, or a single file.
        lora, lora_weight, encoder: as in a texture job.
        count: pictures (of each method). The k-th one has random numbers of its own, from the seed and k.
        size: side in pixels; 0 takes the model's own. Other sizes are resized to that before the model sees them.
        space: whether ``latents`` are optimised, or ``pixels``, as logits of their colors.
        start: what they are before the first step: ``gray``, zero, or ``noise``, N(0, 1), of which the pixels keep what
            the encoder does not see.
        batch: so many go through the model at once.
        learning_rate: of AdamW; rises over ``warm_up`` steps and falls by a cosine.
        cosine_steps: that would be zero after so many times the steps.
        weight_decay: pull towards gray (AdamW).
        times: stands for ``guidance.times``, and changes nothing by itself; ``usual`` leaves that to the preset.
        compile: the network by ``torch.compile``, where there is a compiler.
        preview_interval, checkpoint_interval: seconds; 0 switches previews off.
    """

    kind: ClassVar[str] = "image"
    label: ClassVar[str] = "Picture"
    help: ClassVar[str] = "Pictures of the prompt, without a mesh"
    inputs: ClassVar[type[Any]] = NoInput
    makes_object: ClassVar[bool] = False
    #: As in :class:`~.texture.TextureJob`.
    shown: ClassVar[tuple[str, ...]] = (
        "prompt", "negative_prompt", "quality", "model", "lora", "lora_weight", "encoder", "method", "seed", "space",
        "start", "guidance.guidance_scale", "steps", "learning_rate", "guidance.negative_weight", "negative_course",
        "guidance.generative_weight", "clip", "times", "count", "size",
    )  # fmt: skip
    preset: ClassVar[tuple[str, ...]] = ("steps", "learning_rate", "negative_weight", "generative_weight")
    scripted: ClassVar[tuple[str, ...]] = (
        "warm_up", "cosine_steps", "weight_decay", "batch", "device", "compile", "allow_noncommercial",
        "preview_interval", "checkpoint_interval",
    )  # fmt: skip

    prompt: str = text(
        label="Prompt",
        help="What the picture should show",
        place="top",
        example="a red mug, a wooden chair …",
        needed=True,
    )
    negative_prompt: str = common.NEGATIVE_PROMPT()
    method: str = choice(
        (*KNOWN_METHODS, ALL_METHODS), METHODS[0], label="Method", help="How the diffusion model guides the work",
        held_as="picture_method",
    )  # fmt: skip
    model: str = common.MODEL()
    quality: str = common.QUALITY()
    count: int = number(
        1, 64, 8, label="Pictures", soft_high=16, place="output",
        help="How many are made; each has random numbers of its own, so more of them do not change the others",
    )  # fmt: skip
    size: int = number(
        0, 1024, 0, label="Picture Size", unit="px", place="output",
        help="Width and height of a picture; 0 is the model's own",
    )  # fmt: skip
    space: str = choice(SPACE_OPTIONS, LATENTS, label="Optimize", help="What the steps change")
    start: str = choice(START_OPTIONS, "gray", label="Start", help="What the pictures are before the first step")
    seed: int = common.SEED()
    device: str = common.DEVICE()
    batch: int = number(1, 64, 4, label="Batch", help="How many pictures go through the model at once")
    steps: int = common.STEPS()
    learning_rate: float = common.LEARNING_RATE()
    warm_up: int = number(0, 20000, 0, label="Warm-Up", help="Steps over which the learning rate rises")
    cosine_steps: float = number(
        1, 10, 1.0, added=True, label="Cosine Length",
        help="Length of the cosine by which the learning rate falls, in lengths of the job: with 1 it ends at zero",
    )  # fmt: skip
    weight_decay: float = number(0, 100, 0.0, label="Weight Decay", help="How strongly all is pulled towards gray")
    guidance: Guidance = field(default_factory=Guidance)
    clip: str = common.CLIP()
    times: str = choice(
        (USUAL_TIMES, *TIMES_OPTIONS), "usual", label="Noise Levels", help="In which order noise levels come",
        held_as="picture_times",
    )  # fmt: skip
    negative_course: str = common.NEGATIVE_COURSE()
    allow_noncommercial: bool = common.ALLOW_NONCOMMERCIAL(added=True)
    lora: str = common.LORA()
    lora_weight: float = common.LORA_WEIGHT()
    encoder: str = common.ENCODER()
    compile: bool = common.COMPILE()
    preview_interval: float = common.PREVIEW_INTERVAL()
    checkpoint_interval: float = common.CHECKPOINT_INTERVAL()

    def __post_init__(self) -> None:
        check(self)
        check_job(self)

    @property
    def methods(self) -> tuple[str, ...]:
        """One, or all that there are: the rows of the sheet."""
        return METHODS if self.method == ALL_METHODS.id else (self.method,)

    def to_json(self) -> dict:
        """Plain JSON values; ``kind`` names the sort of job."""
        return {"kind": self.kind, **to_json(self)}

    @classmethod
    def from_json(cls, data: object) -> PictureJob:
        """Inverse of :meth:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
        return from_json(cls, without_kind(cls.kind, data))

    def stages(self) -> Plan:
        """What the job goes through, with shares of its time."""
        return picture_plan()

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        return fingerprint(self.kind, self)
