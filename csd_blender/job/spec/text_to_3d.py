"""The specification of a text-to-3D job: two stages, the cameras of each, and what is made of the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import JobError
from . import common
from .cameras import SceneCameras
from .common import check_job, fingerprint, without_kind
from .fields import Option, check, choice, from_json, number, schedule, switch, text, to_json
from .guidance import WEIGHTINGS, Guidance
from .inputs import ObjectInput
from .methods import KNOWN_METHODS, METHODS, VIEW_METHODS, find_method
from .schedule import Schedule
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
    Option("csd-mvdream", "CSD-MVDream", "No second faces: the coarse shape by a model of four views at once"),
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
LAMPS = ("studio", "dreamfusion", "magic3d")
NORMALS = ("taps", "analytic")
COLOR_ACTIVATIONS = ("sigmoid", "linear")
SHAPES = ("vertices", "network")
BACKGROUNDS = ("colors", "learned", "white")
NORMALS_BACKGROUNDS = ("other", "black")


@dataclass(frozen=True)
class CoarseStage:
    """A radiance field, rendered as a volume.

    Attributes:
        steps: 0 leaves the stage out. views: pictures in each step, ``render_size`` pixels wide; 0 is the model's own.
        later_size, later_views: side and number of the pictures from step ``later_size_step`` on; 0 keeps them.
        learning_rate: of Adam. network_rate: of the networks behind the grid; 0 is the same.
        decay: weight decay (AdamW).
        radius: half the side of the scene's box.
        levels, base_resolution, finest_resolution: of the hash grid; cells per axis of the box.
        network_width: 0 sums the levels, which then hold density and color themselves; else they hold two features
            each, and density and color come out of one hidden layer of this width. The refine stage's colors follow.
        start_level: so many levels, the coarsest, count at first; 0 is all. Only with a network.
        level_start, level_interval: from that step on there is one more, and another one each so many steps.
        color_activation: a network's colors (the background's too) pass a ``sigmoid``, or are ``linear``, half the
            value plus a half, as threestudio has it with DeepFloyd IF. Only with a network.
        normals: by four ``taps`` into the field, or ``analytic``, the field's own slope.
        ray_samples: samples along the box's diagonal.
        blob_scale, blob_std: of the density that the field starts from, and keeps as its bias.
        ambient_only_steps: until then all pictures show the bare color.
        shaded_share: of the pictures after that, those that are not the bare color.
        textureless_share: of these, the ones that show the shape alone; the rest show lit color.
        textureless_normals: shape alone means normals as colors; else it is lit white.
        background: behind the other steps' pictures, that is those without random colors: ``colors`` are black or
            white (and random ones every second time gray); ``white``; or ``learned``, a small network of the direction.
        background_rate: learning rate of that network.
        random_background: share of steps with random background colors, one for each picture.
        orientation, sparsity, opaque, z_variance, convexity: weights of the regularizers.
        adam_beta2: how long Adam remembers the size of gradients.
        score_weight: of the score beside the regularizers and the picture.
        picture_every: of so many steps one compares with the job's picture in place of asking the model; 0: none does.
        picture_size: side in pixels of what is compared. picture_color, picture_mask: weights of the mean square of the
            difference to its colors, where it shows the thing, and to its outline.
        lamp: ``studio`` shines from beside and above the camera; ``dreamfusion`` and ``magic3d`` are points near it,
            drawn as threestudio draws them.
        soft_shading: in each step chance divides the light of these two between all around and the lamp (Magic3D); else
            it is a tenth and nine tenths.
    """

    steps: int = number(0, 100000, 10000, label="Coarse Steps", help="Steps in which the shape is found")
    views: int = number(1, 16, 1)
    render_size: int = number(0, 512, 64)
    later_size: int = number(0, 1024, 0, added=True)
    later_views: int = number(0, 16, 0, added=True)
    later_size_step: int = number(0, 1000000, 0, added=True)
    learning_rate: float = number(1e-6, 1, 1e-3)
    network_rate: float = number(0, 1, 0.0, added=True)
    decay: float = number(0, 10, 0.0, added=True)
    radius: float = number(0.1, 10, 1.0)
    levels: int = number(1, 16, 12)
    base_resolution: int = number(4, 128, 16)
    finest_resolution: int = number(16, 4096, 512)
    network_width: int = number(0, 256, 0, added=True)
    start_level: int = number(0, 16, 0, added=True)
    level_start: int = number(0, 100000, 0, added=True)
    level_interval: int = number(1, 100000, 500, added=True)
    color_activation: str = choice(COLOR_ACTIVATIONS, "sigmoid", added=True)
    normals: str = choice(NORMALS, "taps", added=True)
    ray_samples: int = number(16, 2048, 512)
    blob_scale: float = number(-100, 100, 10.0)
    blob_std: float = number(0.01, 10, 0.5)
    ambient_only_steps: int = number(0, 100000, 5001)
    shaded_share: float = number(0, 1, 0.5)
    textureless_share: float = number(0, 1, 1.0)
    textureless_normals: bool = True
    background: str = choice(BACKGROUNDS, "colors", added=True)
    background_rate: float = number(1e-6, 1, 1e-3, added=True)
    random_background: float = number(0, 1, 0.5)
    orientation: Schedule = schedule(0, 1e5, 0.0)
    sparsity: Schedule = schedule(0, 1e5, 0.0)
    opaque: Schedule = schedule(0, 1e5, 0.0)
    z_variance: Schedule = schedule(0, 1e5, 0.0, added=True)
    convexity: Schedule = schedule(0, 1e5, 0.0, added=True)
    adam_beta2: float = number(0.5, 0.99999, 0.99, added=True)
    score_weight: float = number(0, 1e6, 1.0, added=True)
    picture_every: int = number(0, 1000, 0, added=True)
    picture_size: int = number(16, 1024, 192, added=True)
    picture_color: float = number(0, 1e6, 0.0, added=True)
    picture_mask: float = number(0, 1e6, 0.0, added=True)
    lamp: str = choice(LAMPS, "studio", added=True)
    soft_shading: bool = switch(False, added=True)
    cameras: SceneCameras = field(default_factory=SceneCameras)
    guidance: Guidance = field(default_factory=Guidance)

    def complaint(self, where: str) -> str:
        """What does not go together; ``where`` stands before a setting's name."""
        if self.picture_every and not self.cameras.after_picture:
            return f"{where}picture_every compares with a picture; set it to 0, or {where}cameras.after_picture to true"
        return self.cameras.broken_ring({"views": self.views, "later_views": self.later_views}, where)


@dataclass(frozen=True)
class RefineStage:
    """A tetrahedral mesh, rasterized.

    Attributes:
        steps: 0 leaves the optimization out; the field is still turned into a mesh.
        tet_resolution: cells per axis of the tetrahedral grid.
        shape: each vertex of that grid has a signed distance of its own, or all come from a ``network``: a hash grid as
            the coarse stage's, with one hidden layer, that is fitted to the shape to start from.
        threshold: density at which the coarse field's surface lies; 0 takes the density where pictures see it.
        mean_threshold: take the mean density of the part of the box that is not empty instead (Magic3D).
        learning_rate: of Adam, for the shape. color_rate: the same for the colors.
        color_decay: weight decay of the colors; it holds over-saturation back. shape_decay: of the shape.
        normals_share: of the pictures, those that show normals as colors.
        normals_only_steps: until then all do (the geometry stage of Fantasia3D).
        latent_steps: so many first steps of normals do not pass the encoder of a latent model: normals and mask stand
            for the four latents themselves, made smaller (Fantasia3D's warm-up).
        normals_background: behind normals is what is behind ``other`` pictures, or ``black``.
        background, background_rate, random_background: as in the coarse stage.
        shaded_share: of the other pictures, those that a lamp shines on; the rest show the bare color.
        textureless_share: of these, the ones in white.
        fixed_shape_after: from this step on the shape stays as it is.
        appearance_weighting: w(t) from that step on; empty for the one in ``guidance``.
        appearance_scale: guidance scale from that step on; 0 for the one in ``guidance``.
        geometry_method: the method until then; empty for the job's.
        normal_consistency, laplacian: weights of the regularizers.
        fit_start: an ellipsoid or a mesh to start from is made so small that all cameras see it whole.
        rates_fall: both learning rates fall to a twentieth over the last half of the steps; else they are constant.
        adam_beta2, lamp, soft_shading: as in the coarse stage.
    """

    steps: int = number(
        0, 100000, 10000, label="Refine Steps", help="Steps that sharpen shape and surface once there is a mesh"
    )
    views: int = number(1, 16, 1)
    render_size: int = number(0, 1024, 512)
    tet_resolution: int = number(8, 256, 256)
    shape: str = choice(SHAPES, "vertices", added=True)
    threshold: float = number(0, 1000, 10.0)
    learning_rate: float = number(1e-6, 1, 1e-3)
    color_rate: float = number(1e-6, 1, 1e-3)
    color_decay: Schedule = schedule(0, 10, 0.0)
    shape_decay: float = number(0, 10, 0.0, added=True)
    normals_share: float = number(0, 1, 0.5)
    normals_only_steps: int = number(0, 100000, 0)
    latent_steps: int = number(0, 100000, 0, added=True)
    normals_background: str = choice(NORMALS_BACKGROUNDS, "other", added=True)
    shaded_share: float = number(0, 1, 0.0)
    textureless_share: float = number(0, 1, 0.0)
    fixed_shape_after: int = number(0, 1000000, 1000000)
    appearance_weighting: str = choice(("", *WEIGHTINGS), "")
    appearance_scale: float = number(0, 200, 0.0, added=True)
    geometry_method: str = choice(("", *METHODS), "", added=True)
    background: str = choice(BACKGROUNDS, "colors", added=True)
    background_rate: float = number(1e-6, 1, 1e-3, added=True)
    random_background: float = number(0, 1, 0.5)
    normal_consistency: float = number(0, 1e6, 1000.0)
    laplacian: float = number(0, 1e6, 0.0)
    mean_threshold: bool = switch(False, added=True)
    fit_start: bool = switch(False, added=True)
    rates_fall: bool = switch(True, added=True)
    adam_beta2: float = number(0.5, 0.99999, 0.99, added=True)
    lamp: str = choice(LAMPS, "studio", added=True)
    soft_shading: bool = switch(False, added=True)
    cameras: SceneCameras = field(default_factory=SceneCameras)
    guidance: Guidance = field(default_factory=Guidance)

    def complaint(self, where: str) -> str:
        """As in the coarse stage."""
        return self.cameras.broken_ring({"views": self.views}, where)


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
        "negative_course", *common.VARIANTS, "coarse.steps", "refine.steps", "picture_elevation", "texture_size",
        "max_faces", "height",
    )  # fmt: skip
    preset: ClassVar[tuple[str, ...]] = (
        "control",
        "control_strength",
        "perp_neg",
        "coarse_steps",
        "refine_steps",
        "texture_size",
    )
    scripted: ClassVar[tuple[str, ...]] = (
        "extra_words", "keep", "device", "compile", "rasterizer", "allow_noncommercial",
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
        return object_plan(self.steps - self.refine.steps, self.refine.steps)

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        return fingerprint(self.kind, self)
