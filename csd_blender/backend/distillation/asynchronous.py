"""Asynchronous score distillation (Ma et al. 2024, arXiv 2407.02040): the network itself, asked at a slightly later
time, stands in for the network that VSD would train along."""

from __future__ import annotations

from .state import NoisyBatch, Prepared

SHIFT = 0.1  # of the way from the earliest time, the most that the later one is away


def prepare(batch: NoisyBatch) -> Prepared:
    """The prompt's prediction at ``t + dt`` with the same noise, as branch ``later``; ``dt = u SHIFT (t - t_min)``."""
    schedule, total = batch.schedule, len(batch.schedule)
    earliest = int(total * batch.guidance.t_min.at(batch.step))
    shift = (batch.uniform() * SHIFT * (batch.t - earliest).clamp_min(0)).long()
    later = (batch.t + shift).clamp(max=total - 1)
    noisy = schedule.add_noise(batch.latents, batch.noise, later)
    return Prepared(batch.noise, {"later": batch.ask(["positive"], noisy, later)["positive"]})
