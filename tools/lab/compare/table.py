"""``bench --methods``: every method on one fixed set of textures and objects, judged, with seconds and calls."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from csd_blender.job.result import read_result
from csd_blender.job.spec.methods import METHODS

from ..chart import Point, chart
from ..judged import quality_objects, quality_textures
from ..judged.quality_objects import ONE_VIEW, SHAPES_AND_SURFACES, Task, object_job
from ..judged.quality_prompts import QualityPrompt, quality_prompts
from ..judged.quality_textures import quality_job, save_first_views, worker_tools
from .rows import Row, RowFile, make_rows
from .statistics import all_right, mean, share, wilson

#: Of ``quality_prompts``, one a mesh: five materials with colors of their own, five patterns in five colors.
TEXTURES = (1, 6, 13, 18, 25, 30, 39, 42, 51, 54)
#: Of ``SHAPES_AND_SURFACES``: five shapes with a front, three without.
OBJECTS = (0, 2, 5, 6, 9, 11, 12, 19)
#: These are compared in the longer tables, too, together with the best of those that came after CSD.
CLOSER = ("csd", "sds", "vsd", "dsd")
NEWCOMERS = ("asd", "nfsd", "ism", "sdi", "csm", "bridge")

PARTS = {
    "textures": "10 textures at Draft",
    "normal": "10 textures at Normal",
    "objects": "8 objects at Draft",
}
#: Textures here are the methods' own work, without the ControlNet that the preset has.
BY_ITSELF = {"control": "off"}
#: Settings of a rehearsal, whose figures mean nothing.
TINY_TEXTURE = {"steps": 2, "texture_size": 64}
TINY_OBJECT = {"coarse_steps": 2, "refine_steps": 1, "texture_size": 64}


@dataclass(frozen=True)
class MethodTask:
    """One texture or object of the table.

    Attributes:
        part: of ``PARTS``. index: in the part's list. folder: of the job. settings: further ones of the job.
    """

    part: str
    method: str
    index: int
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.part} {self.method} {self.index:02d}"

    @property
    def fingerprint(self) -> str:
        if self.part == "objects":
            return object_job(self.of_object).spec_hash()
        return quality_job(self.asked, self.method, self.quality, **self.settings).spec_hash()

    @property
    def quality(self) -> str:
        return "normal" if self.part == "normal" else "draft"

    @property
    def asked(self) -> QualityPrompt:
        """Of a texture."""
        return quality_prompts()[TEXTURES[self.index]]

    @property
    def of_object(self) -> Task:
        """Of an object."""
        row = SHAPES_AND_SURFACES[OBJECTS[self.index]]
        return Task(self.method, *row, {"method": self.method, **self.settings}, self.quality, self.folder)


def run_methods(
    out: Path, only: Sequence[str] = (), part: str | None = None, processes: int = 1, rehearse: bool = False,
    show: bool = False,
) -> int:  # fmt: skip
    """Make what is missing of the table, print it, and draw its charts. Returns 0, or 1 when a row could not be made.

    Args:
        only: these methods; all for none. part: of ``PARTS``; all for None.
        rehearse: one result of each method and part with next to no steps. show: make nothing, print what is there.
    """
    file, failed = RowFile(out / "methods.jsonl"), 0
    for name in PARTS if part is None else (part,):
        if name == "textures":
            methods: Sequence[str] = METHODS
        else:
            # Rows of textures may lie elsewhere: then it is the one that this part has.
            newcomer = find_newcomer(out, name, file, rehearse)
            methods = [m for m in METHODS if m in (*CLOSER, newcomer)]
        chosen = [m for m in METHODS if m in only] if only else methods
        tasks = part_tasks(out, name, chosen, rehearse)
        failed += make_rows(tasks, make_row, file, processes, said, show)
        rows = list(file.of(tasks).values())
        print(f"\n{PARTS[name]}\n{format_table(rows)}\n", flush=True)
        if rows:
            picture = out / f"methods_{name}.svg"
            picture.write_text(chart(points(rows), PARTS[name]), "utf-8")
            save_sheets(out, name, tasks)
    print(f"Rows, charts and pictures: {out}")
    return 1 if failed else 0


def part_tasks(out: Path, part: str, methods: Sequence[str], rehearse: bool = False) -> list[MethodTask]:
    """All rows of a part, prompt by prompt, so that a table that is not finished yet compares like with like."""
    count = len(OBJECTS if part == "objects" else TEXTURES)
    settings: dict[str, Any] = dict(ONE_VIEW if part == "objects" else BY_ITSELF)
    settings |= (TINY_OBJECT if part == "objects" else TINY_TEXTURE) if rehearse else {}
    return [
        MethodTask(part, method, index, out / "jobs" / f"{part}_{method}_{index:02d}", settings)
        for index in range(1 if rehearse else count)
        for method in methods
    ]


def find_newcomer(out: Path, part: str, file: RowFile, rehearse: bool) -> str | None:
    """The best one of the textures at *Draft*, or, where their rows lie elsewhere, that which this part has rows of; it
    is told which."""
    own, textures = (file.of(part_tasks(out, name, METHODS, rehearse)).values() for name in (part, "textures"))
    if newcomer := best_newcomer(list(textures)):
        print(f"{PARTS[part]}: the best newcomer in the textures at Draft is {newcomer}")
    elif newcomer := best_newcomer(list(own)):
        print(
            f"{PARTS[part]}: the newcomer here is {newcomer}; there are no textures at Draft to say which is the best"
        )
    else:
        print(f"{PARTS[part]}: the best newcomer is not known before there are textures at Draft")
    return newcomer


def best_newcomer(rows: Sequence[Row]) -> str | None:
    """Of the methods after CSD the one that the judge named right most often, then believed most; None without any."""
    scored = {}
    for name in NEWCOMERS:
        own = [row for row in rows if row["method"] == name]
        if own:
            scored[name] = (mean([row["right"] for row in own]), mean([row["belief"] for row in own]))
    return max(scored, key=lambda name: scored[name]) if scored else None


def make_row(task: MethodTask) -> Row:
    """Make one result and judge it. Raises ``RuntimeError`` when the job fails."""
    if task.part == "objects":
        verdict: Any = quality_objects.make_and_judge(task.of_object)
        row = {**asdict(verdict), "right": all_right(asdict(verdict))}
    else:
        asked, quality = task.asked, task.quality
        verdict = quality_textures.make_and_judge(
            asked, task.method, quality, task.folder, *worker_tools(), **task.settings
        )
        row = {**asdict(verdict), "right": verdict.right}
    timings = read_result(task.folder).timings
    counted = {"seconds": timings["processor_seconds"], "network_calls": timings.get("network_calls")}
    return {"part": task.part, **row, "steps": timings["steps"], **counted}


def said(row: Row) -> str:
    mark = "right" if row["right"] else f"said {row['said']}"
    return f"{row['prompt']:28} {row['seconds']:6.1f} s  {mark}"


def format_table(rows: Sequence[Row]) -> str:
    """A line a method, in the order of the methods; what a part does not have is a dash."""
    titles = ("n", "belief", "material", "color", "shape", "light", "saturation", "two-faced", "seconds", "calls")
    lines = [f"{'':8}{'right (95 %)':>16}" + "".join(f"{title:>11}" for title in titles)]
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        if not own:
            continue
        rates = [_rate(own, name) for name in ("material_right", "color_right", "shape_right")]
        figures = [
            f"{len(own)}",
            f"{mean([row['belief'] for row in own]):.2f}",
            *rates,
            f"{mean([row['light_slope'] for row in own]):.3f}",
            f"{mean([row['saturation'] for row in own]):.2f}",
            _rate(own, "two_faced"),
            f"{statistics.median(row['seconds'] for row in own):.1f}",
        ]
        calls = mean([row["network_calls"] for row in own], statistics.median)
        figures.append("–" if calls is None else f"{calls:,.0f}")
        right = share([row["right"] for row in own])
        lines.append(f"{method:8}{right:>16}" + "".join(f"{figure:>11}" for figure in figures))
    lines.append("right: all that the prompt asks for is named; belief: the judge's probability for it, the mean;")
    lines.append("light: how strongly brightness follows the surface; seconds: of the processor, calls: pictures")
    lines.append("through the network; both are medians of a result")
    return "\n".join(lines)


def _rate(rows: Sequence[Row], name: str) -> str:
    rate = mean([row.get(name) for row in rows])
    return "–" if rate is None else f"{rate:.0%}"


def points(rows: Sequence[Row]) -> list[Point]:
    """A point a method for the chart."""
    found = []
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        if own:
            hits = sum(row["right"] for row in own)
            seconds = statistics.median(row["seconds"] for row in own)
            found.append(Point(method, seconds, hits / len(own), wilson(hits, len(own))))
    return found


def save_sheets(out: Path, part: str, tasks: Sequence[MethodTask]) -> None:
    """A picture a method with the first view of each result that is there."""
    for method in dict.fromkeys(task.method for task in tasks):
        files = [task.folder / "result" / "turntable.png" for task in tasks if task.method == method]
        there = [file for file in files if file.is_file()]
        if there:
            save_first_views(there, out / f"{part}_{method}.png", columns=5)
