"""Text to 3D: a job with the values of a published system (:mod:`recipes`), or with what the bundled model makes of
it."""

from __future__ import annotations

from typing import Any

from ..spec.cameras import VIEWS_AT_ONCE
from ..spec.fields import bad, from_json, to_json
from ..spec.methods import find_method
from ..spec.scene_stages import CoarseStage
from ..spec.schedule import Schedule, constant
from ..spec.text_to_3d import STARTS, TextTo3DJob
from . import picture_recipe, view_recipes
from .effects import why_not_from_mesh
from .model_kinds import works_on_pixels
from .recipes import OF_PICTURES, OF_VIEWS, begin_with_shape, published, sees_several, usual_method
from .texture import (
    CSD_NEGATIVE_PROMPT,
    MINI_PRIOR,
    NEGATIVE_PROMPT,
    WARM_STEPS,
    begins_warm,
    falling_decay,
    rising_prior,
    word,
)
from .variants import of_method, vary

__all__ = ["EXPECTED_SECONDS_3D", "text_to_3d_job", "usual_steps"]

#: Seconds an object takes with the mini model on two CPU cores, for the panel.
EXPECTED_SECONDS_3D = {"draft": 30, "normal": 75, "best": 260}
EXPECTED_FROM_FOG = {"draft": 100, "normal": 240, "best": 780}  # without a warm start
EXPECTED_AFTER_PICTURE = {"draft": 25, "normal": 60, "best": 190}  # one stage

#: Of each stage, the part before SDS-Bridge compares wordings: as published for the whole, then from the start.
BRIDGE_SHARES = (0.8, 0.0)

#: Pictures of a warm start, two rings. Only the bundled model has it by itself, for which it is measured: where it
#: draws several views at once.
WARM_VIEWS = 8

#: Steps of the coarse and of the refine stage.
_MINI_STEPS = {"draft": (240, 100), "normal": (600, 240), "best": (2000, 800)}
_MINI_WARM_STEPS = {"draft": (40, 60), "normal": (120, 160), "best": (500, 500)}
WARM_SHARE = 0.25  # of a published recipe's coarse steps, after a warm start
WARM_NOISE = 0.7  # highest time of the coarse stage after it
#: Normal is the published length: the refine stages of Magic3D and Fantasia3D (its appearance) are half as long.
_LARGE_STEPS = {"draft": (2000, 1000), "normal": (10000, 10000), "best": (15000, 15000)}
#: Recipes of several stages in the second one, and of the length that was published for their first one alone.
_PUBLISHED = {
    "prolificdreamer": {"draft": (3000, 3000), "normal": (25000, 45000), "best": (25000, 45000)},
    "dsd-low": {"draft": (1000, 0), "normal": (5000, 0), "best": (10000, 0)},
    "csd-mvdream": {"draft": (2000, 0), "normal": (10000, 0), "best": (10000, 0)},
    "zero123": {"draft": (2000, 0), "normal": (10000, 0), "best": (10000, 0)},
}
_HALF_REFINED = {"draft": (2000, 1000), "normal": (10000, 5000), "best": (15000, 7500)}


def usual_steps(
    quality: str, model: str, recipe: str = "csd", coarse_model: str = "", warm: bool = False
) -> tuple[int, int]:
    """Steps of the coarse and of the refine stage in a preset; Fantasia3D divides their sum in its own way.

    ``warm``: after a warm start.
    """
    large = _HALF_REFINED if recipe in ("magic3d", "fantasia3d") else _PUBLISHED.get(word(recipe), _LARGE_STEPS)
    mini = _MINI_WARM_STEPS if warm else _MINI_STEPS
    names = (coarse_model or model, model)
    coarse, refine = (
        table.get(word(quality), table["normal"])[i]
        for i, table in enumerate(mini if name == "mini" else large for name in names)
    )
    return round(WARM_SHARE * coarse) if warm and names[0] != "mini" else coarse, refine


def text_to_3d_job(
    prompt: str,
    quality: str = "normal",
    model: str = "mini",
    recipe: str = "csd",
    subject: str = "object",
    **overrides: Any,
) -> TextTo3DJob:
    """A job with the recipe's values; ``overrides`` are fields of :class:`TextTo3DJob`, in JSON form too.

    ``coarse`` and ``refine`` may be given in part, as tables; ``coarse_steps`` and ``refine_steps`` set the lengths,
    over which all schedules are stretched. Raises ``JobError('bad_setting')``.
    """
    if overrides.get("start") == "mesh" and why_not_from_mesh(recipe):
        raise bad("recipe", recipe, f"one that can begin with a mesh. {why_not_from_mesh(recipe)}")
    named = word(model)
    coarse_model = word(overrides.get("coarse_model")) or named
    if recipe == picture_recipe.ALONE and coarse_model != named:
        raise bad("recipe", recipe, f"{picture_recipe.REFINED} where there is a coarse model: {recipe} has one stage")
    method = word(overrides.get("method", usual_method(recipe, named, coarse_model) or "sds"))
    alone = overrides.get("start") in STARTS[1:] or _looks_alone(overrides.get("coarse"))
    several = sees_several(recipe, method, coarse_model, alone)
    start = overrides.get("warm_start", WARM_VIEWS if several and not alone and begins_warm(coarse_model) else 0)
    warm = isinstance(start, int) and start > 0
    usual = usual_steps(quality, named, recipe, coarse_model, warm)
    wanted = [overrides.pop(f"{stage}_steps", n) for stage, n in zip(("coarse", "refine"), usual)]
    steps = [n if isinstance(n, int) and 0 <= n < 10**9 else usual[i] for i, n in enumerate(wanted)]
    values = _values(word(recipe), word(subject), steps, coarse_model, named, method, overrides.get("start"), several)
    for i, (stage, of) in enumerate((("coarse", coarse_model), ("refine", named))):
        share = BRIDGE_SHARES[i]
        guidance = values[stage]["guidance"] | of_method(method, of == "mini", steps[i], share)
        if warm and stage == "coarse":
            guidance |= _finishing(steps[i], of == "mini")
        values[stage]["guidance"] = vary(guidance, overrides, values[stage]["steps"], method, of == "mini", of)
        if wanted[i] != steps[i]:  # no number of steps; the job's own check says so
            values[stage]["steps"] = wanted[i]
        given = overrides.pop(stage, {})
        values[stage] = _merge(values[stage], given) if isinstance(given, dict) else given
    values |= {"prompt": prompt, "quality": quality, "model": model, "recipe": recipe, "subject": subject}
    values |= {"method": overrides.get("method", method), "warm_start": start}
    if warm:
        values["warm_steps"] = WARM_STEPS
    if overrides.get("start") == "mesh":
        values["keep"] = "all"  # what somebody made of several pieces stays whole
    return from_json(TextTo3DJob, values | overrides)


def _values(
    recipe: str, subject: str, steps: list, coarse_model: str, model: str, method: str, start: object, several: bool
) -> dict:
    """The recipe's values, each stage's for its own model."""
    mini = [name == "mini" for name in (coarse_model, model)]
    # What the bundled model takes over of a recipe are the values for a pixel model, then for a latent one.
    pixels = [works_on_pixels(coarse_model) or mini[0], works_on_pixels(model)]
    values = published(recipe, subject, *steps, *pixels)
    values.setdefault("negative_prompt", CSD_NEGATIVE_PROMPT)
    if start in ("ellipsoid", "mesh"):
        begin_with_shape(values)
    if not any(mini):
        values["extra_words"] = ""  # none of the published systems adds any
    if mini[0]:
        values["coarse"] = _mini_coarse(values["coarse"], recipe, subject, method, several)
    if mini[1]:
        own = ("csd", "csd") if recipe in (picture_recipe.REFINED, view_recipes.REFINED) else (recipe, method)
        values["refine"] = _mini_refine(values["refine"], *own)
        if recipe == picture_recipe.ALONE:  # it reads no prompt in the stage that makes the mesh, either
            values["refine"]["cameras"] |= {"after_picture": True}
        elif mini[0]:  # a large first stage has its recipe's own
            values["negative_prompt"] = NEGATIVE_PROMPT
    if mini[0] or mini[1]:
        values.pop("keep_colors", None)  # few steps, which are not spent on painting anew
    return values


def _looks_alone(coarse: object) -> bool:
    """Whether a coarse stage, or a part of one as a table, is of one view at a time, or of other numbers of views than
    a ring has; False where it does not say."""
    table = to_json(coarse) if isinstance(coarse, CoarseStage) else coarse if isinstance(coarse, dict) else {}
    cameras = table.get("cameras")
    own: dict = cameras if isinstance(cameras, dict) else {}
    if "ring" in own:
        return own["ring"] in (0, 1)
    counts = (table.get(name, 0) for name in ("views", "later_views"))
    uneven = any(isinstance(count, int) and count % VIEWS_AT_ONCE for count in counts)
    return uneven or bool(own.get("front_back_steps")) or bool(own.get("after_picture"))


def _finishing(steps: int, mini: bool) -> dict:
    """Times, and the bundled model's weights, after a warm start, which has the draft already: as of textures."""
    times = {"t_min": constant(0.02), "t_max": Schedule(0, WARM_NOISE, 0.4, steps)}
    weights = {"negative_weight": constant(0.5), "generative_weight": constant(MINI_PRIOR)}
    return times | weights if mini else times


def _merge(table: dict, given: dict) -> dict:
    """``table`` with the values of ``given``, tables within tables included."""
    merged = dict(table)
    for name, value in given.items():
        tables = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if tables else value
    return merged


# ---- the bundled model ---------------------------------------------------------------------------------------------

_MINI_CAMERAS = {"distance": (2.3, 2.9), "fov_y": (40.0, 50.0), "elevation": (-10.0, 50.0)}
_MINI_SCALE = 7.5  # of SDS
#: Of an object after a picture; at the published 0.003 it is drawn out along the picture's line of sight, and at 0.2
#: its front no longer has the picture's details.
_MINI_SCORE = 0.05


def _mini_coarse(published: dict, recipe: str, subject: str, method: str, several: bool) -> dict:
    """What the bundled model needs: its picture size, its distances, and larger steps, since there are few of them.
    Cameras, lamps, backgrounds and the field are its own; of the recipe it has the course of shading and weights."""
    stage = _chosen(published, "steps", "ambient_only_steps", "shaded_share", "sparsity")
    stage |= {
        "views": 4,
        "render_size": 0,
        "learning_rate": 0.03,
        "radius": 1.0,
        "levels": 4,
        "base_resolution": 8,
        "finest_resolution": 64,
        "ray_samples": 110,
        # From a large start it carves, which keeps hats and ears; from a small one it also lets narrow feet grow.
        "blob_std": 0.75 if subject == "character" else 0.5,
        "random_background": 1.0,
        # It has seen lit objects in plenty, but no picture of normals.
        "textureless_share": 0.0,
        "textureless_normals": False,
        "orientation": constant(0.0),
    }
    own = {"ring": VIEWS_AT_ONCE} if several else _chosen(published["cameras"], "front_back_steps")
    stage["cameras"] = own | _MINI_CAMERAS
    stage["guidance"] = _mini_guidance(published, recipe, method, noisiest=0.98)
    if several:
        stage["guidance"].pop("perp_neg", None)  # the network is told the cameras
    return stage | (_mini_after_picture(published, method) if recipe in OF_PICTURES else {})


def _mini_after_picture(published: dict, method: str) -> dict:
    """As :func:`_mini_coarse`, for its networks that are told a picture and know things on white alone."""
    kept = _chosen(published, "picture_every", "picture_color", "picture_mask", "opaque")
    cameras = picture_recipe.MINI_CAMERAS | {"after_picture": True}
    guidance = {"weighting": find_method(method).mini_weighting, "guidance_scale": 3.0}
    own = {"background": "white", "random_background": 0.0, "picture_size": 64, "cameras": cameras}
    return kept | own | {"score_weight": _MINI_SCORE, "guidance": guidance}


def _mini_refine(published: dict, recipe: str, method: str) -> dict:
    """As :func:`_mini_coarse`."""
    kept = (
        "steps", "normals_only_steps", "fixed_shape_after", "appearance_weighting", "geometry_method", "shaded_share",
    )  # fmt: skip
    stage = _chosen(published, *kept)
    stage |= {"views": 4, "render_size": 0, "tet_resolution": 64, "learning_rate": 0.03, "color_rate": 0.04}
    stage |= {"random_background": 1.0, "threshold": 0.0, "textureless_share": 0.0}
    stage["normal_consistency"] = 1000.0 if recipe == "fantasia3d" else 150.0  # shapes from white pictures get lumpy
    # Few steps, and it is the other pictures that paint.
    stage["normals_share"] = min(published.get("normals_share", 0.5), 0.25)
    stage["color_decay"] = falling_decay(stage["steps"])
    stage["cameras"] = _MINI_CAMERAS | {"distance": (1.7, 2.9)}  # from nearer, the surface gets sharper
    stage["guidance"] = _mini_guidance(published, recipe, method, noisiest=0.9)
    return stage


def _mini_guidance(published: dict, recipe: str, method: str, noisiest: float) -> dict:
    guidance = _chosen(published["guidance"], "negative_weight", "t_max", "perp_neg", "guidance_scale")
    guidance["weighting"] = find_method(method).mini_weighting
    if recipe == "csd" or recipe in OF_VIEWS:
        # As for textures (texture.guidance): noisy times that end little by little, and at last some of the prior.
        steps = published["steps"]
        guidance["t_max"] = Schedule(0, noisiest, 0.5, 0.83 * steps)
        guidance["generative_weight"] = rising_prior(steps)
    if find_method(method).uses_guidance_scale:
        guidance["guidance_scale"] = _MINI_SCALE
    return guidance


def _chosen(table: dict, *names: str) -> dict:
    return {name: table[name] for name in names if name in table}
