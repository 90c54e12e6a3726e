"""What a picture job leaves behind: previews and the film's frames while it runs, and ``result/`` at the end."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...job.errors import JobError
from ...job.files import RESULT_RUN, RESULT_SHEET, film_frame, picture_file
from ...job.folder import JobFolder, read_ordinary
from ...job.process.bodies import TEXTURE, VIEW
from ...job.result import Part
from ...job.spec.methods import find_method
from ...job.spec.picture import PictureJob
from ..diffusion.model import DiffusionModel
from ..render.pictures import to_bytes
from ..support.png import png_bytes
from ..support.reporting import Reporter
from .texture import write_record

FILM_FRAMES = 24
FILM_MILLISECONDS, LAST_MILLISECONDS = 120, 2000
SHEET_SIDE, FILM_SIDE = 2048, 768  # pixels, of the longer side at most
LEAST_SIDE = 128  # pixels; smaller pictures are shown larger on a sheet
GAP, LETTERS = 4, 18  # pixels between pictures; height of a method's name
VIEW_SIDE = 192
LARGEST_FRAME = 2**26  # bytes


def sheet(pictures: Tensor, names: list[str], most: int) -> np.ndarray:
    """``[N, 3, S, S]`` in [0, 1] on one picture, uint8 ``[H, W, 3]``, no side of it above ``most`` pixels.

    Args:
        names: of the rows, which divide the pictures evenly, written beside them. One name alone is not written, and
            its pictures stand in as many rows as make a square.
    """
    count = len(pictures) // len(names)
    columns = count if len(names) > 1 else int(np.ceil(np.sqrt(count)))
    rows = -(-len(pictures) // columns)
    fits = (most - GAP) // max(rows, columns) - GAP
    side = max(8, min(fits, max(pictures.shape[-1], LEAST_SIDE)))
    if side != pictures.shape[-1]:
        larger = side > pictures.shape[-1]
        how = {"mode": "nearest"} if larger else {"mode": "bilinear", "antialias": True, "align_corners": False}
        pictures = F.interpolate(pictures, (side, side), **how)
    font = ImageFont.load_default(LETTERS)
    margin = int(max(font.getlength(name) for name in names)) + 2 * GAP if len(names) > 1 else 0
    step = side + GAP
    page = Image.new("RGB", (margin + columns * step + GAP, rows * step + GAP), "white")
    pen = ImageDraw.Draw(page)
    for i, picture in enumerate(to_bytes(pictures.permute(0, 2, 3, 1))):
        page.paste(Image.fromarray(picture), (margin + GAP + i % columns * step, GAP + i // columns * step))
    for row, name in enumerate(names if margin else ()):
        pen.text((GAP, GAP + row * step + side // 2), name, fill="black", font=font, anchor="lm")
    return np.asarray(page)


def row_names(job: PictureJob) -> list[str]:
    """What the rows of the job's sheet are called."""
    return [find_method(method).label for method in job.methods]


@dataclass
class PicturePreview:
    """The pictures as they grow: all of them, and the same smaller for the panel."""

    job: PictureJob
    folder: JobFolder
    reporter: Reporter

    def show(self, pictures: Tensor, step: int) -> None:
        """Write and announce them, ``[N, 3, S, S]`` in [0, 1]."""
        page = sheet(pictures, row_names(self.job), FILM_SIDE)
        self.reporter.preview(self.folder, TEXTURE, page, part=0, step=step)
        small = Image.new("RGB", (max(page.shape[:2]),) * 2, (64, 64, 64))  # as behind a small view
        small.paste(Image.fromarray(page), ((small.width - page.shape[1]) // 2, (small.height - page.shape[0]) // 2))
        self.reporter.preview(self.folder, VIEW, np.asarray(small.resize((VIEW_SIDE,) * 2)), part=0, step=step)

    def film(self, pictures: Tensor, step: int) -> None:
        """Write a frame of the film. A job that resumes writes the same ones again from there on."""
        page = sheet(pictures, row_names(self.job), FILM_SIDE)
        self.folder.write_bytes(film_frame(step), png_bytes(page), sync=False)


def film_steps(steps: int) -> list[int]:
    """After which steps there is a frame of the film: before the first, after the last, and evenly between."""
    return sorted({round(i * steps / FILM_FRAMES) for i in range(FILM_FRAMES + 1)})


def write_pictures(
    pictures: Tensor,
    job: PictureJob,
    folder: JobFolder,
    reporter: Reporter,
    stats: dict,
    model: DiffusionModel,
    complete: bool = True,
) -> dict[str, str]:
    """Write ``result/``; returns the files by role, as paths within the job folder.

    Args:
        pictures: ``[rows * count, 3, S, S]`` in [0, 1], those of the first method first.
        stats: ``steps`` among them. complete: the job was not stopped before its end.
    """
    if not bool(torch.isfinite(pictures).all()):
        raise JobError("diverged")
    names = [(method, number + 1) for method in job.methods for number in range(job.count)]
    several = len(job.methods) > 1
    files, parts = {}, []
    for (method, number), picture in zip(names, pictures, strict=True):
        file = picture_file(number, method if several else "")
        folder.write_bytes(file, png_bytes(to_bytes(picture.permute(1, 2, 0))))
        files[file.partition("/")[2].partition(".")[0]] = file
        name = f"{find_method(method).label} {number:02d}" if several else f"{number:02d}"
        parts.append(Part(name, {"albedo": file}))
    page = sheet(pictures, row_names(job), SHEET_SIDE)
    folder.write_bytes(RESULT_SHEET, png_bytes(page))
    files["sheet"] = RESULT_SHEET
    last = sheet(pictures, row_names(job), FILM_SIDE)
    folder.write_bytes(RESULT_RUN, run_film(folder, job.steps, stats["steps"], last))
    files["film"] = RESULT_RUN
    write_record(folder, job, tuple(parts), files, stats, model, reporter, complete=complete)
    return files


def run_film(folder: JobFolder, steps: int, done: int, last: np.ndarray) -> bytes:
    """The film of the ``done`` steps as an animated GIF; a frame that cannot be read is left out."""
    end = Image.fromarray(last)
    earlier = [read_frame(folder.path / film_frame(step)) for step in film_steps(steps) if step < done]
    frames = [*(frame for frame in earlier if frame is not None and frame.size == end.size), end]
    lengths = [FILM_MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": lengths, "loop": 0}
    frames[0].save(buffer, "GIF", optimize=True, **options)
    return buffer.getvalue()


def read_frame(path: Path) -> Image.Image | None:
    """A frame as it was written; None for one that is missing or damaged."""
    try:
        with Image.open(io.BytesIO(read_ordinary(path, LARGEST_FRAME))) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
