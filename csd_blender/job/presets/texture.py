"""Quality presets: tables of values over the same job, scaled to its length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..models.control import AUTO, is_off
from ..spec.common import QUALITIES
from ..spec.fields import from_json, to_json
from ..spec.guidance import Guidance
from ..spec.methods import METHODS, find_method
from ..spec.schedule import Schedule, constant
from ..spec.settings import nested
from ..spec.texture import TextureJob
from .model_kinds import predicts_a_flow
from .variants import chosen_guidance, of_method

__all__ = [
    "CSD_NEGATIVE_PROMPT",
    "EXPECTED_FROM_GRAY",
    "EXPECTED_SECONDS",
    "FLAT_WORDS",
    "MINI_WORDS",
    "NEGATIVE_PROMPT",
    "QUALITIES",
    "falling_decay",
    "rising_prior",
    "takes_lora",
    "texture_job",
]

#: For the mini model. Longer ones cost it patterns: "tiling" also pushes away from a checkered surface.
NEGATIVE_PROMPT = "blurry, noisy, low quality"
#: Of CSD's published configurations, for Stable Diffusion and its like.
CSD_NEGATIVE_PROMPT = "oversaturated color, ugly, tiling, low quality, noisy"

#: Ask for bare surface color, so that light is not painted into the texture: of the mini model, and in plain English
#: for the others. The published systems have none; ours are a setting (``extra_words``), for textures only.
MINI_WORDS, FLAT_WORDS = "flat colors", "flat even lighting, no shadows"

#: The part of a flow's levels that is used. RFDS (2406.03293) has sigma from 0.3 to 0.98 for Stable Diffusion 3; its
#: levels are moved by a shift of 3, so that these are sigma / (3 - 2 sigma) of all.
FLOW_TIMES = (0.125, 0.942)
BRIDGE_SHARE = 0.5  # of the steps before SDS-Bridge compares wordings, as published for pictures

#: The mini model's share of the generative prior, once it counts in full.
MINI_PRIOR = 0.4

#: How strongly the bundled model's ControlNet counts in textures and edits. At 1 it holds to the shape so closely that
#: what the model knows of a thing's colors gets through, as a house's red roof, against the prompt.
MINI_CONTROL_STRENGTH = 0.5

#: Pictures of a warm start: six around, one from above, one from below. Only CSD has it by itself, and only the bundled
#: model, for which it is measured.
WARM_VIEWS = 8
#: Strides of DPM-Solver++(2M) that draw them, of objects too. (The setting's default is what the first jobs with a warm
#: start had.)
WARM_STEPS = 10
#: How strongly the bundled model's ControlNet counts in them: their guidance says what the thing is, so that colors do
#: not suffer as in the steps.
MINI_WARM_CONTROL = 1.0

#: Seconds a texture takes with the mini model on two CPU cores, for the panel.
EXPECTED_SECONDS = {"draft": 8, "normal": 15, "best": 45}
EXPECTED_FROM_GRAY = {"draft": 14, "normal": 30, "best": 100}  # without a warm start, and edits


@dataclass(frozen=True)
class _Preset:
    steps: int
    views: int
    texture_size: int
    learning_rate: float


_MINI = {
    "draft": _Preset(steps=90, views=4, texture_size=1024, learning_rate=0.045),
    "normal": _Preset(steps=240, views=4, texture_size=1024, learning_rate=0.03),
    "best": _Preset(steps=800, views=4, texture_size=2048, learning_rate=0.02),
}


#: After a warm start.
_MINI_WARM = {
    "draft": _Preset(steps=20, views=4, texture_size=1024, learning_rate=0.03),
    "normal": _Preset(steps=60, views=4, texture_size=1024, learning_rate=0.03),
    "best": _Preset(steps=240, views=4, texture_size=2048, learning_rate=0.02),
}


#: Stable Diffusion and its like: more to say, so more steps; one view fills the network as four of the mini model do.
_LARGE = {
    "draft": _Preset(steps=400, views=1, texture_size=1024, learning_rate=0.01),
    "normal": _Preset(steps=1500, views=1, texture_size=2048, learning_rate=0.01),
    "best": _Preset(steps=4000, views=1, texture_size=2048, learning_rate=0.01),
}
_LARGE_WARM = {
    "draft": _Preset(steps=80, views=1, texture_size=1024, learning_rate=0.01),
    "normal": _Preset(steps=250, views=1, texture_size=2048, learning_rate=0.01),
    "best": _Preset(steps=700, views=1, texture_size=2048, learning_rate=0.01),
}


def texture_job(prompt: str, quality: str = "normal", model: str = "mini", **overrides: Any) -> TextureJob:
    """A texture job with the preset's values; ``overrides`` are fields of :class:`TextureJob`, in JSON form too.

    Schedules are stretched over the job's own number of steps. Raises ``JobError('bad_setting')``.
    """
    overrides = nested(TextureJob, overrides)
    mini = model == "mini"
    method = word(overrides.get("method", METHODS[0]))
    usual_start = (
        WARM_VIEWS if begins_warm(model) and method == METHODS[0] and not is_off(overrides.get("control", AUTO)) else 0
    )
    start = overrides.get("warm_start", usual_start)
    warm = isinstance(start, int) and start > 0
    table = (_MINI_WARM if warm else _MINI) if mini else _LARGE_WARM if warm else _LARGE
    preset = table.get(word(quality), table["normal"])
    steps = overrides.get("steps", preset.steps)
    values: dict = {
        "prompt": prompt,
        "negative_prompt": NEGATIVE_PROMPT if mini else CSD_NEGATIVE_PROMPT,
        "model": model,
        "quality": quality,
        "steps": preset.steps,
        "views": preset.views,
        "texture_size": preset.texture_size,
        "learning_rate": preset.learning_rate,
        "warm_start": start,
    }
    if warm:
        values["warm_steps"] = WARM_STEPS
        if mini:
            values["warm_control"] = MINI_WARM_CONTROL
    values["control"] = AUTO  # those that are on this computer; the bundled model brings its own
    if not mini:
        values["extra_words"] = FLAT_WORDS
    values.update(overrides)
    if mini and not is_off(values["control"]):
        values.setdefault("control_strength", MINI_CONTROL_STRENGTH)
    if isinstance(steps, int) and 0 < steps < 10**9:  # else the job's own check says what is wrong
        usual = to_json(guidance(steps, method, mini, warm)) | of_method(method, mini, steps, BRIDGE_SHARE)
        if not mini and predicts_a_flow(model):
            usual |= {"t_min": constant(FLOW_TIMES[0]), "t_max": Schedule(steps / 2, FLOW_TIMES[1], 0.5, steps / 2 + 1)}
        values["guidance"] = chosen_guidance(usual, overrides, steps, method, mini, model)
        values.setdefault("weight_decay", falling_decay(steps) if mini and not warm else constant(0.0))
    return from_json(TextureJob, values)


def takes_lora(model: object) -> bool:
    """Whether there are LoRA files for a model; for the bundled one there are none."""
    return model != "mini"


def begins_warm(model: object) -> bool:
    """Whether a preset of a model has a warm start: only the bundled one's, for which it is measured."""
    return model == "mini"


def word(value: object) -> str:
    """A choice that nobody has checked yet, to look something up by; what is no text is no choice."""
    return value if isinstance(value, str) else ""


def guidance(steps: int, method: str = METHODS[0], mini: bool = True, warm: bool = False) -> Guidance:
    """Schedules over ``steps``: the negative classifier falls from 1 to 0.5, the noisiest times end at half time, as
    published for CSD on Stable Diffusion.

    The mini model drafts the texture by the classifier scores alone; a share of the generative prior then comes in,
    since more and more of the scores would over-saturate it. Its noisiest times end little by little: at a sudden end,
    patterns that are not yet the same from all sides, such as checks, run together.

    After a warm start there is no draft to make: times begin at half of the noise, and the prior counts from the first
    step on.
    """
    half = steps / 2
    usual = Guidance(
        negative_weight=Schedule(0, 1.0, 0.5, steps),
        generative_weight=rising_prior(steps) if mini else constant(0.0),
        weighting=find_method(method).mini_weighting if mini else "sds",
        t_min=constant(0.02),
        t_max=Schedule(0, 0.98, 0.5, steps * 5 / 6) if mini else Schedule(half, 0.98, 0.5, half + 1),
    )
    if not warm:
        return usual
    finishing = replace(usual, t_max=Schedule(0, 0.5, 0.3, steps))
    if not mini:
        return finishing
    return replace(finishing, negative_weight=constant(0.5), generative_weight=constant(MINI_PRIOR))


def rising_prior(steps: int) -> Schedule:
    """The mini model's share of the generative prior, in textures and objects."""
    return Schedule(0.3 * steps, 0.0, MINI_PRIOR, 0.7 * steps)


def falling_decay(steps: int) -> Schedule:
    """Its weight decay of colors: strong while they are found, gone while they are sharpened."""
    return Schedule(0, 0.5, 0.0, 0.7 * steps)
