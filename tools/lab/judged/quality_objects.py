"""The quality table of text to 3D: objects made from a fixed list of prompts, named by a judge that cannot see them.

The judge is the small classifier of `mini.readers.judge`; it looks at eight turntable views of the finished, baked
object. An object counts as two-faced when the judge calls its back a front.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from csd_blender.backend.geometry.cleanup import components, is_watertight
from csd_blender.backend.geometry.mesh import Mesh, face_cross
from csd_blender.backend.mini.vocabulary import FRONT_SHAPES
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.pipelines.text_to_3d.output import bare_surface
from csd_blender.backend.render.pictures import turntable_pictures
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.surface import Surface
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.texture.unwrap import check_uv
from csd_blender.backend.worker.run_job import ModelCache, run_job
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.result import read_result
from csd_blender.job.spec.text_to_3d import TextTo3DJob

from ..mini.readers.judge import Judge, load_judge
from .quality_textures import (
    BACKGROUND,
    JUDGED_SIZE,
    VIEWS,
    belief,
    fresh_folder,
    light_slope,
    saturation,
    save_first_views,
    start_process,
    worker_tools,
)
from .surface_samples import sample_albedo, sample_surface
from .true_objects import format_true, true_verdicts

#: Shape, what it is made of, and its color where that is not the material's own.
SHAPES_AND_SURFACES = (
    ("snowman", "checkered", "red"), ("snowman", "moss", None), ("house", "brick", None), ("house", "striped", "blue"),
    ("owl", "leopard", None), ("owl", "dotted", "purple"), ("robot", "rust", None), ("robot", "plain", "green"),
    ("cat", "zebra", None), ("cat", "plain", "orange"), ("mug", "striped", "blue"), ("mug", "gold", None),
    ("vase", "marble", None), ("vase", "scales", "green"), ("mushroom", "dotted", "red"), ("mushroom", "wood", None),
    ("ball", "lava", None), ("ball", "checkered", "cyan"), ("barrel", "wood", None), ("barrel", "plain", "red"),
    ("bottle", "ice", None), ("bottle", "striped", "yellow"), ("cone", "stone", None), ("cone", "dotted", "pink"),
)  # fmt: skip


#: Of a job: its coarse stage sees one view at a time, which every method was made for, and every model can.
ONE_VIEW: dict[str, Any] = {"coarse": {"cameras": {"ring": 0}}}


@dataclass
class ObjectVerdict:
    """One object: what was asked, what the judge said, and how sound the mesh is.

    Attributes:
        two_faced: None for shapes without a front. watertight: every edge has its two faces.
        floaters: share of the area in pieces other than the largest. uv_overlap: share of used texels claimed twice.
        surface_right: material or color as asked. material_right, color_right: each by itself; None for no color.
        light_slope, saturation, belief: as of a texture.
    """

    method: str
    prompt: str
    asked: str
    said: str
    shape_right: bool
    surface_right: bool
    two_faced: bool | None
    watertight: bool
    floaters: float
    uv_overlap: float
    faces: int
    seconds: float
    light_slope: float
    saturation: float
    belief: float
    material_right: bool
    color_right: bool | None


@dataclass(frozen=True)
class Task:
    """One object to make; ``label`` names the row of the table."""

    label: str
    shape: str
    material: str
    color: str | None
    settings: dict
    quality: str
    folder: Path

    @property
    def prompt(self) -> str:
        words = [self.color, "" if self.material == "plain" else self.material, self.shape]
        return "a " + " ".join(w for w in words if w)


def run_object_table(
    out: Path | None,
    methods: Sequence[str],
    count: int | None = None,
    quality: str = "draft",
    processes: int = 1,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Make, judge and print all objects; pictures and ``table.json`` go to ``out``. Returns 0.

    A repeated run with the same ``out`` keeps the objects that were made there with the same settings. Beside CSD, all
    are made once more by a coarse stage that sees one view at a time, and of these the shapes with a front without
    Perp-Neg.

    Args:
        count: only the first so many prompts. processes: objects made side by side, one thread each.
        settings: more of them, of all jobs.
    """
    out = Path(out) if out else Path(tempfile.mkdtemp(prefix="csd_objects_"))
    out.mkdir(parents=True, exist_ok=True)
    tasks = list_tasks(out, methods, count, quality)
    tasks = [replace(task, settings=task.settings | dict(settings)) for task in tasks]
    verdicts: list[ObjectVerdict] = []
    with ProcessPoolExecutor(processes, get_context("spawn"), start_process, (processes > 1,)) as pool:
        for verdict in pool.map(make_and_judge, tasks):
            verdicts.append(verdict)
            print(f"{verdict.method:20}{len(verdicts)}/{len(tasks)}  {verdict.prompt:26}{verdict.seconds:6.1f} s  "
                  f"said {verdict.said}", flush=True)  # fmt: skip
            (out / "table.json").write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    for label in dict.fromkeys(t.label for t in tasks):
        sheets = [t.folder / "result" / "turntable.png" for t in tasks if t.label == label]
        save_first_views(sheets, out / f"{label.replace(' ', '_')}.png")
    print(format_table(verdicts))
    print(format_true(true_verdicts(SHAPES_AND_SURFACES[:count], load_judge())))
    print(f"Pictures: {out}")
    return 0


def list_tasks(out: Path, methods: Sequence[str], count: int | None, quality: str) -> list[Task]:
    """All objects of the table."""
    rows = SHAPES_AND_SURFACES[:count]
    tasks = [
        Task(method, *row, {"method": method}, quality, out / f"{method}_{i:02d}")
        for method in methods
        for i, row in enumerate(rows)
    ]
    if "csd" in methods:
        alone = {"cameras": {"ring": 0}}
        tasks += [
            Task("csd, one view", *row, {"method": "csd", "coarse": alone}, quality, out / f"one_view_{i:02d}")
            for i, row in enumerate(rows)
        ]
        without = {"coarse": alone | {"guidance": {"perp_neg": 0.0}}, "refine": {"guidance": {"perp_neg": 0.0}}}
        tasks += [
            Task("csd, no Perp-Neg", *row, {"method": "csd", **without}, quality, out / f"no_perp_neg_{i:02d}")
            for i, row in enumerate(rows)
            if row[0] in FRONT_SHAPES
        ]
    return tasks


def make_and_judge(task: Task) -> ObjectVerdict:
    """Run one job and judge its baked object. Raises ``RuntimeError`` when the job fails."""
    models, judge = worker_tools()
    return judge_object(task, _made(task, models), judge)


def judge_object(task: Task, folder: JobFolder, judge: Judge) -> ObjectVerdict:
    """What a finished job's object is called."""
    record = read_result(folder.path)
    surface, albedo = finished_object(folder)
    pictures = judged_pictures(surface, albedo)
    samples = sample_surface(surface)
    colors = sample_albedo(surface, samples, albedo)
    asked = {"shape": task.shape, "material": task.material, "color": task.color}
    said = judge.verdict(pictures)
    words = [w for w in (said.get("color"), said["material"], said["shape"]) if w]
    color_right = task.color is not None and said.get("color") == task.color
    positions, triangles = surface.mesh.positions, surface.mesh.triangles
    areas = np.linalg.norm(face_cross(positions, triangles), axis=1)
    pieces = np.bincount(components(triangles), weights=areas)
    return ObjectVerdict(
        method=task.label,
        prompt=task.prompt,
        asked=" ".join(w for w in (task.color, task.material, task.shape) if w),
        said=" ".join(words),
        shape_right=said["shape"] == task.shape,
        surface_right=said["material"] == task.material or color_right,
        two_faced=_two_faced(task, pictures, judge),
        watertight=is_watertight(triangles),
        floaters=float(1 - pieces.max() / pieces.sum()),
        uv_overlap=check_uv(surface.mesh, 0).overlap,
        faces=len(triangles),
        seconds=float(str(record.timings["seconds"])),
        light_slope=light_slope(colors, samples.normals),
        saturation=saturation(colors),
        belief=belief(judge, pictures, asked),
        material_right=said["material"] == task.material,
        color_right=None if task.color is None else color_right,
    )


def finished_object(folder: JobFolder) -> tuple[Surface, list[torch.Tensor]]:
    """The object of a finished job, and its baked textures."""
    with np.load(folder.path / "result" / "mesh.npz", allow_pickle=False) as file:
        positions, triangles, uv = file["positions"], file["triangles"], file["uv"]
    surface = bare_surface(positions, triangles, get_rasterizer())
    surface.mesh, surface.uv = Mesh(positions, triangles, uv), torch.from_numpy(uv)
    return surface, load_albedo(folder, surface)


def judged_pictures(surface: Surface, albedo: list[torch.Tensor]) -> torch.Tensor:
    """What the judge looks at, ``[VIEWS, 3, 64, 64]`` in [0, 1], the first one from the front."""
    return turntable_pictures(surface, albedo, VIEWS, JUDGED_SIZE, background=BACKGROUND, lit=False)


def _two_faced(task: Task, pictures: torch.Tensor, judge: Judge) -> bool | None:
    """Whether the judge calls the picture from behind a front view."""
    if task.shape not in FRONT_SHAPES:
        return None
    back = judge.classify(pictures[VIEWS // 2 : VIEWS // 2 + 1])["view"][0]
    return judge.VIEWS[int(back.argmax())] == "front"


def object_job(task: Task) -> TextTo3DJob:
    """The job of a row."""
    subject = "character" if task.shape in FRONT_SHAPES else "object"
    settings: dict[str, Any] = {"texture_size": 512, "seed": 0, "preview_interval": 0} | task.settings
    recipe = settings.pop("recipe", "csd")
    return text_to_3d_job(task.prompt, task.quality, "mini", recipe, subject, **settings)


def _made(task: Task, models: ModelCache) -> JobFolder:
    """The finished job's folder; made now unless it is there."""
    job = object_job(task)
    if not fresh_folder(task.folder, job):
        return JobFolder.open(task.folder)
    folder = JobFolder.create(task.folder, job)
    outcome = run_job(str(task.folder), Reporter(emit=lambda said: None), models)
    if outcome.type != "result":
        raise RuntimeError(f"{task.prompt}: {outcome.text} {outcome.detail}")
    return folder


def format_table(verdicts: Iterable[ObjectVerdict]) -> str:
    """Percentages by method."""
    titles = ("shape", "surface", "two-faced", "closed", "floaters", "overlap", "faces", "seconds")
    rows = [f"{'':20}" + "".join(f"{title:>11}" for title in titles)]
    by_method: dict[str, list[ObjectVerdict]] = {}
    for v in verdicts:
        by_method.setdefault(v.method, []).append(v)
    for method, group in by_method.items():
        fronts = [v.two_faced for v in group if v.two_faced is not None]
        two_faced = f"{np.mean(fronts):.0%}" if fronts else "-"
        shape, surface = (np.mean([getattr(v, name) for v in group]) for name in ("shape_right", "surface_right"))
        closed, floaters = np.mean([v.watertight for v in group]), max(v.floaters for v in group)
        overlap, faces = max(v.uv_overlap for v in group), max(v.faces for v in group)
        seconds = np.median([v.seconds for v in group])
        row = f"{method:20}{shape:11.0%}{surface:11.0%}{two_faced:>11}{closed:11.0%}{floaters:11.1%}"
        rows.append(row + f"{overlap:11.1%}{faces:11}{seconds:11.1f}")
    rows.append(
        "surface: material or color as asked; two-faced: of shapes with a front, those whose back looks like one;"
    )
    rows.append("closed: watertight; floaters, overlap, faces: the largest of all; seconds: the median")
    return "\n".join(rows)
