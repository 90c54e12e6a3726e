"""Score distillation as one equation with four coefficients.

    grad = w(t) * (a_pos eps_pos + a_neg eps_neg + a_null eps_null + a_noise eps + Perp-Neg)

``eps_pos``, ``eps_neg`` and ``eps_null`` are the network's noise predictions for the positive, the negative and the
empty prompt at the same ``x_t``; ``eps`` is the noise that was added. SDS (Poole et al. 2022) and classifier score
distillation (Yu et al. 2023, arXiv 2310.19415) are rows of coefficients; a branch whose coefficient is zero is never
evaluated, and all branches of a step go through the network in one call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..diffusion.model import DiffusionModel

#: Where Perp-Neg's directions may begin, as branches of the equation.
ORIGINS = {"empty": "null", "negative": "negative"}


@dataclass(frozen=True)
class Coefficients:
    """Weights of the three predictions and of the added noise."""

    positive: float
    negative: float
    null: float
    noise: float


def csd_coefficients(
    positive_weight: float = 1.0, negative_weight: float = 0.0, generative_weight: float = 0.0
) -> Coefficients:
    """Classifier score with a negative classifier, and a share ``g`` of the generative prior:
    ``w1 (eps_pos - eps_null) - w2 (eps_neg - eps_null) + g (eps_pos - eps)``.

    With ``g = 0`` the three prediction weights sum to zero and the noise has none: that is CSD proper.
    """
    g = generative_weight
    return Coefficients(positive_weight + g, -negative_weight, negative_weight - positive_weight, -g)


def sds_coefficients(guidance_scale: float = 7.5, negative_prompt: bool = True, convention: str = "s") -> Coefficients:
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
    if negative_prompt:
        return Coefficients(scale, rest, 0.0, -1.0)
    return Coefficients(scale, 0.0, rest, -1.0)


@dataclass(frozen=True)
class PromptEmbeddings:
    """Text embeddings of one batch of views, each ``[B, L, D]``.

    Attributes:
        perp_negative: ``[B, K, L, D]`` view prompts to stay away from (Perp-Neg), or None.
        perp_weights: ``[B, K]``, zero or negative.
    """

    positive: Tensor
    negative: Tensor
    null: Tensor
    perp_negative: Tensor | None = None
    perp_weights: Tensor | None = None


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


def draw_timesteps(batch: int, t_min: float, t_max: float, total: int, generator: torch.Generator) -> Tensor:
    """``[batch]`` integer steps, uniform on [int(total t_min), int(total t_max)], both ends included."""
    low = min(max(int(total * t_min), 0), total - 1)
    high = min(max(int(total * t_max), low), total - 1)
    return torch.randint(low, high + 1, (batch,), generator=generator)


def perpendicular_component(a: Tensor, b: Tensor) -> Tensor:
    """Part of ``a`` that is orthogonal to ``b``, item by item over all but the first dimension."""
    dims = tuple(range(1, a.ndim))
    dot = (a * b).sum(dims, keepdim=True)
    return a - b * dot / (b * b).sum(dims, keepdim=True).clamp_min(1e-6)


def score_gradient(
    model: DiffusionModel,
    latents: Tensor,
    t: Tensor,
    noise: Tensor,
    prompts: PromptEmbeddings,
    coefficients: Coefficients,
    *,
    weighting: str = "uniform",
    perp_neg: float = 0.0,
    grad_clip: float | None = None,
    grad_normalize: bool = False,
    perp_neg_from: str = "empty",
) -> ScoreGradient:
    """Evaluate the distillation gradient at ``latents``; no gradient flows through the network.

    Args:
        latents: ``[B, C, h, w]``.
        t: ``[B]`` integer steps.
        noise: ``[B, C, h, w]`` standard normal; forms ``x_t`` and enters with ``coefficients.noise``.
        perp_neg: scale of the Perp-Neg term (Armandpour et al. 2023), 0 is off.
        grad_clip: element-wise bound on the weighted gradient, applied before the normalization.
        grad_normalize: divide by the L2 norm over the whole batch.
        perp_neg_from: the prediction that Perp-Neg's directions begin at: the ``empty`` prompt's, as in the paper, or
            the ``negative`` prompt's, as in the code of CSD, threestudio and DSD.

    Raises:
        ValueError: for another ``perp_neg_from``.
    """
    if perp_neg_from not in ORIGINS:
        raise ValueError(f"unknown perp_neg_from {perp_neg_from!r}")
    origin = ORIGINS[perp_neg_from]
    with torch.no_grad():
        noisy = model.add_noise(latents, noise, t)
        eps, perp = _predict_branches(model, noisy, t, prompts, coefficients, origin if perp_neg != 0.0 else None)
        direction = coefficients.noise * noise
        for name, value in eps.items():
            direction = direction + getattr(coefficients, name) * value
        if perp is not None:
            direction = direction + perp_neg * _perp_neg_term(eps["positive"], eps[origin], perp, prompts.perp_weights)
        alpha_bar = model.alpha_sigma(t)[0] ** 2
        grad = torch.nan_to_num(weight(weighting, alpha_bar) * direction, nan=0.0, posinf=0.0, neginf=0.0)
        metrics = _metrics(eps, noise, t, model.num_train_timesteps, grad)
        if grad_clip is not None:
            grad = grad.clamp(-grad_clip, grad_clip)
        if grad_normalize:
            grad = grad / (grad.norm() + 1e-8)
    return ScoreGradient(grad, metrics)


def _predict_branches(
    model: DiffusionModel,
    noisy: Tensor,
    t: Tensor,
    prompts: PromptEmbeddings,
    coefficients: Coefficients,
    perp_origin: str | None,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Noise predictions by branch name, and those of the Perp-Neg views ``[B, K, C, h, w]``, from one network call.

    ``perp_origin`` is the branch where Perp-Neg's directions begin; None for no Perp-Neg.
    """
    with_perp = perp_origin is not None and prompts.perp_negative is not None
    names = [
        n
        for n in ("positive", "negative", "null")
        if getattr(coefficients, n) != 0.0 or (with_perp and n in ("positive", perp_origin))
    ]
    embeddings = [getattr(prompts, n) for n in names]
    inputs, steps = [noisy] * len(names), [t] * len(names)
    if with_perp:
        views = prompts.perp_negative.shape[1]
        # Item-major on both sides: view k of item b must see item b's own x_t and t.
        embeddings.append(prompts.perp_negative.flatten(0, 1))
        inputs.append(noisy.repeat_interleave(views, dim=0))
        steps.append(t.repeat_interleave(views, dim=0))
    if not names:
        return {}, None
    prediction = model.predict_noise(torch.cat(inputs), torch.cat(steps), torch.cat(embeddings))
    batch = len(noisy)
    eps = {name: prediction[i * batch : (i + 1) * batch] for i, name in enumerate(names)}
    if not with_perp:
        return eps, None
    return eps, prediction[len(names) * batch :].view(batch, views, *noisy.shape[1:])


def _perp_neg_term(positive: Tensor, origin: Tensor, perp: Tensor, weights: Tensor) -> Tensor:
    """``sum_k w_k perp(eps_k - eps_0, eps_pos - eps_0)``, ``eps_0`` the prediction that directions begin at."""
    toward = positive - origin
    term = torch.zeros_like(toward)
    for k in range(perp.shape[1]):
        away = perpendicular_component(perp[:, k] - origin, toward)
        term = term + weights[:, k].to(away).view(-1, 1, 1, 1) * away
    return term


def _metrics(eps: dict[str, Tensor], noise: Tensor, t: Tensor, total: int, grad: Tensor) -> dict[str, float]:
    """Mean step, norms per item of the gradient and of the two parts of the score that the paper compares."""

    def norm(x: Tensor) -> float:
        return float(x.flatten(1).norm(dim=1).mean())

    metrics = {"t": float(t.float().mean()) / total, "grad_norm": norm(grad)}
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
