"""Child processes that say in JSON lines how far they are, read by a thread, taken in by whoever draws the window."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ...job.process.body import Body, a_number, a_text, or_none, sent, whole
from ...job.process.messages import read_lines
from ..job import Problem
from ..preferences import log_path

MOST_WAITING = 2000  # lines; what more comes before somebody looks is dropped
AT_ONCE = 200  # lines that are taken in at once, in the thread that draws the window
LONGEST = 600  # characters that the panel shows of a text

log = logging.getLogger(__name__)


def a_line(value: object) -> str:
    """A text for the panel, cut off where it gets too long to be read."""
    if isinstance(value, str):
        value = value[: LONGEST + 1]
    text = " ".join(a_text(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def a_share(value: object) -> float:
    """A number, brought into [0, 1]."""
    return min(1.0, float(a_number(value)))


@dataclass(frozen=True)
class Advance(Body):
    """How far a child is.

    Attributes:
        fraction: done, in [0, 1]; Set Up alone says it. done, total: bytes. rate: bytes a second.
    """

    type: ClassVar[str] = "progress"
    text: str = sent(a_line, "")
    fraction: float = sent(a_share, 0.0)
    done: int = sent(whole(0, 10**15), 0)
    total: int = sent(whole(0, 10**15), 0)
    rate: float = sent(a_number, 0.0)
    seconds_left: float | None = sent(or_none(a_number), None)


@dataclass(frozen=True)
class Ended(Body):
    """The last line of a child that went well, or was told to end."""

    type: ClassVar[str] = "done"
    note: str = sent(a_line, "")


@dataclass(frozen=True)
class Trouble(Body):
    """What went wrong, as :class:`~csd_blender.job.errors.JobError` has it."""

    type: ClassVar[str] = "error"
    code: str = sent(a_line, "")
    text: str = sent(a_line, "")
    fix: str = sent(a_line, "")
    detail: str = sent(a_line, "")


class Lines:
    """The lines of a child's output. Nothing here waits for the child."""

    def __init__(self, process: subprocess.Popen, name: str) -> None:
        self._process, self._queue, self.name = process, queue.Queue(), name
        threading.Thread(target=self._read, name=name, daemon=True).start()

    def _read(self) -> None:
        stdout: Any = self._process.stdout  # a pipe
        try:
            for line in read_lines(stdout):
                if line is not None and self._queue.qsize() < MOST_WAITING:
                    self._queue.put(line)
        except (OSError, ValueError):
            log.warning("the output of %s cannot be read any more", self.name)
        self._queue.put(None)

    def take(self) -> Iterator[dict | None]:
        """The tables that came since the last call; None, once, for the end. Other lines are passed over."""
        for _ in range(AT_ONCE):
            try:
                line = self._queue.get_nowait()
            except queue.Empty:
                return
            if line is None:
                yield None
                return
            try:
                news = json.loads(line)
            except (ValueError, RecursionError):
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
            continue
        try:
            child.take(news)
        except Exception:  # whoever calls this draws the window
            log.exception("a line of %s was passed over", child.lines.name)
    return changed


def wait_for(running: Callable[[], Polled | None]) -> None:
    """Wait here until none is running any more: for scripts, and for Blender without a window."""
    while (child := running()) is not None:
        child.poll()
        time.sleep(0.05)


def problem_of(news: dict) -> Problem:
    """What an ``error`` line says, for the panel."""
    said = Trouble.from_json(news, lenient=True)
    text = f"{said.text.rstrip('.')}: {said.detail.rstrip('.')}." if said.detail else said.text
    return Problem(text, said.fix, True, said.code)
