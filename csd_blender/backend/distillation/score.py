"""Score distillation as one equation over named branches.

    grad = w(t) * (sum over branches of a_branch eps_branch + a_noise eps + Perp-Neg)

A branch is one noise prediction at ``x_t``: that for the ``positive``, the ``negative`` or the empty (``null``) prompt,
or whatever else a method asks for. ``eps`` is the noise that was added; its weight has the name ``noise``. A method is
a row of weights (:mod:`.methods`); a branch whose weight is zero need not be evaluated. A weight may depend on the
time, as NFSD's do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Union

import torch
from torch import Tensor

from ...job.spec.guidance import Guidance
from ..support.draws import Draws, whole_numbers

#: The name of the added noise among the weights.
NOISE = "noise"

#: Where Perp-Neg's directions may begin, as branches of the equation.
ORIGINS = {"empty": "null", "negative": "negative"}

#: A number, or a function from the times ``[B, 1, 1, 1]``, as fractions of all steps, to a factor for each item.
Weight = Union[float, Callable[[Tensor], Tensor]]
Weights = Mapping[str, Weight]


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


def counted_scale(scale: float, convention: str) -> float:
    """A guidance scale as samplers count it, of ``eps_0 + s (eps - eps_0)``; in the convention ``1+s`` it is one less.

    Raises:
        ValueError: for another convention than these two.
    """
    if convention not in ("s", "1+s"):
        raise ValueError(f"unknown convention {convention!r}")
    return scale + (convention == "1+s")


def weight(weighting: str, alpha_bar: Tensor) -> Tensor:
    """``w(t)`` from alpha-bar: ``uniform`` 1, ``sds`` 1 - alpha-bar, ``fantasia3d`` sqrt(alpha-bar) (1 - alpha-bar),
    ``x0`` sigma / alpha, which makes ``x - x0_hat`` of ``eps_hat - eps``, ``x0_hat`` the predicted clean picture."""
    if weighting == "uniform":
        return torch.ones_like(alpha_bar)
    if weighting == "sds":
        return 1 - alpha_bar
    if weighting == "fantasia3d":
        return alpha_bar.sqrt() * (1 - alpha_bar)
    if weighting == "x0":
        return ((1 - alpha_bar) / alpha_bar).sqrt()
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


@dataclass(frozen=True)
class Finish:
    """What a row fixes about the gradient beside its weights.

    Attributes:
        weighting: w(t) that belongs to the method's equation; None takes the one in the guidance.
        channel_share: so much of the gradient is divided by its own deviation over each item's channel (CSD-MVDream).
        rescales: ``Guidance.rescale`` counts.
    """

    weighting: str | None = None
    channel_share: float = 0.0
    rescales: bool = False


@torch.no_grad()
def combine(
    weights: Weights,
    predictions: Predictions,
    guidance: Guidance,
    step: int,
    alpha: Tensor,
    *,
    finish: Finish = Finish(),
    time: Tensor | None = None,
    latents: Tensor | None = None,
    views_per_object: int | None = None,
) -> ScoreGradient:
    """The equation.

    Args:
        weights: by branch name, and that of the noise.
        predictions: of every branch in :func:`needed_branches`.
        guidance: gives w(t), Perp-Neg's strength and origin, and what is done to the gradient: ``grad_clip`` is an
            element-wise bound on the weighted gradient, applied before ``grad_normalize`` divides it by its L2 norm
            over the whole batch. Perp-Neg (Armandpour et al. 2023) counts where there are predictions for views.
        step: of the job, for the schedules.
        alpha: ``[B, 1, 1, 1]``, sqrt(alpha-bar) at each item's time.
        finish: what the method itself fixes.
        time: ``[B, 1, 1, 1]`` fractions of all steps, for weights that depend on it.
        latents: ``[B, C, h, w]`` clean ones, for ``rescale``. views_per_object: items that share one rescaling; None
            for all of them.

    Raises:
        ValueError: for a branch that is needed and not there, and unknown words in ``guidance``.
    """
    eps, noise = predictions.branches, predictions.noise
    perp_neg_origin(guidance)  # refuses an unknown one, also where it does not count
    with_views = guidance.perp_neg != 0.0 and predictions.views is not None
    missing = sorted(needed_branches(weights, guidance, with_views) - eps.keys())
    if missing:
        raise ValueError(f"there is no prediction for the branch {missing[0]!r}")
    direction = torch.zeros_like(noise)
    for name, value in {NOISE: noise, **eps}.items():
        part = weights.get(name, 0.0)
        if callable(part) or part != 0.0:  # 0 times what is no number would be no number
            direction = direction + _at(part, time) * value
    if with_views:
        direction = direction + perp_neg_term(predictions, guidance)
    weighting = finish.weighting or guidance.weighting
    grad = torch.nan_to_num(weight(weighting, alpha**2) * direction, nan=0.0, posinf=0.0, neginf=0.0)
    if finish.rescales and guidance.rescale != 0.0:
        only_positive = weight("x0", alpha**2) * (eps["positive"] - noise)
        grad = _rescaled(grad, only_positive, latents, guidance.rescale, views_per_object)
        grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)  # one deviation reaches all views of an object
    metrics = _metrics(eps, noise, grad)
    if guidance.grad_clip is not None:
        bound = guidance.grad_clip.at(step)
        grad = grad.clamp(-bound, bound)
    if finish.channel_share != 0.0:
        if grad.shape[2] * grad.shape[3] < 2:
            raise ValueError("a deviation over a channel needs more than one number in it")
        spread = grad.std(dim=(2, 3), keepdim=True) + 1e-8
        grad = finish.channel_share * grad / spread + (1 - finish.channel_share) * grad
    if guidance.grad_normalize:
        grad = grad / (grad.norm() + 1e-8)
    return ScoreGradient(grad, metrics)


def _at(value: Weight, time: Tensor | None) -> float | Tensor:
    if not callable(value):
        return value
    if time is None:
        raise ValueError("this method's weights depend on the time, which is not told")
    return value(time)


def _rescaled(grad: Tensor, only_positive: Tensor, latents: Tensor | None, share: float, views: int | None) -> Tensor:
    """The gradient whose clean picture has a share of the contrast that the prompt alone would give it.

    Classifier-free guidance over-exposes (Lin et al. 2023, 2305.08891); MVDream holds ``x0_hat = x - grad`` back so:
    ``x0_hat (share std(x0_pos) / std(x0_hat) + 1 - share)``, the deviations unbiased over all views of an object.
    """
    if latents is None:
        raise ValueError("rescale needs the latents")
    guided, plain = latents - grad, latents - only_positive
    views = len(latents) if views is None else views
    if views < 1 or len(latents) % views:
        raise ValueError(f"{len(latents)} pictures cannot be {views} of each object")
    groups = len(latents) // views

    def spread(x: Tensor) -> Tensor:
        deviation = x.reshape(groups, -1).std(dim=1) + 1e-8
        return deviation.repeat_interleave(len(latents) // groups).view(-1, 1, 1, 1)

    return latents - guided * (share * spread(plain) / spread(guided) + 1 - share)


def perp_neg_term(predictions: Predictions, guidance: Guidance) -> Tensor:
    """``p sum_k w_k perp(eps_k - eps_0, eps_pos - eps_0)``, ``eps_0`` the prediction that directions begin at."""
    positive, origin = predictions.branches["positive"], predictions.branches[perp_neg_origin(guidance)]
    views, weights = predictions.views, predictions.view_weights
    toward = positive - origin
    term = torch.zeros_like(toward)
    if views is None or weights is None:
        return term
    for k in range(views.shape[1]):
        away = perpendicular_component(views[:, k] - origin, toward)
        term = term + weights[:, k].to(away).view(-1, 1, 1, 1) * away
    return guidance.perp_neg * term


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
