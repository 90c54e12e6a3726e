"""Edits: a texture's presets, and what one slider between keeping and changing makes of them; with a free shape, the
stage of text to 3D that it goes through."""

from __future__ import annotations

from typing import Any

from ..spec.common import VARIANTS
from ..spec.edit import FREE, EditJob
from ..spec.fields import from_json, to_json
from ..spec.schedule import Schedule, constant
from ..spec.settings import nested
from ..spec.text_to_3d import TextTo3DJob
from .model_kinds import predicts_a_flow
from .text_to_3d import text_to_3d_job
from .texture import FLOW_TIMES, texture_job

#: How strongly the changes are pulled back to zero, with no alignment and with all of it (AdamW's decay; its steps are
#: of size one, so a change that is always asked for comes to rest at the inverse of it on each of the field's levels).
#: The little that is left keeps clean what the target does not speak of either.
PULL, LEAST_PULL = 4.0, 0.25
#: The noisiest time that an edit without alignment begins with; with all of it, a texture's own.
LEAST_T_MAX, NOISIEST = 0.7, 0.98
#: A free shape's rate, in rates of the preset's colors, without alignment; with all of it they are the same. A shape is
#: held by moving slowly: a pull on signed distances would thin it out.
LEAST_SHAPE_RATE = 0.25
#: Half of a free shape's pictures show it lit (or its normals): colors alone would move its outline and no more.
SHAPE_SHARE = 0.5
MOST_FACES = 20_000  # of the finished mesh; unwrapping more takes as long as the steps do


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
    shared = {name: overrides[name] for name in ("steps", "method", "control", *VARIANTS) if name in overrides}
    if isinstance(chosen, dict) and "guidance_scale" in chosen:
        shared["guidance"] = {"guidance_scale": chosen["guidance_scale"]}
    values = to_json(texture_job(prompt, quality, model, negative_prompt="", warm_start=0, **shared))
    usual, rate = values["guidance"], values["learning_rate"]
    values |= {"source": source, "alignment": alignment, **overrides}
    if isinstance(alignment, (int, float)) and 0 <= alignment <= 1:  # else the job's own check says what is wrong
        prior = Schedule.from_json(usual["generative_weight"])
        latest = FLOW_TIMES[1] if predicts_a_flow(model) else NOISIEST
        guidance, pull = aligned(alignment, values["steps"], prior, latest)
        values["guidance"] = {**usual, **guidance, **chosen} if isinstance(chosen, dict) else chosen
        if "weight_decay" not in overrides:
            values["weight_decay"] = pull.to_json()
        if values.get("shape") == FREE:
            values.setdefault("shape_rate", rate * (LEAST_SHAPE_RATE + (1 - LEAST_SHAPE_RATE) * alignment))
    return from_json(EditJob, values)


def aligned(alignment: float, steps: int, prior: Schedule, latest: float) -> tuple[dict, Schedule]:
    """Fields of the guidance, in JSON form, and the pull back to the start, for an alignment from 0 to 1.

    ``prior`` is a texture's share of the generative prior, ``latest`` the last time that its first steps look at.

    The source's weight is ``1 - alignment`` of the target's (omega 2 / omega 1 of the CSD paper's editing equation): at
    0 the pure difference of the two prompts, at 1 the target alone. The pull falls with it, faster at first, since in
    the middle what is asked for should get through.
    """
    rest = 1.0 - alignment
    late = Schedule(0, LEAST_T_MAX + (latest - LEAST_T_MAX) * alignment, 0.5, steps * 5 / 6)
    share = Schedule(prior.start_step, prior.start_value * alignment, prior.end_value * alignment, prior.end_step)
    guidance = {
        "negative_weight": constant(rest).to_json(),
        "generative_weight": share.to_json(),
        "t_max": late.to_json(),
    }
    return guidance, constant(LEAST_PULL + (PULL - LEAST_PULL) * rest**4)


def shape_stage(job: EditJob) -> TextTo3DJob:
    """The job of text to 3D whose refine stage an edit with a free shape goes through, begun with its mesh.

    Its cameras, lamps, backgrounds and regularizers are those of CSD's objects; prompts, guidance, steps, views and the
    rates of colors and shape are the edit's. Raises ``JobError('bad_setting')`` for a pull that no object can have.
    """
    alike = (
        "prompt", "model", "lora", "lora_weight", "encoder", "method", "seed", "device", "view_prompts",
        "extra_words", "debias_prompt", "debias_words", "texture_size", "rasterizer", "allow_noncommercial",
        "preview_interval", "checkpoint_interval", "control", "control_model", "control_strength", "control_end",
    )  # fmt: skip
    refine = {
        "views": job.views,
        "render_size": job.render_size,
        "tet_resolution": job.shape_resolution,
        "learning_rate": job.shape_rate,
        "color_rate": job.learning_rate,
        "color_decay": job.weight_decay.to_json(),
        "rates_fall": True,
        "normals_share": SHAPE_SHARE,
        "guidance": to_json(job.guidance),
    }
    return text_to_3d_job(
        start="mesh",
        negative_prompt=job.source,
        refine_steps=job.steps,
        refine=refine,
        keep="all",
        max_faces=MOST_FACES,
        **{name: getattr(job, name) for name in alike},
    )
