"""A texture for given meshes. A specification and its seed reproduce a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import JobError
from ..models.control import is_off
from . import common
from .cameras import CameraRange
from .common import check_job, fingerprint, without_kind
from .fields import Option, check, choice, from_json, number, schedule, text, to_json
from .guidance import Guidance
from .inputs import MeshInput
from .schedule import Schedule
from .stages import Plan, texture_plan

UV_OPTIONS = (
    Option("auto", "Automatic", "Use the active UV map when it is usable, else add a new one"),
    Option("keep", "Active UV Map", "Use the active UV map, and say so when it cannot be used"),
    Option("new", "New UV Map", "Always add a new UV map; your own maps stay as they are"),
)


@dataclass(frozen=True)
class TextureJob:
    """Texture a given mesh.

    Attributes:
        prompt: what the surface should look like.
        model: ``mini``, a catalogue id, a folder in the diffusers layout, or a single file.
        lora: a file of small changes to the model's weights, empty for none; ``lora_weight``: how strongly it counts.
        steps: optimization steps; ``views``: pictures in each.
        render_size: side of these pictures in pixels; 0 takes the model's own.
        texture_size: side of the result in pixels.
        uv: ``keep`` the mesh's own map, make a ``new`` one, or ``auto``: its own where usable.
        learning_rate: of Adam on the colors' logits; falls to a twentieth over the last half.
        weight_decay: pull of the colors towards gray (AdamW); while it is strong, early decisions stay open.
        view_prompts: add "front view" and the like to the prompt.
        perp_neg, clip, noise, times, negative_course: words for values of the guidance; they change none of those.
        extra_words: added to the prompt, since all pictures show the bare color: empty for none, ``auto`` for what the
            model is used to (``flat colors`` for the mini model, ``flat even lighting, no shadows`` for others).
        debias_prompt: a masked language model by which words are left out of views that they do not go with: ``mini``,
            a folder, a name in the hub's cache; empty for none. It needs ``view_prompts``.
        debias_words: of the prompt, those that may be left out, with commas; empty for all.
        control: what ControlNets follow: ``off``, ``auto``, or a list of ``depth``, ``normal``, ``canny``, with commas.
        control_model: which they are, see ``job/models/control``; empty for the published ones in the hub's cache.
        control_strength, control_end: how strongly they count, from the first step straight to the last.
        warm_start: so many pictures of all sides are drawn first, with the ControlNets, and painted onto the surface; 0
            begins from gray. warm_steps: of their sampler. warm_scale: its guidance scale, against the empty prompt.
            warm_control: how strongly the ControlNets count there.
        look: from where: ``anywhere``, or of some cameras those that see what is yet ``unseen``, or still ``changing``.
        early_end: the steps end once one of them changes the surface's colors by less than so many of 255 levels, on
            average of late; 0 takes all.
        encoder: what brings pictures to latents: ``full``, the model's own, ``small``, or an ``AutoencoderTiny``, see
            ``job/models/encoder``. Previews and results are decoded by the model's own in any case.
        compile: the network by ``torch.compile``, where there is a compiler.
        preview_interval, checkpoint_interval: seconds; 0 switches previews off.
    """

    kind: ClassVar[str] = "texture"
    from_gray: ClassVar[bool] = True  # whether what no picture shows stays gray
    label: ClassVar[str] = "Texture"
    help: ClassVar[str] = "Textures for the selected meshes"
    inputs: ClassVar[type[Any]] = MeshInput
    #: Whether the result always is an object of its own, with ``result/mesh.npz``.
    makes_object: ClassVar[bool] = False
    #: What people set, in the order in which they meet it; and which of it a quality preset decides.
    shown: ClassVar[tuple[str, ...]] = (
        "prompt", "negative_prompt", "quality", "model", "lora", "lora_weight", "encoder", "method", "seed",
        "view_prompts", "debias_prompt", "debias_words", "control", *common.CONTROL_DETAILS, "warm_start",
        "guidance.guidance_scale",
        "steps", "views", "learning_rate", "guidance.negative_weight", "negative_course", "guidance.generative_weight",
        *common.VARIANTS, "look", "early_end", "extra_words",
        "texture_size", "uv",
    )  # fmt: skip
    preset: ClassVar[tuple[str, ...]] = (
        "control", "control_strength", "warm_start",
        "steps", "views", "learning_rate", "negative_weight", "generative_weight", "perp_neg", "extra_words",
        "texture_size",
    )  # fmt: skip
    #: What only scripts and the command line set, besides.
    scripted: ClassVar[tuple[str, ...]] = (
        "device",
        "compile",
        *common.WARM_DETAILS,
        "rasterizer",
        "allow_noncommercial",
        "preview_interval",
        "checkpoint_interval",
    )

    prompt: str = text(
        label="Prompt", help="What the surface should look like", place="top", example="red brick, mossy stone …",
        needed=True,
    )  # fmt: skip
    negative_prompt: str = common.NEGATIVE_PROMPT()
    method: str = common.METHOD()
    model: str = common.MODEL()
    quality: str = common.QUALITY()
    steps: int = common.STEPS()
    views: int = number(
        1, 16, 4, label="Views", help="From how many sides each step looks at it; more is steadier and slower"
    )
    render_size: int = number(0, 1024, 0)
    texture_size: int = common.TEXTURE_SIZE()
    seed: int = common.SEED()
    device: str = common.DEVICE()
    uv: str = choice(UV_OPTIONS, "auto", label="UV Map", help="Where the texture is laid out", place="output")
    learning_rate: float = common.LEARNING_RATE()
    weight_decay: Schedule = schedule(0, 100, 0.0)
    guidance: Guidance = field(default_factory=Guidance)
    cameras: CameraRange = field(default_factory=CameraRange)
    view_prompts: bool = common.VIEW_PROMPTS()
    perp_neg: float = common.PERP_NEG()
    clip: str = common.CLIP()
    noise: str = common.NOISE()
    times: str = common.TIMES()
    negative_course: str = common.NEGATIVE_COURSE()
    extra_words: str = common.EXTRA_WORDS()
    debias_prompt: str = common.DEBIAS_PROMPT()
    debias_words: str = common.DEBIAS_WORDS()
    control: str = common.CONTROL()
    control_model: str = common.CONTROL_MODEL()
    control_strength: float = common.CONTROL_STRENGTH()
    control_end: float = common.CONTROL_END()
    warm_start: int = common.WARM_START()
    warm_steps: int = common.WARM_STEPS()
    warm_scale: float = common.WARM_SCALE()
    warm_control: float = common.WARM_CONTROL()
    look: str = common.LOOK()
    early_end: float = common.EARLY_END()
    encoder: str = common.ENCODER()
    rasterizer: str = common.RASTERIZER()
    allow_noncommercial: bool = common.ALLOW_NONCOMMERCIAL()
    lora: str = common.LORA()
    lora_weight: float = common.LORA_WEIGHT()
    compile: bool = common.COMPILE()
    preview_interval: float = common.PREVIEW_INTERVAL()
    checkpoint_interval: float = common.CHECKPOINT_INTERVAL()

    def __post_init__(self) -> None:
        check(self)
        check_job(self)
        if self.warm_start and is_off(self.control):
            raise JobError(
                "bad_setting",
                "a warm start is drawn with ControlNets, or it would not fit the shape; set warm_start to 0, or "
                "control to auto",
            )

    def to_json(self) -> dict:
        """Plain JSON values; ``kind`` names the sort of job."""
        return {"kind": self.kind, **to_json(self)}

    @classmethod
    def from_json(cls, data: object) -> TextureJob:
        """Inverse of :meth:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
        return from_json(cls, without_kind(cls.kind, data))

    def stages(self) -> Plan:
        """What the job goes through, with shares of its time."""
        return texture_plan(bool(self.warm_start))

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        return fingerprint(self.kind, self)
