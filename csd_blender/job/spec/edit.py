"""Another texture for textured meshes: what it looks like now, and what it shall look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import JobError
from . import common
from .fields import bad, number, text
from .inputs import ColoredMeshInput
from .texture import TextureJob


@dataclass(frozen=True)
class EditJob(TextureJob):
    """Edit the texture of a given mesh; the shape stays.

    ``prompt`` is what it shall look like. Colors are found as changes to the mesh's own, so that ``weight_decay`` pulls
    them back to these, and where the two prompts ask for the same, there is hardly anything to be changed.

    Attributes:
        source: what it looks like now; it stands in the negative prompt's place, with the same words for the side.
        alignment: 0 keeps to what was there, 1 to the prompt. The preset makes weights, times and pull of it.
    """

    kind: ClassVar[str] = "edit"
    label: ClassVar[str] = "Edit"
    help: ClassVar[str] = "Change the textures of the selected meshes"
    inputs: ClassVar[type[Any]] = ColoredMeshInput
    shown: ClassVar[tuple[str, ...]] = (
        "source", "prompt", "quality", "alignment", "model", "lora", "lora_weight", "method", "seed", "view_prompts",
        "debias_prompt", "debias_words", "guidance.guidance_scale", "steps", "views", "learning_rate",
        "guidance.generative_weight", *common.VARIANTS, "extra_words", "texture_size", "uv",
    )  # fmt: skip
    preset: ClassVar[tuple[str, ...]] = (
        "steps", "views", "learning_rate", "generative_weight", "extra_words", "texture_size",
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negative_prompt:
            raise bad("negative_prompt", self.negative_prompt, "none: in an edit the source has its place")
        if not self.source.strip():
            raise JobError("bad_setting", "the source, which says what it looks like now, is empty")
