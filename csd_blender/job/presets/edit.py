"""Edits: a texture's presets, and what one slider between keeping and changing makes of them."""

from __future__ import annotations

from typing import Any

from ..spec.common import VARIANTS
from ..spec.edit import EditJob
from ..spec.fields import from_json, to_json
from ..spec.schedule import Schedule, constant
from ..spec.settings import nested
from .texture import texture_job

#: How strongly the changes are pulled back to zero, with no alignment and with all of it (AdamW's decay; its steps are
#: of size one, so a change that is always asked for comes to rest at the inverse of it on each of the field's levels).
#: The little that is left keeps clean what the target does not speak of either.
PULL, LEAST_PULL = 4.0, 0.25
#: The noisiest time that an edit without alignment begins with; with all of it, a texture's own.
LEAST_T_MAX = 0.7


def edit_job(
    prompt: str,
    source: str = "",
    quality: str = "normal",
    model: str = "mini",
    alignment: float = 0.5,
    **overrides: Any,
) -> EditJob:
    """An edit with the preset's values; ``overrides`` are fields of :class:`EditJob`, in JSON form too.

    Args:
        prompt: what it shall look like. source: what it looks like now.
        alignment: 0 to 1, see :func:`aligned`.

    Raises ``JobError('bad_setting')``.
    """
    overrides = nested(EditJob, overrides)
    chosen = overrides.get("guidance", {})
    shared = {name: overrides[name] for name in ("steps", "method", *VARIANTS) if name in overrides}
    if isinstance(chosen, dict) and "guidance_scale" in chosen:
        shared["guidance"] = {"guidance_scale": chosen["guidance_scale"]}
    values = to_json(texture_job(prompt, quality, model, negative_prompt="", **shared))
    usual = values["guidance"]
    values |= {"source": source, "alignment": alignment, **overrides}
    if isinstance(alignment, (int, float)) and 0 <= alignment <= 1:  # else the job's own check says what is wrong
        prior = Schedule.from_json(usual["generative_weight"])
        guidance, pull = aligned(alignment, values["steps"], prior)
        values["guidance"] = {**usual, **guidance, **chosen} if isinstance(chosen, dict) else chosen
        if "weight_decay" not in overrides:
            values["weight_decay"] = pull.to_json()
    return from_json(EditJob, values)


def aligned(alignment: float, steps: int, prior: Schedule) -> tuple[dict, Schedule]:
    """Fields of the guidance, in JSON form, and the pull back to the start, for an alignment from 0 to 1.

    ``prior`` is a texture's share of the generative prior.

    The source's weight is ``1 - alignment`` of the target's (omega 2 / omega 1 of the CSD paper's editing equation): at
    0 the pure difference of the two prompts, at 1 the target alone. The pull falls with it, faster at first, since in
    the middle what is asked for should get through.
    """
    rest = 1.0 - alignment
    late = Schedule(0, LEAST_T_MAX + (0.98 - LEAST_T_MAX) * alignment, 0.5, steps * 5 / 6)
    share = Schedule(prior.start_step, prior.start_value * alignment, prior.end_value * alignment, prior.end_step)
    guidance = {
        "negative_weight": constant(rest).to_json(),
        "generative_weight": share.to_json(),
        "t_max": late.to_json(),
    }
    return guidance, constant(LEAST_PULL + (PULL - LEAST_PULL) * rest**4)
