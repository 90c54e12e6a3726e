"""What this Blender session knows about its job, kept as plain Python so that undo and file loading cannot touch it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..job.spec.text_to_3d import TextTo3DJob

if TYPE_CHECKING:
    from ..job.process.client import BackendClient
    from ..job.spec.kinds import JobSpec
    from .folders import Entry
    from .process.setup import Setup
    from .scene.export import Target

Phase = Literal["running", "cancelling", "finished", "failed", "cancelled"]


@dataclass
class Problem:
    """One sentence what is wrong, one what to do, and whether trying again (or resuming) may help."""

    text: str
    fix: str = ""
    retryable: bool = False
    code: str = ""


@dataclass
class Job:
    """One job from the click to accept or discard."""

    id: str
    folder: Path
    spec: JobSpec
    targets: list[Target]
    blend_file: str = ""  # path of the file it belongs to; empty for one that was never saved
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)  # where a new object will stand
    phase: Phase = "running"
    stage: str = ""
    stage_label: str = "Starting the backend"
    done_before_stage: float = 0.0
    step: int = 0
    total: int = 0
    seconds_left: float | None = None
    memory_mb: int = 0
    device_memory_mb: int = 0
    warnings: list[str] = field(default_factory=list)
    problem: Problem | None = None
    stopped_early: bool = False
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    has_view: bool = False
    final_shown: bool = False
    changed_maps: list[str] = field(default_factory=list)  # objects whose UV map the result no longer fits
    in_file: bool = True  # whether the file it belongs to is the open one

    @property
    def makes_object(self) -> bool:
        """Whether a new object comes out of it, not a texture."""
        return isinstance(self.spec, TextTo3DJob)

    @property
    def has_coarse_stage(self) -> bool:
        """Whether, once it has ended, its coarse shape can be refined anew with other settings."""
        return self.makes_object and self.spec.start in ("blob", "coarse")

    @property
    def active(self) -> bool:
        """Whether the backend works on it."""
        return self.phase in ("running", "cancelling")

    @property
    def in_scene(self) -> bool:
        """Whether its preview belongs into the scene."""
        return self.phase in ("running", "cancelling", "finished")

    def fraction(self) -> float:
        """How much is done, in [0, 1]."""
        within = self.step / self.total if self.total else 0.0
        share = next((share for stage, share in self.spec.stages() if stage.name == self.stage), 0.0)
        return min(1.0, self.done_before_stage + within * share)

    def enter_stage(self, name: str, label: str) -> None:
        plan = self.spec.stages()
        names = [stage.name for stage, _ in plan]
        if name in names:
            before = sum(share for _, share in plan[: names.index(name)])
            # A second model may be loaded between two stages; the bar must not go back for that.
            self.done_before_stage = before if name == self.stage else max(before, self.fraction())
        self.stage, self.stage_label = name, label
        self.step = self.total = 0
        self.seconds_left = None


@dataclass
class Session:
    """Everything that is not in the .blend: the backend process, the job, a running Set Up, the list of results."""

    client: BackendClient | None = None
    job: Job | None = None
    setup: Setup | None = None
    notice: str = ""
    problem: Problem | None = None
    results: list[Entry] = field(default_factory=list)
    discarded: Path | None = None  # the folder that was discarded last, in case that is undone
    of_file: set[Path] = field(default_factory=set)  # folders of jobs that belong to the open file, as far as known
    show_textures: bool = False  # whether something was accepted that Solid shading does not show
    listeners: list[Callable] = field(default_factory=list)

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
