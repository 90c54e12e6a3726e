"""One job from the click to accept or discard, as plain Python that undo and file loading cannot touch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..job.files import CONTROL_PICTURE
from ..job.kinds import JobSpec
from ..job.models.control import OFF
from .scene.target import Target

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
    memory_mb: float = 0
    device_memory_mb: float = 0
    warnings: list[str] = field(default_factory=list)
    problem: Problem | None = None
    stopped_early: bool = False
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    has_view: bool = False
    has_control: bool = False  # whether there is a sheet of what its ControlNets see
    final_shown: bool = False
    changed_maps: list[str] = field(default_factory=list)  # objects whose UV map the result no longer fits
    in_file: bool = True  # whether the file it belongs to is the open one
    also: list[str] = field(default_factory=list)  # other paths that this file was saved as

    @property
    def active(self) -> bool:
        """Whether the backend works on it."""
        return self.phase in ("running", "cancelling")

    @property
    def in_scene(self) -> bool:
        """Whether its preview belongs into the scene."""
        return self.phase in ("running", "cancelling", "finished")

    @property
    def in_long_stage(self) -> bool:
        """Whether the time that is left in its stage is worth showing."""
        return any(stage.long for stage, _ in self.spec.stages() if stage.name == self.stage)

    def fraction(self) -> float:
        """How much is done, in [0, 1]."""
        within = self.step / self.total if self.total else 0.0
        share = next((share for stage, share in self.spec.stages() if stage.name == self.stage), 0.0)
        return min(1.0, self.done_before_stage + within * share)

    def look_for_control(self) -> None:
        """See whether there is that sheet by now; the folder of a job that can have none is not looked into."""
        if not self.has_control and getattr(self.spec, "control", OFF) != OFF:
            self.has_control = (self.folder / CONTROL_PICTURE).is_file()

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
