"""Quality presets of pictures. The published playground's values hold for every model but the bundled one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..spec.fields import from_json, to_json
from ..spec.guidance import Guidance
from ..spec.methods import METHODS, find_method
from ..spec.picture import ALL_METHODS, PictureJob
from ..spec.schedule import Schedule, constant
from ..spec.settings import nested
from .texture import BRIDGE_SHARE, CSD_NEGATIVE_PROMPT, NEGATIVE_PROMPT, word
from .variants import chosen_guidance, of_method

__all__ = ["expected_seconds", "picture_job"]


@dataclass(frozen=True)
class _Preset:
    steps: int
    learning_rate: float


_MINI = {
    "draft": _Preset(steps=120, learning_rate=0.1),
    "normal": _Preset(steps=300, learning_rate=0.1),
    "best": _Preset(steps=1000, learning_rate=0.1),
}

#: Normal is threestudio's 2-D playground: 1000 iterations, AdamW at 0.1, warmed up over 100, then a cosine that would
#: end after 1500. The other lengths are ours.
_LARGE = {
    "draft": _Preset(steps=300, learning_rate=0.1),
    "normal": _Preset(steps=1000, learning_rate=0.1),
    "best": _Preset(steps=3000, learning_rate=0.1),
}
WARM_UP = 0.1  # of the steps
COSINE_STEPS = 1.5  # times the steps
#: Pictures in one call: those of the bundled model are small, and of a large one a single picture fills the device.
_MINI_BATCH, _LARGE_BATCH = 4, 1

#: Seconds that one picture takes in a step of the bundled model on two CPU cores, for the panel.
_STEP_SECONDS = 0.05


def picture_job(prompt: str, quality: str = "normal", model: str = "mini", **overrides: Any) -> PictureJob:
    """A picture job with the preset's values; ``overrides`` are fields of :class:`PictureJob`, in JSON form too.

    Schedules are stretched over the job's own number of steps. Raises ``JobError('bad_setting')``.
    """
    overrides = nested(PictureJob, overrides)
    mini = model == "mini"
    table = _MINI if mini else _LARGE
    preset = table.get(word(quality), table["normal"])
    steps = overrides.get("steps", preset.steps)
    values: dict = {
        "prompt": prompt,
        "negative_prompt": NEGATIVE_PROMPT if mini else CSD_NEGATIVE_PROMPT,
        "model": model,
        "quality": quality,
        "steps": preset.steps,
        "learning_rate": preset.learning_rate,
        "batch": _MINI_BATCH if mini else _LARGE_BATCH,
        "cosine_steps": 1.0 if mini else COSINE_STEPS,
    }
    values.update(overrides)
    if isinstance(steps, int) and 0 < steps < 10**9:  # else the job's own check says what is wrong
        method = word(overrides.get("method", METHODS[0]))
        usual = to_json(guidance(steps, method, mini))
        for one in METHODS if method == ALL_METHODS.id else (method,):
            usual |= of_method(one, mini, steps, BRIDGE_SHARE)
        asked = {name: value for name, value in overrides.items() if (name, value) != ("times", "usual")}
        values["guidance"] = chosen_guidance(usual, asked, steps, method, mini, model)
        values.setdefault("warm_up", round(WARM_UP * steps))
    return from_json(PictureJob, values)


def guidance(steps: int, method: str, mini: bool) -> Guidance:
    """Schedules over ``steps``, as a texture's, but for the times of the bundled model: in a picture that nothing but
    the model holds together, a small time that comes early makes detail of what is no form yet, and it stays. Where a
    method draws no noise the times are drawn, or all pictures of all seeds would be the same one."""
    return Guidance(
        negative_weight=Schedule(0, 1.0, 0.5, steps),
        generative_weight=constant(0.7 if mini else 0.0),  # less is garish, more is blurred
        weighting=find_method(method).mini_weighting if mini else "sds",
        t_min=constant(0.02),
        t_max=constant(0.98),
        times="falling" if mini and not find_method(method).draws_nothing else "uniform",
    )


def expected_seconds(job: PictureJob) -> float | None:
    """How long it takes with the bundled model on two cores; None when nobody knows."""
    if job.model != "mini" or any(find_method(method).takes_longer for method in job.methods):
        return None
    return _STEP_SECONDS * job.steps * job.count * len(job.methods)
