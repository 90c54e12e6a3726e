"""Quality presets: tables of values over the same job, scaled to its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .schedule import Schedule, constant
from .spec import QUALITIES, Guidance, TextureJob, _from_json

__all__ = ["EXPECTED_SECONDS", "NEGATIVE_PROMPT", "QUALITIES", "texture_job"]

NEGATIVE_PROMPT = "oversaturated, blurry, noisy, low quality, tiling"

#: Seconds a texture takes with the mini model on two CPU cores, for the panel.
EXPECTED_SECONDS = {"draft": 25, "normal": 90, "best": 300}


@dataclass(frozen=True)
class _Preset:
    steps: int
    views: int
    texture_size: int


_TEXTURE = {
    "draft": _Preset(steps=80, views=4, texture_size=1024),
    "normal": _Preset(steps=280, views=4, texture_size=1024),
    "best": _Preset(steps=900, views=4, texture_size=2048),
}


def texture_job(prompt: str, quality: str = "normal", model: str = "mini", **overrides: Any) -> TextureJob:
    """A texture job with the preset's values; ``overrides`` are fields of :class:`TextureJob`, in JSON form too.

    Schedules are stretched over the job's own number of steps. Raises ``JobError('bad_setting')``.
    """
    preset = _TEXTURE.get(quality, _TEXTURE["normal"])
    steps = overrides.get("steps", preset.steps)
    values: dict = {
        "prompt": prompt,
        "negative_prompt": NEGATIVE_PROMPT,
        "model": model,
        "quality": quality,
        "steps": preset.steps,
        "views": preset.views,
        "texture_size": preset.texture_size,
    }
    values.update(overrides)
    if "guidance" not in overrides and isinstance(steps, int):
        values["guidance"] = guidance(steps, overrides.get("method", "csd"))
    return _from_json(TextureJob, values, "")


def guidance(steps: int, method: str = "csd") -> Guidance:
    """Schedules over ``steps``: the negative classifier falls from 1 to 0.5, the noisiest times end at half time."""
    half = steps / 2
    return Guidance(
        negative_weight=Schedule(0, 1.0, 0.5, steps),
        weighting="uniform" if method == "csd" else "sds",
        t_min=constant(0.02),
        t_max=Schedule(half, 0.98, 0.5, half + 1),
    )
