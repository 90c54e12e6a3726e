"""Sampling without fresh noise, one noise, one picture: by DDIM (Song et al. 2020, arXiv 2010.02502), and by
DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), which needs about half of the strides."""

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


def sample_latents(
    schedule: NoiseSchedule,
    noise: Tensor,
    predict: Predict,
    strides: int,
    revise: Revise | None = None,
    since: Tensor | None = None,
    share: float = 1.0,
    order: int = 2,
) -> Tensor:
    """Clean latents ``[B, C, h, w]`` from noise of that shape, in so many strides; the last one ends at x0_hat itself.

    Args:
        since: clean latents to begin from, under ``share`` of the times' noise (SDEdit, Meng et al. 2021, 2108.01073);
            None for none: noise alone.
        predict: the noise, guided as is wanted; asked once a stride.
        revise: may put other clean latents in the place of those that are foreseen, and the noise is that which then
            leads to what there is.
        order: 1 is DDIM. 2 also follows how the foreseen latents change from stride to stride: DPM-Solver++(2M), its
            algorithm 2, whose first stride has nothing to follow.

    Raises:
        ValueError: for less than one stride, or another order.
    """
    if strides < 1:
        raise ValueError("sampling takes one stride or more")
    if order not in (1, 2):
        raise ValueError("the order is 1 or 2")
    times = sampling_times(schedule, strides, share)
    x = clean = noise
    if since is not None:
        clean = since
        x = schedule.add_noise(since, noise, torch.full((len(noise),), times[0], device=noise.device))
    before = None
    for k, now in enumerate(times):
        t = torch.full((len(x),), now, device=x.device)
        seen = clean = foreseen(schedule, x, predict(x, t), t)
        if revise is not None:
            clean = revise(clean, k + 1)
        if k + 1 == len(times):
            break
        to = torch.full_like(t, times[k + 1])
        ahead = clean
        if order == 2 and before is not None:
            ahead = clean + _ahead(schedule, times[k - 1 : k + 2]) * (seen - before)
        x, before = schedule.add_noise(ahead, implied_noise(schedule, ahead, x, t), to), seen
    return clean


def _ahead(schedule: NoiseSchedule, times: list[int]) -> float:
    """How much of the last stride's change is added for the next one: ``1 / (2 r)``, r the ratio of their lengths in
    the logarithm of alpha / sigma. ``times``: the one before, the present one, the next."""
    alpha, sigma = schedule.alpha_sigma(torch.tensor(times, device=schedule.alphas_cumprod.device))
    before, now, after = (alpha / sigma).double().log().flatten().tolist()
    return 0.5 * (after - now) / (now - before) if now > before else 0.0  # (more strides than times)
