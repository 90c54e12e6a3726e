"""Noise that is not drawn but found: from the clean latents along the deterministic ODE of DDIM (Song et al. 2020,
arXiv 2010.02502), walked backwards.

ISM (LucidDreamer, Liang et al. 2023, 2311.11284) compares two neighbors on that way; CSM (2410.21299) is CSD at its
end; SDI (Lukoianov et al. 2024, 2405.15891) walks it against the prompt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.model import NoiseSchedule
from ..diffusion.sampling import Predict, ddim_move, implied_noise
from ..support.draws import normal
from .state import NoisyBatch, Prepared

ISM_STRIDE, ISM_INTERVAL = 200, 80  # of 1000 times: the longest stride, and the last one, whose ends are compared
CSM_STRIDE = 500
SDI_STRIDES, SDI_SCALE, SDI_ETA = 10, -7.5, 0.3
SDI_LAST, SDI_FIRST = 0.25, 0.98


def walk(schedule: NoiseSchedule, latents: Tensor, to: Tensor, strides: int, predict: Predict) -> Tensor:
    """From clean latents, taken as those at time 0, to the times ``to [B]`` in so many strides of equal length.

    ``predict``: is asked once a stride.
    """
    x, now = latents, torch.zeros_like(to)
    for k in range(1, strides + 1):
        following = torch.div(to * k, strides, rounding_mode="floor")
        x = ddim_move(schedule, x, predict(x, now), now, following)
        now = following
    return x


def _strides(to: Tensor, longest: float, total: int) -> int:
    """How many strides reach the furthest time; ``longest`` is of 1000."""
    return max(1, -(-int(to.max()) * 1000 // int(longest * total)))


def _unguided(batch: NoisyBatch) -> Predict:
    """The model's predictions for the empty prompt."""
    return lambda x, t: batch.ask(["null"], x, t)["null"]


def prepare_ism(batch: NoisyBatch) -> Prepared:
    """The empty prompt's way to ``s = t - 80`` and on to ``t``; branch ``before`` is its prediction at ``s``."""
    schedule, total, unguided = batch.schedule, len(batch.schedule), _unguided(batch)
    earlier = (batch.t - ISM_INTERVAL * total // 1000).clamp_min(0)
    x = walk(schedule, batch.latents, earlier, _strides(earlier, ISM_STRIDE, total), unguided)
    before = unguided(x, earlier)
    x = ddim_move(schedule, x, before, earlier, batch.t)
    return Prepared(implied_noise(schedule, batch.latents, x, batch.t), {"before": before})


def prepare_csm(batch: NoisyBatch) -> Prepared:
    """The empty prompt's way to ``t`` in long strides."""
    schedule = batch.schedule
    x = walk(schedule, batch.latents, batch.t, _strides(batch.t, CSM_STRIDE, len(schedule)), _unguided(batch))
    return Prepared(implied_noise(schedule, batch.latents, x, batch.t))


def prepare_sdi(batch: NoisyBatch) -> Prepared:
    """The way to a little beyond ``t`` with the guidance turned round, and a little fresh noise at each stride.

    The published code's grid is that of 10 times evenly over all; the last stride goes to ``t`` plus up to a tenth of
    all times, and the noise found there is used at ``t``.
    """
    schedule, total = batch.schedule, len(batch.schedule)
    stride = total // SDI_STRIDES

    def against(x: Tensor, t: Tensor) -> Tensor:
        eps = batch.ask(["positive", batch.background], x, t)
        # As threestudio counts the scale: with Perp-Neg from the background's prediction, else from the prompt's.
        scale = SDI_SCALE if batch.guidance.perp_neg else 1 + SDI_SCALE
        return eps[batch.background] + scale * (eps["positive"] - eps[batch.background])

    end = (batch.t + (batch.uniform() * stride).long()).clamp(max=total - 1)
    x, now, mark = batch.latents, torch.zeros_like(batch.t), 0
    while bool((now < end).any()):
        mark += stride
        following = torch.where(mark < batch.t, torch.full_like(end, mark), end)
        fresh = normal(x.shape, batch.generator).to(x)
        moved = ddim_move(schedule, x, against(x, now), now, following)
        moved = moved + SDI_ETA * _ddim_deviation(schedule, now, following) * fresh
        walks = now < end  # items with nearer ends have arrived already
        x, now = torch.where(walks.view(-1, 1, 1, 1), moved, x), torch.where(walks, following, now)
    return Prepared(implied_noise(schedule, batch.latents, x, now))


def _ddim_deviation(schedule: NoiseSchedule, earlier: Tensor, later: Tensor) -> Tensor:
    """Deviation of DDIM's fresh noise for a step between these times at eta 1 (arXiv 2010.02502, equation 16)."""
    low, high = (schedule.alphas_cumprod[t.to(schedule.alphas_cumprod.device)] for t in (earlier, later))
    variance = (1 - low) / (1 - high) * (1 - high / low)
    deviation = variance.clamp_min(0).sqrt().to(schedule.device).view(-1, 1, 1, 1)
    if schedule.sigmas is None:
        return deviation
    alpha, sigma = schedule.alpha_sigma(later)  # a flow's pictures are less wide than those of the equation
    return deviation * (alpha.square() + sigma.square()).sqrt()
