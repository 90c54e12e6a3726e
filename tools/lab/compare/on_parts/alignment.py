"""``bench --alignment``: how well textures fit the parts of their meshes, without and with ControlNets.

Two measures, both of the bare texture. *Border*: of the strong edges between colors that views show, the share that
lies within 1.5 pixels of an edge between two parts. *R²*: the share of the colors' variance (CIELAB) over the surface
that the parts explain. How high both are by chance depends on how busy a texture is; so the mean over the same texture
turned about the object's upright axis is told and subtracted: the *excess*. A texture that has one color for each part,
and one whose parts have shifted, stand beside the rows as what can be reached and what must not be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from csd_blender.backend.diffusion.additions.load_control import bundled_control
from csd_blender.backend.geometry.mesh import normalize
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.render.pictures import turntable_cameras
from csd_blender.backend.render.surface import Surface
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.presets.texture import MINI_CONTROL_STRENGTH, texture_job
from csd_blender.job.result import read_result
from csd_blender.job.spec.texture import TextureJob

from ...judged.part_meshes import PART_MESHES, part_labels, part_mesh
from ...judged.quality_textures import bare_surface, finished_texture, saturation, save_first_views, worker_tools
from ...judged.surface_samples import sample_albedo, sample_surface
from ..rows import Row, RowFile, make_rows
from ..statistics import paired_difference

#: What each mesh is made of, in words that the mini model knows well.
PROMPTS = {
    "robot": "a rust robot", "house": "a brick house", "car": "a red car", "snowman": "a white snowman",
    "owl": "a brown owl", "television": "a wood television",
}  # fmt: skip
SEEDS = (0, 1, 2, 3)
TURNS = (60.0, 120.0, 180.0, 240.0, 300.0)  # degrees: what chance is measured by
VIEWS, SIDE = 8, 96
SAMPLES = 8_000  # of the surface
STRONG = 12.0  # of CIELAB, between neighboring pixels: plainly another color
SHIFT = 35.0  # degrees, of the shifted parts that stand beside the rows
TINY = {"steps": 2, "texture_size": 64}
NONE, CONTROL = "without", "control"


@dataclass(frozen=True)
class Ground:
    """What one mesh is measured on, whatever its texture.

    Attributes:
        labels: ``[N]`` part of each sample. nearest: ``[1 + turns, N]`` the sample whose color it has in a texture
            that is turned so far, itself first.
        covered: ``[V, S, S]``. seen: ``[1 + turns, M]`` the same for the M covered pixels. borders: ``[V, S, S]``,
            within 1.5 pixels of an edge between parts.
    """

    labels: Tensor
    nearest: Tensor
    covered: Tensor
    seen: Tensor
    borders: Tensor


@dataclass(frozen=True)
class Fit:
    """A texture's two measures, each with its mean by chance."""

    border: float
    border_chance: float
    explained: float
    explained_chance: float


@dataclass(frozen=True)
class AlignmentTask:
    """One texture of the table; ``label`` is its row. quality: the preset."""

    label: str
    mesh: str
    seed: int
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: str = "draft"

    @property
    def key(self) -> str:
        return f"{self.label} {self.mesh} {self.seed}"

    @property
    def job(self) -> TextureJob:
        given = {"texture_size": 512, "seed": self.seed, "preview_interval": 0, **self.settings}
        return texture_job(PROMPTS[self.mesh], self.quality, "mini", **given)

    @property
    def fingerprint(self) -> str:
        return self.job.spec_hash()


def run_alignment(
    out: Path,
    nets: str = "",
    strength: float = MINI_CONTROL_STRENGTH,
    warm: int | None = None,
    processes: int = 1,
    rehearse: bool = False,
    show: bool = False,
) -> int:
    """Make what is missing and print the table. Returns 0, or 1 when a texture could not be made.

    Args:
        nets: ControlNets, as the setting ``control_model`` has them; empty for the bundled one.
        strength: of theirs. warm: so many pictures to start from; None for the preset's.
        rehearse: one texture a row with next to no steps. show: make nothing, print what is there.
    """
    tasks, file = alignment_tasks(out, nets, strength, rehearse, warm), RowFile(out / "alignment.jsonl")
    failed = make_rows(tasks, make_row, file, processes, _said, show)
    print(f"\nTextures and the parts of their meshes, Draft\n{format_table(list(file.of(tasks).values()))}")
    for label in (NONE, CONTROL):
        files = [task.folder / "result" / "turntable.png" for task in tasks if task.label == label]
        there = [path for path in files if path.is_file()]
        if there:
            save_first_views(there, out / f"{label}.png", columns=len(SEEDS))
    return 1 if failed else 0


def alignment_tasks(
    out: Path, nets: str = "", strength: float = MINI_CONTROL_STRENGTH, rehearse: bool = False, warm: int | None = None
) -> list[AlignmentTask]:
    """All textures, those without ControlNets first; those with some only where there are any."""
    followed = {"control": "auto", "control_model": nets, "control_strength": strength}
    followed |= {} if warm is None else {"warm_start": warm}
    cells = [(mesh, seed) for mesh in PART_MESHES for seed in SEEDS][: 1 if rehearse else None]
    rows = {NONE: {"control": "off"}} | ({CONTROL: followed} if nets or bundled_control("mini") else {})
    return [
        AlignmentTask(label, mesh, seed, out / "jobs" / f"{label}_{mesh}_{seed}", own | (TINY if rehearse else {}))
        for label, own in rows.items()
        for mesh, seed in cells
    ]


def make_row(task: AlignmentTask) -> Row:
    """Make one texture and measure it. Raises ``RuntimeError`` when the job fails."""
    folder = finished_texture(task.folder, task.job, part_mesh(task.mesh), task.key, worker_tools()[0])
    surface = prepare_surface(task.job, folder, Reporter(emit=lambda said: None))
    samples = sample_surface(surface, SAMPLES)
    colors = sample_albedo(surface, samples, load_albedo(folder, surface))
    fit, timings = measure(ground(task.mesh), colors), read_result(task.folder).timings
    return {
        "label": task.label, "mesh": task.mesh, "seed": task.seed, **vars(fit), "saturation": saturation(colors),
        "seconds": timings["processor_seconds"], "network_calls": timings.get("network_calls"),
    }  # fmt: skip


@cache
def bare(mesh: str) -> Surface:
    """The mesh as a job prepares it; its points are those of every texture's."""
    return bare_surface(part_mesh(mesh), texture_job(PROMPTS[mesh], texture_size=64))


@cache
def ground(mesh: str) -> Ground:
    """What is measured on, made once for each mesh."""
    surface = bare(mesh)
    points = sample_surface(surface, SAMPLES).points
    cameras = turntable_cameras(VIEWS)
    raster = surface.rasterize(cameras, SIDE)
    covered = raster.rast[..., 3] > 0
    hits = surface.interpolate_corners(raster, covered, surface.points[surface.triangles.long()])
    labels = torch.full(covered.shape, -1)
    labels[covered] = labels_at(mesh, hits)
    return Ground(
        labels_at(mesh, points),
        torch.stack([torch.arange(len(points)), *(nearest(turned(points, -t), points) for t in TURNS)]),
        covered,
        torch.stack([nearest(turned(hits, -t), points) for t in (0.0, *TURNS)]),
        F.max_pool2d(_steps(labels[:, None].float(), covered).float(), 3, 1, 1)[:, 0] > 0,
    )


def labels_at(mesh: str, points: Tensor) -> Tensor:
    """Parts ``[N]`` of points ``[N, 3]`` in the unit ball, where jobs have their meshes."""
    _, center, scale = normalize(part_mesh(mesh).positions)
    return torch.from_numpy(part_labels(mesh, points.double().numpy() / scale + center))


def turned(points: Tensor, degrees: float) -> Tensor:
    """Points ``[N, 3]`` turned about the upright axis."""
    angle = np.deg2rad(degrees)
    sine, cosine = float(np.sin(angle)), float(np.cos(angle))
    x, y, z = points.unbind(1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], 1)


def nearest(points: Tensor, among: Tensor) -> Tensor:
    """For each point the number of the nearest one of ``among``."""
    return torch.cat([torch.cdist(some, among).argmin(1) for some in points.split(1024)])


def measure(where: Ground, colors: Tensor) -> Fit:
    """The measures of a texture that has these colors ``[N, 3]`` (sRGB, 0 to 1) at the samples."""
    lab = to_lab(colors)
    borders = [border_share(where, lab[chosen]) for chosen in where.seen]
    explained = [explained_share(where.labels, lab[chosen]) for chosen in where.nearest]
    return Fit(borders[0], float(np.mean(borders[1:])), explained[0], float(np.mean(explained[1:])))


def border_share(where: Ground, lab: Tensor) -> float:
    """Of the strong edges that the views show, those beside an edge between parts; 0 where there is none."""
    pictures = torch.zeros(*where.covered.shape, 3)
    pictures[where.covered] = lab
    edges = _steps(pictures.permute(0, 3, 1, 2), where.covered, STRONG)[:, 0]
    return float((edges & where.borders).sum() / edges.sum().clamp_min(1))


def _steps(pictures: Tensor, covered: Tensor, least: float = 0.5) -> Tensor:
    """``[V, 1, S, S]``: pixels that differ from their right or lower neighbor by more than ``least``; both must show
    the surface, so that outlines are none."""
    found = torch.zeros(covered.shape, dtype=torch.bool)
    right = ((pictures[..., 1:] - pictures[..., :-1]).norm(dim=1) > least) & covered[..., 1:] & covered[..., :-1]
    lower = (pictures[..., 1:, :] - pictures[..., :-1, :]).norm(dim=1) > least
    found[..., :-1] |= right
    found[..., :-1, :] |= lower & covered[:, 1:] & covered[:, :-1]
    return found[:, None]


def explained_share(labels: Tensor, lab: Tensor) -> float:
    """R²: of the colors' variance, the part that is between the labels' means; 0 where all are one color."""
    total = (lab - lab.mean(0)).square().sum()
    within = sum(((own := lab[labels == n]) - own.mean(0)).square().sum() for n in labels.unique())
    return float(1 - within / total) if float(total) > 1e-6 * len(lab) else 0.0


def to_lab(colors: Tensor) -> Tensor:
    """CIELAB (D65) of sRGB colors ``[N, 3]`` in [0, 1]."""
    linear = torch.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / torch.tensor([0.9505, 1.0, 1.089])
    bent = torch.where(xyz > 0.008856, xyz.clamp_min(1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def reference(mesh: str, degrees: float = 0.0) -> Fit:
    """The measures of a texture that has one color for each part, or for where it is after a turn."""
    where, points = ground(mesh), sample_surface(bare(mesh), SAMPLES).points
    palette = torch.rand((16, 3), generator=torch.Generator().manual_seed(3))
    return measure(where, palette[labels_at(mesh, turned(points, degrees))])


def _said(row: Row) -> str:
    return f"border {row['border']:.2f} (chance {row['border_chance']:.2f}), R² {row['explained']:.2f}"


def format_table(rows: Sequence[Row]) -> str:
    """A line a row, the excess of each mesh behind the means; then what can be reached, and the change."""
    lines = [f"{'':12}{'textures':>9}{'border':>8}{'excess':>8}{'R²':>7}{'excess':>8}{'saturation':>12}{'seconds':>9}"]
    for label in (NONE, CONTROL):
        own = [row for row in rows if row["label"] == label]
        if own:
            mean = {name: float(np.mean([row[name] for row in own])) for name in own[0] if _is_number(own[0][name])}
            lines.append(f"{label:12}{len(own):9}{_measures(mean)}{mean['saturation']:12.2f}{mean['seconds']:9.1f}")
            by_mesh = {m: [r for r in own if r["mesh"] == m] for m in PART_MESHES}
            lines.append("  " + ", ".join(f"{m} {_excess(found)}" for m, found in by_mesh.items() if found))
    for name, degrees in (("right", 0.0), ("shifted", SHIFT)):
        fits = [vars(reference(mesh, degrees)) for mesh in PART_MESHES]
        lines.append(f"{name:12}{len(fits):9}{_measures({k: float(np.mean([f[k] for f in fits])) for k in fits[0]})}")
    for text, name in (("border", "border"), ("R²", "explained")):
        changed = _change(rows, name)
        if changed:
            lines.append(f"{text}, excess with control against without: {changed}")
    lines.append(
        "border: strong edges of color beside an edge between parts; R²: variance of color that parts explain;"
    )
    lines.append(
        "excess: beyond the mean over the texture turned about the object, first border, then R² for each mesh;"
    )
    lines.append(f"right: one color for each part; shifted: the same, turned by {SHIFT:g} degrees")
    return "\n".join(lines)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _measures(of: Mapping[str, float]) -> str:
    border, explained = of["border"] - of["border_chance"], of["explained"] - of["explained_chance"]
    return f"{of['border']:8.2f}{border:8.2f}{of['explained']:7.2f}{explained:8.2f}"


def _excess(rows: Sequence[Row]) -> str:
    found = (np.mean([row[n] - row[f"{n}_chance"] for row in rows]) for n in ("border", "explained"))
    return " / ".join(f"{value:.2f}" for value in found)


def _change(rows: Sequence[Row], name: str) -> str:
    """The mean difference over the textures that both rows have, with a paired bootstrap's interval."""
    excess: dict[str, dict[Any, float]] = {
        label: {(r["mesh"], r["seed"]): r[name] - r[f"{name}_chance"] for r in rows if r["label"] == label}
        for label in (NONE, CONTROL)
    }
    both = [key for key in excess[CONTROL] if key in excess[NONE]]
    if not both:
        return ""
    found, (low, high) = paired_difference([excess[CONTROL][key] for key in both], [excess[NONE][key] for key in both])
    return f"{found:+.2f} ({low:+.2f} to {high:+.2f})"
