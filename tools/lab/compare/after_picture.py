"""``bench --after-picture``: objects that are made after one picture, beside the true shapes that it shows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from csd_blender.backend.render.pictures import contact_sheet, turntable_cameras
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import run_job
from csd_blender.job.files import INPUT_PICTURE
from csd_blender.job.folder import JobFolder
from csd_blender.job.result import read_result

from ..judged.quality_objects import Task, finished_object, judge_object, object_job
from ..judged.quality_textures import fresh_folder, worker_tools
from ..mini.materials import make_material
from ..mini.picture.pictures import SHOWN_FROM
from ..mini.render import Camera, paint, random_light, trace
from ..mini.shape import Shape
from ..mini.shapes import make_shape
from .coarse import TINY, folder_name, said
from .rows import Row, RowFile, make_rows
from .statistics import mean

#: Shape, what it is made of, its color where that is not the material's own; half of them have a front.
THINGS = (
    ("robot", "plain", "yellow"), ("house", "brick", None), ("owl", "leopard", None), ("car", "plain", "red"),
    ("mug", "striped", "blue"), ("chair", "wood", None), ("mushroom", "dotted", "red"), ("vase", "marble", None),
)  # fmt: skip
SEED = 40  # of the things: other instances than any training's
AZIMUTH, ELEVATION, PICTURE_SIZE, FOV = 25.0, 15.0, 256, 45.0
VIEWS, SIZE = 8, 96  # of outlines
TURNTABLE = "result/turntable.png"
BY = {"after the picture": {"recipe": "zero123"}, "by its words alone": {}}


@dataclass(frozen=True)
class PictureTask:
    """One object. ``by``: a name of ``BY``. settings: further ones of the job."""

    by: str
    index: int
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.by} {self.index}"

    @property
    def of_picture(self) -> bool:
        """Whether the picture is what it is made after."""
        return "recipe" in BY[self.by]

    @property
    def of_object(self) -> Task:
        own = {"picture_elevation": ELEVATION, "view_prompts": True, "texture_size": 256}
        settings = {**own, **BY[self.by], **self.settings}
        return Task(self.by, *THINGS[self.index], settings, "draft", self.folder)

    @property
    def fingerprint(self) -> str:
        return object_job(self.of_object).spec_hash()


def true_thing(index: int) -> tuple[Shape, bytes]:
    """The shape, and a picture of it before nothing: lit, a little from the side and from above; as a PNG file. The
    picture's camera is in front of the shape."""
    name, material, color = THINGS[index]
    rng = np.random.default_rng((SEED, index))
    shape = make_shape(name, rng)
    surface = make_material(material, color, rng)
    camera = Camera(AZIMUTH, ELEVATION, SHOWN_FROM, FOV)
    geometry = trace(shape, [camera], PICTURE_SIZE)
    alpha = geometry.coverage[0][None]
    image = paint(geometry, 0, surface, torch.zeros(3, 1, 1), random_light(rng, camera))
    rgba = torch.cat((image / alpha.clamp_min(1e-3), alpha)).clamp(0, 1)
    file = io.BytesIO()
    Image.fromarray((rgba.permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "PNG")
    return shape, file.getvalue()


def make_row(task: PictureTask) -> Row:
    """Make one object, judge it, and hold its outlines against the true ones.

    Raises:
        RuntimeError: when the job fails.
    """
    models, judge = worker_tools()
    shape, picture = true_thing(task.index)
    job = object_job(task.of_object)
    if fresh_folder(task.folder, job):
        folder = JobFolder.create(task.folder, job)
        if job.needs_picture:
            folder.write_bytes(INPUT_PICTURE, picture)
        outcome = run_job(str(task.folder), Reporter(emit=lambda said: None), models)
        if outcome.type != "result":
            raise RuntimeError(f"{task.key}: {outcome.text} {outcome.detail}")
    folder = JobFolder.open(task.folder)
    surface, _ = finished_object(folder)
    # The picture's camera stood at an azimuth of its own; the object has it in front.
    turned = AZIMUTH if job.needs_picture else 0.0
    cameras = turntable_cameras(VIEWS)
    true = outlines_of(shape, [
        Camera(float(a) + turned, float(e), float(d), float(f))
        for a, e, d, f in zip(cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov_y, strict=True)
    ])  # fmt: skip
    found = surface.rasterize(cameras, SIZE).rast[..., 3] > 0
    timings = read_result(task.folder).timings
    verdict = judge_object(task.of_object, folder, judge)
    return {**asdict(verdict), "by": task.by, "iou": overlap(found, true), "seconds": timings["processor_seconds"]}


def outlines_of(shape: Shape, cameras: list[Camera]) -> Tensor:
    """Where each camera sees it, ``[V, SIZE, SIZE]`` bool."""
    return trace(shape, cameras, SIZE).coverage > 0.5


def overlap(found: Tensor, true: Tensor) -> float:
    """Mean intersection over union of outlines ``[V, S, S]``, each moved and scaled to its bounding box: where a thing
    stands in the frame, and how large it is, no picture says."""
    values = []
    for one, other in zip(found, true, strict=True):
        a, b = (_boxed(mask) for mask in (one, other))
        values.append(float((a & b).sum() / (a | b).sum().clamp_min(1)))
    return float(np.mean(values))


def _boxed(mask: Tensor) -> Tensor:
    """What is in its bounding square, ``[SIZE, SIZE]``."""
    rows, columns = (mask.any(dim).nonzero()[:, 0] for dim in (1, 0))
    if not len(rows):
        return mask
    side = int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1
    middle = [int(places[0] + places[-1] + 1) / 2 for places in (rows, columns)]
    line = (torch.arange(SIZE) + 0.5) / SIZE * side - side / 2
    y, x = ((line + m).floor().long() for m in middle)
    inside = ((y >= 0) & (y < len(mask)))[:, None] & ((x >= 0) & (x < mask.shape[1]))[None]
    return mask[y.clamp(0, len(mask) - 1)][:, x.clamp(0, mask.shape[1] - 1)] & inside


def run_after_picture(
    out: Path, only: Sequence[str] = (), processes: int = 1, rehearse: bool = False, show: bool = False
) -> int:
    """Make what is missing and print the table. Returns 0, or 1 when an object could not be made.

    Args:
        only: the picture's row by another method, as ``dsd``. rehearse: one object a row with next to no steps.
        show: make nothing, print what is there.
    """
    tasks, file = picture_tasks(out, rehearse, only[0] if only else ""), RowFile(out / "after_picture.jsonl")
    failed = make_rows(tasks, make_row, file, processes, said, show)
    print(f"\nObjects after one picture\n{format_table(list(file.of(tasks).values()))}")
    if made := [task for task in tasks if task.of_picture and (task.folder / TURNTABLE).is_file()]:
        save_sheet(made, out / "after_picture.png")
    return 1 if failed else 0


def save_sheet(tasks: Sequence[PictureTask], path: Path, side: int = 128) -> None:
    """Two objects a row: the picture, and four sides of what was made after it."""
    tiles = []
    for task in tasks:
        rgba = Image.open(io.BytesIO(true_thing(task.index)[1]))
        shown = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        with Image.open(task.folder / TURNTABLE) as sheet:
            step = sheet.height // 2
            turned = [sheet.crop((x, y, x + step, y + step)) for y in (0, step) for x in (0, 2 * step)]
        tiles += [tile.convert("RGB").resize((side, side), Image.Resampling.LANCZOS) for tile in (shown, *turned)]
    pictures = torch.stack([torch.from_numpy(np.asarray(tile).copy()).permute(2, 0, 1) / 255 for tile in tiles])
    Image.fromarray(contact_sheet(pictures, 10)).save(path)


def picture_tasks(out: Path, rehearse: bool = False, method: str = "") -> list[PictureTask]:
    """All objects, row by row."""
    tiny = {**TINY, "warm_start": 0} if rehearse else {}
    own = {"method": method} if method else {}
    return [
        PictureTask(by, i, out / "jobs" / folder_name((by, method, i)), {**tiny, **(own if "recipe" in how else {})})
        for by, how in BY.items()
        for i in range(1 if rehearse else len(THINGS))
    ]


def format_table(rows: Sequence[Row]) -> str:
    """A line a way of making them."""
    lines = [f"{'':22}{'n':>4}{'IoU':>8}{'least':>8}{'shape':>8}{'surface':>9}{'belief':>9}{'seconds':>9}"]
    for by in BY:
        own = [row for row in rows if row["by"] == by]
        if own:
            ious, shape, surface, belief, seconds = (
                [float(row[name]) for row in own]
                for name in ("iou", "shape_right", "surface_right", "belief", "seconds")
            )
            lines.append(
                f"{by:22}{len(own):4}{mean(ious):8.2f}{min(ious):8.2f}{mean(shape):8.0%}{mean(surface):9.0%}"
                f"{mean(belief):9.2f}{mean(seconds):9.1f}"
            )
    lines.append(
        "IoU: of outlines from eight sides with the true shape's, each in its bounding square; shape: named as"
    )
    lines.append("it is; surface: material or color; belief: the judge's probability for all of it")
    return "\n".join(lines)
