"""``bench --janus``: how often objects have a second face, and what helps.

Without the words for the sides (``view_prompts`` off) nothing tells the model from where a picture is seen, so that the
fault is frequent enough to be measured. Everything else that a recipe has against it is off in the rows to compare
with, too: Perp-Neg, and the first steps that look at front and back alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from csd_blender.backend.mini.vocabulary import FRONT_SHAPES
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.spec.methods import METHODS, find_method

from ..chart import Point, chart
from ..judged.quality_objects import ONE_VIEW
from .coarse import SETTINGS, TINY, CoarseTask, folder_name, make_row, said
from .rows import Row, RowFile, make_rows
from .statistics import all_right, mean, paired_difference, wilson

SHAPES = FRONT_SHAPES[:8]
SEEDS = (0, 1)
BASES = ("csd", "sds")
#: What each shape is made of, by its place: surfaces that the judge knows well.
SURFACES = (
    ("plain", "red"), ("brick", None), ("plain", "blue"), ("plain", "white"),
    ("dotted", "purple"), ("plain", "brown"), ("wood", None), ("plain", "green"),
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        against: label of the row that it is compared with; empty for none.
        settings: of the job. needs: a setting that has to be there; of a version without it the row is left out.
    """

    label: str
    against: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: str = ""


def variants(only: Sequence[str] = ()) -> list[Variant]:
    """All rows, the plain ones first. ``only``: of these methods."""
    bases = [m for m in BASES if m in METHODS and (m in only or not only)]
    rows = [row for base in bases for row in (plain(base), with_words(base))]
    for base in bases:
        rows += remedies(base)
    return [row for row in rows if not row.needs or row.needs in SETTINGS]


def plain(base: str) -> Variant:
    """Without any remedy."""
    return Variant(base, settings=coarse(base, words=False))


def with_words(base: str) -> Variant:
    """With the words for the sides alone."""
    return Variant(f"{base}, view words", base, coarse(base, words=True))


def remedies(base: str) -> list[Variant]:
    """Each remedy alone, beside the row that has everything else as it has.

    Perp-Neg stays away from the prompts of wrong sides, whose words are what it consists of: these stay; the prompt
    that it goes to has none. What prompt debiasing leaves out depends on the side that is named, so that its row, and
    the one that it is compared with, have the words.
    """
    published = text_to_3d_job("a cat", "draft", "mini", "csd", "character", method=base, **ONE_VIEW).coarse
    # The paper multiplies the term by the scale (Armandpour et al. 2023); CSD, without one, has a strength for it.
    scaled = find_method(base).uses_guidance_scale
    strength = published.guidance.guidance_scale if scaled else published.guidance.perp_neg
    warm_up = published.cameras.front_back_steps
    words = with_words(base).label
    return [
        Variant(f"{base} + Perp-Neg", base, coarse(base, False, perp_neg=strength)),
        Variant(f"{base} + clamp", base, coarse(base, False) | {"clip": "debiased"}, needs="clip"),
        Variant(f"{base} + front/back first", base, coarse(base, False, front_back_steps=warm_up)),
        Variant(
            f"{base}, view words + debiased prompt", words, coarse(base, True) | {"debias_prompt": "mini"},
            needs="debias_prompt",
        ),
        *several_views(base),
    ]  # fmt: skip


def several_views(base: str) -> list[Variant]:
    """The same score from the bundled model's network of four views, which is told the cameras and no words for sides:
    from a ball of fog as the others, and from pictures that it draws first."""
    settings = {"method": base, "view_prompts": False, "recipe": "csd-mvdream"}
    return [
        Variant(f"{base} + multi-view", base, settings | {"warm_start": 0}),
        Variant(f"{base} + multi-view, warm start", base, settings | {"warm_start": 8}),
    ]


def coarse(base: str, words: bool, front_back_steps: int = 0, **guidance: Any) -> dict[str, Any]:
    """Settings of a job with no remedy but those that are given."""
    stage = {"guidance": {"perp_neg": 0.0, **guidance}, "cameras": {"front_back_steps": front_back_steps, "ring": 0}}
    return {"method": base, "view_prompts": words, "coarse": stage}


def run_janus(
    out: Path, only: Sequence[str] = (), processes: int = 1, rehearse: bool = False, show: bool = False
) -> int:
    """Make what is missing and print the table. Returns 0, or 1 when an object could not be made.

    Args:
        only: these methods with their remedies. rehearse: one object a row with next to no steps.
        show: make nothing, print what is there.
    """
    rows = variants(only)
    tasks, file = janus_tasks(out, rows, rehearse), RowFile(out / "janus.jsonl")
    failed = make_rows(tasks, make_row, file, processes, said, show)
    found = list(file.of(tasks).values())
    print(f"\nTwo-faced objects, coarse stage\n{format_table(rows, found)}")
    if points := two_faced_points(rows, found):
        drawn = chart(points, "Coarse shapes, seconds of one core", "two-faced: the judge calls the back a front", 0.5)
        (out / "two_faced.svg").write_text(drawn, "utf-8")
    return 1 if failed else 0


def janus_tasks(out: Path, rows: Sequence[Variant], rehearse: bool = False) -> list[CoarseTask]:
    """All objects of these rows, row by row."""
    shapes, seeds = (SHAPES[:1], SEEDS[:1]) if rehearse else (SHAPES, SEEDS)
    tiny = TINY if rehearse else {}
    return [
        CoarseTask(
            row.label, shape, *SURFACES[i], seed, out / "jobs" / folder_name((row.label, shape, seed)),
            {**row.settings, **tiny},
        )
        for row in rows
        for i, shape in enumerate(shapes)
        for seed in seeds
    ]  # fmt: skip


def format_table(variants: Sequence[Variant], rows: Sequence[Row]) -> str:
    """A line a row: the rate with Wilson's interval, and the change against its base with a paired bootstrap's."""
    lines = [
        f"{'':36}{'two-faced':>12}{'95 %':>14}{'change (95 %)':>26}{'shape':>8}{'all':>6}{'belief':>9}{'seconds':>9}"
    ]
    by_label = objects_by_label(variants, rows)
    pooled = together(variants, by_label)
    for variant in (*variants, *pooled):
        own = by_label[variant.label]
        if not own:
            continue
        hits = sum(row["two_faced"] for row in own.values())
        low, high = wilson(hits, len(own))
        counted, interval = f"{hits} of {len(own)}", f"{low:.0%}–{high:.0%}"
        known = list(own.values())
        shape, belief, seconds = (mean([row[name] for row in known]) for name in ("shape_right", "belief", "seconds"))
        whole = mean([all_right(row) for row in known])
        changed = change(own, by_label.get(variant.against, {}))
        lines.append(
            f"{variant.label:36}{counted:>12}{interval:>14}{changed:>26}{shape:8.0%}{whole:6.0%}{belief:9.2f}{seconds:9.1f}"
        )
    lines.append("two-faced: the judge calls the back a front; change: against the row without it, object by object;")
    lines.append("shape: named as asked; all: shape, material and color; belief: the judge's probability for all of it")
    debiased = [row for row in rows if row.get("dropped_words") is not None]
    if debiased:
        dropped = sum(bool(row["dropped_words"]) for row in debiased)
        lines.append(f"prompt debiasing left out a word in {dropped} of {len(debiased)} objects")
    return "\n".join(lines)


def two_faced_points(variants: Sequence[Variant], rows: Sequence[Row]) -> list[Point]:
    """How often, at which seconds: of the rows of both methods as one where there are some, else of each."""
    by_label = objects_by_label(variants, rows)
    found = []
    for variant in together(variants, by_label) or variants:
        own = list(by_label[variant.label].values())
        if own:
            hits = sum(row["two_faced"] for row in own)
            seconds = float(np.median([row["seconds"] for row in own]))
            found.append(Point(variant.label, seconds, hits / len(own), wilson(hits, len(own))))
    return found


def objects_by_label(variants: Sequence[Variant], rows: Sequence[Row]) -> dict[str, dict[Any, Row]]:
    """Of each variant its objects, by shape and seed."""
    return {v.label: {(r["shape"], r["seed"]): r for r in rows if r["label"] == v.label} for v in variants}


def together(variants: Sequence[Variant], by_label: dict[str, dict[Any, Row]]) -> list[Variant]:
    """Rows of both methods as one, where both have one: a remedy's effect is then seen on twice as many objects, each
    beside that of its own method. Their objects are added to ``by_label``."""
    found = []
    for variant in (v for v in variants if v.label.startswith(BASES[0])):
        own = [by_label.get(variant.label.replace(BASES[0], base, 1), {}) for base in BASES]
        if all(own):
            label, against = (text.replace(BASES[0], "both", 1) for text in (variant.label, variant.against))
            found.append(Variant(label, against))
            by_label[label] = {(i, *key): row for i, rows in enumerate(own) for key, row in rows.items()}
    return found


def change(own: Mapping[Any, Row], base: Mapping[Any, Row]) -> str:
    """Percentage points, over the objects that both rows have."""
    both = [key for key in own if key in base]
    if not both:
        return "–"
    found, (low, high) = paired_difference(
        [float(own[key]["two_faced"]) for key in both], [float(base[key]["two_faced"]) for key in both]
    )
    return f"{100 * found:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"
