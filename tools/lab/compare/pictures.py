"""Single pictures of the kind of job that makes them, judged; in a version without that kind there are none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import run_job
from csd_blender.job.folder import JobFolder
from csd_blender.job.kinds import KINDS, Kind
from csd_blender.job.result import read_result

from ..judged.quality_objects import Task
from ..judged.quality_textures import JUDGED_SIZE, belief, fresh_folder, worker_tools
from ..mini.readers.judge import Judge
from .rows import Row

TINY = {"steps": 2}  # of a rehearsal


def picture_kind() -> Kind | None:
    """The kind of job that makes pictures."""
    return next((kind for kind in KINDS if kind.spec.kind == "image"), None)


@dataclass(frozen=True)
class PictureTask:
    """One picture; a job of its own, so that a method that keeps something from picture to picture has nothing to keep.

    Attributes:
        settings: further ones of the job.
    """

    method: str
    shape: str
    material: str
    color: str | None
    seed: int
    folder: Path
    quality: str = "normal"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.method} | {self.prompt} | picture {self.seed}"

    @property
    def prompt(self) -> str:
        """As that of an object."""
        return Task("", self.shape, self.material, self.color, {}, self.quality, self.folder).prompt

    @property
    def job(self) -> Any:
        settings = {"method": self.method, "seed": self.seed, "count": 1, "size": JUDGED_SIZE, "preview_interval": 0}
        return picture_kind().make(self.prompt, self.quality, "mini", **{**settings, **self.settings})

    @property
    def fingerprint(self) -> str:
        return self.job.spec_hash()

    @property
    def file(self) -> Path:
        return self.folder / "result" / "picture_01.png"


def make_row(task: PictureTask) -> Row:
    """Make one picture and judge it; ``features`` are the judge's, ``[256]``.

    Raises:
        RuntimeError: when the job fails.
    """
    models, judge = worker_tools()
    if fresh_folder(task.folder, task.job):
        JobFolder.create(task.folder, task.job)
        outcome = run_job(str(task.folder), Reporter(emit=lambda said: None), models)
        if outcome.type != "result":
            raise RuntimeError(f"{task.prompt}: {outcome.text} {outcome.detail}")
    timings = read_result(task.folder).timings
    asked = {"shape": task.shape, "material": task.material, "color": task.color}
    return {
        "label": task.method,
        "prompt": task.prompt,
        "seed": task.seed,
        **judged(load_picture(task.file), asked, judge),
        "seconds": float(str(timings["processor_seconds"])),
        "network_calls": timings.get("network_calls"),
    }


def judged(picture: torch.Tensor, asked: Mapping[str, str | None], judge: Judge) -> Row:
    """What the judge says of a picture ``[3, 64, 64]`` in [0, 1].

    ``asked``: names by the judge's questions; None for those that were not asked.
    """
    named = judge.verdict(picture[None])
    color = asked.get("color")
    return {
        "said": " ".join(word for word in (named.get("color"), named["material"], named["shape"]) if word),
        "shape_right": named["shape"] == asked["shape"],
        "material_right": named["material"] == asked["material"],
        "color_right": None if color is None else named.get("color") == color,
        "two_faced": None,
        "saturation": float((picture.amax(0) - picture.amin(0)).mean()),
        "belief": belief(judge, picture[None], asked),
        "features": [round(float(value), 5) for value in judge.features(picture[None])[0]],
    }


def load_picture(path: Path) -> torch.Tensor:
    """``[3, 64, 64]`` in [0, 1], as the judge reads it."""
    with Image.open(path) as file:
        small = file.convert("RGB").resize((JUDGED_SIZE, JUDGED_SIZE), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1) / 255
