"""One job from the click to accept or discard, as plain Python that undo and file loading cannot touch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..job.spec.kinds import JobSpec
from ..job.spec.text_to_3d import TextTo3DJob
from .scene.target import Target

Phase = Literal["running", "cancelling", "finished", "failed", "cancelled"]

# The stages that take nearly all of a job's time; the time left that they tell is worth showing.
LONG_STAGES = ("paint", "coarse", "refine")


def stage_shares(spec: JobSpec) -> dict[str, float]:
    """How much of a job's time each stage takes, about, in their order; only to let the bar move evenly."""
    if not isinstance(spec, TextTo3DJob):
        return {"prepare": 0.02, "load": 0.04, "paint": 0.9, "finish": 0.04}
    coarse = 0.86 * (spec.steps - spec.refine.steps) / max(1, spec.steps)
    return {"prepare": 0.01, "load": 0.03, "coarse": coarse, "refine": 0.86 - coarse, "finish": 0.1}


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
        return min(1.0, self.done_before_stage + within * stage_shares(self.spec).get(self.stage, 0.0))

    def enter_stage(self, name: str, label: str) -> None:
        shares = stage_shares(self.spec)
        if name in shares:
            before = sum(list(shares.values())[: list(shares).index(name)])
            # A second model may be loaded between two stages; the bar must not go back for that.
            self.done_before_stage = before if name == self.stage else max(before, self.fraction())
        self.stage, self.stage_label = name, label
        self.step = self.total = 0
        self.seconds_left = None
