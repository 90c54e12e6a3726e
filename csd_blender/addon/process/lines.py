"""What a child process says in JSON lines, read by a thread, taken in by whoever draws the window."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator

from ..job import Problem


class Lines:
    """The lines of a child's output. Nothing here waits for the child."""

    def __init__(self, process: subprocess.Popen, name: str) -> None:
        self._process, self._queue = process, queue.Queue()
        threading.Thread(target=self._read, name=name, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def take(self) -> Iterator[dict | None]:
        """The tables that came since the last call; None, once, for the end. Other lines are passed over."""
        while True:
            try:
                line = self._queue.get_nowait()
            except queue.Empty:
                return
            if line is None:
                yield None
                return
            try:
                news = json.loads(line)
            except ValueError:
                continue
            if isinstance(news, dict):
                yield news


def problem_of(news: dict) -> Problem:
    """What an ``error`` line says, for the panel."""
    text, detail = str(news.get("text", "")), str(news.get("detail", ""))
    text = f"{text.rstrip('.')}: {detail.rstrip('.')}." if detail else text
    return Problem(text, str(news.get("fix", "")), True, str(news.get("code", "")))


def number_of(value: object) -> float:
    """A number that a child sent; 0 for anything else."""
    return float(value) if isinstance(value, (int, float)) and value == value else 0.0
