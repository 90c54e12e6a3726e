"""Another texture for textured meshes, and another shape: what it looks like now, and what it shall look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import JobError
from . import common
from .fields import Option, bad, choice, number, text
from .inputs import ColoredMeshInput
from .methods import find_method
from .stages import Plan, shape_plan
from .texture import TextureJob

FROZEN, FREE = "frozen", "free"
SHAPE_OPTIONS = (
    Option(FROZEN, "Frozen", "The shape stays; the result is another texture on the same mesh"),
    Option(FREE, "Free", "The shape moves with the colors, from a closed mesh; the result is a new object beside it"),
)


@dataclass(frozen=True)
class EditJob(TextureJob):
    """Edit the texture of a given mesh, or its texture and its shape.

    ``prompt`` is what it shall look like. Colors are found as changes to the mesh's own, so that ``weight_decay`` pulls
    them back to these, and where the two prompts ask for the same, there is hardly anything to be changed.

    With a free shape the result is an object of its own, as of text to 3D; ``uv`` and ``cameras`` then mean nothing.

    Attributes:
        source: what it looks like now; it stands in the negative prompt's place, with the same words for the side.
        alignment: 0 keeps to what was there, 1 to the prompt. The preset makes weights, times and pull of it.
        shape: ``frozen``, or ``free`` to be changed along.
        shape_rate: of Adam, for a free shape, in cubes of its grid; it falls as the learning rate does.
        shape_resolution: of that grid, twice its cubes along the longest side. What is thinner than a cube is lost.
    """

    kind: ClassVar[str] = "edit"
    from_gray: ClassVar[bool] = False
    label: ClassVar[str] = "Edit"
    help: ClassVar[str] = "Change the textures of the selected meshes"
    inputs: ClassVar[type[Any]] = ColoredMeshInput
    shown: ClassVar[tuple[str, ...]] = (
        "source", "prompt", "quality", "alignment", "shape", "model", "lora", "lora_weight", "encoder", "method",
        "seed", "view_prompts", "debias_prompt", "debias_words", "control", *common.CONTROL_DETAILS,
        "guidance.guidance_scale", "steps", "views", "learning_rate", "guidance.generative_weight", *common.VARIANTS,
        "look", "early_end", "extra_words", "texture_size", "uv",
    )  # fmt: skip
    preset: ClassVar[tuple[str, ...]] = (
        "control", "control_strength",
        "steps", "views", "learning_rate", "generative_weight", "perp_neg", "extra_words", "texture_size",
    )  # fmt: skip

    scripted: ClassVar[tuple[str, ...]] = (
        *(name for name in TextureJob.scripted if name not in common.WARM_DETAILS), "shape_rate", "shape_resolution",
    )  # fmt: skip

    prompt: str = text(
        label="Target", place="top", flags=("--target",), example="a blue striped mug", needed=True,
        help="What the surface should look like afterwards",
    )  # fmt: skip
    source: str = text(
        label="Source", place="top", example="a red striped mug", needed=True,
        help="What the surface looks like now; where both say the same, it stays",
    )  # fmt: skip
    alignment: float = number(
        0, 1, 0.5, label="Alignment", place="top",
        help="How much may change: 0 stays close to what was there, 1 follows the target alone",
    )  # fmt: skip
    shape: str = choice(
        SHAPE_OPTIONS, FROZEN, True, label="Shape", place="top", help="Whether the shape is changed, too"
    )
    shape_rate: float = number(
        1e-6, 1, 0.03, True, label="Shape Rate", help="How far each step moves a free shape, in cubes of its grid"
    )
    shape_resolution: int = number(
        8, 256, 96, True, label="Shape Resolution",
        help="How fine a free shape is: twice the cubes of its grid along the longest side",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warm_start:
            raise JobError("bad_setting", "an edit begins with the mesh's own texture; set warm_start to 0")
        if self.negative_prompt:
            raise bad("negative_prompt", self.negative_prompt, "none: in an edit the source has its place")
        method = find_method(self.method)
        if not method.reads_negative_prompt:
            raise bad("method", self.method, f"one that reads the source; {method.label} goes by the target alone")
        if not self.source.strip():
            raise JobError("bad_setting", "the source, which says what it looks like now, is empty")

    @property
    def is_free(self) -> bool:
        """Whether the shape is changed as well, so that the result is an object of its own."""
        return self.shape == FREE

    def stages(self) -> Plan:
        return shape_plan() if self.is_free else super().stages()
