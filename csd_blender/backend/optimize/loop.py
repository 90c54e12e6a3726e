"""The loop around a step, the same for every stage: stop, step down when memory runs out, report, preview, store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ...job.errors import JobError
from ..diffusion.model import DiffusionModel
from ..support.memory import Load
from ..support.reporting import Reporter, Stopped
from .out_of_memory import StepDown

FIRST_PREVIEW = 3  # steps; earlier ones show nothing but gray
MOST_INVALID = 5  # steps in a row without valid numbers that a job bears
MOST_NOTES = 5  # such steps that are named one by one, when they come alone
STORED_SHARE = 0.1  # of a stage's steps, the most that a job which is killed loses
WRITING_SHARE = 0.03  # of the time, the most that storing large states more often than the interval may take
CHEAP = 0.3  # seconds; what is written in less is no large state


class NotFinite(Exception):
    """A step whose numbers are no numbers, so that nothing can be learned from it.

    ``in_result``: already the pictures are not, and the model is not to blame.
    """

    def __init__(self, where: str, in_result: bool = False):
        super().__init__(where)
        self.in_result = in_result


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
class InvalidSteps:
    """Steps whose numbers are no numbers: they are left out, and too many in a row end the job.

    A step that is left out changes nothing but its own random numbers, and no checkpoint is written after it. So the
    state is that of the last good step, and a job that resumes meets the same steps again and decides the same.

    Attributes:
        good: whether there ever was a good step. in_row: invalid ones since then. noted: those named to the user.
        in_result: the last one had invalid numbers before the model saw them.
    """

    good: bool
    in_row: int = 0
    noted: int = 0
    in_result: bool = False

    def met(self, error: NotFinite, step: int, reporter: Reporter) -> None:
        """``step``, from 1, is left out."""
        self.in_row, self.in_result = self.in_row + 1, error.in_result
        self.noted += 1
        if self.noted < MOST_NOTES:
            reporter.warn("not_finite", f"Step {step} gave invalid numbers ({error}) and was left out.")
        elif self.noted == MOST_NOTES:
            reporter.warn("not_finite", f"Step {step} and more gave invalid numbers and were left out.")

    def passed(self) -> None:
        self.good, self.in_row = True, 0

    def verdict(self, step: int, steps: int, model: DiffusionModel, kept: bool) -> JobError | None:
        """The error that ends the job after ``step`` of ``steps`` steps, if one does; ``kept``: it has a result."""
        if self.in_row < MOST_INVALID and (self.good or step < steps):
            return None
        when = f"from step {step - self.in_row + 1} on" + ("; what was there before is kept" if kept else "")
        if self.in_result:
            return JobError("diverged", when)
        overflow = model.device.type != "cpu"
        return JobError("model_not_finite", f"{model.name}, {when}", fix="" if overflow else "Choose another model.")


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


#: What a step logs that compared with a picture and did not ask the model: it says nothing of the model's numbers.
PICTURE = "picture"


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
    load: Load | None = None,
    nothing_yet: bool = True,
    settled: Callable[[], bool] = lambda: False,
) -> bool:
    """Take steps until ``steps`` are done. Returns True when they ended early with something worth keeping: the user
    stopped them, or invalid numbers did, which ``reporter.failure`` then tells.

    Args:
        checkpoint_interval: seconds.
        take: does one step with so many views, and returns what is logged about it.
        show: makes previews. store: writes a checkpoint.
        load: what a step asks of memory; None where that is not known.
        nothing_yet: at step 0 there is nothing worth keeping.
        settled: whether nothing changes any more, so that the steps that are left are not taken.

    Raises:
        Stopped: the user cancelled before the first step, or the other side went away.
        JobError: ``oom`` when there is not even memory for a single view; ``model_not_finite`` or ``diverged`` when
            there were only invalid numbers from the first step on.
    """
    clock = StoreClock(checkpoint_interval, steps, state.step)
    step_down = StepDown(views=views)
    model.thrift.reset()  # a stage before this one may have run out of memory
    step_down.begin(model, load, reporter)
    invalid = InvalidSteps(good=state.step > 0)
    while state.step < steps and not settled():
        reason = reporter.stop_reason()
        if reason is not None:
            if not invalid.in_row:
                store()
            if reason == "leave" or (nothing_yet and not invalid.good):
                raise Stopped(reason)
            return True
        before = state.generator.get_state()
        metrics = {}
        with step_down.guard(model, reporter) as attempt:
            try:
                metrics = take(attempt.views)
                if PICTURE not in metrics:
                    invalid.passed()
            except NotFinite as error:
                invalid.met(error, state.step + 1, reporter)
        if attempt.failed:
            state.generator.set_state(before)  # the same step again, also for a job that resumes here
            continue
        state.step += 1
        reporter.progress(state.step, steps, metrics)
        kept = invalid.good or not nothing_yet
        failure = invalid.verdict(state.step, steps, model, kept) if invalid.in_row else None
        if failure is not None:
            if not kept:
                raise failure
            state.step -= invalid.in_row
            reporter.fail(failure)
            return True
        if reporter.preview_due() and state.step >= FIRST_PREVIEW:
            show()
        if state.step < steps and not invalid.in_row and clock.due(state.step):
            clock.store(state.step, store)
    return False
