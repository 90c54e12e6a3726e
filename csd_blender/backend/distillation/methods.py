"""The methods, one row each: which branches of the equation count, and how much at a step.

A method of weights alone is its row (:func:`csd_weights` and the like). One that finds its own noise or compares other
times has a ``prepare``; one with a state (a network that is trained along, noise that stays) a ``start``. What people
read of each method stands in ``job/spec/methods``, under the same id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...job.spec.guidance import Guidance
from ..diffusion.model import DiffusionModel
from . import asynchronous, inversion, times
from .dsd import FIRST, LAST, DiverseState
from .score import NOISE, Finish, Weights, counted_scale
from .state import MethodState, NoisyBatch, Prepared
from .vsd import VariationalState

__all__ = ["ROWS", "MethodState", "NoisyBatch", "Row", "csd_weights", "sds_weights"]

NFSD_SMALL_TIMES = 0.2  # of all; below, the noise in a picture is small and nothing is taken away


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        weights: by branch name from (guidance, step, whether there is a negative prompt). Branches of prompts are
            evaluated by the model; others come from ``prepare`` or the state.
        start: makes the state before the first step from (model, seed, guidance); None for a method without one.
        prepare: finds the step's noise, and branches of the method's own, where there is no state that does; None takes
            the noise that was drawn.
        time: the one time of a step from (progress, number of times); None draws times as the guidance says.
        finish: what the method fixes about the gradient beside its weights.
    """

    weights: Callable[[Guidance, int, bool], Weights]
    start: Callable[[DiffusionModel, int, Guidance], MethodState] | None = None
    prepare: Callable[[NoisyBatch], Prepared] | None = None
    time: Callable[[float, int], int] | None = None
    finish: Finish = Finish()


def csd_weights(
    positive_weight: float = 1.0, negative_weight: float = 0.0, generative_weight: float = 0.0
) -> dict[str, float]:
    """Classifier score with a negative classifier, and a share ``g`` of the generative prior:
    ``w1 (eps_pos - eps_null) - w2 (eps_neg - eps_null) + g (eps_pos - eps)``.

    With ``g = 0`` the three prediction weights sum to zero and the noise has none: that is CSD proper.
    """
    g = generative_weight
    return {
        "positive": positive_weight + g,
        "negative": -negative_weight,
        "null": negative_weight - positive_weight,
        NOISE: -g,
    }


def sds_weights(guidance_scale: float = 7.5, negative_prompt: bool = True, convention: str = "s") -> dict[str, float]:
    """SDS with classifier-free guidance, minus the noise.

    Args:
        guidance_scale: s.
        negative_prompt: ``eps_n`` is the negative prompt's prediction; False makes it the empty prompt's.
        convention: ``s`` for ``eps_n + s (eps_pos - eps_n)``; ``1+s`` for ``eps_pos + s (eps_pos - eps_n)``, as
            DreamFusion's equation and threestudio's SDS without Perp-Neg have it, which is one more of the same scale.

    Raises:
        ValueError: for another convention.
    """
    scale = counted_scale(guidance_scale, convention)
    rest = 1.0 - scale
    negative, null = (rest, 0.0) if negative_prompt else (0.0, rest)
    return {"positive": scale, "negative": negative, "null": null, NOISE: -1.0}


def _csd(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    negative = guidance.negative_weight.at(step) if negative_prompt else 0.0
    return csd_weights(guidance.positive_weight.at(step), negative, guidance.generative_weight.at(step))


def _sds(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    return sds_weights(guidance.guidance_scale, negative_prompt, guidance.scale_convention)


def _guided_minus(other: str) -> Callable[[Guidance, int, bool], Weights]:
    """Classifier-free guidance, minus another branch in the place of the noise."""

    def weights(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
        return {**_sds(guidance, step, negative_prompt), NOISE: 0.0, other: -1.0}

    return weights


def _dsd(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    """``eps_s(x(t), t) - eps_1(x(d), d)``; scale 1 counted by the same convention as s."""
    background = "negative" if negative_prompt else "null"
    ahead = counted_scale(1.0, guidance.scale_convention)
    return {
        **_sds(guidance, step, negative_prompt),
        NOISE: 0.0,
        "ahead_positive": -ahead,
        f"ahead_{background}": ahead - 1.0,
    }


def _nfsd(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    """``s (eps_pos - eps_null) + d``; d is ``eps_null`` at small times and ``eps_null - eps_neg`` at others: what is
    left of the prediction when the added noise is taken out of it (Katzir et al. 2023, arXiv 2310.17590)."""
    scale = counted_scale(guidance.guidance_scale, guidance.scale_convention)

    def large(time: Tensor) -> Tensor:
        return (time >= NFSD_SMALL_TIMES).to(time.dtype)

    if negative_prompt:
        return {"positive": scale, "negative": lambda time: -large(time), "null": 1.0 - scale}
    return {"positive": scale, "null": lambda time: 1.0 - scale - large(time)}


def _ism(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    """``eps_null + s (eps_pos - eps_null) - eps_null(x_s, s)`` on the way of DDIM's inversion."""
    return {**sds_weights(guidance.guidance_scale, False, guidance.scale_convention), NOISE: 0.0, "before": -1.0}


def _bridge(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    """SDS, then ``s (eps_good - eps_bad)``: the prompt with good words behind it against the prompt with bad ones
    (McAllister et al. 2024, arXiv 2406.09417)."""
    if step < guidance.bridge_start:
        return _sds(guidance, step, negative_prompt)
    return {"good": guidance.guidance_scale, "bad": -guidance.guidance_scale}


def _csd_mvdream(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    return {"positive": 1.0, "negative" if negative_prompt else "null": -1.0}


ROWS: dict[str, Row] = {
    "csd": Row(_csd),
    "sds": Row(_sds),
    "sjc": Row(_sds, finish=Finish(weighting="uniform")),
    "vsd": Row(_guided_minus("lora"), start=VariationalState),
    "dsd": Row(
        _dsd,
        start=lambda model, seed, guidance: DiverseState(model, seed),
        time=lambda progress, total: times.square_root_time(progress, LAST, FIRST, total),
    ),
    "asd": Row(_guided_minus("later"), prepare=asynchronous.prepare),
    "nfsd": Row(_nfsd),
    "ism": Row(_ism, prepare=inversion.prepare_ism, finish=Finish(weighting="x0")),
    "sdi": Row(
        _sds,
        prepare=inversion.prepare_sdi,
        time=lambda progress, total: times.linear_time(progress, inversion.SDI_LAST, inversion.SDI_FIRST, total),
        finish=Finish(weighting="x0"),
    ),
    "csm": Row(_csd, prepare=inversion.prepare_csm),
    "bridge": Row(_bridge),
    # On predictions of a model that sees several views at once: for objects by such a model alone.
    "mvdream": Row(_sds, finish=Finish(weighting="x0", rescales=True)),
    "csd-mvdream": Row(_csd_mvdream, finish=Finish(weighting="uniform", channel_share=0.9)),
}
