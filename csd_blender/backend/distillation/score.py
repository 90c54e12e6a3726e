"""Score distillation as one equation over named branches.

    grad = w(t) * (sum over branches of a_branch eps_branch + a_noise eps + Perp-Neg)

A branch is one noise prediction at ``x_t``: that for the ``positive``, the ``negative`` or the empty (``null``) prompt,
or whatever else a method asks for. ``eps`` is the noise that was added; its weight has the name ``noise``. A method is
a row of weights (:mod:`.methods`); a branch whose weight is zero need not be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...job.spec.guidance import Guidance
from ..support.draws import Draws, whole_numbers

#: The name of the added noise among the weights.
NOISE = "noise"

#: Where Perp-Neg's directions may begin, as branches of the equation.
ORIGINS = {"empty": "null", "negative": "negative"}

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Predictions:
    """Noise predictions for one batch of noisy latents.

    Attributes:
        branches: ``[B, C, h, w]`` by the name of the branch.
        noise: ``[B, C, h, w]``, what was added.
        views: ``[B, K, C, h, w]`` of view prompts to stay away from (Perp-Neg), or None.
        view_weights: ``[B, K]``, zero or negative.
    """

    branches: Mapping[str, Tensor]
    noise: Tensor
    views: Tensor | None = None
    view_weights: Tensor | None = None


@dataclass
class ScoreGradient:
    """Gradient at the latents, ``[B, C, h, w]``, and what is worth logging about it."""

    grad: Tensor
    metrics: dict[str, float] = field(default_factory=dict)


def weight(weighting: str, alpha_bar: Tensor) -> Tensor:
    """``w(t)`` from alpha-bar: ``uniform`` 1, ``sds`` 1 - alpha-bar, ``fantasia3d`` sqrt(alpha-bar) (1 - alpha-bar)."""
    if weighting == "uniform":
        return torch.ones_like(alpha_bar)
    if weighting == "sds":
        return 1 - alpha_bar
    if weighting == "fantasia3d":
        return alpha_bar.sqrt() * (1 - alpha_bar)
    raise ValueError(f"unknown weighting {weighting!r}")


def draw_timesteps(batch: int, t_min: float, t_max: float, total: int, generator: Draws) -> Tensor:
    """``[batch]`` integer steps, uniform on [int(total t_min), int(total t_max)], both ends included."""
    low = min(max(int(total * t_min), 0), total - 1)
    high = min(max(int(total * t_max), low), total - 1)
    return whole_numbers(low, high, batch, generator)


def perpendicular_component(a: Tensor, b: Tensor) -> Tensor:
    """Part of ``a`` that is orthogonal to ``b``, item by item over all but the first dimension."""
    dims = tuple(range(1, a.ndim))
    dot = (a * b).sum(dims, keepdim=True)
    return a - b * dot / (b * b).sum(dims, keepdim=True).clamp_min(1e-6)


def perp_neg_origin(guidance: Guidance) -> str:
    """The branch that Perp-Neg's directions begin at. Raises ``ValueError`` for an origin that there is not."""
    if guidance.perp_neg_from not in ORIGINS:
        raise ValueError(f"unknown perp_neg_from {guidance.perp_neg_from!r}")
    return ORIGINS[guidance.perp_neg_from]


def needed_branches(weights: Weights, guidance: Guidance, with_views: bool) -> set[str]:
    """The branches that must be evaluated: those with a weight, and with ``with_views`` those that Perp-Neg needs."""
    needed = {name for name, value in weights.items() if value != 0.0 and name != NOISE}
    return needed | {"positive", perp_neg_origin(guidance)} if with_views else needed


@torch.no_grad()
def combine(weights: Weights, predictions: Predictions, guidance: Guidance, step: int, alpha: Tensor) -> ScoreGradient:
    """The equation.

    Args:
        weights: by branch name, and that of the noise.
        predictions: of every branch in :func:`needed_branches`.
        guidance: gives w(t), Perp-Neg's strength and origin, and what is done to the gradient: ``grad_clip`` is an
            element-wise bound on the weighted gradient, applied before ``grad_normalize`` divides it by its L2 norm
            over the whole batch. Perp-Neg (Armandpour et al. 2023) counts where there are predictions for views.
        step: of the job, for the schedules.
        alpha: ``[B, 1, 1, 1]``, sqrt(alpha-bar) at each item's time.

    Raises:
        ValueError: for a branch that is needed and not there, and unknown words in ``guidance``.
    """
    eps, noise = predictions.branches, predictions.noise
    origin = perp_neg_origin(guidance)
    with_views = guidance.perp_neg != 0.0 and predictions.views is not None
    missing = sorted(needed_branches(weights, guidance, with_views) - eps.keys())
    if missing:
        raise ValueError(f"there is no prediction for the branch {missing[0]!r}")
    direction = weights.get(NOISE, 0.0) * noise
    for name, value in eps.items():
        direction = direction + weights.get(name, 0.0) * value
    if with_views:
        term = _perp_neg_term(eps["positive"], eps[origin], predictions.views, predictions.view_weights)
        direction = direction + guidance.perp_neg * term
    grad = torch.nan_to_num(weight(guidance.weighting, alpha**2) * direction, nan=0.0, posinf=0.0, neginf=0.0)
    metrics = _metrics(eps, noise, grad)
    if guidance.grad_clip is not None:
        bound = guidance.grad_clip.at(step)
        grad = grad.clamp(-bound, bound)
    if guidance.grad_normalize:
        grad = grad / (grad.norm() + 1e-8)
    return ScoreGradient(grad, metrics)


def _perp_neg_term(positive: Tensor, origin: Tensor, views: Tensor, weights: Tensor) -> Tensor:
    """``sum_k w_k perp(eps_k - eps_0, eps_pos - eps_0)``, ``eps_0`` the prediction that directions begin at."""
    toward = positive - origin
    term = torch.zeros_like(toward)
    for k in range(views.shape[1]):
        away = perpendicular_component(views[:, k] - origin, toward)
        term = term + weights[:, k].to(away).view(-1, 1, 1, 1) * away
    return term


def _metrics(eps: Mapping[str, Tensor], noise: Tensor, grad: Tensor) -> dict[str, float]:
    """Norms per item of the gradient and of the two parts of the score that the CSD paper compares."""

    def norm(x: Tensor) -> float:
        return float(x.flatten(1).norm(dim=1).mean())

    metrics = {"grad_norm": norm(grad)}
    if "positive" in eps:
        metrics["generative_norm"] = norm(eps["positive"] - noise)
        reference = eps.get("null", eps.get("negative"))
        if reference is not None:
            metrics["classifier_norm"] = norm(eps["positive"] - reference)
    return metrics


def distillation_loss(latents: Tensor, grad: Tensor) -> Tensor:
    """Scalar whose gradient at ``latents`` is ``grad / B``: ``0.5 |x - stopgrad(x - grad)|^2 / B``."""
    target = (latents - grad).detach()
    return 0.5 * (latents - target).square().sum() / len(latents)
