"""A texture for given meshes. A specification and its seed reproduce a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ..errors import JobError
from .cameras import CameraRange
from .common import QUALITIES, RASTERIZERS, check_job, fingerprint
from .fields import check, choice, from_json, number, schedule, text, to_json
from .guidance import Guidance
from .methods import METHODS
from .schedule import Schedule
from .stages import Plan, texture_plan

UV_MODES = ("auto", "keep", "new")


@dataclass(frozen=True)
class TextureJob:
    """Texture a given mesh.

    Attributes:
        prompt: what the surface should look like.
        model: ``mini``, a catalogue id, or a folder in the diffusers layout.
        steps: optimization steps; ``views``: pictures in each.
        render_size: side of these pictures in pixels; 0 takes the model's own.
        texture_size: side of the result in pixels.
        uv: ``keep`` the mesh's own map, make a ``new`` one, or ``auto``: its own where usable.
        learning_rate: of Adam on the colors' logits; falls to a twentieth over the last half.
        weight_decay: pull of the colors towards gray (AdamW); while it is strong, early decisions stay open.
        view_prompts: add "front view" and the like to the prompt.
        extra_words: added to the prompt, since all pictures show the bare color: empty for none, ``auto`` for what the
            model is used to (``flat colors`` for the mini model, ``flat even lighting, no shadows`` for others).
        preview_interval, checkpoint_interval: seconds; 0 switches previews off.
    """

    kind: ClassVar[str] = "texture"

    prompt: str = ""
    negative_prompt: str = ""
    method: str = choice(METHODS, "csd")
    model: str = "mini"
    quality: str = choice((*QUALITIES, "custom"), "normal")
    steps: int = number(1, 20000, 300)
    views: int = number(1, 16, 4)
    render_size: int = number(0, 1024, 0)
    texture_size: int = number(64, 4096, 1024)
    seed: int = number(0, 2**31 - 1, 0)
    device: str = "auto"
    uv: str = choice(UV_MODES, "auto")
    learning_rate: float = number(1e-6, 1, 0.03)
    weight_decay: Schedule = schedule(0, 100, 0.0)
    guidance: Guidance = field(default_factory=Guidance)
    cameras: CameraRange = field(default_factory=CameraRange)
    view_prompts: bool = True
    extra_words: str = text("auto", added=True)
    rasterizer: str = choice(RASTERIZERS, "auto")
    allow_noncommercial: bool = False
    preview_interval: float = number(0, 600, 1.5)
    checkpoint_interval: float = number(1, 3600, 60.0)

    def __post_init__(self) -> None:
        check(self)
        check_job(self)

    def to_json(self) -> dict:
        """Plain JSON values; ``kind`` names the sort of job."""
        return {"kind": self.kind, **to_json(self)}

    @staticmethod
    def from_json(data: object) -> TextureJob:
        """Inverse of :meth:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
        if not isinstance(data, dict) or data.get("kind") != TextureJob.kind:
            raise JobError("bad_setting", "this is not a texture job")
        return from_json(TextureJob, {k: v for k, v in data.items() if k != "kind"})

    def stages(self) -> Plan:
        """What the job goes through, with shares of its time."""
        return texture_plan()

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        return fingerprint(self.kind, self)
