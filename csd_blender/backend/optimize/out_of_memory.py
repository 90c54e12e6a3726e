"""When memory runs out during a step: one rung down, the same step again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ...job.errors import JobError
from ..diffusion.model import DiffusionModel
from ..support.reporting import Reporter

# How CUDA, its libraries, Warp, MPS and the CPU allocator say it.
SAID = ("out of memory", "failed to allocate", "alloc_failed", "can't allocate memory", "not enough memory")


@dataclass
class Attempt:
    """One try of a step with ``views`` views; ``failed`` asks for another."""

    views: int
    failed: bool = False


@dataclass
class StepDown:
    """The ladder: encode pictures one at a time, then halve the views, down to one."""

    views: int

    @contextmanager
    def guard(self, model: DiffusionModel, reporter: Reporter) -> Iterator[Attempt]:
        """Catch an out-of-memory error of the body and step down. Raises ``JobError('oom')`` below the last rung."""
        attempt = Attempt(self.views)
        try:
            yield attempt
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            attempt.failed = True
        if attempt.failed:
            self._down(model, reporter)

    def _down(self, model: DiffusionModel, reporter: Reporter) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not model.on_pixels and not model.encodes_one_by_one:
            model.encodes_one_by_one = True
            reporter.warn("oom_step_down", "Memory ran out: pictures are now encoded one at a time.")
        elif self.views > 1:
            self.views //= 2
            reporter.warn("oom_step_down", f"Memory ran out: going on with {self.views} views in each step.")
        else:
            raise JobError("oom")


def is_out_of_memory(error: BaseException) -> bool:
    """True for all ways of saying so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAID)
