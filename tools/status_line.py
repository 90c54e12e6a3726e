"""One line of progress with the time left; in a log file, a line now and then instead."""

from __future__ import annotations

import re
import shutil
import sys
import time


def clock(seconds: float) -> str:
    """65.2 -> '1:05'."""
    whole = max(0, int(round(seconds)))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class StatusLine:
    """Rewrites one terminal line; where output is no terminal, prints a line when the stage changes or 15 s passed."""

    LOG_INTERVAL = 15.0
    SCREEN_INTERVAL = 0.1

    def __init__(self, stream=None):
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._last_stage = ""
        self._last_time = 0.0
        self._open = False

    def update(self, text: str, fraction: float | None = None, seconds_left: float | None = None) -> None:
        now = time.monotonic()
        stage = re.sub(r"\d+", "", text)  # step 3 of 400 is in the same stage as step 4
        new_text = stage != self._last_stage
        if not new_text and now - self._last_time < (self.SCREEN_INTERVAL if self._live else self.LOG_INTERVAL):
            return
        self._last_stage, self._last_time = stage, now
        parts = [text]
        if fraction is not None:
            parts.append(f"{100 * min(max(fraction, 0.0), 1.0):3.0f} %")
        if seconds_left is not None:
            parts.append(f"{clock(seconds_left)} left")
        line = "  ".join(parts)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r\x1b[K" + line[:width])
            self._open = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._stream.write(text + "\n")
        self._stream.flush()

    def clear(self) -> None:
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False
        self._last_stage = ""
