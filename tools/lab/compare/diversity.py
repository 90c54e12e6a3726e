"""``bench --diversity``: how far apart the results of different seeds are, with how well they are judged beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csd_blender.job.spec.methods import METHODS

from ..judged.quality_objects import ONE_VIEW
from . import coarse, pictures
from .coarse import CoarseTask, folder_name, said
from .pictures import PictureTask, picture_kind
from .rows import Row, RowFile, make_rows
from .statistics import all_right, between, diversity, mean, share

COMPARED = ("sds", "csd", "vsd", "dsd")
#: Shape and pattern; the color is left to chance, so that there is something to vary without being wrong.
PROMPTS = (("mug", "striped"), ("house", "checkered"), ("vase", "dotted"))
SEEDS = 8


def run_diversity(
    out: Path, only: Sequence[str] = (), processes: int = 1, rehearse: bool = False, show: bool = False
) -> int:
    """Make what is missing and print the table. Returns 0, or 1 when a result could not be made.

    Args:
        only: these methods; those of ``COMPARED`` for none. rehearse: one prompt, two seeds, next to no steps.
        show: make nothing, print what is there.
    """
    file, failed = RowFile(out / "diversity.jsonl"), 0
    parts: list[tuple[str, Sequence[Any], Callable[[Any], Row]]] = []
    if picture_kind() is not None:  # they take minutes, objects hours
        parts.append(("Pictures", picture_tasks(out, only, rehearse), pictures.make_row))
    parts.append(("Objects, coarse stage", object_tasks(out, only, rehearse), coarse.make_row))
    for title, tasks, make in parts:
        failed += make_rows(tasks, make, file, processes, said, show)
        print(f"\n{title}, {len(PROMPTS)} prompts\n{format_table(list(file.of(tasks).values()))}\n", flush=True)
    return 1 if failed else 0


def picture_tasks(out: Path, only: Sequence[str] = (), rehearse: bool = False) -> list[PictureTask]:
    """All pictures, seed by seed."""
    tiny = pictures.TINY if rehearse else {}
    return [
        PictureTask(
            method, shape, material, None, seed, out / "jobs" / folder_name(("picture", method, shape, seed)),
            settings=tiny,
        )
        for seed, shape, material, method in _cells(only, rehearse)
    ]  # fmt: skip


def object_tasks(out: Path, only: Sequence[str] = (), rehearse: bool = False) -> list[CoarseTask]:
    """All objects, seed by seed."""
    tiny = coarse.TINY if rehearse else {}
    return [
        CoarseTask(
            method, shape, material, None, seed, out / "jobs" / folder_name((method, shape, seed)),
            {"method": method, **ONE_VIEW, **tiny},
        )
        for seed, shape, material, method in _cells(only, rehearse)
    ]  # fmt: skip


def _cells(only: Sequence[str], rehearse: bool) -> list[tuple[int, str, str, str]]:
    """Seed, shape, material and method of every result."""
    methods = [m for m in METHODS if m in (only or COMPARED)]
    seeds, prompts = (range(2), PROMPTS[:1]) if rehearse else (range(SEEDS), PROMPTS)
    return [(seed, shape, material, method) for seed in seeds for shape, material in prompts for method in methods]


def format_table(rows: Sequence[Row]) -> str:
    """A line a label, in the order in which they come; prompts with less than two results do not count."""
    titles = ("n", "within (95 %)", "between", "within/between", "right (95 %)", "belief", "seconds", "calls")
    widths = (6, 25, 10, 16, 18, 9, 10, 9)
    lines = [f"{'':10}" + "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))]
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        groups = grouped(own)
        if not groups:
            continue
        found, (low, high) = diversity(groups)
        apart = between(groups)
        calls = mean([row["network_calls"] for row in own], statistics.median)
        cells = (
            f"{len(own)}",
            f"{found:.4f} ({low:.4f}–{high:.4f})",
            f"{apart:.4f}" if len(groups) > 1 else "–",
            f"{found / apart:.2f}" if len(groups) > 1 else "–",
            share([all_right(row) for row in own]),
            f"{mean([row['belief'] for row in own]):.2f}",
            f"{statistics.median(row['seconds'] for row in own):.1f}",
            "–" if calls is None else f"{calls:,.0f}",
        )
        lines.append(f"{label:10}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True)))
    lines.append("within: mean of 1 - cos of the judge's features between seeds of one prompt; between: the same")
    lines.append("between prompts; right: shape and material as asked; belief: the judge's probability for them")
    return "\n".join(lines)


def grouped(rows: Sequence[Row]) -> list[np.ndarray]:
    """Features ``[N, 256]`` of each prompt that has two results or more."""
    prompts = dict.fromkeys(row["prompt"] for row in rows)
    groups = [np.array([row["features"] for row in rows if row["prompt"] == prompt]) for prompt in prompts]
    return [group for group in groups if len(group) > 1]
