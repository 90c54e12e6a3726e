"""The quality table: textures made from a fixed list of prompts, named by a judge that cannot see the prompts.

The judge is a small classifier trained on separately rendered pictures; it shares no weights with the diffusion model
and has never seen a generated picture. It looks at eight turntable views of the finished, baked texture.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.render.pictures import contact_sheet, turntable_cameras, turntable_pictures
from csd_blender.backend.render.surface import Surface
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import ModelCache, run_job
from csd_blender.job.folder import JobFolder
from csd_blender.job.kinds import JobSpec
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.texture import TextureJob

from ..demo_meshes import demo_mesh
from ..mini.materials import make_material
from ..mini.readers.judge import HEADS, Judge, load_judge
from .quality_prompts import QualityPrompt, quality_prompts
from .surface_samples import sample_albedo, sample_surface

VIEWS = 8
JUDGED_SIZE = 64
BACKGROUND = 0.6


@dataclass
class Verdict:
    """One texture: what was asked, what the judge said, and how much the albedo leans on the surface normal.

    Attributes:
        belief: the judge's probability for what was asked, see :func:`belief`.
    """

    method: str
    prompt: str
    mesh: str
    asked: str
    said: str
    material_right: bool
    color_right: bool | None
    light_slope: float
    saturation: float
    seconds: float
    belief: float

    @property
    def right(self) -> bool:
        return self.material_right and self.color_right is not False


def run_texture_table(
    out: Path | None,
    methods: Sequence[str],
    meshes: int | None = None,
    quality: str = "normal",
    processes: int = 1,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Make, judge and print all textures; pictures and ``table.json`` go to ``out``. Returns 0.

    A repeated run with the same ``out`` keeps the textures that were made there with the same settings.

    Args:
        quality: the preset of all jobs.
        processes: textures made side by side, one thread each.
        settings: more of them, of all jobs.
    """
    out = Path(out) if out else Path(tempfile.mkdtemp(prefix="csd_quality_"))
    out.mkdir(parents=True, exist_ok=True)
    prompts = quality_prompts(meshes)
    tasks = [
        (asked, method, quality, out / f"{method}_{i:02d}", dict(settings))
        for method in methods
        for i, asked in enumerate(prompts)
    ]
    verdicts: list[Verdict] = []
    with ProcessPoolExecutor(processes, get_context("spawn"), start_process, (processes > 1,)) as pool:
        for verdict in pool.map(_judged_task, tasks):
            verdicts.append(verdict)
            done = f"{len(verdicts)}/{len(tasks)}"
            mark = "right" if verdict.right else f"WRONG, looks like {verdict.said}"
            print(f"{verdict.method} {done:8}{verdict.prompt:30} {verdict.seconds:5.1f} s  {mark}", flush=True)
            (out / "table.json").write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    judge = load_judge()
    for asked in prompts:
        verdicts.append(judge_reference(asked, "untextured", judge))
        verdicts.append(judge_reference(asked, "flat-lit reference", judge))
    (out / "table.json").write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    for method in methods:
        save_first_views(sorted(out.glob(f"{method}_*/result/turntable.png")), out / f"{method}.png")
    print(format_table(verdicts))
    print(f"Pictures: {out}")
    return 0


def start_process(alone_on_core: bool) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if alone_on_core:
        torch.set_num_threads(1)


def _end_with_parent() -> None:
    """A pool's process would otherwise work on for nobody when the one that waits for it is killed."""
    parent_process().join()
    os._exit(1)


@cache
def worker_tools() -> tuple[ModelCache, Judge]:
    """This process's model and judge."""
    return ModelCache(), load_judge()


def _judged_task(task: tuple[QualityPrompt, str, str, Path, dict[str, Any]]) -> Verdict:
    asked, method, quality, folder, settings = task
    return make_and_judge(asked, method, quality, folder, *worker_tools(), **settings)


def quality_job(asked: QualityPrompt, method: str, quality: str, **settings: Any) -> TextureJob:
    """The job of a row; ``settings`` are further ones, by name."""
    return texture_job(asked.prompt, quality, "mini", **({"method": method, "texture_size": 512, "seed": 0} | settings))


def make_and_judge(
    asked: QualityPrompt,
    method: str,
    quality: str,
    folder_path: Path,
    models: ModelCache,
    judge: Judge,
    **settings: Any,
) -> Verdict:
    """Run one job and judge its baked texture. Raises ``RuntimeError`` when the job fails.

    ``settings``: further ones of the job. A job that was finished in the folder with the same settings is kept.
    """
    job = quality_job(asked, method, quality, **settings)
    folder = finished_texture(folder_path, job, demo_mesh(asked.mesh), asked.prompt, models)
    seconds = json.loads((folder_path / "result" / "result.json").read_text("utf-8"))["timings"]["seconds"]
    assert isinstance(folder.spec, TextureJob)
    surface = prepare_surface(folder.spec, folder, Reporter(emit=lambda said: None))
    albedo = load_albedo(folder, surface)
    return judge_surface(asked, method, surface, albedo, judge, seconds)


def judge_surface(
    asked: QualityPrompt, kind: str, surface: Surface, albedo: Tensor, judge: Judge, seconds: float
) -> Verdict:
    """What the judge says of a surface with its baked texture."""
    pictures = turntable_pictures(surface, albedo, VIEWS, JUDGED_SIZE, background=BACKGROUND, lit=False)
    samples = sample_surface(surface)
    colors = sample_albedo(surface, samples, albedo)
    return _verdict(asked, kind, pictures, samples.normals, colors, judge, seconds)


def finished_texture(path: Path, job: TextureJob, mesh: Mesh, name: str, models: ModelCache) -> JobFolder:
    """The folder of the job, which is run where it is not finished there. Raises ``RuntimeError``, which says the
    ``name``, when it fails."""
    if fresh_folder(path, job):
        folder = JobFolder.create(path, job)
        save_npz(folder.mesh_path, mesh)
        outcome = run_job(str(path), Reporter(emit=lambda said: None), models)
        if outcome.type != "result":
            raise RuntimeError(f"{name}: {outcome.text} {outcome.detail}")
    return JobFolder.open(path)


def fresh_folder(path: Path, job: JobSpec) -> bool:
    """Whether the job is still to be done; what is of an interrupted one, or of one with other settings, is gone then.

    False: it was finished here, and its folder stays.
    """
    if (path / "result" / "result.json").is_file() and JobFolder.open(path).spec.spec_hash() == job.spec_hash():
        return False
    if (path / "job.json").is_file():
        shutil.rmtree(path)
    return True


@cache
def _bare_surface(mesh: str) -> Surface:
    return bare_surface(demo_mesh(mesh), texture_job(mesh))


def bare_surface(mesh: Mesh, job: TextureJob) -> Surface:
    """The mesh as the job prepares it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = JobFolder.create(Path(scratch) / "job", job)
        save_npz(folder.mesh_path, mesh)
        return prepare_surface(job, folder, Reporter(emit=lambda said: None))


def judge_reference(asked: QualityPrompt, kind: str, judge: Judge) -> Verdict:
    """The same views of the mesh in plain gray, or painted with the procedural material itself, without any light."""
    surface = _bare_surface(asked.mesh)
    if kind == "untextured":

        def paint(points: Tensor, normals: Tensor) -> Tensor:
            return torch.full_like(points, 0.5)
    else:
        paint = make_material(asked.material, asked.color, np.random.default_rng(0))
    cameras = turntable_cameras(VIEWS)
    pictures = surface.paint_views(cameras, JUDGED_SIZE, BACKGROUND, False, lambda hit: paint(hit.points, hit.normals))
    samples = sample_surface(surface)
    return _verdict(asked, kind, pictures, samples.normals, paint(samples.points, samples.normals), judge, 0.0)


def light_slope(colors: Tensor, normals: Tensor) -> float:
    """How much brightness follows the surface normal: the length of the slope of the best linear fit, in brightness
    per unit of normal. Painted-in light from one side gives 0.2 and more; unlit paint about 0.
    """
    brightness = colors @ torch.tensor([0.299, 0.587, 0.114])
    design = torch.cat([normals, torch.ones(len(normals), 1)], dim=1)
    slope = torch.linalg.lstsq(design, brightness[:, None]).solution[:3, 0]
    return float(slope.norm())


def saturation(colors: Tensor) -> float:
    """Mean of (max - min) over the channels, 0 gray to 1 pure."""
    return float((colors.amax(1) - colors.amin(1)).mean())


def belief(judge: Judge, pictures: Tensor, asked: Mapping[str, str | None]) -> float:
    """The probability in [0, 1] that the judge gives to what was asked, all of it together: the geometric mean over the
    views. Of a few results it tells more than the count of those that were named right.

    Args:
        pictures: ``[N, 3, 64, 64]`` in [0, 1]. asked: names by the judge's questions; None for those not asked.
    """
    means = {name: value.mean(0) for name, value in judge.classify(pictures).items()}
    logs = [means[name][HEADS[name].index(word)] for name, word in asked.items() if word is not None]
    return math.exp(float(sum(logs)))


def _verdict(
    asked: QualityPrompt, method: str, pictures: Tensor, normals: Tensor, colors: Tensor, judge: Judge, seconds: float
) -> Verdict:
    said = judge.verdict(pictures)
    words = [w for w in (said.get("color"), said["material"]) if w]
    return Verdict(
        method=method,
        prompt=asked.prompt,
        mesh=asked.mesh,
        asked=" ".join(w for w in (asked.color, asked.material) if w),
        said=" ".join(words),
        material_right=said["material"] == asked.material,
        color_right=None if asked.color is None else said.get("color") == asked.color,
        light_slope=light_slope(colors, normals),
        saturation=saturation(colors),
        seconds=seconds,
        belief=belief(judge, pictures, {"material": asked.material, "color": asked.color}),
    )


def format_table(verdicts: Iterable[Verdict]) -> str:
    """Percentages by method."""
    rows = [f"{'':20}{'material':>10}{'color':>10}{'both':>10}{'light':>10}{'saturation':>12}{'seconds':>10}"]
    by_method: dict[str, list[Verdict]] = {}
    for v in verdicts:
        by_method.setdefault(v.method, []).append(v)
    for method, group in by_method.items():
        colored = [v for v in group if v.color_right is not None]
        material = np.mean([v.material_right for v in group])
        color = np.mean([v.color_right for v in colored]) if colored else float("nan")
        both = np.mean([v.right for v in group])
        light = np.mean([v.light_slope for v in group])
        pure = np.mean([v.saturation for v in group])
        seconds = np.median([v.seconds for v in group])
        rows.append(f"{method:20}{material:10.0%}{color:10.0%}{both:10.0%}{light:10.3f}{pure:12.2f}{seconds:10.1f}")
    rows.append("light: how strongly the albedo's brightness follows the surface normal (0 = not at all)")
    return "\n".join(rows)


def save_first_views(turntables: Sequence[Path], path: Path, columns: int = 6, side: int = 128) -> None:
    """The first view of each turntable sheet on one picture, row by row."""
    views = []
    for file in turntables:
        with Image.open(file) as tile:
            half = tile.height // 2
            view = tile.convert("RGB").crop((0, 0, half, half)).resize((side, side), Image.Resampling.LANCZOS)
        views.append(torch.from_numpy(np.asarray(view).copy()).permute(2, 0, 1) / 255)
    Image.fromarray(contact_sheet(torch.stack(views), columns)).save(path)
