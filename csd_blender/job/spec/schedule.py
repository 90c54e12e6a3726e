"""A value that depends on the step: constant, hard switch or linear ramp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Union

Json = Union[float, list]

# What is allowed, as it ends a sentence.
FORMS = "a number or [start step, start value, end value, end step]"
FINITE = "finite numbers only"


@dataclass(frozen=True)
class Schedule:
    """``start_value`` up to ``start_step``, linear to ``end_value`` at ``end_step``, constant after.

    A ramp over a single step, such as ``Schedule(5000, a, b, 5001)``, is a hard switch: ``a`` up to and including
    step 5000, ``b`` from 5001 on.
    """

    start_step: float
    start_value: float
    end_value: float
    end_step: float

    def __post_init__(self) -> None:
        for name in ("start_step", "start_value", "end_value", "end_step"):
            # 0 and 0.0 are one number but two texts: a job's fingerprint must not depend on how it was written down.
            try:
                object.__setattr__(self, name, float(getattr(self, name)))
            except OverflowError:  # an integer of hundreds of digits
                raise ValueError(FINITE) from None
        if not all(math.isfinite(v) for v in (self.start_step, self.start_value, self.end_value, self.end_step)):
            raise ValueError(FINITE)
        if self.end_step < self.start_step:
            raise ValueError("a schedule that does not end before it starts")

    def at(self, step: float) -> float:
        """Value at ``step`` (0 is the first)."""
        if step <= self.start_step:
            return self.start_value
        if step >= self.end_step:
            return self.end_value
        part = (step - self.start_step) / (self.end_step - self.start_step)
        return self.start_value + (self.end_value - self.start_value) * part

    def scaled(self, factor: float) -> Schedule:
        """The same course over ``factor`` times as many steps."""
        return Schedule(self.start_step * factor, self.start_value, self.end_value, self.end_step * factor)

    def delayed(self, steps: float) -> Schedule:
        """The same course, so many steps later."""
        return Schedule(self.start_step + steps, self.start_value, self.end_value, self.end_step + steps)

    def to_json(self) -> Json:
        """A number when constant, else ``[start_step, start_value, end_value, end_step]``."""
        if self.start_value == self.end_value:
            return self.start_value
        return [self.start_step, self.start_value, self.end_value, self.end_step]

    @staticmethod
    def from_json(value: object) -> Schedule:
        """Inverse of :meth:`to_json`. Raises ``ValueError`` that says what is allowed, as "a number or ..."."""
        if isinstance(value, Schedule):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return constant(value)
        numbers = isinstance(value, (list, tuple)) and all(
            isinstance(v, (int, float)) and not isinstance(v, bool) for v in value
        )
        if not numbers or len(value) != 4:
            raise ValueError(FORMS)
        return Schedule(*value)


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return Schedule(0.0, value, value, 0.0)
