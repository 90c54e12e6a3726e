"""Job specifications: every parameter typed, with its range; a specification and its seed reproduce a result."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ..errors import JobError
from .fields import bad, check, choice, from_json, interval, number, schedule, text, to_json
from .schedule import Schedule

METHODS = ("csd", "sds")
WEIGHTINGS = ("uniform", "sds", "fantasia3d")
SCALE_CONVENTIONS = ("s", "1+s")
PERP_NEG_REFERENCES = ("empty", "negative")
UV_MODES = ("auto", "keep", "new")
RASTERIZERS = ("auto", "warp", "torch", "nvdiffrast")
QUALITIES = ("draft", "normal", "best")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?")


@dataclass(frozen=True)
class Guidance:
    """How the diffusion model steers the texture.

    Attributes:
        positive_weight: weight of the prompt's classifier score (omega 1 of the CSD paper).
        negative_weight: weight of the negative prompt's classifier score (omega 2).
        generative_weight: weight of the generative prior in CSD; 0 is the paper's pure classifier score, a little of
            it keeps long jobs from over-saturating.
        guidance_scale: s, of SDS.
        scale_convention: how s is counted: ``s`` means ``eps_neg + s (eps_pos - eps_neg)``, that of Ho and Salimans'
            samplers today; ``1+s`` means ``eps_pos + s (eps_pos - eps_neg)``, that of DreamFusion and threestudio.
        weighting: w(t): ``uniform`` 1, ``sds`` sigma^2, ``fantasia3d`` alpha sigma^2.
        t_min, t_max: range of the diffusion time, as fractions of all steps.
        grad_clip: element-wise bound on the gradient in latent space; None is off.
        grad_normalize: scale each step's gradient to unit norm.
        perp_neg: strength of Perp-Neg against wrong views; 0 is off.
        perp_neg_from: where its directions begin: at the prediction for the ``empty`` prompt, as in the paper
            (Armandpour et al. 2023), or at that for the ``negative`` one, as in the code of CSD, threestudio and DSD;
            without a negative prompt both are the same.
    """

    positive_weight: Schedule = schedule(0, 100, 1.0)
    negative_weight: Schedule = schedule(0, 100, 0.5)
    generative_weight: Schedule = schedule(0, 100, 0.0)
    guidance_scale: float = number(0, 200, 7.5)
    weighting: str = choice(WEIGHTINGS, "uniform")
    t_min: Schedule = schedule(0, 1, 0.02)
    t_max: Schedule = schedule(0, 1, 0.98)
    grad_clip: Schedule | None = schedule(0, 1000, None)
    grad_normalize: bool = False
    perp_neg: float = number(0, 20, 0.0)
    scale_convention: str = choice(SCALE_CONVENTIONS, "s", added=True)
    perp_neg_from: str = choice(PERP_NEG_REFERENCES, "empty", added=True)


@dataclass(frozen=True)
class CameraRange:
    """From where the mesh is looked at.

    Attributes:
        elevation: degrees above the horizon.
        fov_y: vertical field of view in degrees.
        zoom: apparent radius of the whole mesh relative to half the picture.
        close_share: share of cameras that see only a part, with ``close_zoom``.
        below_share: share of cameras that look from below ``elevation``.
    """

    elevation: tuple = interval(-90, 90, (-15.0, 60.0))
    fov_y: tuple = interval(5, 120, (28.0, 50.0))
    zoom: tuple = interval(0.1, 10, (0.7, 1.05))
    close_zoom: tuple = interval(0.1, 10, (1.4, 2.4))
    close_share: float = number(0, 1, 0.25)
    below_share: float = number(0, 1, 0.1)


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
        return {"kind": "texture", **to_json(self)}

    @staticmethod
    def from_json(data: object) -> TextureJob:
        """Inverse of :meth:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
        if not isinstance(data, dict) or data.get("kind") != "texture":
            raise JobError("bad_setting", "this is not a texture job")
        return from_json(TextureJob, {k: v for k, v in data.items() if k != "kind"})

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        return fingerprint("texture", self)


def check_job(job: Any) -> None:
    """What all kinds of jobs have in common. Raises ``JobError('bad_setting')``."""
    if not job.prompt.strip():
        raise JobError("bad_setting", "the prompt is empty")
    if not _DEVICE.fullmatch(job.device):
        raise bad("device", job.device, "auto, cpu, cuda, cuda:N or mps")
    if not job.model:
        raise bad("model", job.model, "mini, the name of a model or a folder")


def fingerprint(kind: str, job: Any) -> str:
    """Hash, 16 hexadecimal digits, of a job's JSON without what its result does not depend on, and without settings
    that came later and are not used."""
    passing = ("preview_interval", "checkpoint_interval", "device")
    settings = {"kind": kind, **to_json(job, for_fingerprint=True)}
    relevant = {name: value for name, value in settings.items() if name not in passing}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
