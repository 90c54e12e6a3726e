"""``bench --frontier``: what a texture's presets, and what makes them quicker, win and cost: judged quality and fit to
the mesh's parts against seconds, each alone and all together, in one run on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from csd_blender.job.result import read_result
from csd_blender.job.spec.texture import TextureJob

from ...chart import Point, chart
from ...judged.part_meshes import PART_MESHES
from ...judged.quality_prompts import MESH_COUNT, quality_prompts
from ...judged.quality_textures import make_and_judge, quality_job, save_first_views, worker_tools
from ..rows import Row, RowFile, make_rows
from ..statistics import all_right, paired_difference, wilson
from . import alignment
from .alignment import SEEDS, TINY, AlignmentTask

QUICKER: Mapping[str, Any] = {"encoder": "small", "look": "unseen", "early_end": 0.5}
#: Rows: the preset, and the settings besides its own.
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Draft": ("draft", {}),
    "Draft, small encoder": ("draft", {"encoder": QUICKER["encoder"]}),
    "Draft, unseen places": ("draft", {"look": QUICKER["look"]}),
    "Draft, early end": ("draft", {"early_end": QUICKER["early_end"]}),
    "Draft, all three": ("draft", QUICKER),
    "Normal": ("normal", {}),
    "Normal, all three": ("normal", QUICKER),
    "Draft from gray": ("draft", {"control": "off"}),
    "Normal from gray": ("normal", {"control": "off"}),
    "Best": ("best", {}),
}
MOST_EXCESS = 0.3  # of the chart's axis
ASKED = len(quality_prompts()) // MESH_COUNT  # prompts of each mesh


@dataclass(frozen=True)
class JudgedTask:
    """One texture of the quality table. label: a row's. index: of its prompts."""

    label: str
    index: int
    quality: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.label} judged {self.index}"

    @property
    def job(self) -> TextureJob:
        return quality_job(quality_prompts()[self.index], "csd", self.quality, **self.settings)

    @property
    def fingerprint(self) -> str:
        return self.job.spec_hash()


def run_frontier(out: Path, processes: int = 1, rehearse: bool = False, show: bool = False) -> int:
    """Make what is missing, print the table and draw the charts. Returns 0, or 1 when a texture could not be made.

    Args:
        rehearse: two textures a row with next to no steps. show: make nothing, print what is there.
    """
    tasks, file = frontier_tasks(out, rehearse), RowFile(out / "frontier.jsonl")
    failed = make_rows(tasks, make_row, file, processes, _said, show)
    rows = list(file.of(tasks).values())
    print(f"\nTextures: quality against seconds of one core\n{format_table(rows)}")
    judged, parts = points(rows)
    for name, found, title, side, top in (
        ("frontier", judged, "Judged textures, seconds of one core", "named right by the judge", 1.0),
        ("frontier_parts", parts, "Fit to the parts, seconds of one core", "borders, excess over chance", MOST_EXCESS),
    ):
        if found:
            (out / f"{name}.svg").write_text(chart(found, title, side, top), "utf-8")
    for label in ROWS:
        files = [task.folder / "result" / "turntable.png" for task in tasks if task.label == label]
        there = [path for path in files if path.is_file()]
        if there:
            save_first_views(there, out / f"{label.replace(',', '').replace(' ', '_')}.png")
    return 1 if failed else 0


def frontier_tasks(out: Path, rehearse: bool = False) -> list[JudgedTask | AlignmentTask]:
    """All textures: each one for all rows, so that rows share what else the machine does; a run that ends early has
    rows of equal length, in which all meshes are about equally often."""
    prompts, meshes, seeds = len(quality_prompts()), len(PART_MESHES), len(SEEDS)
    cells: list[tuple[float, int, int]] = [
        ((i % ASKED + i // ASKED * ASKED / prompts) / ASKED, i, -1) for i in range(prompts)
    ]
    cells += [((seed + mesh / meshes) / seeds, mesh, seed) for mesh in range(meshes) for seed in range(seeds)]
    chosen = [(0.0, 0, -1), (0.0, 0, 0)] if rehearse else sorted(cells)
    tasks: list[JudgedTask | AlignmentTask] = []
    for _, which, seed in chosen:
        for number, (label, (quality, own)) in enumerate(ROWS.items()):
            settings = {"preview_interval": 0, **own, **(TINY if rehearse else {})}
            place = out / "jobs" / f"{number}"
            if seed < 0:
                tasks.append(JudgedTask(label, which, quality, place / f"judged_{which:02d}", settings))
            else:
                folder, mesh = place / f"{PART_MESHES[which]}_{seed}", PART_MESHES[which]
                tasks.append(AlignmentTask(label, mesh, SEEDS[seed], folder, settings, quality))
    return tasks


def make_row(task: JudgedTask | AlignmentTask) -> Row:
    """Make one texture, and judge or measure it. Raises ``RuntimeError`` when the job fails."""
    if isinstance(task, AlignmentTask):
        return alignment.make_row(task)
    asked = quality_prompts()[task.index]
    said = make_and_judge(asked, "csd", task.quality, task.folder, *worker_tools(), **task.settings)
    timings = read_result(task.folder).timings
    return {
        "label": task.label, "index": task.index, "prompt": asked.prompt, "said": said.said,
        "material_right": said.material_right, "color_right": said.color_right, "belief": said.belief,
        "saturation": said.saturation, "light": said.light_slope,
        "seconds": timings["processor_seconds"], "network_calls": timings.get("network_calls"),
    }  # fmt: skip


def _said(row: Row) -> str:
    if "border" in row:
        return f"border, excess {row['border'] - row['border_chance']:.3f}"
    return "right" if all_right(row) else f"said {row['said']}"


def parted(rows: Sequence[Row], label: str) -> tuple[list[Row], list[Row]]:
    """Judged ones, and those measured by their parts."""
    own = [row for row in rows if row["label"] == label]
    return [row for row in own if "belief" in row], [row for row in own if "border" in row]


def points(rows: Sequence[Row]) -> tuple[list[Point], list[Point]]:
    """Of each row what the judge names right, and by how much borders fit beyond chance; at the median of all seconds.

    The second one's interval is a bootstrap's over the textures.
    """
    judged, parts = [], []
    for label in ROWS:
        told, measured = parted(rows, label)
        seconds = float(np.median([row["seconds"] for row in told + measured])) if told or measured else 0.0
        if told:
            right = sum(all_right(row) for row in told)
            judged.append(Point(label, seconds, right / len(told), wilson(right, len(told))))
        if measured:
            mean, interval = paired_difference(
                [row["border"] for row in measured], [row["border_chance"] for row in measured]
            )
            parts.append(Point(label, seconds, mean, interval))
    return judged, parts


def format_table(rows: Sequence[Row]) -> str:
    """A line a row."""
    lines = [
        f"{'':22}{'judged':>8}{'right (95 %)':>18}{'belief':>8}{'light':>8}{'saturation':>12}"
        f"{'parts':>7}{'border':>8}{'R²':>8}{'calls':>7}{'seconds':>9}"
    ]
    for label in ROWS:
        told, measured = parted(rows, label)
        if not told and not measured:
            continue
        right = sum(all_right(row) for row in told)
        low, high = wilson(right, len(told)) if told else (0.0, 1.0)
        share = f"{right / max(len(told), 1):.0%} ({low:.0%}–{high:.0%})"
        both = told + measured
        calls, seconds = (np.median([row[name] or 0 for row in both]) for name in ("network_calls", "seconds"))
        lines.append(
            f"{label:22}{len(told):8}{share:>18}{_mean(told, 'belief'):8.2f}{_mean(told, 'light'):8.3f}"
            f"{_mean(told, 'saturation'):12.2f}{len(measured):7}{_excess(measured, 'border'):8.3f}"
            f"{_excess(measured, 'explained'):8.3f}{calls:7.0f}{seconds:9.1f}"
        )
    lines.append("right: material and color; border, R²: as --alignment has them, excess over chance; seconds, calls:")
    lines.append("medians, of one core and of pictures through the network")
    return "\n".join(lines)


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows])) if rows else float("nan")


def _excess(rows: Sequence[Row], name: str) -> float:
    return _mean(rows, name) - _mean(rows, f"{name}_chance")
