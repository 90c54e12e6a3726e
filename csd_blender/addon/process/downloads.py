"""Getting a model: ``csd models get`` as a child process of the backend's Python, the only one that goes online."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass, field

from ...job.errors import ERRORS
from ...job.models.catalogue import ModelEntry
from ...job.process.client import backend_command
from ..job import Problem
from ..preferences import models_folder, preference
from ..session import session
from . import backend
from .lines import Advance, Ended, Lines, problem_of, start_child, take_in, wait_for

LAST_WORDS = 5.0  # seconds that quitting Blender leaves a download, which keeps what came in any case


@dataclass
class Download:
    """A running download.

    Attributes:
        model: its id. entry: what is known of it. fraction: done, in [0, 1]. done, total: bytes. rate: bytes a second.
        seconds_left: None while unknown. text: what is done now.
    """

    process: subprocess.Popen
    entry: ModelEntry
    fraction: float = 0.0
    text: str = "Asking the Hugging Face hub"
    seconds_left: float | None = None
    done: int = 0
    total: int = 0
    rate: float = 0.0
    end: str = ""  # the last word: done, paused, cancelled
    note: str = ""
    problem: Problem | None = None
    lines: Lines = field(init=False)

    def __post_init__(self) -> None:
        self.lines = Lines(self.process, "csd-download")

    @property
    def model(self) -> str:
        return self.entry.id

    def poll(self) -> bool:
        """Take in what the child said; returns whether anything changed. The end is noted in the session."""
        return take_in(self)

    def take(self, news: dict) -> None:
        kind = news.get("type")
        if kind == "error":
            self.problem = problem_of(news)
        elif kind in ("done", "paused", "cancelled"):
            self.end, self.note = str(kind), Ended.from_json(news, lenient=True).note
        elif kind == "progress":
            said = Advance.from_json(news, lenient=True)
            self.text = said.text or self.text
            self.done, self.total, self.rate, self.seconds_left = said.done, said.total, said.rate, said.seconds_left
            self.fraction = min(1.0, self.done / self.total) if self.total else 0.0

    def finish(self) -> None:
        self.process.wait()
        session.download = None
        label = self.entry.label
        if self.end == "done":
            session.notice = f"{label} is here. {self.note}".strip()
        elif self.end == "paused":
            session.notice = f"The download of {label} is paused; Resume goes on with it."
        elif self.end == "cancelled":
            session.notice = f"The download of {label} was cancelled."
        else:
            entry = ERRORS["download_failed"]
            session.problem = self.problem or Problem(entry.text, entry.fix, True, "download_failed")
        for listener in session.model_listeners:
            listener()

    def stop(self, forget: bool = False) -> None:
        """Ask the child to stop, which it does within seconds; it keeps what came, or, with ``forget``, deletes it."""
        self.text = "Cancelling …" if forget else "Pausing …"
        with contextlib.suppress(OSError, ValueError):  # it has just ended, or was told before
            if forget:
                self.process.stdin.write(b"cancel\n")
            self.process.stdin.close()


def command(model: str) -> list[str]:
    """How to start it. Raises ``JobError`` without a backend."""
    python = backend.command()[0]
    words = ["models", "get", model, "--lines", "--folder", str(models_folder())]
    allow = [] if preference("commercial_only", True) else ["--allow-noncommercial"]
    return backend_command(python, backend.PACKAGE, *words, *allow)


def start(entry: ModelEntry) -> Download:
    """Begin, or go on. Raises ``JobError`` without a backend, ``OSError`` when the child cannot be started."""
    words = command(entry.id)
    # what the owner of this computer says about the hub counts; our own processes are offline but for this one
    env = {**backend.environment(), "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0")}
    return Download(start_child(words, env), entry)


def run_to_end() -> None:
    """Wait here until the download ended: for scripts, and for Blender without a window."""
    wait_for(lambda: session.download)


def stop() -> None:
    """Pause a running download, as when Blender quits. Its process ends by itself."""
    download, session.download = session.download, None
    if download is not None:
        download.stop()
