"""From the scene's settings, and what an operator or a script overrides, to the spec of a job."""

from __future__ import annotations

import random
from dataclasses import replace

import bpy

from ....job.errors import JobError, quoted
from ....job.presets.texture import NEGATIVE_PROMPT, texture_job
from ....job.spec.methods import find_method
from ....job.spec.schedule import constant
from ....job.spec.texture import TextureJob
from ...preferences import preference
from ...properties import MODIFIER_ITEMS, OBJECT_OVERRIDABLE, OVERRIDABLE, SIZE_ITEMS, WEIGHTS, setting_properties

NAMES = tuple(setting_properties())
SIZES = {item[0] for item in SIZE_ITEMS}


def gather(scene: bpy.types.Scene, overrides: dict, names=NAMES, advanced=()) -> dict:
    """Every setting by name: ``overrides`` first, then the scene; what the quality preset decides is left out.

    Raises ``TypeError`` for an override that is neither in ``names`` nor in ``advanced``, which the scene has not.
    """
    known = (*names, *advanced, "device")
    unknown = set(overrides) - set(known)
    if unknown:
        raise TypeError(f"unknown setting {sorted(unknown)[0]!r}; known are {', '.join(known)}")
    values = {name: overrides[name] for name in advanced if name in overrides}
    for name in names:
        if name in overrides:
            values[name] = overrides[name]
        elif name not in OVERRIDABLE + OBJECT_OVERRIDABLE or getattr(scene.csd, f"use_{name}"):
            values[name] = getattr(scene.csd, name)
    if "negative_prompt" not in overrides and values.get("negative_prompt") == NEGATIVE_PROMPT:
        del values["negative_prompt"]  # as it comes: the preset has the one that suits model and recipe
    if "seed" not in overrides and scene.csd.use_new_seed:
        values["seed"] = scene.csd.seed = random.randrange(1_000_000)
    values["device"] = overrides.get("device") or preference("device", "auto")
    return values


def make_spec(values: dict) -> TextureJob:
    """The job's spec. Raises ``JobError`` for values that are out of range."""
    values = dict(values)
    guidance = {name: constant(values.pop(name)) for name in WEIGHTS if name in values}
    scale = values.pop("guidance_scale")
    if find_method(values["method"]).uses_guidance_scale:
        guidance["guidance_scale"] = scale
    prompt, quality, model = stripped(values.pop("prompt")), values.pop("quality"), values.pop("model")
    if "texture_size" in values:
        values["texture_size"] = size_of(values["texture_size"])
    values["allow_noncommercial"] = preference("allow_noncommercial", False)
    values.setdefault("preview_interval", preference("preview_interval", 1.5))
    job = texture_job(prompt, quality, model, **values)
    if not guidance:
        return job
    return replace(job, guidance=replace(job.guidance, **guidance))


def stripped(prompt):
    """Without the blanks around it; what is no text is left for the spec to refuse."""
    return prompt.strip() if isinstance(prompt, str) else prompt


def size_of(choice):
    """The number in the enum's text; anything else is left for the spec to refuse."""
    return int(choice) if isinstance(choice, str) and choice.isdecimal() and len(choice) < 9 else choice


def check_modifiers(modifiers) -> None:
    """Raise ``JobError`` for a word that the panel could not have said."""
    known = [item[0] for item in MODIFIER_ITEMS]
    if modifiers not in known:
        raise JobError("bad_setting", f"modifiers is {quoted(modifiers)}, allowed is one of {', '.join(known)}")


def reuse(scene: bpy.types.Scene, plain: dict) -> None:
    """Set the scene's settings to those of a finished job, as ``TextureJob.to_json`` wrote them."""
    csd = scene.csd
    for name in ("prompt", "negative_prompt", "method", "model", "seed", "view_prompts", "uv"):
        if name in plain:
            setattr(csd, name, plain[name])
    if plain.get("quality") in ("draft", "normal", "best"):
        csd.quality = plain["quality"]
    preset = texture_job("x", csd.quality, csd.model).to_json()
    for name in OVERRIDABLE:
        in_guidance = name in WEIGHTS
        source, usual = (plain.get("guidance", {}), preset["guidance"]) if in_guidance else (plain, preset)
        value = source.get(name)
        known = str if name == "extra_words" else int | float
        differs = isinstance(value, known) and value != usual.get(name)
        differs = differs and (name != "texture_size" or str(value) in SIZES)
        setattr(csd, f"use_{name}", differs)
        if differs:
            setattr(csd, name, str(value) if name == "texture_size" else value)
    if "guidance_scale" in plain.get("guidance", {}):
        csd.guidance_scale = plain["guidance"]["guidance_scale"]
    csd.use_new_seed = False
