"""The specification of a text-to-3D job: two stages, the cameras of each, and what is made of the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import JobError
from . import common
from .common import check_job, fingerprint, without_kind
from .fields import Option, check, choice, from_json, number, text, to_json
from .inputs import ObjectInput
from .methods import KNOWN_METHODS, METHODS, VIEW_METHODS, find_method
from .scene_stages import CoarseStage, RefineStage
from .stages import Plan, object_plan

RECIPE_OPTIONS = (
    Option("csd", "CSD", "Classifier score distillation: a coarse shape, then a detailed mesh in natural colors"),
    Option("dreamfusion", "DreamFusion", "The first of these methods, for comparison: the coarse shape alone"),
    Option("magic3d", "Magic3D", "A coarse shape, then a lit mesh, for comparison"),
    Option("fantasia3d", "Fantasia3D", "Shape by its normals first, then its colors, for comparison"),
    Option("prolificdreamer", "ProlificDreamer", "Three stages by VSD: natural and varied, and the slowest of all"),
    Option("sjc", "SJC", "The coarse shape alone by score Jacobian chaining, for comparison"),
    Option("dsd", "DSD", "The coarse shape alone by diverse score distillation: another seed gives another object"),
    Option("dsd-low", "DSD, Small", "The same in small pictures, for half of the memory"),
    Option("csd-mvdream", "CSD-MVDream", "Few second faces: the coarse shape by a model of four views at once"),
    Option(
        "csd-mvdream-refine",
        "CSD-MVDream, Refined",
        "The same with such a model as Coarse Model, then a detailed mesh by CSD with an ordinary one",
    ),
    Option("zero123", "Zero-1-to-3", "From one picture: the coarse shape by a model that draws its other sides"),
    Option(
        "zero123-refine",
        "Zero-1-to-3, Refined",
        "The same with such a model as Coarse Model, then a detailed mesh by CSD with an ordinary one",
    ),
)
RECIPES = tuple(option.id for option in RECIPE_OPTIONS)
SUBJECT_OPTIONS = (
    Option("character", "Character", "A figure with a clear front and back, such as a person, an animal or a robot"),
    Option("object", "Object", "A thing of its own, such as a chair, a shoe or a house"),
    Option(
        "sparse",
        "Sparse",
        "An object with holes or thin parts, such as a chair or a plant, whose gaps would else fill up",
    ),
)
SUBJECTS = tuple(option.id for option in SUBJECT_OPTIONS)
STARTS = ("blob", "ellipsoid", "mesh", "coarse")
KEEPS = ("largest", "all")


@dataclass(frozen=True)
class TextTo3DJob:
    """Make an object from a prompt.

    Attributes:
        recipe: which published system the values come from; it stands for the values in the stages and changes none.
        subject: ``character`` has a clear front; ``sparse`` is an object whose scene fills up too soon.
        model: ``mini``, a catalogue id, a folder in the diffusers layout, or a single file.
        coarse_model: another one for the coarse stage; empty for the same.
        lora, lora_weight: as in a texture job; the changes are to ``model``, and not to another coarse one.
        start: from a ``blob``, an ``ellipsoid``, the user's ``mesh`` (``mesh.npz`` of the job folder), or the
            ``coarse`` stage of another job (``stages/coarse.safetensors``). The latter three begin with the refine
            stage.
        keep_colors: the refine stage takes the coarse one's colors over; else it begins with gray.
        texture_size: side of the baked textures in pixels.
        max_faces: the finished mesh is simplified to so many.
        height: of the finished object in meters.
        keep: the ``largest`` connected part, or ``all`` of them.
        view_prompts: add "front view" and the like to the prompt.
        perp_neg, clip, noise, times, negative_course: words for values of the guidance; they change none of those.
        extra_words: added to the prompt of pictures of the bare color, never to that of normals or lit ones: empty for
            none, as the published systems have it, ``auto`` for what the model is used to, as in a texture job.
        control, control_model, control_strength, control_end: as in a texture job, for the refine stage's pictures of
            colors.
        warm_start: so many pictures of all sides, and as many more as whole rings have, are drawn first, by a model
            that is told the views, and the coarse stage's field is fitted to them; 0 begins from a blob. warm_steps:
            of their sampler. warm_scale: its guidance scale, against the empty prompt.
        encoder: as in a texture job, for both stages; a coarse model on pixels encodes nothing.
        picture_elevation: from so many degrees above the horizon the job's picture shows the thing, where there is one.
        compile: the network by ``torch.compile``, where there is a compiler.
        preview_interval, checkpoint_interval: seconds; 0 switches previews off.
    """

    kind: ClassVar[str] = "text-to-3d"
    label: ClassVar[str] = "Object"
    help: ClassVar[str] = "A new object from the prompt"
    inputs: ClassVar[type[Any]] = ObjectInput
    makes_object: ClassVar[bool] = True
    #: As in :class:`TextureJob`.
    shown: ClassVar[tuple[str, ...]] = (
        "prompt", "negative_prompt", "subject", "quality", "model", "coarse_model", "lora", "lora_weight", "encoder",
        "recipe", "method", "seed", "view_prompts", "debias_prompt", "debias_words", "control", *common.CONTROL_DETAILS,
        "warm_start", "negative_course", *common.VARIANTS, "coarse.steps", "refine.steps", "picture_elevation",
        "texture_size", "max_faces", "height",
    )  # fmt: skip
    preset: ClassVar[tuple[str, ...]] = (
        "control",
        "control_strength",
        "warm_start",
        "perp_neg",
        "coarse_steps",
        "refine_steps",
        "texture_size",
    )
    scripted: ClassVar[tuple[str, ...]] = (
        "warm_steps", "warm_scale", "extra_words", "keep", "device", "compile", "rasterizer", "allow_noncommercial",
        "preview_interval", "checkpoint_interval",
    )  # fmt: skip

    prompt: str = text(
        label="Prompt", help="What the object should be", place="top", example="a wooden chair, a small robot …",
        needed=True,
    )  # fmt: skip
    negative_prompt: str = common.NEGATIVE_PROMPT()
    method: str = choice(
        (*KNOWN_METHODS, *VIEW_METHODS), METHODS[0], label="Method", help="How the diffusion model guides the work",
        held_as="object_method",
    )  # fmt: skip
    recipe: str = choice(
        (*RECIPE_OPTIONS, "custom"), "csd", label="Approach",
        help="Which published method the object is made after: its stages and its values",
    )  # fmt: skip
    subject: str = choice(SUBJECT_OPTIONS, "object", label="Subject", help="What sort of thing it is", place="top")
    model: str = common.MODEL()
    coarse_model: str = text(
        label="Coarse Model", names=True, unset="the same",
        help="Another model for the coarse stage, named as the model is; empty for the same",
    )  # fmt: skip
    quality: str = common.QUALITY()
    seed: int = common.SEED()
    device: str = common.DEVICE()
    start: str = choice(STARTS, "blob")
    keep_colors: bool = True
    coarse: CoarseStage = field(default_factory=CoarseStage)
    refine: RefineStage = field(default_factory=RefineStage)
    texture_size: int = common.TEXTURE_SIZE()
    max_faces: int = number(
        100, 2_000_000, 100_000, label="Max Faces", soft_high=200_000, place="output",
        help="The finished mesh has at most so many triangles",
    )  # fmt: skip
    height: float = number(
        0.001, 1000, 1.0, label="Height", unit="m", place="output", help="How tall the finished object is"
    )
    keep: str = choice(KEEPS, "largest", label="Keep", help="The largest connected part, or all of them")
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
    encoder: str = common.ENCODER()
    rasterizer: str = common.RASTERIZER()
    allow_noncommercial: bool = common.ALLOW_NONCOMMERCIAL()
    lora: str = common.LORA()
    lora_weight: float = common.LORA_WEIGHT()
    picture_elevation: float = number(
        -90, 90, 0.0, added=True, label="Seen From Above", unit="°",
        help="How far above the horizon the picture was taken from, in degrees",
    )  # fmt: skip
    compile: bool = common.COMPILE()
    preview_interval: float = common.PREVIEW_INTERVAL()
    checkpoint_interval: float = common.CHECKPOINT_INTERVAL()

    def __post_init__(self) -> None:
        check(self)
        check_job(self)
        if self.start == "blob" and self.coarse.steps == 0:
            raise JobError("bad_setting", "a blob needs coarse.steps; start from an ellipsoid or a mesh to do without")
        if self.coarse.base_resolution > self.coarse.finest_resolution:
            raise JobError("bad_setting", "coarse.base_resolution is above coarse.finest_resolution")
        if self.coarse.start_level and not self.coarse.network_width:
            raise JobError("bad_setting", "coarse.start_level needs a network; set coarse.network_width, to 64 say")
        if self.warm_start and (self.tells["coarse_model"] != "views" or self.start != "blob"):
            raise JobError(
                "bad_setting",
                "a warm start is drawn by a model of several views, for the coarse stage; set warm_start to 0, or the "
                "recipe to csd-mvdream",
            )
        if self.tells["model"] == "picture" and (self.refine.steps or self.lora):
            wanted = "refine.steps to 0" if self.refine.steps else "lora to nothing"
            raise JobError("bad_setting", f"a model that is told a picture makes the coarse stage alone; set {wanted}")
        method = find_method(self.method)
        if self.needs_picture and (method.compares_wordings or method in VIEW_METHODS):
            why = "compares wordings of a prompt" if method.compares_wordings else "wants several views at once"
            raise JobError(
                "bad_setting", f"{method.label} {why}, and this model is told a picture", "Choose another method."
            )

    @property
    def needs_picture(self) -> bool:
        """Whether the job begins with a picture (``files.INPUT_PICTURE``)."""
        return self.start == "blob" and self.coarse.cameras.after_picture

    @property
    def steps(self) -> int:
        """Of both stages together."""
        return (self.coarse.steps if self.start == "blob" else 0) + self.refine.steps

    @property
    def tells(self) -> dict[str, str]:
        """What the models are told, by their settings' names."""
        return {"coarse_model": self.coarse.cameras.tells, "model": self.refine.cameras.tells}

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """The models that it goes through, in their order and each once, with what it is told."""
        first = (self.coarse_model or self.model, self.tells["coarse_model"])
        return tuple(dict.fromkeys((*([first] if self.start == "blob" else []), (self.model, self.tells["model"]))))

    def to_json(self) -> dict:
        """Plain JSON values; ``kind`` names the sort of job."""
        return {"kind": self.kind, **to_json(self)}

    @classmethod
    def from_json(cls, data: object) -> TextTo3DJob:
        """Inverse of :meth:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
        return from_json(cls, without_kind(cls.kind, data))

    def stages(self) -> Plan:
        """What the job goes through, with shares of its time."""
        return object_plan(self.steps - self.refine.steps, self.refine.steps, bool(self.warm_start))

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        return fingerprint(self.kind, self)
