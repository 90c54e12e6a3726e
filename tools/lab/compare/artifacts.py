"""``bench --pictures``: what CSD leaves on single pictures, against the model's own samples, and what cures it.

The authors of CSD say that it leaves artifacts on pictures. What is an artifact here is what the model itself would not
draw: each prompt is also sampled by DDIM from the same network, and the pictures of a row are held against these
samples in what is sharp, in what is grainy, and in the judge's features.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from csd_blender.backend.render.pictures import contact_sheet, to_bytes

from ..judged.quality_objects import Task
from ..judged.quality_textures import worker_tools
from ..mini.__main__ import WEIGHTS
from ..mini.samples import Pipeline, generate, load_pipeline
from . import pictures
from .coarse import folder_name
from .pictures import PictureTask, judged, load_picture
from .rows import Row, RowFile, make_rows
from .statistics import all_right, distances, mean, share

#: Shape, material and color: a plain surface, on which every grain is one too many, a pattern, and two materials.
PROMPTS = (("vase", "plain", "red"), ("mug", "striped", "blue"), ("robot", "rust", None), ("house", "brick", None))
SEEDS = 2
SAMPLES = 8  # of the model itself, for each prompt
DDIM_STEPS, DDIM_SCALE = 25, 5.0
OWN = "own samples, DDIM"


@dataclass(frozen=True)
class Variant:
    """A row of the table: a method with settings of its own; what is not named is the preset's."""

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def _csd(label: str, prior: float, times: str = "uniform", space: str = "latents") -> Variant:
    return Variant(label, "csd", {"generative_weight": prior, "times": times, "space": space})


VARIANTS = (
    _csd("csd", 0.0),
    _csd("csd, falling times", 0.0, "falling"),
    _csd("csd + prior 0.35", 0.35),
    _csd("csd + prior 0.7", 0.7),
    _csd("csd, falling + prior 0.35", 0.35, "falling"),
    _csd("csd, falling + prior 0.7", 0.7, "falling"),  # the preset
    _csd("csd, falling + prior 1", 1.0, "falling"),
    _csd("csd, pixels", 0.0, space="pixels"),
    _csd("csd, falling + prior 0.7, pixels", 0.7, "falling", "pixels"),
    Variant("sds", "sds"),
    Variant("vsd", "vsd"),
    Variant("dsd", "dsd"),
)


@dataclass(frozen=True)
class ArtifactTask(PictureTask):
    """One picture of a variant."""

    label: str = ""

    @property
    def key(self) -> str:
        return f"{self.label} | {self.prompt} | {self.seed}"


@dataclass(frozen=True)
class SampleTask:
    """One picture that the model itself draws of a prompt."""

    shape: str
    material: str
    color: str | None
    seed: int
    file: Path
    steps: int = DDIM_STEPS
    label: str = OWN

    @property
    def key(self) -> str:
        return f"{self.label} | {self.prompt} | {self.seed}"

    @property
    def prompt(self) -> str:
        """As that of an object."""
        return Task("", self.shape, self.material, self.color, {}, "", self.file).prompt

    @property
    def fingerprint(self) -> str:
        told = ["ddim", self.prompt, self.seed, self.steps, DDIM_SCALE]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def run_artifacts(
    out: Path, only: Sequence[str] = (), quality: str = "normal", processes: int = 1, rehearse: bool = False,
    show: bool = False,
) -> int:  # fmt: skip
    """Make what is missing, print the table, and draw ``pictures.png``. Returns 0, or 1 when a row could not be made.

    Args:
        only: variants of these methods; all for none. quality: of the picture jobs.
        rehearse: one prompt, two samples, and next to no steps. show: make nothing, print what is there.
    """
    file = RowFile(out / "pictures.jsonl")
    tasks: list[Any] = [*sample_tasks(out, rehearse), *variant_tasks(out, only, quality, rehearse)]
    failed = make_rows(tasks, make_row, file, processes, said, show)
    rows = list(file.of(tasks).values())
    print(f"\nSingle pictures, {len(PROMPTS)} prompts, {quality}\n{format_table(rows)}\n", flush=True)
    there = file.of(tasks)
    seen = [load_picture(task.file) for task in tasks if task.key in there and task.seed == 0 and task.file.is_file()]
    if seen:
        columns = len({(task.shape, task.material) for task in tasks})
        Image.fromarray(contact_sheet(torch.stack(seen), columns)).save(out / "pictures.png")
        print(f"The first picture of each row and prompt, in the table's order: {out / 'pictures.png'}")
    return 1 if failed else 0


def sample_tasks(out: Path, rehearse: bool = False) -> list[SampleTask]:
    """The model's own pictures, seed by seed."""
    prompts, seeds, steps = (PROMPTS[:1], 2, 2) if rehearse else (PROMPTS, SAMPLES, DDIM_STEPS)
    return [
        SampleTask(*prompt, seed, out / "samples" / f"{folder_name((*prompt[:2], seed))}.png", steps)
        for seed in range(seeds)
        for prompt in prompts
    ]


def variant_tasks(
    out: Path, only: Sequence[str] = (), quality: str = "normal", rehearse: bool = False
) -> list[ArtifactTask]:
    """All pictures, variant by variant within a seed, so that an unfinished table compares like with like."""
    tiny = pictures.TINY if rehearse else {}
    return [
        ArtifactTask(
            variant.method, *prompt, seed, out / "jobs" / folder_name((variant.label, *prompt[:2], seed)), quality,
            {**variant.settings, **tiny}, variant.label,
        )
        for seed in range(1 if rehearse else SEEDS)
        for variant in VARIANTS
        if not only or variant.method in only
        for prompt in (PROMPTS[:1] if rehearse else PROMPTS)
    ]  # fmt: skip


def make_row(task: ArtifactTask | SampleTask) -> Row:
    """Make one picture, judge and measure it. Raises ``RuntimeError`` when the job fails."""
    row = sample_row(task) if isinstance(task, SampleTask) else {**pictures.make_row(task), "label": task.label}
    return {**row, **sharpness(load_picture(task.file))}


def sample_row(task: SampleTask) -> Row:
    """Let the model draw one picture, which is kept as a file."""
    started = time.process_time()
    [picture] = generate(_pipeline(), [task.prompt], task.seed, task.steps, DDIM_SCALE)
    seconds = time.process_time() - started
    task.file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_bytes(picture.permute(1, 2, 0))).save(task.file)
    asked = {"shape": task.shape, "material": task.material, "color": task.color}
    told = {"label": task.label, "prompt": task.prompt, "seed": task.seed}
    verdict = judged(load_picture(task.file), asked, worker_tools()[1])
    return {**told, **verdict, "seconds": seconds, "network_calls": 2 * task.steps}


@cache
def _pipeline() -> Pipeline:
    return load_pipeline(WEIGHTS)


def sharpness(picture: Tensor) -> dict[str, float]:
    """How much a picture ``[3, H, W]`` in [0, 1] has of what is as fine as its pixels, by the Laplacian of its
    brightness (4 x center - the four beside it, the border left out).

    Returns:
        ``edges``, its mean square, to which outlines and patterns add most; and ``grain``, the median of its size: what
        there is where nothing else is, in the half of the picture with the least.
    """
    gray = picture.mean(0)[None, None]
    kernel = gray.new_tensor([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    found = F.conv2d(gray, kernel)
    return {"edges": float(found.square().mean()), "grain": float(found.abs().quantile(0.5))}


def said(row: Row) -> str:
    return f"{row['said']:28} belief {row['belief']:.2f}  grain {row['grain']:.4f}  {row['seconds']:6.1f} s"


# ---- the table


def format_table(rows: Sequence[Row]) -> str:
    """A line a variant, in the order in which they come; the model's own samples first, which the others are held
    against prompt by prompt."""
    titles = ("n", "right (95 %)", "belief", "saturation", "edges", "grain", "distance", "seconds", "calls")
    widths = (5, 18, 9, 12, 8, 8, 10, 9, 8)
    own: dict[str, list[Row]] = {}
    for row in rows:
        if row["label"] == OWN:
            own.setdefault(row["prompt"], []).append(row)
    lines = [f"{'':34}" + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))]
    for label in dict.fromkeys(row["label"] for row in rows):
        group = [row for row in rows if row["label"] == label]
        cells = (
            f"{len(group)}",
            share([all_right(row) for row in group]),
            f"{mean([row['belief'] for row in group]):.2f}",
            f"{mean([row['saturation'] for row in group]):.2f}",
            _number(ratio(group, own, "edges"), "{:.2f}x"),
            _number(ratio(group, own, "grain"), "{:.2f}x"),
            _number(distance(group, own), "{:.3f}"),
            f"{statistics.median(row['seconds'] for row in group):.1f}",
            f"{statistics.median(row['network_calls'] for row in group):,.0f}",
        )
        lines.append(f"{label:34}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True)))
    lines.append("edges, grain: mean square and median of the brightness's Laplacian, as multiples of those of the")
    lines.append("model's own samples of the same prompt; distance: 1 - cos of the judge's features to these samples,")
    lines.append("of a sample itself to the others; right: shape, material and color as asked")
    return "\n".join(lines)


def ratio(rows: Sequence[Row], own: Mapping[str, Sequence[Row]], name: str) -> float | None:
    """The geometric mean over rows of a figure, each as a multiple of what it is in the samples of its prompt, whose
    geometric mean is 1; None where there are no samples."""
    logs = [
        _log(row[name]) - np.mean([_log(o[name]) for o in own[row["prompt"]]]) for row in rows if row["prompt"] in own
    ]
    return float(np.exp(np.mean(logs))) if logs else None


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-8)))


def distance(rows: Sequence[Row], own: Mapping[str, Sequence[Row]]) -> float | None:
    """The mean distance in the judge's features between rows and the samples of their prompt; of a sample, to the
    others. None where there is nothing to compare with."""
    found = []
    for row in rows:
        others = [o for o in own.get(row["prompt"], ()) if o is not row]
        if others:
            table = distances(np.array([row["features"], *(o["features"] for o in others)]))
            found.append(table[0, 1:].mean())
    return float(np.mean(found)) if found else None


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
