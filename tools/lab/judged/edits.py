"""The table of edits: ten textures that are changed after a prompt, over the slider between keeping and changing.

What each begins with is painted from the procedural material itself, so that everything about the start is known. The
judge, which sees no prompt, says of every result whether what should change did, and whether what should stay did.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from csd_blender.backend.geometry.files.colors import Colors, save_colors
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.geometry.normals import face_normals
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.render.pictures import contact_sheet, to_bytes, turntable_pictures
from csd_blender.backend.render.surface import Surface
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.texture.bake import MARGIN, bake
from csd_blender.backend.texture.dilate import dilate
from csd_blender.backend.texture.uv_kernels import claim
from csd_blender.backend.worker.run_job import run_job
from csd_blender.job.files import INPUT_COLORS
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.spec.edit import EditJob

from ..demo_meshes import demo_mesh
from ..mini.materials import make_material
from ..mini.readers.judge import Judge
from .quality_textures import BACKGROUND, JUDGED_SIZE, VIEWS, _bare_surface, start_process, worker_tools
from .surface_samples import sample_albedo, sample_surface

ALIGNMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
START_SIZE = 512
SHEET_SIZE = 128


@dataclass(frozen=True)
class Edit:
    """One edit: surfaces as the judge names them, a material and, where it has no palette of its own, a color."""

    mesh: str
    before: tuple[str, str | None]
    after: tuple[str, str | None]

    @property
    def source(self) -> str:
        return _prompt(self.mesh, *self.before)

    @property
    def target(self) -> str:
        return _prompt(self.mesh, *self.after)

    @property
    def stays(self) -> str:
        """Which of the judge's answers must be what it was: ``material``, ``color``, or empty where both change."""
        if self.before[0] == self.after[0]:
            return "material"
        return "color" if self.before[1] is not None and self.before[1] == self.after[1] else ""


def _prompt(mesh: str, material: str, color: str | None) -> str:
    words = [w for w in (color, "" if material == "plain" else material, mesh) if w]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


EDITS = (
    Edit("mug", ("striped", "red"), ("striped", "blue")),
    Edit("vase", ("plain", "yellow"), ("dotted", "yellow")),
    Edit("robot", ("wood", None), ("gold", None)),
    Edit("crate", ("checkered", "green"), ("checkered", "red")),
    Edit("knot", ("plain", "red"), ("plain", "green")),
    Edit("mug", ("dotted", "blue"), ("striped", "blue")),
    Edit("vase", ("marble", None), ("rust", None)),
    Edit("crate", ("wood", None), ("stone", None)),
    Edit("robot", ("dotted", "pink"), ("dotted", "green")),
    Edit("knot", ("striped", "orange"), ("striped", "purple")),
)


@dataclass
class EditVerdict:
    """One result.

    Attributes:
        said: the judge's material and color. changed, stayed: whether what should did; None where nothing should.
        asked_share: how sure the judge is of what should be new, averaged over the views, 0 to 1.
        distance: root mean square of the change in color from the start, 0 to 1.
    """

    source: str
    target: str
    alignment: float
    said: str
    changed: bool
    stayed: bool | None
    asked_share: float
    distance: float
    seconds: float


def start_texture(surface: Surface, material: str, color: str | None) -> Tensor:
    """A procedural material on the surface's own UV map, ``[S, S, 3]`` in [0, 1], gutters filled."""
    paint = make_material(material, color, np.random.default_rng(0))
    places, mask = bake(lambda p: p, surface.points, surface.triangles, surface.uv, START_SIZE, supersample=1)
    owner = claim((surface.uv * START_SIZE).contiguous(), START_SIZE, MARGIN).flip(0)
    normals = face_normals(surface.points, surface.triangles.long())[owner.clamp_min(0)]
    texture = torch.zeros_like(places)
    texture[mask] = paint(places[mask], normals[mask])
    return dilate(texture, mask).clamp(0, 1)


def run_edits(out: Path | None, quality: str, edits: int | None, processes: int, alignments: Sequence[float]) -> int:
    """Make, judge and print all edits; ``table.json`` and ``edits.png`` go to ``out``. Returns 0.

    A repeated run with the same ``out`` keeps what was made there with the same settings.
    """
    out = Path(out) if out else Path(tempfile.mkdtemp(prefix="csd_edits_"))
    out.mkdir(parents=True, exist_ok=True)
    chosen = EDITS[: edits or len(EDITS)]
    tasks = [(i, a, quality, out / f"edit_{i:02d}_{a:.2f}") for i in range(len(chosen)) for a in alignments]
    verdicts: list[EditVerdict] = []
    rows: list[Tensor] = []
    with ProcessPoolExecutor(processes, get_context("spawn"), start_process, (processes > 1,)) as pool:
        for (i, alignment, *_), (verdict, before, after) in zip(tasks, pool.map(_task, tasks), strict=True):
            verdicts.append(verdict)
            rows += [before, after] if alignment == alignments[0] else [after]
            print(f"{len(verdicts)}/{len(tasks)}  {EDITS[i].source} -> {EDITS[i].target}, {alignment:.2f}: "
                  f"{verdict.said}, {verdict.distance:.3f} from the start", flush=True)  # fmt: skip
            (out / "table.json").write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    Image.fromarray(contact_sheet(torch.stack(rows), len(alignments) + 1)).save(out / "edits.png")
    print(format_edits(verdicts))
    print(f"Pictures: {out}")
    return 0


def _task(task: tuple[int, float, str, Path]) -> tuple[EditVerdict, Tensor, Tensor]:
    number, alignment, quality, path = task
    return edit_and_judge(EDITS[number], alignment, quality, path)


def edit_and_judge(edit: Edit, alignment: float, quality: str, path: Path) -> tuple[EditVerdict, Tensor, Tensor]:
    """Run one edit and judge it; also a view of the start and of the result. Raises ``RuntimeError`` when it fails."""
    models, judge = worker_tools()
    surface = _bare_surface(edit.mesh)
    start = start_texture(surface, *edit.before)
    job = edit_job(edit.target, edit.source, quality, "mini", alignment, texture_size=START_SIZE, seed=0)
    if not (path / "result/result.json").is_file() or JobFolder.open(path).spec.spec_hash() != job.spec_hash():
        if (path / "job.json").is_file():  # interrupted, or with other settings
            shutil.rmtree(path)
        folder = JobFolder.create(path, job)
        save_npz(folder.mesh_path, demo_mesh(edit.mesh))
        picture = np.zeros(len(surface.triangles), np.int32)
        save_colors(path / INPUT_COLORS, Colors(surface.uv.numpy(), picture, [to_bytes(start)]))
        outcome = run_job(str(path), Reporter(emit=lambda said: None), models)
        if outcome.type != "result":
            raise RuntimeError(f"{edit.target}: {outcome.text} {outcome.detail}")
    folder = JobFolder.open(path)
    assert isinstance(folder.spec, EditJob)
    seconds = json.loads((path / "result/result.json").read_text("utf-8"))["timings"]["seconds"]
    albedo = load_albedo(folder, surface)
    return judge_edit(edit, alignment, surface, start, albedo, judge, seconds)


def judge_edit(
    edit: Edit, alignment: float, surface: Surface, start: Tensor, albedo: list[Tensor], judge: Judge, seconds: float
) -> tuple[EditVerdict, Tensor, Tensor]:
    """What the judge says of a result, on the surface's own UV map, and a view of the start and of the result."""
    pictures = turntable_pictures(surface, albedo, VIEWS, JUDGED_SIZE, background=BACKGROUND, lit=False)
    found = {name: value.mean(0) for name, value in judge.classify(pictures).items()}
    material, color = (judge.MATERIALS[int(found["material"].argmax())], judge.COLORS[int(found["color"].argmax())])
    asked = []
    if edit.stays != "material":
        asked.append((found["material"][judge.MATERIALS.index(edit.after[0])], material == edit.after[0]))
    if edit.stays != "color" and edit.after[1] is not None:
        asked.append((found["color"][judge.COLORS.index(edit.after[1])], color == edit.after[1]))
    stayed = {"material": material == edit.before[0], "color": color == edit.before[1], "": None}[edit.stays]
    samples = sample_surface(surface)
    moved = sample_albedo(surface, samples, albedo) - sample_albedo(surface, samples, [start])
    verdict = EditVerdict(
        source=edit.source,
        target=edit.target,
        alignment=alignment,
        said=f"{color} {material}",
        changed=all(right for _, right in asked),
        stayed=stayed,
        asked_share=float(np.mean([float(share.exp()) for share, _ in asked])),
        distance=float(moved.square().mean().sqrt()),
        seconds=seconds,
    )
    views = [turntable_pictures(surface, t, 1, SHEET_SIZE, background=1.0, lit=True)[0] for t in ([start], albedo)]
    return verdict, views[0], views[1]


def format_edits(verdicts: Sequence[EditVerdict]) -> str:
    """Shares by alignment."""
    rows = [f"{'alignment':>10}{'changed':>10}{'stayed':>10}{'sure':>8}{'distance':>10}{'seconds':>10}"]
    for alignment in sorted({v.alignment for v in verdicts}):
        group = [v for v in verdicts if v.alignment == alignment]
        kept = [v.stayed for v in group if v.stayed is not None]
        stayed = f"{np.mean(kept):.0%}" if kept else "-"
        rows.append(
            f"{alignment:10.2f}{np.mean([v.changed for v in group]):10.0%}{stayed:>10}"
            f"{np.mean([v.asked_share for v in group]):8.2f}{np.mean([v.distance for v in group]):10.3f}"
            f"{np.median([v.seconds for v in group]):10.1f}"
        )
    rows.append("changed, stayed: of the judge's answers that should; distance: of the colors from the start (RMS)")
    return "\n".join(rows)
