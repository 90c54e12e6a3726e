"""``bench --sheet``: all methods on three prompts, two seeds each, on one picture with a row a method.

There is a sheet of textures, and one of pictures where the version has the kind of job that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from csd_blender.job.result import read_result
from csd_blender.job.spec.methods import METHODS

from ..judged.quality_prompts import QualityPrompt, quality_prompts
from ..judged.quality_textures import make_and_judge, quality_job, worker_tools
from . import pictures
from .pictures import PictureTask, picture_kind
from .rows import Row, RowFile, make_rows
from .table import BY_ITSELF, TEXTURES, TINY_TEXTURE

#: Of ``quality_prompts``: a pattern in a color, and two materials.
PROMPTS = (1, 6, 42)
#: Of pictures: shape, material and color.
PICTURES = (("mug", "striped", "blue"), ("robot", "rust", None), ("house", "brick", None))
SEEDS = (0, 1)
SIDE, MARGIN, LABEL, TITLE = 144, 6, 76, 26  # pixels


@dataclass(frozen=True)
class SheetTask:
    """One texture of the sheet."""

    method: str
    index: int
    seed: int
    quality: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"sheet {self.method} {self.index:02d} {self.seed}"

    @property
    def fingerprint(self) -> str:
        return quality_job(self.asked, self.method, self.quality, seed=self.seed, **self.settings).spec_hash()

    @property
    def asked(self) -> QualityPrompt:
        return quality_prompts()[self.index]

    @property
    def prompt(self) -> str:
        return self.asked.prompt

    def view(self) -> Image.Image:
        """The finished texture from the front."""
        return first_view(self.folder / "result" / "turntable.png")


def run_sheet(
    out: Path, only: Sequence[str] = (), quality: str = "draft", processes: int = 1, rehearse: bool = False,
    show: bool = False,
) -> int:  # fmt: skip
    """Make what is missing and draw ``sheet.png`` and ``sheet_pictures.png``. Returns 0, or 1 when a result could not
    be made.

    Args:
        only, rehearse, show: as for the table of the methods. quality: of textures and pictures.
    """
    methods = [method for method in METHODS if method in only or not only]
    cells = [(prompt, seed) for prompt in range(1 if rehearse else len(PROMPTS)) for seed in SEEDS]
    jobs = out / "jobs"
    textures = [
        SheetTask(
            method, PROMPTS[prompt], seed, quality, texture_folder(jobs, method, prompt, seed, quality),
            BY_ITSELF | (TINY_TEXTURE if rehearse else {}),
        )
        for prompt, seed in cells
        for method in methods
    ]  # fmt: skip
    failed = make_sheet(out / "sheet.png", textures, make_row, processes, show, SheetTask.view)
    if picture_kind() is not None:
        alone = [
            PictureTask(
                method, *PICTURES[prompt], seed, jobs / f"picture_{method}_{prompt}_{seed}", quality,
                pictures.TINY if rehearse else {},
            )
            for prompt, seed in cells
            for method in methods
        ]  # fmt: skip
        load = lambda task: Image.open(task.file).convert("RGB")  # noqa: E731
        failed += make_sheet(out / "sheet_pictures.png", alone, pictures.make_row, processes, show, load)
    return 1 if failed else 0


def texture_folder(jobs: Path, method: str, prompt: int, seed: int, quality: str) -> Path:
    """Of a texture of the sheet; in the same ``jobs`` the table of the methods has made some of them already."""
    if seed == 0 and quality == "draft":
        return jobs / f"textures_{method}_{TEXTURES.index(PROMPTS[prompt]):02d}"
    return jobs / f"sheet_{quality}_{method}_{prompt}_{seed}"


def make_sheet(
    path: Path,
    tasks: Sequence[Any],
    make: Callable[[Any], Row],
    processes: int,
    show: bool,
    view: Callable[[Any], Image.Image],
) -> int:
    """Make what is missing and draw one sheet of what is there. Returns how many could not be made."""
    file = RowFile(path.with_suffix(".jsonl"))
    failed = make_rows(tasks, make, file, processes, said, show)
    there = file.of(tasks)
    titles = list(dict.fromkeys((task.prompt, task.seed) for task in tasks))
    views = {(task.method, task.prompt, task.seed): view(task) for task in tasks if task.key in there}
    rows = [
        (method, [views.get((method, *title)) for title in titles])
        for method in dict.fromkeys(task.method for task in tasks)
        if any(key[0] == method for key in views)
    ]
    if rows:
        draw_sheet(rows, [f"{prompt}, seed {seed}" for prompt, seed in titles]).save(path)
        print(f"{len(rows)} methods: {path}", flush=True)
    else:
        print("Nothing is there yet.")
    return failed


def make_row(task: SheetTask) -> Row:
    """Make one texture. Raises ``RuntimeError`` when the job fails."""
    verdict = make_and_judge(
        task.asked, task.method, task.quality, task.folder, *worker_tools(), **{"seed": task.seed, **task.settings}
    )
    timings = read_result(task.folder).timings
    about: dict[str, Any] = {"right": verdict.right, "said": verdict.said}
    about |= {"seconds": timings["processor_seconds"], "network_calls": timings.get("network_calls")}
    return {"method": task.method, "prompt": task.asked.prompt, "seed": task.seed, **about}


def said(row: Row) -> str:
    return f"{row['prompt']:28} seed {row['seed']} {row['seconds']:6.1f} s"


def first_view(sheet: Path) -> Image.Image:
    """The first of the eight views on a turntable's sheet."""
    with Image.open(sheet) as tile:
        half = tile.height // 2
        return tile.convert("RGB").crop((0, 0, half, half))


def draw_sheet(rows: Sequence[tuple[str, Sequence[Image.Image | None]]], titles: Sequence[str]) -> Image.Image:
    """Pictures in rows with a label each, the titles above the columns; a gray field stands for what is missing."""
    columns = len(titles)
    size = LABEL + columns * (SIDE + MARGIN), TITLE + len(rows) * (SIDE + MARGIN)
    sheet = Image.new("RGB", size, "white")
    pen, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(17), ImageFont.load_default(10)
    for column, title in enumerate(titles):
        pen.text((LABEL + column * (SIDE + MARGIN), 8), title, "black", small)
    for row, (label, views) in enumerate(rows):
        top = TITLE + row * (SIDE + MARGIN)
        pen.text((8, top + SIDE // 2 - 10), label, "black", large)
        for column, picture in enumerate(views):
            place = (LABEL + column * (SIDE + MARGIN), top)
            if picture is None:
                pen.rectangle((*place, place[0] + SIDE - 1, top + SIDE - 1), fill="#e5e7eb")
            else:
                sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), place)
    return sheet
