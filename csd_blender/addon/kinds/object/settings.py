"""An object's settings: from the panel to the spec, and back."""

from __future__ import annotations

import functools
from typing import Any

import bpy

from ....job.picture_file import after_picture
from ....job.presets.picture_recipe import ALONE
from ....job.presets.recipes import COARSE_ALONE, sees_several, usual_method
from ....job.presets.text_to_3d import (
    EXPECTED_AFTER_PICTURE,
    EXPECTED_FROM_FOG,
    EXPECTED_SECONDS_3D,
    text_to_3d_job,
    usual_steps,
)
from ....job.spec.fields import LONGEST_TEXT, bad
from ....job.spec.methods import find_method
from ....job.spec.settings import shown_settings
from ....job.spec.text_to_3d import TextTo3DJob
from .. import common

SPEC = TextTo3DJob
STAGE_STEPS = ("coarse_steps", "refine_steps")


def gather(scene: bpy.types.Scene, overrides: dict) -> dict:
    """Every setting by name, see :func:`common.gather`. A script that gives a picture means the recipe for it; who
    refines a shape again means one that refines, whatever stands in the panel."""
    if overrides.get("picture", "") is None:
        overrides = {name: value for name, value in overrides.items() if name != "picture"}
    picture = overrides.get("picture", "")
    if not isinstance(picture, str):
        raise bad("picture", picture, "the path of a file")
    given = after_picture(overrides, overrides.get("picture")) if "recipe" not in overrides else overrides
    if given.get("refine_from") and "recipe" not in given and scene.csd.recipe in COARSE_ALONE:
        given = given | {"recipe": "csd"}
    values = common.gather(SPEC, scene, given)
    return after_picture(values, values.get("picture"))


def make_spec(values: dict) -> TextTo3DJob:
    """The job's spec. Raises ``JobError`` for values that are out of range."""
    chosen = common.spec_values(SPEC, values)
    from_mesh = values.get("start_from_mesh", False)
    if from_mesh not in (True, False):
        raise bad("start_from_mesh", from_mesh, "True or False")
    if from_mesh:
        chosen["start"] = "mesh"
    return text_to_3d_job(**chosen)


def reuse(scene: bpy.types.Scene, plain: dict) -> None:
    """Set the scene's settings to those of a finished job, as ``TextTo3DJob.to_json`` wrote them."""
    common.reuse(SPEC, scene, plain, usual)
    csd = scene.csd
    steps = [s.find(plain) for s in shown_settings(SPEC) if s.name in STAGE_STEPS and common.fits(s, s.find(plain))]
    # Both or none: some recipes divide the sum of both in a way of their own.
    both = (csd.use_coarse_steps or csd.use_refine_steps) and len(steps) == len(STAGE_STEPS)
    csd.use_coarse_steps, csd.use_refine_steps = both, both and "refine_steps" not in common.unused(SPEC, csd)
    if both:
        csd.coarse_steps, csd.refine_steps = steps


def usual(csd: Any) -> dict:
    """The preset's job for what is chosen in the panel, as JSON."""
    names = common.usual_model(csd), usual_coarse_model(csd)
    return _usual(csd.quality, *names, csd.recipe, csd.subject, usual_method_of(csd), usual_start(csd))


@functools.cache
def _usual(
    quality: str, model: str, coarse_model: str, recipe: str, subject: str, method: str, warm_start: int | None
) -> dict:
    given: dict[str, Any] = {"coarse_model": coarse_model, "method": method}
    given |= {} if warm_start is None else {"warm_start": warm_start}
    return text_to_3d_job("any", quality, model, recipe, subject, **given).to_json()


def usual_method_of(csd: Any) -> str:
    """The method of what is chosen in the panel: the recipe's own but for CSD's, where it can be chosen."""
    return csd.object_method if csd.recipe == "csd" else usual_method(csd.recipe, csd.model, csd.coarse_model)


def usual_start(csd: Any) -> int | None:
    """Pictures of the warm start, which steps and noise follow from: what the panel says, where a job may have it; None
    for the preset's own."""
    several = sees_several(csd.recipe, usual_method_of(csd), usual_coarse_model(csd) or common.usual_model(csd))
    own = csd.use_warm_start and csd.is_property_set("warm_start")
    return csd.warm_start if several and own else None


def usual_coarse_model(csd: Any) -> str:
    """As :func:`common.usual_model`; empty for the same, and where there is one stage alone."""
    return csd.coarse_model if len(csd.coarse_model) <= LONGEST_TEXT and csd.recipe != ALONE else ""


def usual_text(csd: Any, setting) -> str:
    """What the panel shows for a setting that the preset decides."""
    if setting.name in STAGE_STEPS:
        warm = usual(csd)["warm_start"] > 0
        steps = usual_steps(csd.quality, common.usual_model(csd), csd.recipe, usual_coarse_model(csd), warm)
        return str(steps[STAGE_STEPS.index(setting.name)])
    return common.preset_text(setting, usual(csd))


def expected_seconds(csd: Any) -> float | None:
    """How long it takes with the bundled model on two cores; None when nobody knows."""
    if {csd.model, usual_coarse_model(csd) or csd.model} != {"mini"} or csd.use_coarse_steps or csd.use_refine_steps:
        return None
    if find_method(usual_method_of(csd)).takes_longer:
        return None
    if csd.recipe == ALONE:
        return EXPECTED_AFTER_PICTURE[csd.quality]
    return (EXPECTED_SECONDS_3D if usual(csd)["warm_start"] else EXPECTED_FROM_FOG)[csd.quality]
