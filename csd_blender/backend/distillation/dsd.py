"""Diverse score distillation (Xu et al. 2024, arXiv 2412.06780): each asset owns one fixed noise, and its pictures are
pulled onto the path that DDIM takes from it; another seed gives another asset.

Of ``z`` the path from the fixed noise, ``t`` the step's time and ``d >= t`` one a little earlier on the path::

    eps_d = eps_7.5(z(d), d)                       # from at most seven strides of DDIM
    x(s)  = alpha_s x + sigma_s eps_d              # the picture's latents with that noise, at s = t and s = d
    grad  = w(t) (eps_7.5(x(t), t) - eps_1(x(d), d))
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.model import DiffusionModel, latent_side
from ..diffusion.sampling import ddim_move
from ..optimize.checkpoint import check_tensors
from .score import Predictions, counted_scale
from .state import NoisyBatch, Prepared

STRIDES = 10  # of the grid over all times
SHIFT = 0.1  # of the way from the last time, the most that d is away
#: The published schedule's last and first time, as fractions.
LAST, FIRST = 0.32, 0.98


class DiverseState:
    """The fixed noise ``[1, C, h, w]``, drawn from the job's seed."""

    def __init__(self, model: DiffusionModel, seed: int):
        side = latent_side(model)
        shape = (1, model.latent_channels, side, side)
        self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(model.device)

    def prepare(self, batch: NoisyBatch) -> Prepared:
        """The path's noise at ``d``, which is added to the latents, and the branches ``ahead_...`` at ``d``."""
        schedule, total = batch.schedule, len(batch.schedule)
        room = (SHIFT * (batch.t - int(total * LAST))).clamp_min(0)
        room = torch.minimum(room, total - 1.0 - batch.t)
        ahead = (batch.t + (batch.uniform() * room).long()).clamp(1, total - 1)
        noise = guided(batch, self._path(batch, ahead), ahead)
        noisy = schedule.add_noise(batch.latents, noise, ahead)
        names = ["positive", batch.background]
        asked = names if counted_scale(1.0, batch.guidance.scale_convention) != 1.0 else ["positive"]
        found = batch.ask(asked, noisy, ahead)
        return Prepared(noise, {f"ahead_{name}": value for name, value in found.items()})

    def _path(self, batch: NoisyBatch, end: Tensor) -> Tensor:
        """``z(end)``: DDIM from the fixed noise over the grid's times above ``end``, then to ``end`` itself."""
        schedule, total = batch.schedule, len(batch.schedule)
        grid = [int(v) for v in torch.linspace(total - 1, 0, STRIDES + 1, dtype=torch.float64)]
        x = self.noise.expand(len(end), -1, -1, -1)
        now = torch.full_like(end, total - 1)
        for mark in grid[1:]:
            following = torch.maximum(torch.full_like(end, mark), end)
            walks = (now > end).view(-1, 1, 1, 1)
            if not bool(walks.any()):
                break
            moved = ddim_move(schedule, x, guided(batch, x, now), now, following)
            x, now = torch.where(walks, moved, x), torch.where(now > end, following, now)
        return x

    def learn(self, batch: NoisyBatch, predictions: Predictions) -> None:
        """Nothing: the noise stays."""

    def tensors(self) -> dict[str, Tensor]:
        return {"noise": self.noise}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        check_tensors(self.tensors(), tensors)
        self.noise.copy_(tensors["noise"])


def guided(batch: NoisyBatch, noisy: Tensor, t: Tensor) -> Tensor:
    """The prediction by the job's guidance scale."""
    scale = counted_scale(batch.guidance.guidance_scale, batch.guidance.scale_convention)
    eps = batch.ask(["positive", batch.background], noisy, t)
    return eps[batch.background] + scale * (eps["positive"] - eps[batch.background])
