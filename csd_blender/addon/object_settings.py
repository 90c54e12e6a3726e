"""As :mod:`settings`, for the jobs that make an object."""

from __future__ import annotations

import bpy

from ..job.presets_3d import text_to_3d_job
from ..job.spec_3d import RECIPES, SUBJECTS, TextTo3DJob
from . import settings
from .preferences import preference
from .properties import object_properties

NAMES = tuple(object_properties())
NOT_IN_SCENE = ("start_from_mesh", "refine_from")
# What a script may set besides, as fields of the job: whole stages as tables among them.
ADVANCED = (
    "coarse",
    "refine",
    "coarse_model",
    "start",
    "keep_colors",
    "keep",
    "extra_words",
    "rasterizer",
    "preview_interval",
    "checkpoint_interval",
)


def gather(scene: bpy.types.Scene, overrides: dict) -> dict:
    """Every setting by name: ``overrides`` first, then the scene; what the preset decides is left out."""
    in_scene = [name for name in NAMES if name not in NOT_IN_SCENE]
    values = settings.gather(scene, overrides, in_scene, (*NOT_IN_SCENE, *ADVANCED))
    if values["recipe"] != "csd" and "method" not in overrides:
        del values["method"]  # the older systems have their own
    return values


def make_spec(values: dict) -> TextTo3DJob:
    """The job's spec. Raises ``JobError`` for values that are out of range."""
    values = dict(values)
    if values.pop("start_from_mesh", False):
        values["start"] = "mesh"
    if "texture_size" in values:
        values["texture_size"] = settings.size_of(values["texture_size"])
    values["allow_noncommercial"] = preference("allow_noncommercial", False)
    values.setdefault("preview_interval", preference("preview_interval", 1.5))
    first = [values.pop(name) for name in ("prompt", "quality", "model", "recipe", "subject")]
    return text_to_3d_job(settings.stripped(first[0]), *first[1:], **values)


def reuse(scene: bpy.types.Scene, plain: dict) -> None:
    """Set the scene's settings to those of a finished job, as ``TextTo3DJob.to_json`` wrote them."""
    csd = scene.csd
    for name in ("prompt", "method", "model", "seed", "view_prompts", "max_faces", "height"):
        if name in plain:
            setattr(csd, name, plain[name])
    for name, known in (("recipe", RECIPES), ("subject", SUBJECTS), ("quality", ("draft", "normal", "best"))):
        if plain.get(name) in known:
            setattr(csd, name, plain[name])
    size = plain.get("texture_size")
    preset = text_to_3d_job("x", csd.quality, csd.model, csd.recipe, csd.subject)
    settings.reuse_negative(csd, plain, preset.negative_prompt)
    csd.use_texture_size = size != preset.texture_size and str(size) in settings.SIZES
    if csd.use_texture_size:
        csd.texture_size = str(size)
    stages = ("coarse", "refine")
    steps = [plain.get(stage, {}).get("steps") for stage in stages]
    whole = all(isinstance(n, int) for n in steps)
    differ = whole and steps != [getattr(preset, stage).steps for stage in stages]
    for stage, n in zip(stages, steps, strict=True):
        setattr(csd, f"use_{stage}_steps", differ)
        if differ:
            setattr(csd, f"{stage}_steps", n)
    csd.use_new_seed = False
