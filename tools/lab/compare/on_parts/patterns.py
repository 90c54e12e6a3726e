"""``bench --patterns``: patterns on meshes of many parts, named by the judge, which sees no prompt.

To tell where a pattern is lost, beside the textures that jobs make stand: the same meshes painted by the procedural
material itself, which says whether a pattern can be named there at all; the same pictures through the model's latents;
and what the model draws by itself of the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.render.pictures import turntable_cameras
from csd_blender.backend.render.surface import Surface
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import read_result
from csd_blender.job.spec.texture import TextureJob

from ...demo_meshes import DEMO_MESHES, demo_mesh
from ...judged.part_meshes import part_mesh
from ...judged.quality_prompts import QualityPrompt
from ...judged.quality_textures import (
    BACKGROUND,
    JUDGED_SIZE,
    VIEWS,
    bare_surface,
    belief,
    finished_texture,
    judge_surface,
    save_first_views,
    worker_tools,
)
from ...mini.__main__ import WEIGHTS
from ...mini.materials import make_material
from ...mini.samples import generate, load_pipeline
from ..rows import Row, RowFile, make_rows
from ..statistics import mean, share

#: Of many parts each, several of them thin; tables and chairs were the worst that were seen.
PAIRS = tuple(
    QualityPrompt(mesh, f"a {color} {pattern} {mesh}", pattern, color)
    for mesh, pattern, color in (
        ("table", "striped", "blue"), ("house", "checkered", "red"), ("chair", "striped", "green"),
        ("snowman", "dotted", "purple"), ("car", "checkered", "yellow"), ("robot", "striped", "red"),
        ("television", "checkered", "cyan"), ("owl", "dotted", "pink"),
    )
)  # fmt: skip
SEEDS = (0, 1)
#: As many pictures as views are judged, guided as those that a texture starts from.
SIDES, DRAWN_SCALE = ("front", "side", "back", "side") * 2, 4.0
TINY = {"steps": 2, "texture_size": 64, "warm_steps": 4}
#: Rows, and the settings of each besides the preset's.
ROWS: Mapping[str, Mapping[str, Any]] = {
    "from gray": {"warm_start": 0, "control": "off"},
    "the start alone": {"steps": 1},
    "as the preset": {},
}
PAINTED, ENCODED, DRAWN = "the material itself", "the same, through latents", "the model's own pictures"


@dataclass(frozen=True)
class PatternTask:
    """One texture. label: a row's. index: of ``PAIRS``."""

    label: str
    index: int
    seed: int
    quality: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.label} {self.quality} {self.index} {self.seed}"

    @property
    def job(self) -> TextureJob:
        given = {"texture_size": 512, "seed": self.seed, "preview_interval": 0, **self.settings}
        return texture_job(PAIRS[self.index].prompt, self.quality, "mini", **given)

    @property
    def fingerprint(self) -> str:
        return self.job.spec_hash()


def mesh_of_pair(name: str) -> Mesh:
    """A demo mesh, or the shape of that name from the mini model's world; the same every time."""
    return demo_mesh(name) if name in DEMO_MESHES else part_mesh(name)


def run_patterns(
    out: Path, quality: str = "draft", processes: int = 1, rehearse: bool = False, show: bool = False
) -> int:
    """Make what is missing and print the table. Returns 0, or 1 when a texture could not be made.

    Args:
        quality: the preset. rehearse: one texture a row with next to no steps. show: make nothing, print what is there.
    """
    tasks, file = pattern_tasks(out, quality, rehearse), RowFile(out / "patterns.jsonl")
    failed = make_rows(tasks, make_row, file, processes, lambda row: row["said"], show)
    rows = list(file.of(tasks).values())
    beside = [] if rehearse else rows_beside()
    print(f"\nPatterns on meshes of many parts, {quality}\n{format_table(rows + beside)}")
    for label in ROWS:
        files = [task.folder / "result" / "turntable.png" for task in tasks if task.label == label]
        there = [path for path in files if path.is_file()]
        if there:
            save_first_views(there, out / f"{label.replace(' ', '_')}_{quality}.png", columns=2 * len(SEEDS))
    return 1 if failed else 0


def pattern_tasks(out: Path, quality: str, rehearse: bool = False) -> list[PatternTask]:
    """All textures, row by row."""
    cells = [(i, seed) for i in range(len(PAIRS)) for seed in SEEDS][: 1 if rehearse else None]
    return [
        PatternTask(label, i, seed, quality, out / "jobs" / f"{quality}_{label.replace(' ', '_')}_{i}_{seed}",
                    {**own, **(TINY if rehearse else {})})
        for label, own in ROWS.items()
        for i, seed in cells
    ]  # fmt: skip


def make_row(task: PatternTask) -> Row:
    """Make one texture and judge it. Raises ``RuntimeError`` when the job fails."""
    models, judge = worker_tools()
    pair = PAIRS[task.index]
    folder = finished_texture(task.folder, task.job, mesh_of_pair(pair.mesh), task.key, models)
    surface = prepare_surface(task.job, folder, Reporter(emit=lambda said: None))
    timings = read_result(task.folder).timings
    verdict = judge_surface(pair, task.label, surface, load_albedo(folder, surface), judge, 0.0)
    return {
        "label": task.label, **asdict(verdict), "seed": task.seed, "seconds": timings["processor_seconds"],
        "network_calls": timings.get("network_calls"),
    }  # fmt: skip


@torch.no_grad()
def rows_beside() -> list[Row]:
    """What needs no job: judged from as many pictures of each pair as a texture is."""
    pipe = load_pipeline(WEIGHTS)
    painted = [painted_pictures(i) for i in range(len(PAIRS))]
    rows = [judged(i, PAINTED, pictures) for i, pictures in enumerate(painted)]
    for i, pictures in enumerate(painted):
        latents = pipe.vae.encode(pictures * 2 - 1).latent_dist.mean
        rows.append(judged(i, ENCODED, (pipe.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)))
    for i, pair in enumerate(PAIRS):
        prompts = [f"{pair.prompt}, {view} view" for view in SIDES]
        rows += [judged(i, DRAWN, generate(pipe, prompts, seed, guidance=DRAWN_SCALE)) for seed in SEEDS]
    return rows


def painted_pictures(index: int) -> Tensor:
    """The mesh from all around with the procedural material on it, ``[V, 3, S, S]``."""
    surface, pair = bare(PAIRS[index].mesh), PAIRS[index]
    paint = make_material(pair.material, pair.color, np.random.default_rng(0))
    cameras = turntable_cameras(VIEWS)
    return surface.paint_views(cameras, JUDGED_SIZE, BACKGROUND, False, lambda hit: paint(hit.points, hit.normals))


def judged(index: int, label: str, pictures: Tensor) -> Row:
    """The judge's word for pictures ``[N, 3, 64, 64]`` of a pair."""
    pair, judge = PAIRS[index], worker_tools()[1]
    said = judge.verdict(pictures)
    return {
        "label": label, "prompt": pair.prompt, "said": " ".join(w for w in (said["color"], said["material"]) if w),
        "material_right": said["material"] == pair.material, "color_right": said["color"] == pair.color,
        "belief": belief(judge, pictures, {"material": pair.material, "color": pair.color}), "seconds": 0.0,
    }  # fmt: skip


@cache
def bare(mesh: str) -> Surface:
    """The mesh as a job prepares it."""
    return bare_surface(mesh_of_pair(mesh), texture_job(mesh, texture_size=64))


def format_table(rows: Sequence[Row]) -> str:
    """A line a row: how many patterns and colors were named as asked, with what the judge believed."""
    lines = [f"{'':22}{'n':>4}{'pattern (95 %)':>22}{'color':>8}{'belief':>9}{'seconds':>9}"]
    for label in dict.fromkeys(row["label"] for row in rows):
        own = [row for row in rows if row["label"] == label]
        lines.append(
            f"{label:22}{len(own):4}{share([row['material_right'] for row in own]):>22}"
            f"{mean([float(bool(row['color_right'])) for row in own]):8.0%}{mean([row['belief'] for row in own]):9.2f}"
            f"{mean([row['seconds'] for row in own]):9.1f}"
        )
        wrong = [f"{row['prompt']}: {row['said']}" for row in own if not row["material_right"]]
        lines += [f"    {text}" for text in wrong]
    return "\n".join(lines)
