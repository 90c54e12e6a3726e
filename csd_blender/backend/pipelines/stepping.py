"""The loop around a step, the same for every stage: stop, step down when memory runs out, report, preview, store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ..diffusion.model import DiffusionModel
from ..reporting import Reporter, Stopped
from .out_of_memory import StepDown

FIRST_PREVIEW = 3  # steps; earlier ones show nothing but gray
STORED_SHARE = 0.1  # of a stage's steps, the most that a job which is killed loses
WRITING_SHARE = 0.03  # of the time, the most that storing large states more often than the interval may take
CHEAP = 0.3  # seconds; what is written in less is no large state


class Stepping(Protocol):
    """What a stage's state must have."""

    step: int
    generator: torch.Generator


def late_fall(step: int, steps: int) -> float:
    """Learning rate relative to its peak: constant for half of the steps, then a cosine down to a twentieth, which
    takes the noise of the last steps away."""
    progress = max(0.0, step / max(steps, 1) - 0.5) / 0.5
    return 0.525 + 0.475 * math.cos(math.pi * progress)


@dataclass
class StoreClock:
    """When to write a checkpoint: after ``interval`` seconds, or a tenth of the steps, so that a short job has some
    too. Large states, which take long to write, wait until writing them is a small share of the time."""

    interval: float
    steps: int
    last_step: int
    last_time: float = 0.0
    cost: float = 0.0  # seconds that the last one took

    def __post_init__(self) -> None:
        self.last_time = time.monotonic()

    def due(self, step: int) -> bool:
        waited = time.monotonic() - self.last_time
        cheap = self.cost <= max(CHEAP, waited * WRITING_SHARE)
        return waited >= self.interval or (cheap and step - self.last_step >= STORED_SHARE * self.steps)

    def store(self, step: int, write: Callable[[], None]) -> None:
        began = time.monotonic()
        write()
        self.last_step, self.last_time = step, time.monotonic()
        self.cost = self.last_time - began


def run_steps(
    state: Stepping,
    steps: int,
    views: int,
    checkpoint_interval: float,
    model: DiffusionModel,
    reporter: Reporter,
    take: Callable[[int], dict[str, float]],
    show: Callable[[], None],
    store: Callable[[], None],
    nothing_yet: bool = True,
) -> bool:
    """Take steps until ``steps`` are done. Returns True when the user stopped them with something worth keeping.

    Args:
        checkpoint_interval: seconds.
        take: does one step with so many views, and returns what is logged about it.
        show: makes previews. store: writes a checkpoint.
        nothing_yet: at step 0 there is nothing worth keeping.

    Raises:
        Stopped: the user cancelled before the first step, or the other side went away.
        JobError: ``oom`` when there is not even memory for a single view.
    """
    clock = StoreClock(checkpoint_interval, steps, state.step)
    step_down = StepDown(views=views)
    model.vae_slicing = False  # a job before this one may have run out of memory
    while state.step < steps:
        reason = reporter.stop_reason()
        if reason is not None:
            store()
            if reason == "leave" or (state.step == 0 and nothing_yet):
                raise Stopped(reason)
            return True
        before = state.generator.get_state()
        with step_down.guard(model, reporter) as attempt:
            metrics = take(attempt.views)
        if attempt.failed:
            state.generator.set_state(before)  # the same step again, also for a job that resumes here
            continue
        state.step += 1
        reporter.progress(state.step, steps, metrics)
        if reporter.preview_due() and state.step >= FIRST_PREVIEW:
            show()
        if state.step < steps and clock.due(state.step):
            clock.store(state.step, store)
    return False
