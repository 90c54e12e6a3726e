"""Child processes that say in JSON lines how far they are, read by a thread, taken in by whoever draws the window."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from ..job import Problem
from ..preferences import log_path


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


class Talking(Protocol):
    """A running child, and what is to be done with what it says."""

    lines: Lines

    def take(self, news: dict) -> None: ...

    def finish(self) -> None: ...


class Polled(Protocol):
    """A running child, for whoever waits for it."""

    def poll(self) -> bool: ...


def start_child(words: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Start a child with pipes to and from it; its errors go to the log. Raises ``OSError``."""
    path = log_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    hide = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    pipe = subprocess.PIPE
    with open(path, "ab") as log:
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=log, env=env, creationflags=hide)


def take_in(child: Talking) -> bool:
    """Take in what the child said; returns whether anything changed."""
    changed = False
    for news in child.lines.take():
        changed = True
        if news is None:
            child.finish()
        else:
            child.take(news)
    return changed


def wait_for(running: Callable[[], Polled | None]) -> None:
    """Wait here until none is running any more: for scripts, and for Blender without a window."""
    while (child := running()) is not None:
        child.poll()
        time.sleep(0.05)


def problem_of(news: dict) -> Problem:
    """What an ``error`` line says, for the panel."""
    text, detail = str(news.get("text", "")), str(news.get("detail", ""))
    text = f"{text.rstrip('.')}: {detail.rstrip('.')}." if detail else text
    return Problem(text, str(news.get("fix", "")), True, str(news.get("code", "")))


def number_of(value: object) -> float:
    """A number that a child sent; 0 for anything else."""
    return float(value) if isinstance(value, (int, float)) and value == value else 0.0
