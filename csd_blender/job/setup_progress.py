"""How far an installation is, in seconds: what passed, over that and what is likely still to come."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

USUAL_RATE = 20.0  # MB a second, until this computer's own is known
SURE = 0.05  # share of an installation after which its own pace tells how long the rest takes


@dataclass(frozen=True)
class Progress:
    """How far an installation is: ``fraction`` in [0, 1], a text for people, seconds left or None."""

    fraction: float
    text: str
    seconds_left: float | None = None


class Bar:
    """Reports progress; the bar never runs backwards, whatever the estimates say, and is full only at the end."""

    def __init__(self, report: Callable[[Progress], object], clock: Callable[[], float] = time.monotonic) -> None:
        self.report, self.clock, self.started, self.fraction = report, clock, clock(), 0.0

    def tell(self, text: str, left: float, sure: bool = False) -> None:
        """``left``: seconds that everything still takes; shown to people only where that is ``sure``."""
        passed = self.clock() - self.started
        self.fraction = max(self.fraction, min(0.99, passed / max(passed + left, 0.1)))
        self.report(Progress(self.fraction, text, left if sure else None))

    def full(self, text: str) -> None:
        self.fraction = 1.0
        self.report(Progress(1.0, text, 0.0))


def install_left(done_mb: float, size_mb: float, passed: float) -> tuple[float, bool]:
    """Seconds that the rest of an installation takes, and whether its own pace says so.

    The pace starts at the usual one and becomes the measured one within the first few seconds.
    """
    done = min(max(done_mb, 0.0), 0.97 * size_mb)
    rate = (done + 2 * USUAL_RATE) / (passed + 2)
    return (size_mb - done) / rate, done > SURE * size_mb


class CheckSteps:
    """The modules that are tried one after the other, and how long each is likely to take."""

    def __init__(self, statement: str, seconds: Sequence[float]) -> None:
        match = re.fullmatch(r"import ([\w., ]+)", statement)
        self.modules = [name.strip() for name in match[1].split(",")] if match else []
        self.statement = statement
        count = max(len(self.modules), 1)
        self.seconds = list(seconds) if len(seconds) == count else [1.0] * count

    @property
    def total(self) -> float:
        """Seconds, on the computer where they were measured."""
        return sum(self.seconds) if self.statement else 0.0

    def code(self) -> str:
        """What the new environment runs: it names each module before it tries it."""
        if not self.modules:
            return self.statement
        return f"for name in {self.modules!r}:\n    print('trying', name, flush=True)\n    __import__(name)"

    def left(self, output: str, passed: float) -> tuple[float, str]:
        """Seconds left and what is being tried, from what ``code`` has printed after ``passed`` seconds."""
        at = max(len(re.findall(r"^trying ", output, re.MULTILINE)) - 1, 0)
        before = sum(self.seconds[:at])
        # a computer that was slow with the first modules is slow with the others
        pace = max(1.0, passed / (before + self.seconds[at])) if before + self.seconds[at] else 1.0
        here = max(0.1 * self.seconds[at], before + self.seconds[at] - passed / pace)
        text = f"Trying {self.modules[at]} for the first time ({at + 1} of {len(self.modules)})" if self.modules else "Trying it"
        return pace * (here + sum(self.seconds[at + 1 :])), text


def doing(output: str) -> str:
    """What pip or uv does now, by what it said so far."""
    if re.search(r"^(Prepared|Installing collected)", output, re.MULTILINE):
        return "Unpacking packages"
    done = set(re.findall(r"^ *Downloaded (\S+)", output, re.MULTILINE))
    begun = re.findall(r"^ *(?:Downloading|Collecting) ([A-Za-z0-9][\w.-]*)", output, re.MULTILINE)
    running = [name for name in begun if name not in done]
    if "torch" in running:
        return "Downloading torch"  # by far the largest, whatever else runs beside it
    return f"Downloading {re.split(r'-[0-9]', running[-1])[0]}" if running else "Installing packages"
