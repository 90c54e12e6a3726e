"""What may vary on any method, written into the guidance of a stage: Perp-Neg, the score clip of D-SDS, noise that
stays on the surface, falling times, and the course of the negative prompt."""

from __future__ import annotations

from typing import Any

from ..spec.common import PERP_NEG
from ..spec.fields import bad
from ..spec.methods import find_method
from ..spec.schedule import Schedule
from .model_kinds import works_on_pixels

#: D-SDS (Hong et al. 2023, arXiv 2303.15413): the bound at the first and the last step. Its authors' values for Stable
#: Diffusion and for DeepFloyd IF, of SDS.
CLIP_ON_LATENTS, CLIP_ON_PIXELS = (2.0, 8.0), (0.5, 2.0)
#: For the bundled model about half of the gradient's root mean square and twice that: 0.8 with a guidance scale of 7.5,
#: 0.17 with the classifier scores alone.
CLIP_MINI_SCALED, CLIP_MINI = (0.4, 1.6), (0.1, 0.4)
STRONGEST = PERP_NEG().metadata["high"]


def vary(guidance: dict, given: dict, steps: int, method: str, mini: bool, model: str) -> dict:
    """A stage's guidance, as a table, with what the job's words ask for.

    Args:
        given: the job's settings by name; words and numbers that are not allowed change nothing, the job's own check
            names them.
        steps: of the stage. mini: its model is the bundled one. model: its name.

    Raises:
        JobError: ``bad_setting`` for a strength of Perp-Neg between that of the preset, -1, and none.
    """
    varied = dict(guidance)
    row = find_method(method)
    for name in ("noise", "times"):
        if name in given:
            varied[name] = given[name]
    strength = given.get("perp_neg", -1)
    if _is_number(strength) and -1 < strength < 0:
        raise bad("perp_neg", strength, "-1, for that of the preset, or 0 and more")
    if _is_number(strength) and 0 <= strength <= STRONGEST:
        # Where there is a guidance scale, 1 is what the paper has: s times the term.
        scale = varied.get("guidance_scale", 7.5) if row.uses_guidance_scale else 1
        if _is_number(scale):
            varied["perp_neg"] = float(strength * scale)
    if given.get("clip") == "debiased":
        of_mini = CLIP_MINI_SCALED if row.uses_guidance_scale else CLIP_MINI
        first, last = of_mini if mini else CLIP_ON_PIXELS if works_on_pixels(model) else CLIP_ON_LATENTS
        varied["grad_clip"] = Schedule(0, first, last, steps)
    if given.get("negative_course") == "rising":
        varied["negative_weight"] = Schedule(0, 0.0, 1.0, steps / 2)
    elif given.get("negative_course") == "falling":
        varied["negative_weight"] = Schedule(0, 1.0, 0.5, steps)
    return varied


def chosen_guidance(usual: dict, given: dict, steps: int, method: str, mini: bool, model: str) -> Any:
    """A preset's guidance, as a table, with what the job's words ask for, and ``given["guidance"]`` over all of it;
    that itself where it is no table. Arguments as for :func:`vary`."""
    chosen = given.get("guidance", {})
    if not isinstance(chosen, dict):
        return chosen
    scale = {name: chosen[name] for name in ("guidance_scale",) if name in chosen}  # Perp-Neg is counted with it
    return vary(usual | scale, given, steps, method, mini, model) | chosen


def of_method(method: str, mini: bool, steps: int, bridge_share: float) -> dict[str, Any]:
    """What a method needs in its guidance beside the preset's values."""
    row, values = find_method(method), {}
    if row.compares_wordings:
        values["bridge_start"] = round(bridge_share * steps)
    if row.trains and mini:
        values["lora_rate"] = 1e-3  # few steps
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
