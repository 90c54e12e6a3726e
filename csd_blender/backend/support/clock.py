"""Where the time of an optimization step goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


@dataclass
class StepClock:
    """Seconds spent in each named section, summed over all steps.

    On CUDA kernels run behind the caller's back; ``synchronize`` makes the sections true at some cost, so only
    measurements ask for it.
    """

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    synchronize: bool = False

    @contextmanager
    def __call__(self, section: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.synchronize and torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds[section] += time.perf_counter() - start

    def shares(self) -> dict[str, float]:
        """Fraction of the total per section."""
        total = sum(self.seconds.values()) or 1.0
        return {name: value / total for name, value in self.seconds.items()}


@dataclass
class JobClock:
    """What a job took from when this was made: by the clock on the wall, and of the processor.

    On a machine that has other work to do the second is what compares, of jobs with one thread each.
    """

    began: float = field(default_factory=time.monotonic)
    processor_began: float = field(default_factory=time.process_time)

    def stats(self) -> dict[str, float]:
        """Both, in seconds, as a result's record has them."""
        spent, processor = time.monotonic() - self.began, time.process_time() - self.processor_began
        return {"seconds": round(spent, 2), "processor_seconds": round(processor, 2)}
