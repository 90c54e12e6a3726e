"""Which settings have no effect with what else is chosen, and why: the few words that the panel shows in the value's
place and the command line behind the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.catalogue import find_entry
from ..models.control import AUTO, OFF, is_off
from ..spec.common import CONTROL_DETAILS, WARM_DETAILS
from ..spec.edit import FREE, EditJob
from ..spec.methods import KNOWN_METHODS, VIEW_METHODS, Method, find_method
from ..spec.picture import LATENTS, PictureJob
from ..spec.settings import Setting, scripted_settings, shown_settings
from ..spec.text_to_3d import RECIPE_OPTIONS, STARTS, TextTo3DJob
from ..spec.texture import TextureJob
from .picture_recipe import ALONE as PICTURE_ALONE
from .recipes import COARSE_ALONE, OF_PICTURES, sees_several, usual_method
from .texture import WARM_VIEWS, begins_warm, takes_lora, word
from .view_recipes import ALONE as MULTI_VIEW_ALONE

_SIDES, _SOURCE, _STAGES = "A picture has no sides", "The source has its place", "Each stage has its own"

#: Settings of a texture that one may look for in another kind.
_ABSENT: dict[type[Any], dict[str, str]] = {
    PictureJob: {
        "perp_neg": _SIDES,
        "look": _SIDES,
        "view_prompts": _SIDES,
        "debias_prompt": _SIDES,
        "debias_words": _SIDES,
        "noise": "A picture has no surface",
    },
    EditJob: {"negative_prompt": _SOURCE, "negative_weight": _SOURCE, "negative_course": _SOURCE},
    TextTo3DJob: dict.fromkeys(
        ("guidance_scale", "negative_weight", "generative_weight", "steps", "views", "learning_rate"), _STAGES
    ),
}


def without_effect(kind: type[Any], chosen: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a kind that change nothing, by name, each with the reason: a capital letter first, no full stop.

    Args:
        chosen: settings by name; what is missing is as the preset has it. A word that does not exist hides nothing;
            the job's own check names it.
    """
    recipe = word(chosen.get("recipe", "csd"))
    method = word(chosen.get("method") or _own_method(recipe, chosen))
    known = (*KNOWN_METHODS, *VIEW_METHODS)
    methods = [m for m in known if m.id == (method or KNOWN_METHODS[0].id)] or KNOWN_METHODS
    each = [_of_method(m) for m in methods]  # several, where a picture is made by all of them
    found = {name: reason for name, reason in each[0].items() if all(name in other for other in each)}
    if chosen.get("negative_prompt") == "":
        found |= dict.fromkeys(("negative_weight", "negative_course"), "No negative prompt")
    if chosen.get("view_prompts") is False:
        found |= dict.fromkeys(("debias_prompt", "debias_words"), "Sides are not named")
    elif not chosen.get("debias_prompt"):
        found["debias_words"] = "No language model"
    if not takes_lora(chosen.get("model", "mini")):
        found |= dict.fromkeys(("lora", "lora_weight"), "None for this model")
    elif not chosen.get("lora"):
        found["lora_weight"] = "No LoRA"
    if reason := _nothing_encoded(kind, chosen):
        found["encoder"] = reason
    if kind is TextTo3DJob:
        found |= _of_recipe(recipe, chosen)
    usual = OFF if kind is TextTo3DJob else AUTO
    if is_off(chosen.get("control", usual)):
        found |= dict.fromkeys(CONTROL_DETAILS, "No ControlNet")
        if kind is not TextTo3DJob:  # there, a model of several views draws it, without
            found |= dict.fromkeys(("warm_start", *WARM_DETAILS), "No ControlNet")
    if not chosen.get("warm_start", usual_start(kind, method, chosen)):
        found = dict.fromkeys(WARM_DETAILS, "No warm start") | found
    if kind is EditJob and chosen.get("shape") == FREE:
        found["uv"] = "A new shape has its own"
        found |= dict.fromkeys(("look", "early_end"), "The shape moves, too")
    elif kind is EditJob:
        found |= dict.fromkeys(("shape_rate", "shape_resolution"), "The shape stays")
    known = {setting.name for setting in (*shown_settings(kind), *scripted_settings(kind))}
    return {name: reason for name, reason in found.items() if name in known}


def usual_start(kind: type[Any], method: str, chosen: Mapping[str, Any]) -> int:
    """Pictures of the warm start that a preset of its own accord has."""
    of_coarse = kind is TextTo3DJob and chosen.get("coarse_model")
    if not begins_warm(of_coarse or chosen.get("model", "mini")):
        return 0
    others = [m.id for m in KNOWN_METHODS[1:]]
    return WARM_VIEWS if kind is TextTo3DJob or (kind is TextureJob and method not in others) else 0


def why_not_from_mesh(recipe: object) -> str:
    """Why an object by this recipe cannot begin with a mesh, a capital letter first; empty when it can."""
    return f"{_label(recipe)} has no stage that refines a mesh" if recipe in COARSE_ALONE else ""


def absent(kind: type[Any]) -> tuple[tuple[Setting, str], ...]:
    """Settings that other kinds have and this one cannot, where somebody may look for them, each with the reason."""
    of_texture = {setting.name: setting for setting in shown_settings(TextureJob)}
    return tuple((of_texture[name], reason) for name, reason in _ABSENT.get(kind, {}).items())


def _of_method(method: Method) -> dict[str, str]:
    found = {}
    if not method.uses_guidance_scale:
        found["guidance_scale"] = f"{method.label} has none"
    if not method.uses_prompt_weights:
        weights = ("negative_weight", "negative_course", "generative_weight")
        reason = f"{method.label} goes by its scale" if method.uses_guidance_scale else "Its weights are fixed"
        found |= dict.fromkeys(weights, reason)
    if not method.reads_negative_prompt:
        found["negative_prompt"] = f"{method.label} reads none"
    if method.finds_noise:
        found["noise"] = f"{method.label} finds its own"
    if method.finds_times:
        found["times"] = f"{method.label} has its own"
    return found


def _nothing_encoded(kind: type[Any], chosen: Mapping[str, Any]) -> str:
    """Why no picture is brought to latents; empty where some are, or a model is not known by its name: the panel asks
    this at every redraw, and no file is opened for it."""
    if kind is PictureJob and chosen.get("space", LATENTS) == LATENTS:
        return "Latents are not encoded"
    model = word(chosen.get("model", "mini"))
    names = {model, word(chosen.get("coarse_model")) or model} if kind is TextTo3DJob else {model}
    entries = [find_entry(name) for name in names]
    return "The model takes pixels" if all(entry is not None and entry.family == "if" for entry in entries) else ""


def _of_recipe(recipe: str, chosen: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    label = _label(recipe)
    if recipe != "csd" and "method" not in chosen:
        method = find_method(_own_method(recipe, chosen)).label
        found["method"] = method if method in label else f"{method} by {label.partition(',')[0]}"
    if recipe == MULTI_VIEW_ALONE:
        found |= dict.fromkeys(("view_prompts", "debias_prompt", "debias_words"), "The model sees cameras")
    if recipe == PICTURE_ALONE:
        names = ("view_prompts", "debias_prompt", "debias_words", "negative_prompt", "perp_neg", "lora", "lora_weight")
        found |= dict.fromkeys((*names, "negative_course", "extra_words"), "The model sees a picture")
        found["coarse_model"] = "There is one stage"
    elif label and recipe not in OF_PICTURES:
        found |= dict.fromkeys(("picture", "picture_elevation"), "Zero-1-to-3 alone")
    coarse_model = chosen.get("coarse_model") or chosen.get("model", "mini")
    method = chosen.get("method") or _own_method(recipe, chosen)
    if label and not sees_several(recipe, method, coarse_model):
        found |= dict.fromkeys(("warm_start", *WARM_DETAILS), "One view at a time")
    given = any(chosen.get(name) for name in ("start_from_mesh", "refine_from"))
    if given or word(chosen.get("start")) in STARTS[1:]:
        of_picture = ("picture", "picture_elevation") if label else ()
        found |= dict.fromkeys((*of_picture, "warm_start", *WARM_DETAILS), "The shape is given")
    if recipe in COARSE_ALONE:
        found["refine_steps"] = f"{label} has none"
        found |= dict.fromkeys(("control", *CONTROL_DETAILS), f"{label} has no mesh")
    elif recipe != "fantasia3d" and any(chosen.get(name) for name in ("start", "start_from_mesh", "refine_from")):
        # (Fantasia3D has no coarse stage, and divides the sum of both in its own way.)
        found |= dict.fromkeys(("coarse_steps", "coarse_model"), "The shape is given")
    return found


def _own_method(recipe: str, chosen: Mapping[str, Any]) -> str:
    return usual_method(recipe, chosen.get("model", "mini"), chosen.get("coarse_model", ""))


def _label(recipe: object) -> str:
    return next((option.label for option in RECIPE_OPTIONS if option.id == recipe), "")
