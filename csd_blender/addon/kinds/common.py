"""What all kinds do alike: from the scene's settings and what a script overrides to a job's spec, and back again."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import bpy

from ...job.errors import JobError, quoted
from ...job.folder import JobFolder
from ...job.kinds import JobSpec
from ...job.models.language import BUNDLED, find_language_model
from ...job.models.licences import check_job
from ...job.models.places import check_bundled_of
from ...job.picture_file import after_picture
from ...job.presets.effects import absent, without_effect
from ...job.presets.texture import MINI_WORDS
from ...job.spec.fields import LONGEST_TEXT, bad, is_text
from ...job.spec.settings import Setting, scripted_settings, shown_settings
from .. import folders
from ..errors import SceneError
from ..job import Job
from ..preferences import jobs_folder, preference
from ..process import backend
from ..properties import USE
from ..scene import export
from ..scene.target import Target

#: Fields of jobs on which no result depends, or which the preferences have.
IMMATERIAL = ("preview_interval", "checkpoint_interval", "device", "compile", "allow_noncommercial")


def names(kind: type[Any]) -> tuple[str, ...]:
    """What the operator of a kind has as arguments."""
    return tuple(s.name for s in shown_settings(kind))


def needed(kind: type[Any]) -> list[Setting]:
    """The texts without which a job of the kind cannot begin."""
    return [s for s in shown_settings(kind) if s.get("needed")]


def lacking(kind: type[Any], csd: Any) -> Setting | None:
    """The first of these texts that is empty in the panel; None when nothing is amiss."""
    own = {setting.name: getattr(csd, setting.name) for setting in needed(kind)}
    if any(f.name == "picture" for f in dataclasses.fields(kind.inputs)):
        own = after_picture(own | {"recipe": csd.recipe}, csd.picture)
    return next((setting for setting in needed(kind) if not own[setting.name].strip()), None)


def gather(kind: type[Any], scene: bpy.types.Scene, overrides: dict) -> dict:
    """Every setting by name: ``overrides`` first, then the scene; what a preset decides is left out.

    So is what has no effect with the rest: grey in the panel, it must not make another job of the same.

    Raises ``TypeError`` for an override that neither the panel has nor the job.
    """
    shown = shown_settings(kind)
    known = [s.name for s in (*shown, *scripted_settings(kind))]
    fields = [f.name for f in dataclasses.fields(kind) if f.name not in known]
    unknown = sorted(set(overrides) - {*known, *fields})
    if unknown:
        reason = next((reason for setting, reason in absent(kind) if setting.name == unknown[0]), "")
        raise TypeError(f"unknown setting {unknown[0]!r}; {reason or 'known are ' + ', '.join(known)}")
    csd = scene.csd
    values = in_panel(kind, csd, overrides)
    if "seed" not in overrides and csd.use_new_seed:
        values["seed"] = csd.seed = random.randrange(1_000_000)
    idle = without_effect(kind, values)
    return {name: value for name, value in values.items() if name not in idle}


def in_panel(kind: type[Any], csd: Any, overrides: dict) -> dict:
    """``overrides``, and the scene's settings that no preset decides."""
    values = dict(overrides)
    for setting in shown_settings(kind):
        name = setting.name
        if name not in values and hasattr(csd, setting.held_as) and getattr(csd, USE + name, True):
            value = getattr(csd, setting.held_as)
            # Blender keeps 32 bits of a number; in a shell, the same digits would make another job.
            values[name] = float(f"{value:.6g}") if setting.sort == "number" else value
    if "negative_prompt" not in overrides:
        if not csd.use_negative_prompt:
            values["negative_prompt"] = ""
        elif not values.get("negative_prompt"):
            values.pop("negative_prompt", None)  # the preset has one that suits model and recipe
    if values.get("recipe", "csd") != "csd" and "method" not in overrides:
        del values["method"]  # the recipe has its own
    return values


def unused(kind: type[Any], csd: Any) -> dict[str, str]:
    """The panel's settings that have no effect with the others there, each with the reason."""
    return without_effect(kind, in_panel(kind, csd, {}))


def idle_notes(kind: type[Any], scene: bpy.types.Scene, overrides: dict) -> list[str]:
    """A sentence for each setting that a script gave and that has no effect with the rest; the panel shows it gray."""
    usual = {s.name: s.default for s in shown_settings(kind)}
    idle = without_effect(kind, in_panel(kind, scene.csd, after_picture(overrides, overrides.get("picture"))))
    given = [name for name in idle if name in overrides and overrides[name] != usual.get(name)]
    return [f"The setting {name} has no effect. {idle[name]}." for name in given]


def asked(settings: ModuleType, context, overrides: dict) -> dict:
    """A kind's :func:`gather`, looked at before anything is exported or written.

    Raises ``SceneError`` without a prompt, ``JobError`` as :func:`check_input` does and for a language model that is
    not here.
    """
    chosen = settings.gather(context.scene, overrides)
    for setting in needed(settings.SPEC):
        if not stripped(chosen[setting.name]):
            text = setting.help[0].lower() + setting.help[1:]
            raise SceneError(f"The {setting.label.lower()} is empty.", f"Write {text}.")
    check_input(settings.SPEC, chosen)
    language_model = chosen.get("debias_prompt")
    if isinstance(language_model, str) and 0 < len(language_model) <= LONGEST_TEXT and language_model != BUNDLED:
        find_language_model(language_model)  # or it would be missed only after the diffusion model was loaded
    return chosen


def write_job(spec: JobSpec, inputs: dict[str, bytes], targets: list[Target], place: tuple = ()) -> Job:
    """Make the folder of a job of any kind.

    Args:
        inputs: files that it begins with, by name. place: where a new object will stand.

    Raises:
        JobError: there is no backend, a model may not or cannot be used, or the folder cannot be written.
    """
    backend.command()  # without a backend nothing is written
    check_job(spec)
    check_bundled_of(spec)
    job_id = folders.new_job_id(spec.prompt)
    folder = JobFolder.create(jobs_folder() / job_id, spec)
    # What leads back to the scene comes last, since a folder that has it is offered to be resumed.
    for name, data in (inputs | export.targets_bytes(targets, bpy.data.filepath, place)).items():
        folder.write_bytes(name, data)
    return Job(job_id, Path(folder.path), spec, targets, bpy.data.filepath)


def spec_values(kind: type[Any], values: dict) -> dict:
    """The arguments of a kind's preset function out of :func:`gather`'s values. Its input is left out."""
    inputs = {f.name for f in dataclasses.fields(kind.inputs)}
    chosen = {name: value for name, value in values.items() if name not in inputs}
    for setting in needed(kind):
        chosen[setting.name] = stripped(chosen[setting.name])
    if chosen.get("lora"):
        chosen["lora"] = bpy.path.abspath(chosen["lora"])
    for setting in shown_settings(kind):
        if setting.get("usual") and setting.name in chosen:
            chosen[setting.name] = size_of(chosen[setting.name])
    chosen["device"] = chosen.get("device") or preference("device", "auto")
    if "allow_noncommercial" in kind.scripted:
        chosen.setdefault("allow_noncommercial", not preference("commercial_only", True))
    chosen.setdefault("preview_interval", preference("preview_interval", 1.5))
    return chosen


def stripped(prompt: Any) -> Any:
    """Without the blanks around it; what is no text is left for the spec to refuse."""
    return prompt.strip() if isinstance(prompt, str) else prompt


def size_of(choice: Any) -> Any:
    """The number in the enum's text; anything else is left for the spec to refuse."""
    return int(choice) if isinstance(choice, str) and choice.isdecimal() and len(choice) < 9 else choice


def check_input(kind: type[Any], values: dict) -> None:
    """Raise ``JobError`` for a word about the job's input that the panel could not have said."""
    for setting in shown_settings(kind):
        if setting.path or setting.name not in values:
            continue
        if setting.sort == "text" and not isinstance(values[setting.name], str):
            raise bad(setting.name, values[setting.name], "a text")
        if setting.sort == "choice":
            allowed = [option.id for option in setting.options]
            if values[setting.name] not in allowed:
                said = f"{setting.name} is {quoted(values[setting.name])}, allowed is one of {', '.join(allowed)}"
                raise JobError("bad_setting", said)


def take_over(settings: ModuleType, scene: bpy.types.Scene, plain: dict) -> list[str]:
    """Set the scene's settings to those of a finished job of that kind; returns what :func:`not_taken_over` names.

    Raises ``TypeError`` as :func:`reuse` does, ``JobError`` for what no job can have; the scene is as before then.
    """
    csd = scene.csd
    names = [p.identifier for p in csd.bl_rna.properties if not p.is_readonly]
    before = {name: (csd.is_property_set(name), getattr(csd, name)) for name in names}
    try:
        settings.reuse(scene, plain)
        return not_taken_over(settings, scene, plain)
    except Exception:
        for name, (was_set, value) in before.items():
            if not was_set:
                csd.property_unset(name)
            elif getattr(csd, name) != value:
                setattr(csd, name, value)
        raise


def reuse(kind: type[Any], scene: bpy.types.Scene, plain: dict, usual: Callable[[Any], dict]) -> None:
    """Set the scene's settings to those of a finished job, as its ``to_json`` wrote them.

    A setting that came after the job has the value that means what jobs did before it. What the panel cannot have, as a
    word of a later version, is left as usual; :func:`not_taken_over` names it.

    Args:
        usual: the preset's job as JSON, for the settings that the scene then has.

    Raises:
        TypeError: for a value of another type than its setting's; nothing was set then.
    """
    csd = scene.csd
    found = {s: found_in(plain, s) for s in shown_settings(kind) if s.path}
    known = {}
    for setting, value in found.items():
        if setting.preset or value is None:
            continue
        if not of_type(setting, value):  # all are looked at before any is set
            raise TypeError(f"{setting.name} is {quoted(value)}")
        known[setting.held_as] = value if fits(setting, value) else setting.default
    for name, value in known.items():
        setattr(csd, name, value)
    decided = {setting: value for setting, value in found.items() if setting.preset}
    for setting in decided:
        setattr(csd, USE + setting.name, False)
    for setting, value in decided.items():
        # The preset anew each time: it may follow from a setting that was set just now.
        differs = fits(setting, value) and value != setting.find(usual(csd))
        setattr(csd, USE + setting.name, differs)
        if differs:
            setattr(csd, setting.name, str(value) if setting.get("usual") else value)
    for name in unused(kind, csd):  # else it would count, unasked, once what makes it idle is changed
        if hasattr(csd, USE + name):
            setattr(csd, USE + name, False)
    if isinstance(plain.get("negative_prompt"), str):
        csd.use_negative_prompt = bool(csd.negative_prompt) or not usual(csd)["negative_prompt"]
    if csd.negative_prompt == usual(csd)["negative_prompt"]:
        csd.negative_prompt = ""  # as it comes
    csd.kind = kind.kind
    csd.use_new_seed = False


def found_in(plain: dict, setting: Setting) -> Any:
    """A setting's value in a job's JSON; what a later setting stands for where the job is older; else None."""
    value = setting.find(plain)
    return setting.default if value is None and setting.field.metadata["added"] else value


def not_taken_over(settings: ModuleType, scene: bpy.types.Scene, plain: dict) -> list[str]:
    """What the panel's job would have otherwise than the one that it was filled from, by the names that people know.

    What has no effect is passed over, and so is what the result does not depend on.
    """
    kind = settings.SPEC
    made = dict(leaves(settings.make_spec(gather(kind, scene, {})).to_json()))
    idle, shown = unused(kind, scene.csd), {s.path: s for s in shown_settings(kind)}
    found = []
    for path, value in leaves(plain):
        setting = shown.get(path)
        if path[0] not in IMMATERIAL and (setting is None or setting.name not in idle):
            if not alike(value, made.get(path)):
                found.append(setting.label if setting is not None else ".".join(path).replace("_", " "))
    return found


def leaves(plain: dict, above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """The values in a job's JSON, each with the names that lead to it."""
    inside = [leaves(v, (*above, k)) if isinstance(v, dict) else [((*above, k), v)] for k, v in plain.items()]
    return [leaf for some in inside for leaf in some]


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same: Blender keeps six digits of a number, and others follow from it."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-4)
    return one == other


def of_type(setting: Setting, value: Any) -> bool:
    """Whether a setting of a job can have such a value, be it one that the panel cannot show."""
    if setting.sort == "number" and setting.field.metadata.get("schedule") and isinstance(value, list):
        return True
    known = {"text": str, "choice": str, "whole": int, "switch": bool}.get(setting.sort, (int, float))
    return isinstance(value, known) and (setting.sort == "switch" or not isinstance(value, bool))


def fits(setting: Setting, value: Any) -> bool:
    """Whether the panel can show it; a schedule, for one, it cannot."""
    if setting.get("usual"):
        return value in setting.get("usual")
    if isinstance(value, list) or not of_type(setting, value):
        return False
    if setting.sort == "choice":
        return value in [option.id for option in setting.options]
    if setting.sort == "text":
        return len(value) <= LONGEST_TEXT and is_text(value)
    if setting.sort == "switch":
        return True
    low, high = setting.limits
    return low <= value <= high


def usual_model(csd: Any) -> str:
    """The model whose preset the panel shows; of one that no job can have, the bundled one's."""
    return csd.model if 0 < len(csd.model) <= LONGEST_TEXT else "mini"


def preset_text(setting: Setting, usual: dict) -> str:
    """A preset's value as people read it; ``usual`` is its job as JSON."""
    value = setting.find(usual)
    if setting.get("unset") and value == setting.default:
        return setting.get("unset")
    if isinstance(value, list):  # a schedule: start step, start value, end value, end step
        return f"{value[1]:g} to {value[2]:g}"
    if isinstance(value, str):
        return MINI_WORDS if setting.name == "extra_words" and value == "auto" else value or "none"
    unit = setting.get("unit", "")
    return f"{value:g} {unit}".strip()
