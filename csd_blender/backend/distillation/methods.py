"""The methods, one row each: which branches of the equation count, and how much at a step.

SDS (Poole et al. 2022, arXiv 2209.14988) and classifier score distillation (Yu et al. 2023, arXiv 2310.19415) are rows
of weights alone. A method with a state of its own (a network that is trained along, noise that stays) has a ``start``
too. What people read of each method stands in ``job/spec/methods``, under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...job.spec.guidance import Guidance
from ..diffusion.model import DiffusionModel
from ..support.draws import Draws
from .score import NOISE, Predictions, ScoreGradient, Weights, combine


@dataclass(frozen=True)
class NoisyBatch:
    """What a method with a state gets to see of a step.

    Attributes:
        latents, noise, noisy: ``[B, C, h, w]``; noisy is ``x_t``.
        t: ``[B]`` integer times. step: of the stage.
        generator: the job's random numbers, on the CPU, or each picture's own.
    """

    latents: Tensor
    noise: Tensor
    noisy: Tensor
    t: Tensor
    step: int
    generator: Draws


class MethodState(Protocol):
    """What a method keeps between steps."""

    def predict(self, batch: NoisyBatch) -> dict[str, Tensor]:
        """Its own branches, ``[B, C, h, w]`` by name. It changes nothing: a step may be left out, or taken again."""
        ...

    def learn(self, batch: NoisyBatch, predictions: Predictions) -> None:
        """Once the step's gradient is known to be sound."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The whole state by name, for a checkpoint."""
        ...

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Inverse of :meth:`tensors`, after ``step`` steps: all of it, or ``ValueError`` and nothing."""
        ...


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        weights: by branch name from (guidance, step, whether there is a negative prompt). Branches of prompts are
            evaluated by the model; others come from the state.
        start: makes the state before the first step from (model, seed); None for a method without one.
    """

    weights: Callable[[Guidance, int, bool], Weights]
    start: Callable[[DiffusionModel, int], MethodState] | None = None


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
    if convention not in ("s", "1+s"):
        raise ValueError(f"unknown convention {convention!r}")
    scale = guidance_scale + (convention == "1+s")
    rest = 1.0 - scale
    negative, null = (rest, 0.0) if negative_prompt else (0.0, rest)
    return {"positive": scale, "negative": negative, "null": null, NOISE: -1.0}


def _csd(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    negative = guidance.negative_weight.at(step) if negative_prompt else 0.0
    return csd_weights(guidance.positive_weight.at(step), negative, guidance.generative_weight.at(step))


def _sds(guidance: Guidance, step: int, negative_prompt: bool) -> Weights:
    return sds_weights(guidance.guidance_scale, negative_prompt, guidance.scale_convention)


ROWS: dict[str, Row] = {"csd": Row(_csd), "sds": Row(_sds)}


def gradient_for_predictions(
    method: str,
    guidance: Guidance,
    predictions: Mapping[str, Any],
    noise: Any,
    t: Any,
    step: int = 0,
    *,
    negative_prompt: bool | None = None,
    view_predictions: Any = None,
    view_weights: Any = None,
    alpha: Any = None,
) -> ScoreGradient:
    """A method's gradient for given noise predictions, without a network. Nothing is random here.

    All arrays may be tensors or whatever ``torch.as_tensor`` takes; B pictures, latents ``[C, h, w]`` each::

        guidance = Guidance(negative_weight=constant(0.5), weighting="sds")
        eps = {"positive": a, "negative": b, "null": c}
        grad = gradient_for_predictions("csd", guidance, eps, noise, t=[500], step=100).grad

    Args:
        method: id, of ``job.spec.methods.METHODS``.
        guidance: its settings: weights as schedules, scale and convention, w(t), Perp-Neg, clip, normalization.
        predictions: ``[B, C, h, w]`` by branch: ``positive``, ``negative`` and ``null`` (the empty prompt's), and what
            a method has beside. Branches whose weight is zero may be left out.
        noise: ``[B, C, h, w]``, what was added to the latents.
        t: ``[B]`` integer times; they count only where ``alpha`` is left out, for w(t).
        step: of the job, at which the schedules are read.
        negative_prompt: whether the job has a negative prompt; None: when ``predictions`` has its branch.
        view_predictions: ``[B, K, C, h, w]`` for K view prompts to stay away from (Perp-Neg).
        view_weights: ``[B, K]`` of these, zero or negative.
        alpha: ``[B]``, sqrt(alpha-bar_t); None for Stable Diffusion's 1000 steps.

    Returns:
        ``grad`` ``[B, C, h, w]``, to be descended (``dL/dlatents`` is ``grad / B`` in a job), and ``metrics``.

    Raises:
        ValueError: for an unknown method, a missing branch, or an unknown word in ``guidance``.
    """
    if method not in ROWS:
        raise ValueError(f"there is no method {method!r}; known are {', '.join(ROWS)}")
    noise = torch.as_tensor(noise)
    alpha = _stable_diffusion_alpha(torch.as_tensor(t)) if alpha is None else torch.as_tensor(alpha)
    given = Predictions(
        {name: torch.as_tensor(value) for name, value in predictions.items()},
        noise,
        None if view_predictions is None else torch.as_tensor(view_predictions),
        None if view_weights is None else torch.as_tensor(view_weights),
    )
    negative = "negative" in predictions if negative_prompt is None else negative_prompt
    weights = ROWS[method].weights(guidance, step, negative)
    return combine(weights, given, guidance, step, alpha.to(noise).view(-1, 1, 1, 1))


def _stable_diffusion_alpha(t: Tensor) -> Tensor:
    """``[B]`` sqrt(alpha-bar) of Stable Diffusion 1 and 2 ("scaled linear" betas from 0.00085 to 0.012)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return (1.0 - betas).cumprod(0)[t.long()].sqrt()
