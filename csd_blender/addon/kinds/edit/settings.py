"""An edit's settings: from the panel to the spec, and back."""

from __future__ import annotations

import functools
from typing import Any

import bpy

from ....job.presets.edit import edit_job
from ....job.presets.texture import EXPECTED_FROM_GRAY
from ....job.spec.edit import FREE, EditJob
from .. import common
from ..texture import settings as texture_settings

__all__ = ["SPEC", "expected_seconds", "gather", "make_spec", "reuse", "usual", "usual_text"]

SPEC = EditJob


def gather(scene: bpy.types.Scene, overrides: dict) -> dict:
    """Every setting by name, see :func:`common.gather`."""
    return common.gather(SPEC, scene, overrides)


def make_spec(values: dict) -> EditJob:
    """The job's spec. Raises ``JobError`` for values that are out of range."""
    return edit_job(**common.spec_values(SPEC, values))


def reuse(scene: bpy.types.Scene, plain: dict) -> None:
    """Set the scene's settings to those of a finished job, as ``EditJob.to_json`` wrote them."""
    common.reuse(SPEC, scene, plain, usual)


def usual(csd: Any) -> dict:
    """The preset's job for what is chosen in the panel, as JSON."""
    return _usual(csd.quality, common.usual_model(csd), csd.method, round(csd.alignment, 6))


@functools.lru_cache(maxsize=64)
def _usual(quality: str, model: str, method: str, alignment: float) -> dict:
    return edit_job("any", "any", quality, model, alignment, method=method).to_json()


def usual_text(csd: Any, setting) -> str:
    """What the panel shows for a setting that the preset decides."""
    return common.preset_text(setting, usual(csd))


def expected_seconds(csd: Any) -> float | None:
    """As a texture's that begins from gray; None with a free shape, whose steps depend on how large its surface is."""
    known = csd.shape != FREE and texture_settings.expected_seconds(csd) is not None
    return EXPECTED_FROM_GRAY[csd.quality] if known else None
