"""Objects of the coarse stage alone, judged: what the tables of diversity and of two-faced objects are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from csd_blender.job.folder import JobFolder
from csd_blender.job.result import read_result
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.text_to_3d import TextTo3DJob

from ..judged.quality_objects import Task, finished_object, judged_pictures, make_and_judge, object_job
from ..judged.quality_textures import worker_tools
from .rows import Row

#: The field is turned into a mesh and baked as it is. A small texture is enough for the judge's 64 pixels.
COARSE_ALONE = {"refine_steps": 0, "texture_size": 256}
TINY = {"coarse_steps": 2, "texture_size": 64}  # of a rehearsal
SETTINGS = {entry.name for spec in (TextTo3DJob, Guidance) for entry in fields(spec)}


@dataclass(frozen=True)
class CoarseTask:
    """One object.

    Attributes:
        label: of the table's row. seed: of the job. settings: further ones of the job, its method among them.
    """

    label: str
    shape: str
    material: str
    color: str | None
    seed: int
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.label} | {self.job_task.prompt} | {self.seed}"

    @property
    def fingerprint(self) -> str:
        return object_job(self.job_task).spec_hash()

    @property
    def job_task(self) -> Task:
        settings = {**COARSE_ALONE, **self.settings, "seed": self.seed}
        return Task(self.label, self.shape, self.material, self.color, settings, "draft", self.folder)


def make_row(task: CoarseTask) -> Row:
    """Make one object and judge it; ``features`` are the judge's, the mean over the views, ``[256]``.

    Raises:
        RuntimeError: when the job fails.
    """
    verdict = make_and_judge(task.job_task)
    _, judge = worker_tools()
    surface, albedo = finished_object(JobFolder.open(task.folder))
    features = judge.features(judged_pictures(surface, albedo)).mean(0)
    timings = read_result(task.folder).timings
    named: dict[str, Any] = {"label": task.label, "shape": task.shape, "seed": task.seed}
    named |= {name: timings.get(name) for name in ("network_calls", "dropped_words")}
    named["seconds"] = timings["processor_seconds"]
    return {**asdict(verdict), **named, "features": [round(float(value), 5) for value in features]}


def said(row: Row) -> str:
    faces = {None: "", True: ", two-faced", False: ", one front"}[row["two_faced"]]
    return f"{row['seconds']:6.1f} s  said {row['said']}{faces}"


def folder_name(words: Sequence[object]) -> str:
    """A folder's name of a row's words."""
    return "_".join("".join(c if c.isalnum() else "-" for c in str(word)) for word in words)
