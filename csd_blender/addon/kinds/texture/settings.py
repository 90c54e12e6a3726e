"""A texture's settings: from the panel to the spec, and back."""

from __future__ import annotations

import functools
from typing import Any

import bpy

from ....job.models.control import OFF, is_off
from ....job.presets.texture import EXPECTED_FROM_GRAY, EXPECTED_SECONDS, texture_job
from ....job.spec.methods import find_method
from ....job.spec.texture import TextureJob
from .. import common

SPEC = TextureJob


def gather(scene: bpy.types.Scene, overrides: dict) -> dict:
    """Every setting by name, see :func:`common.gather`."""
    return common.gather(SPEC, scene, overrides)


def make_spec(values: dict) -> TextureJob:
    """The job's spec. Raises ``JobError`` for values that are out of range."""
    return texture_job(**common.spec_values(SPEC, values))


def reuse(scene: bpy.types.Scene, plain: dict) -> None:
    """Set the scene's settings to those of a finished job, as ``TextureJob.to_json`` wrote them."""
    common.reuse(SPEC, scene, plain, usual)


def usual(csd: Any) -> dict:
    """The preset's job for what is chosen in the panel, as JSON."""
    return _usual(csd.quality, common.usual_model(csd), csd.method, start(csd))


@functools.cache
def _usual(quality: str, model: str, method: str, chosen: tuple[tuple[str, Any], ...]) -> dict:
    return texture_job("any", quality, model, method=method, **dict(chosen)).to_json()


def start(csd: Any) -> tuple[tuple[str, Any], ...]:
    """What the panel says of the start, which steps and weights follow from: settings by name."""
    if csd.use_control and is_off(csd.control):
        return (("control", OFF),)
    # (One that was never set gets the preset's number at the tick, which asks here what that is.)
    own = csd.use_warm_start and csd.is_property_set("warm_start")
    return (("warm_start", csd.warm_start),) if own else ()


def usual_text(csd: Any, setting) -> str:
    """What the panel shows for a setting that the preset decides."""
    return common.preset_text(setting, usual(csd))


def expected_seconds(csd: Any) -> float | None:
    """How long it takes with the bundled model on two cores; None when nobody knows."""
    if csd.use_steps or csd.use_views or csd.model != "mini" or find_method(csd.method).takes_longer:
        return None
    return (EXPECTED_SECONDS if usual(csd)["warm_start"] else EXPECTED_FROM_GRAY)[csd.quality]
