"""Sampling by DDIM (Song et al. 2020, arXiv 2010.02502) without fresh noise: one noise, one picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .model import NoiseSchedule

#: From noisy latents ``[B, C, h, w]`` and their times ``[B]`` to the noise in them.
Predict = Callable[[Tensor, Tensor], Tensor]
#: From clean latents as they are foreseen, and how many strides are done, to others in their place.
Revise = Callable[[Tensor, int], Tensor]

LEAST_ALPHA = 0.02  # of the picture, at the first time: where nothing of it is left, none can be foreseen


def ddim_move(schedule: NoiseSchedule, x: Tensor, noise: Tensor, t: Tensor, to: Tensor) -> Tensor:
    """``x_t`` moved to another time by DDIM without fresh noise: ``alpha_to x0_hat + sigma_to noise``.

    ``x``, ``noise``: ``[B, C, h, w]``; ``t``, ``to``: ``[B]`` integer times.
    """
    return schedule.add_noise(foreseen(schedule, x, noise, t), noise, to)


def foreseen(schedule: NoiseSchedule, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The clean latents that ``x_t`` has in it besides that noise: ``x0_hat = (x_t - sigma_t noise) / alpha_t``."""
    alpha, sigma = schedule.alpha_sigma(t)
    return (x - sigma * noise) / alpha


def implied_noise(schedule: NoiseSchedule, latents: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """The noise that leads from the clean ``latents`` to ``x`` at ``t``."""
    alpha, sigma = schedule.alpha_sigma(t)
    return (x - alpha * latents) / sigma


def sampling_times(schedule: NoiseSchedule, strides: int, share: float = 1.0) -> list[int]:
    """``strides`` times, evenly down to but without 0, from that share of the last one at which a picture can be
    foreseen: with a schedule that ends in noise alone (Lin et al. 2023, 2305.08891) that is a little before its end."""
    alpha, _ = schedule.alpha_sigma(torch.arange(len(schedule)))
    seen = (alpha.flatten() >= LEAST_ALPHA).nonzero().flatten()
    first = round(share * int(seen[-1])) if len(seen) else 0
    return [int(t) for t in torch.linspace(first, 0, strides + 1, dtype=torch.float64)[:-1]]


def ddim_sample(
    schedule: NoiseSchedule,
    noise: Tensor,
    predict: Predict,
    strides: int,
    revise: Revise | None = None,
    since: Tensor | None = None,
    share: float = 1.0,
) -> Tensor:
    """Clean latents ``[B, C, h, w]`` from noise of that shape, in so many strides; the last one ends at x0_hat itself.

    Args:
        since: clean latents to begin from, under ``share`` of the times' noise (SDEdit, Meng et al. 2021, 2108.01073);
            None for none: noise alone.
        predict: the noise, guided as is wanted; asked once a stride.
        revise: may put other clean latents in the place of those that are foreseen, and the noise is that which then
            leads to what there is.

    Raises:
        ValueError: for less than one stride.
    """
    if strides < 1:
        raise ValueError("sampling takes one stride or more")
    times = sampling_times(schedule, strides, share)
    x = clean = noise
    if since is not None:
        clean = since
        x = schedule.add_noise(since, noise, torch.full((len(noise),), times[0], device=noise.device))
    for k, now in enumerate(times):
        t = torch.full((len(x),), now, device=x.device)
        found = predict(x, t)
        clean = foreseen(schedule, x, found, t)
        if revise is not None:
            revised = revise(clean, k + 1)
            if revised is not clean:
                clean, found = revised, implied_noise(schedule, revised, x, t)
        if k + 1 < len(times):
            x = schedule.add_noise(clean, found, torch.full_like(t, times[k + 1]))
    return clean
