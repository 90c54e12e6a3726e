"""``bench --frontier``: whole tables of judged textures as points, quality against seconds: presets, with and without a
warm start, a small encoder or ControlNets, whatever ``bench --quality`` made."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from .chart import Point, chart
from .compare.statistics import all_right, wilson

TABLE = "table.json"  # of a --quality table's folder


def run_frontier(tables: Sequence[str], out: Path) -> int:
    """Print a line for each of ``tables`` (``NAME=FOLDER``) and write ``frontier.svg``. Returns 0, or 1 where one
    cannot be read, with a sentence that says which."""
    try:
        found = {name: read(folder) for name, folder in map(named, tables)}
    except ValueError as error:
        print(f"Error: {error}")
        return 1
    points = [point(name, rows) for name, rows in found.items()]
    out.mkdir(parents=True, exist_ok=True)
    (out / "frontier.svg").write_text(chart(points, "Judged textures, seconds of one core"), "utf-8")
    width = max(map(len, found))
    print(f"{'':{width}}{'n':>5}{'right (95 %)':>18}{'belief':>9}{'seconds':>9}")
    for one, rows in zip(points, found.values(), strict=True):
        low, high = one.interval
        belief = statistics.fmean(row["belief"] for row in rows)
        share = f"{one.quality:.0%} ({low:.0%}–{high:.0%})"
        print(f"{one.name:{width}}{len(rows):5}{share:>18}{belief:9.2f}{one.seconds:9.1f}")
    print(f"\n{out / 'frontier.svg'}")
    return 0


def named(table: str) -> tuple[str, Path]:
    """``NAME=FOLDER`` in its two parts. Raises ``ValueError``."""
    name, sign, folder = table.partition("=")
    if not (sign and name and folder):
        raise ValueError(f"{table!r} is no NAME=FOLDER")
    return name, Path(folder)


def read(folder: Path) -> list[dict]:
    """The textures of a table. Raises ``ValueError`` for a folder that has none."""
    try:
        rows = json.loads((folder / TABLE).read_text("utf-8"))
        # A bare mesh and the model's own colors stand in the same table, for comparison; nothing was spent on them.
        whole = [r for r in rows if {"material_right", "color_right", "belief"} <= r.keys() and r["seconds"] > 0]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{folder} has no {TABLE} of bench --quality") from error
    if not whole:
        raise ValueError(f"{folder} has no judged textures")
    return whole


def point(name: str, rows: Sequence[dict]) -> Point:
    """One table: the share that is right in all that was asked for, and the median of the seconds."""
    right = sum(all_right(row) for row in rows)
    return Point(name, statistics.median(r["seconds"] for r in rows), right / len(rows), wilson(right, len(rows)))
