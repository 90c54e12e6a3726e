"""Job specifications: every parameter typed, with its range; a specification and its seed reproduce a result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from .errors import JobError
from .schedule import Schedule, constant

METHODS = ("csd", "sds")
WEIGHTINGS = ("uniform", "sds", "fantasia3d")
UV_MODES = ("auto", "keep", "new")
RASTERIZERS = ("auto", "warp", "torch", "nvdiffrast")
QUALITIES = ("draft", "normal", "best")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def _number(low: float, high: float, default: Any) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _choice(options: tuple, default: str) -> Any:
    return field(default=default, metadata={"options": options})


def _schedule(low: float, high: float, default: float | None) -> Any:
    value = None if default is None else constant(default)
    return field(default=value, metadata={"schedule": True, "low": low, "high": high})


def _range(low: float, high: float, default: tuple) -> Any:
    return field(default=default, metadata={"range": True, "low": low, "high": high})


@dataclass(frozen=True)
class Guidance:
    """How the diffusion model steers the texture.

    Attributes:
        positive_weight: weight of the prompt's classifier score (omega 1 of the CSD paper).
        negative_weight: weight of the negative prompt's classifier score (omega 2).
        generative_weight: weight of the generative prior in CSD; 0 is the paper's pure classifier score, a little of
            it keeps long jobs from over-saturating.
        guidance_scale: of SDS, in the convention ``eps_neg + s (eps_pos - eps_neg)``.
        weighting: w(t): ``uniform`` 1, ``sds`` sigma^2, ``fantasia3d`` alpha sigma^2.
        t_min, t_max: range of the diffusion time, as fractions of all steps.
        grad_clip: element-wise bound on the gradient in latent space; None is off.
        grad_normalize: scale each step's gradient to unit norm.
        perp_neg: strength of Perp-Neg against wrong views; 0 is off.
    """

    positive_weight: Schedule = _schedule(0, 100, 1.0)
    negative_weight: Schedule = _schedule(0, 100, 0.5)
    generative_weight: Schedule = _schedule(0, 100, 0.0)
    guidance_scale: float = _number(0, 200, 7.5)
    weighting: str = _choice(WEIGHTINGS, "uniform")
    t_min: Schedule = _schedule(0, 1, 0.02)
    t_max: Schedule = _schedule(0, 1, 0.98)
    grad_clip: Schedule | None = _schedule(0, 1000, None)
    grad_normalize: bool = False
    perp_neg: float = _number(0, 20, 0.0)


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

    elevation: tuple = _range(-90, 90, (-15.0, 60.0))
    fov_y: tuple = _range(5, 120, (28.0, 50.0))
    zoom: tuple = _range(0.1, 10, (0.7, 1.05))
    close_zoom: tuple = _range(0.1, 10, (1.4, 2.4))
    close_share: float = _number(0, 1, 0.25)
    below_share: float = _number(0, 1, 0.1)


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
        preview_interval, checkpoint_interval: seconds; 0 switches previews off.
    """

    prompt: str = ""
    negative_prompt: str = ""
    method: str = _choice(METHODS, "csd")
    model: str = "mini"
    quality: str = _choice((*QUALITIES, "custom"), "normal")
    steps: int = _number(1, 20000, 300)
    views: int = _number(1, 16, 4)
    render_size: int = _number(0, 1024, 0)
    texture_size: int = _number(64, 4096, 1024)
    seed: int = _number(0, 2**31 - 1, 0)
    device: str = "auto"
    uv: str = _choice(UV_MODES, "auto")
    learning_rate: float = _number(1e-6, 1, 0.03)
    weight_decay: Schedule = _schedule(0, 100, 0.0)
    guidance: Guidance = field(default_factory=Guidance)
    cameras: CameraRange = field(default_factory=CameraRange)
    view_prompts: bool = True
    rasterizer: str = _choice(RASTERIZERS, "auto")
    allow_noncommercial: bool = False
    preview_interval: float = _number(0, 600, 1.5)
    checkpoint_interval: float = _number(1, 3600, 60.0)

    def __post_init__(self) -> None:
        check(self)

    def to_json(self) -> dict:
        """Plain JSON values; ``kind`` names the sort of job."""
        return {"kind": "texture", **_to_json(self)}

    @staticmethod
    def from_json(data: object) -> TextureJob:
        """Inverse of :meth:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
        if not isinstance(data, dict) or data.get("kind") != "texture":
            raise JobError("bad_setting", "this is not a texture job")
        return _from_json(TextureJob, {k: v for k, v in data.items() if k != "kind"}, "")

    def spec_hash(self) -> str:
        """Fingerprint of everything the result depends on, 16 hexadecimal digits."""
        relevant = self.to_json()
        for name in ("preview_interval", "checkpoint_interval", "device"):
            relevant.pop(name)
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


def check(spec: Any, where: str = "") -> None:
    """Raise ``JobError('bad_setting')`` for the first field that is out of range."""
    for f in dataclasses.fields(spec):
        _check_field(where + f.name, getattr(spec, f.name), f)
    if isinstance(spec, TextureJob):
        if not spec.prompt.strip():
            raise JobError("bad_setting", "the prompt is empty")
        if not _DEVICE.fullmatch(spec.device):
            raise _bad("device", spec.device, "auto, cpu, cuda, cuda:N or mps")
        if not spec.model:
            raise _bad("model", spec.model, "mini, the name of a model or a folder")


def _check_field(name: str, value: Any, f: dataclasses.Field) -> None:
    meta = f.metadata
    if dataclasses.is_dataclass(value) and not isinstance(value, Schedule):
        check(value, name + ".")
    elif meta.get("schedule"):
        if value is None and f.default is None:
            return
        if not isinstance(value, Schedule):
            raise _bad(name, value, "a number or [start step, start value, end value, end step]")
        for v in (value.start_value, value.end_value):
            _check_between(name, v, meta)
    elif meta.get("range"):
        if not isinstance(value, tuple) or len(value) != 2 or not all(_is_number(v) for v in value):
            raise _bad(name, value, "two numbers, the lower one first")
        for v in value:
            _check_between(name, v, meta)
        if value[0] > value[1]:
            raise _bad(name, list(value), "two numbers, the lower one first")
    elif "options" in meta:
        if value not in meta["options"]:
            raise _bad(name, value, "one of " + ", ".join(meta["options"]))
    elif "low" in meta:
        whole = isinstance(f.default, int) and not isinstance(f.default, bool)
        if not _is_number(value) or (whole and not isinstance(value, int)):
            raise _bad(name, value, "a whole number" if whole else "a number")
        _check_between(name, value, meta)
    elif isinstance(f.default, bool):
        if not isinstance(value, bool):
            raise _bad(name, value, "true or false")
    elif not isinstance(value, str) or len(value) > 2000:
        raise _bad(name, value, "a text of at most 2000 characters")


def _check_between(name: str, value: float, meta: Any) -> None:
    if not meta["low"] <= value <= meta["high"]:
        raise _bad(name, value, f"{meta['low']:g} to {meta['high']:g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bad(name: str, value: Any, allowed: str) -> JobError:
    return JobError("bad_setting", f"{name} is {value!r}, allowed is {allowed}")


def _to_json(spec: Any) -> dict:
    plain = {}
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        if isinstance(value, Schedule):
            value = value.to_json()
        elif dataclasses.is_dataclass(value):
            value = _to_json(value)
        elif isinstance(value, tuple):
            value = [float(v) for v in value]
        elif isinstance(f.default, float):
            value = float(value)  # 1 and 1.0 are one number, and must have one fingerprint
        plain[f.name] = value
    return plain


def _from_json(cls: type, data: object, where: str) -> Any:
    if not isinstance(data, dict):
        raise _bad(where.rstrip(".") or cls.__name__, data, "a table of settings")
    known = {f.name: f for f in dataclasses.fields(cls)}
    values = {}
    for name, value in data.items():
        if name not in known:
            raise JobError("bad_setting", f"there is no setting {where + name!r}")
        values[name] = _field_from_json(where + name, value, known[name])
    return cls(**values)


def _field_from_json(name: str, value: Any, f: dataclasses.Field) -> Any:
    if f.metadata.get("schedule"):
        try:
            return None if value is None and f.default is None else Schedule.from_json(value)
        except ValueError as error:
            raise _bad(name, value, str(error)) from None
    if f.metadata.get("range") and isinstance(value, (list, tuple)):
        return tuple(value)
    if f.default_factory is Guidance or f.default_factory is CameraRange:
        return value if dataclasses.is_dataclass(value) else _from_json(f.default_factory, value, name + ".")
    return value
