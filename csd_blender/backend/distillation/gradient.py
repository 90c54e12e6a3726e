"""A method's gradient for noise predictions: the one that jobs take, and the public one for arrays of any origin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...job.spec.guidance import Guidance
from .methods import ROWS
from .score import NOISE, Predictions, ScoreGradient, combine, needed_branches, perp_neg_origin

__all__ = ["gradient_for_predictions", "row_gradient"]


def row_gradient(
    method: str,
    guidance: Guidance,
    given: Predictions,
    step: int,
    *,
    negative_prompt: bool,
    alpha: Tensor,
    time: Tensor,
    latents: Tensor | None,
    views_per_object: int | None = None,
) -> ScoreGradient:
    """A method's row in the equation, in the precision of what is given; arguments as of the function below.

    Args:
        alpha, time: ``[B]``.

    Raises:
        ValueError: as :func:`.score.combine`.
    """
    row = ROWS[method]
    return combine(
        row.weights(guidance, step, negative_prompt),
        given,
        guidance,
        step,
        alpha.view(-1, 1, 1, 1),
        finish=row.finish,
        time=time.view(-1, 1, 1, 1),
        latents=latents,
        views_per_object=views_per_object,
    )


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
    time: Any = None,
    latents: Any = None,
    views_per_object: int | None = None,
) -> ScoreGradient:
    """A method's gradient for given noise predictions, without a network. Nothing is random here.

    All arrays may be tensors or whatever ``numpy.asarray`` takes, of any real type; B pictures, latents ``[C, h, w]``
    each. What follows is computed in double precision, since large weights of alike predictions cancel almost; jobs go
    through the same equation in the model's own precision. Dimensions of 1 stand for all, as in numpy::

        guidance = Guidance(negative_weight=constant(0.5), weighting="sds")
        eps = {"positive": a, "negative": b, "null": c}
        grad = gradient_for_predictions("csd", guidance, eps, noise, t=[500], step=100).grad

    Args:
        method: id, of ``job.spec.methods.METHODS``, or ``mvdream`` or ``csd-mvdream``.
        guidance: its settings: weights as schedules, scale and convention, w(t), Perp-Neg, clip, normalization.
        predictions: ``[B, C, h, w]`` by branch: ``positive``, ``negative`` and ``null`` (the empty prompt's) at ``x_t``
            and t, and what a method has beside: ``lora`` (vsd), ``later`` (asd: the prompt at ``t + dt``), ``before``
            (ism: the empty prompt at ``s < t``), ``ahead_positive`` and, with convention ``1+s``, ``ahead_negative`` or
            ``ahead_null`` (dsd: at ``d >= t``), ``good`` and ``bad`` (bridge). Branches whose weight is zero may be
            left out, and are not read.
        noise: ``[B, C, h, w]``, what was added to the latents.
        t: ``[B]`` integer times; they count only where ``alpha`` is left out, for w(t), or ``time``; else None serves.
        step: of the job, at which the schedules are read.
        negative_prompt: whether the job has a negative prompt; None: when ``predictions`` has its branch.
        view_predictions: ``[B, K, C, h, w]`` for K view prompts to stay away from (Perp-Neg).
        view_weights: ``[B, K]`` of these, zero or negative.
        alpha: ``[B]``, sqrt(alpha-bar_t); None for Stable Diffusion's 1000 steps.
        time: ``[B]``, t as a fraction of all steps, for nfsd; None: t / 1000.
        latents: ``[B, C, h, w]`` clean ones, for mvdream with ``Guidance.rescale``. views_per_object: so many items
            share one rescaling; None: all.

    Returns:
        ``grad`` ``[B, C, h, w]``, to be descended (``dL/dlatents`` is ``grad / B`` in a job), of the widest floating
        type among predictions and noise and at least float32; and ``metrics``. A value that is no number, or infinite,
        becomes 0.

    Raises:
        ValueError: for an unknown method, a missing branch, an unknown word in ``guidance``, arrays that do not go
            together or hold no real numbers, and times that there are not.
    """
    if not isinstance(method, str) or method not in ROWS:
        raise ValueError(f"there is no method {method!r}; known are {', '.join(ROWS)}")
    if not math.isfinite(step):
        raise ValueError(f"step is {step}, and must be a finite number")
    negative = "negative" in predictions if negative_prompt is None else negative_prompt
    if not negative:  # both origins are the empty prompt's then
        guidance = replace(guidance, perp_neg_from="empty")
    weights = ROWS[method].weights(guidance, step, negative)
    with_views = guidance.perp_neg != 0.0 and view_predictions is not None
    if with_views and view_weights is None:
        raise ValueError("view_predictions need view_weights")
    perp_neg_origin(guidance)  # refuses an unknown one, also where it does not count
    # What has no weight is not read: it may be left out, and it may be anything.
    used = {name: predictions[name] for name in needed_branches(weights, guidance, with_views) if name in predictions}
    arrays = {name: _read(name, value) for name, value in ({NOISE: noise} | used).items()}
    shape, device, dtype = _common(arrays)
    wide = torch.float32 if device.type == "mps" else torch.float64  # large weights cancel almost; and MPS has no wider

    def like(name: str, value: Any, wanted: tuple[int, ...]) -> Tensor:
        array = _read(name, value).to(device, wide)
        try:
            return array.expand(wanted)
        except RuntimeError:
            raise ValueError(f"{name} has the shape {tuple(array.shape)}, and must have {wanted}") from None

    batch = shape[0]
    noise = like(NOISE, arrays.pop(NOISE), shape)
    branches = {name: like(name, value, shape) for name, value in arrays.items()}
    views = told = None
    if with_views:
        views = _read("view_predictions", view_predictions).to(device, wide)
        count = views.shape[1] if views.ndim == 5 else 0
        views = like("view_predictions", views, (batch, count, *shape[1:]))
        told = _read("view_weights", view_weights)
        if tuple(told.shape) != (batch, count):
            raise ValueError(f"view_weights has the shape {tuple(told.shape)}, and must have {(batch, count)}")
    if alpha is None:
        alpha = _stable_diffusion_alpha(_read("t", t).cpu())
    alpha = like("alpha", alpha, (batch,))
    if not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ValueError("alpha is sqrt(alpha-bar), and must lie from 0 to 1")
    if time is None and any(callable(value) for value in weights.values()):
        time = _read("t", t).double().cpu() / 1000
    found = row_gradient(
        method,
        guidance,
        Predictions(branches, noise, views, told),
        step,
        negative_prompt=negative,
        alpha=alpha,
        time=like("time", 0.0 if time is None else time, (batch,)),
        latents=None if latents is None else like("latents", latents, shape),
        views_per_object=views_per_object,
    )
    return replace(found, grad=found.grad.to(dtype))


def _read(name: str, value: Any) -> Tensor:
    """A tensor of real numbers; arrays of any order of bytes and strides serve.

    Raises:
        ValueError: for what holds no real numbers.
    """
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except ValueError:
            raise ValueError(f"{name} is no array: its rows differ in length") from None
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds no real numbers")
        kept = array.dtype.itemsize if array.dtype.kind == "f" else 8
        value = torch.from_numpy(array.astype({2: np.float16, 4: np.float32}.get(kept, np.float64)))
    if value.is_complex():
        raise ValueError(f"{name} holds no real numbers")
    return value.detach()


def _common(arrays: Mapping[str, Tensor]) -> tuple[tuple[int, ...], torch.device, torch.dtype]:
    """The shape that all fit, the device of the noise, and the widest floating type, at least single precision.

    Raises:
        ValueError: for shapes that do not go together.
    """
    try:
        shape = tuple(torch.broadcast_shapes(*(array.shape for array in arrays.values())))
    except RuntimeError:
        shape = ()
    if len(shape) != 4:
        told = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())
        raise ValueError(f"predictions and noise must have one shape [B, C, h, w], and have {told}")
    dtype = torch.float32
    for array in arrays.values():
        dtype = torch.promote_types(dtype, array.dtype) if array.is_floating_point() else dtype
    return shape, arrays[NOISE].device, dtype


def _stable_diffusion_alpha(t: Tensor) -> Tensor:
    """``[B]`` sqrt(alpha-bar) of Stable Diffusion 1 and 2 ("scaled linear" betas from 0.00085 to 0.012); the
    table is of single precision, as diffusers has it.

    Raises:
        ValueError: for times that there are not.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    if not bool(((t >= 0) & (t < len(betas)) & (t == t.long())).all()):
        raise ValueError(f"t must be whole numbers from 0 to {len(betas) - 1}")
    return (1.0 - betas).cumprod(0)[t.long()].double().sqrt()
