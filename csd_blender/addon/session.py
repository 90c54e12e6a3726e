"""Everything that this Blender session knows and that is not in the .blend: plain Python, without bpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..job.models.states import ModelState
from ..job.process.client import BackendClient
from .folders import Entry
from .job import Job, Problem


class RunningSetup(Protocol):
    """A running *Set Up*, as the panel shows it.

    Attributes:
        fraction: done, in [0, 1]. text: what it does now. seconds_left: None while unknown.
    """

    fraction: float
    text: str
    seconds_left: float | None

    def poll(self) -> bool:
        """Take in its news; returns whether there were any."""

    def cancel(self) -> None:
        """Ask it to stop."""


class RunningDownload(Protocol):
    """A model that is being downloaded, as the panel shows it.

    Attributes:
        fraction: done, in [0, 1]. text: what is done now. seconds_left: None while unknown. done, total:
            bytes. rate: bytes a second.
    """

    fraction: float
    text: str
    seconds_left: float | None
    done: int
    total: int
    rate: float

    @property
    def model(self) -> str:
        """Its id."""

    def poll(self) -> bool:
        """Take in its news; returns whether there were any."""

    def stop(self, forget: bool = False) -> None:
        """Ask it to stop; what came is kept, or, with ``forget``, deleted."""


@dataclass
class Session:
    """The backend process, the job, a running Set Up, a running download, the lists of results and of models."""

    client: BackendClient | None = None
    job: Job | None = None
    setup: RunningSetup | None = None
    download: RunningDownload | None = None
    models: list[ModelState] = field(default_factory=list)
    models_free: int = 0  # bytes on the disk where models are kept
    notice: str = ""
    problem: Problem | None = None
    results: list[Entry] = field(default_factory=list)
    discarded: Path | None = None  # the folder that was discarded last, in case that is undone
    of_file: set[Path] = field(default_factory=set)  # folders of jobs that belong to the open file, as far as known
    show_textures: bool = False  # whether something was accepted that Solid shading does not show
    listeners: list[Callable] = field(default_factory=list)
    model_listeners: list[Callable[[], None]] = field(default_factory=list)  # called when a download ended

    def active_job(self) -> Job | None:
        return self.job if self.job is not None and self.job.active else None


session = Session()


def time_text(seconds: float) -> str:
    """``8 s``, ``1 min 20 s``, ``2 h 5 min``: rough on purpose, so that it does not flicker."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60 // 10 * 10} s" if seconds % 60 >= 10 else f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
