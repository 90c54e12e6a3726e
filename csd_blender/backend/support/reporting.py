"""What a pipeline tells the outside while it runs, and how it learns that it should stop."""

from __future__ import annotations

import io
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ...job.errors import JobError
from ...job.files import PREVIEW_MESH, PREVIEW_VIEW, preview_texture
from ...job.folder import JobFolder
from ...job.process.bodies import MESH, TEXTURE, Body, CheckpointStored, Preview, Progress, StageBegun, Warned
from ...job.spec.stages import Plan, Stage

PROGRESS_INTERVAL = 0.25  # seconds; at most four messages a second


class Stopped(Exception):
    """Leaves a pipeline early: ``cancel`` when the user asked to stop, ``leave`` when the other side went away."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass
class Reporter:
    """Sends a job's events; every pipeline gets one and knows nothing of pipes or terminals.

    Attributes:
        emit: called with every event.
        stop_reason: None, ``cancel`` once the user asked to stop (keep the best so far), or ``leave`` when the other
            side went away (save a checkpoint and end). Pipelines look at every step.
        preview_interval: seconds between preview pictures; 0 switches them off.
        failure: why the job ends early all the same, though what it had before is kept as after a cancel.
    """

    emit: Callable[[Body], None]
    stop_reason: Callable[[], str | None] = lambda: None
    preview_interval: float = 1.5
    warnings: list[dict[str, str]] = field(default_factory=list)
    failure: JobError | None = None
    stage_name: str = ""
    _last_progress: float = 0.0
    _last_preview: float = 0.0
    _rate: float = 0.0
    _step_seen: tuple[int, float] | None = None

    def check_stop(self) -> None:
        """For places without anything to keep yet. Raises :class:`Stopped`."""
        reason = self.stop_reason()
        if reason is not None:
            raise Stopped(reason)

    def stage(self, stage: Stage, plan: Plan, of: Stage | None = None) -> None:
        """Announce ``stage`` of the job's ``plan``.

        Args:
            of: the stage that it belongs to and counts as, for what a job does more than once.
        """
        self.stage_name = stage.name
        self._step_seen = None
        self._rate = 0.0
        self._last_progress = 0.0
        index = [entry for entry, _ in plan].index(of or stage)
        self.emit(StageBegun(stage.name, stage.label, index, len(plan)))

    def progress(self, step: int, total: int, metrics: dict[str, float] | None = None) -> None:
        """Tell that ``step`` of ``total`` is done; too frequent calls are dropped, the last one never."""
        now = time.monotonic()
        self._measure_rate(step, now)
        if now - self._last_progress < PROGRESS_INTERVAL and step < total:
            return
        self._last_progress = now
        left = (total - step) / self._rate if self._rate > 0 else None
        self.emit(
            Progress(
                step=step,
                total=total,
                stage=self.stage_name,
                steps_per_second=round(self._rate, 3),
                seconds_left=None if left is None else round(left, 1),
                memory_mb=process_memory_mb(),
                device_memory_mb=device_memory_mb(),
                metrics={k: round(float(v), 6) for k, v in (metrics or {}).items() if math.isfinite(v)},
            )
        )

    def _measure_rate(self, step: int, now: float) -> None:
        if self._step_seen is None or step <= self._step_seen[0]:
            self._step_seen = (step, now)
            return
        seen_step, seen_time = self._step_seen
        if now - seen_time < 0.2:
            return
        rate = (step - seen_step) / (now - seen_time)
        self._rate = rate if self._rate == 0 else 0.8 * self._rate + 0.2 * rate
        self._step_seen = (step, now)

    def preview_due(self) -> bool:
        return self.preview_interval > 0 and time.monotonic() - self._last_preview >= self.preview_interval

    def preview(self, folder: JobFolder, kind: str, picture: np.ndarray, *, part: int, step: int) -> None:
        """Write ``picture`` (uint8 ``[H, W, 3]``, row 0 = top) as raw RGBA, bottom row first, and announce it."""
        height, width = picture.shape[:2]
        rgba = np.full((height, width, 4), 255, np.uint8)
        rgba[..., :3] = picture[::-1]
        name = preview_texture(part) if kind == TEXTURE else PREVIEW_VIEW
        folder.write_bytes(name, rgba.tobytes(), sync=False)
        self._last_preview = time.monotonic()
        self.emit(Preview(name, kind, part, step, width, height))

    def preview_mesh(
        self, folder: JobFolder, positions: np.ndarray, triangles: np.ndarray, colors: np.ndarray, *, step: int
    ) -> None:
        """Write a mesh as it is now and announce it: ``[V, 3]`` meters, ``[F, 3]``, ``[V, 3]`` uint8 sRGB."""
        buffer = io.BytesIO()
        arrays = {"positions": np.float32(positions), "triangles": np.int32(triangles), "colors": np.uint8(colors)}
        np.savez(buffer, **arrays)
        folder.write_bytes(PREVIEW_MESH, buffer.getvalue(), sync=False)
        self.emit(Preview(PREVIEW_MESH, MESH, step=step))

    def checkpoint(self, path: str, step: int) -> None:
        self.emit(CheckpointStored(path, step))

    def warn(self, code: str, text: str) -> None:
        """One sentence the user should see; it also ends up in ``result.json``."""
        if not any(w["code"] == code and w["text"] == text for w in self.warnings):
            self.warnings.append({"code": code, "text": text})
            self.emit(Warned(text, code))

    def fail(self, error: JobError) -> None:
        """Let the job end with ``error`` once its result so far is written, which tells of it."""
        self.failure = error
        self.warnings.append({"code": error.code, "text": error.message})


def process_memory_mb() -> int:
    """Resident memory of this process in MiB, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (OSError, ValueError, AttributeError):
        return _peak_memory_mb()


def _peak_memory_mb() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def device_memory_mb() -> int:
    """CUDA memory held by tensors, MiB; 0 without CUDA."""
    return torch.cuda.memory_allocated() // 2**20 if torch.cuda.is_available() else 0
