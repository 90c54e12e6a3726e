"""How far an installation is, in seconds: what passed, over that and what is likely still to come."""

from __future__ import annotations

import math
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
        self.report, self.clock, self.started = report, clock, clock()
        self.fraction, self._last = 0.0, ("", 1.0)

    def tell(self, text: str, left: float, sure: bool = False) -> None:
        """The bar as the share of time passed, where everything still takes about ``left`` seconds.

        ``left`` is shown to people only where that is ``sure``.
        """
        self._last = (text, left)
        passed = self.clock() - self.started
        self._show(passed / max(passed + left, 0.1), text, left if sure else None)

    def again(self) -> None:
        """The same as before, half a second later."""
        self.tell(*self._last)

    def tell_share(self, text: str, start: float, share: float, left: float) -> None:
        """The bar at ``share`` of the way from ``start`` to its end."""
        self._show(start + (1 - start) * share, text, left)

    def full(self, text: str) -> None:
        self.fraction = 1.0
        self.report(Progress(1.0, text, 0.0))

    def _show(self, fraction: float, text: str, left: float | None) -> None:
        self.fraction = max(self.fraction, min(0.99, fraction))
        self.report(Progress(self.fraction, text, left))


def install_left(done_mb: float, size_mb: float, passed: float) -> tuple[float, bool]:
    """Seconds that the rest of an installation takes, and whether its own pace says so.

    The pace starts at the usual one and becomes the measured one within the first few seconds.
    """
    done = min(max(done_mb, 0.0), 0.97 * size_mb)
    rate = (done + 2 * USUAL_RATE) / (passed + 2)
    return (size_mb - done) / rate, done > SURE * size_mb


class CheckSteps:
    """The modules that are tried one after the other, and how far that is.

    Args:
        statement: such as ``import one, two``.
        seconds: how long each module took where that was measured; elsewhere all may take some times longer.
    """

    def __init__(self, statement: str, seconds: Sequence[float]) -> None:
        match = re.fullmatch(r"import ([\w., ]+)", statement)
        self.modules = [name.strip() for name in match[1].split(",")] if match else []
        self.statement = statement
        count = max(len(self.modules), 1)
        self.seconds = list(seconds) if len(seconds) == count else [1.0] * count
        self._at, self._since = 0, 0.0

    @property
    def total(self) -> float:
        """Seconds, on the computer where they were measured."""
        return sum(self.seconds) if self.statement else 0.0

    def code(self) -> str:
        """What the new environment runs: it names each module before it tries it."""
        if not self.modules:
            return self.statement
        return f"for name in {self.modules!r}:\n    print('trying', name, flush=True)\n    __import__(name)"

    def at(self, output: str, passed: float) -> tuple[float, float, str]:
        """Share done, seconds left and what is being tried, from what ``code`` has printed after ``passed`` seconds.

        Within a module the share nears its end without reaching it, so that it moves however long the module takes.
        """
        at = max(len(re.findall(r"^trying ", output, re.MULTILINE)) - 1, 0)
        if at > self._at:
            self._at, self._since = at, passed
        before, here = sum(self.seconds[: self._at]), self.seconds[self._at]
        pace = max(1.0, self._since / before) if before else 1.0
        share = (before + here * (1 - math.exp(-(passed - self._since) / (pace * here)))) / max(self.total, 1.0)
        name = f"{self.modules[self._at]} ({self._at + 1} of {len(self.modules)})" if self.modules else "it"
        return share, pace * self.total * (1 - share), f"Trying {name} for the first time"


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
