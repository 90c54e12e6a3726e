"""``bench --similarity FOLDER...``: finished jobs measured as the papers measure theirs.

Of each result: the similarity of eight views and its prompt, whether its prompt is nearer than all others of a fixed
list (R-precision at 1), and the mean perceptual distance between neighbors among a hundred views (A-LPIPS).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from csd_blender.backend.geometry.gather import gather_parts
from csd_blender.backend.geometry.mesh import normalize
from csd_blender.backend.geometry.mesh_io import load_mesh
from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.render.pictures import turntable_pictures
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.surface import Surface
from csd_blender.job.errors import JobError
from csd_blender.job.files import RESULT, RESULT_GLB
from csd_blender.job.folder import JobFolder

from .perceptual import FRAMES, Distance, a_lpips, lpips_distance
from .quality_prompts import quality_prompts
from .similarity import TextImageModel, candidates, clip_model, mini_model, nearest, similarity

VIEWS = 8
BACKGROUND = 0.6
#: Files of a job that makes single pictures.
PICTURES = "picture_*.png"


@dataclass(frozen=True)
class Measured:
    """One result.

    Attributes:
        similarity: the cosine of its views and its prompt. first: whether no other prompt is nearer.
        nearest: the prompt that is. flicker: A-LPIPS; None for single pictures, which nothing goes around.
    """

    folder: str
    method: str
    prompt: str
    similarity: float
    first: bool
    nearest: str
    flicker: float | None


def run_similarity_table(
    folders: Sequence[Path], clip: Path | None = None, lpips: Path | None = None, out: Path | None = None
) -> int:
    """Measure finished jobs and print them; rows go to ``out/similarity.json`` too. Returns the exit status.

    Args:
        clip: folder of a CLIP model in place of the bundled head. lpips: file of LPIPS-VGG, see `perceptual`.
    """
    try:
        model = clip_model(clip) if clip else mini_model()
        distance = lpips_distance(lpips) if lpips else model.distance
        jobs = [(path, *prompt_of(path)) for path in folders]
        prompts = candidates([prompt for _, prompt, _ in jobs], fixed_prompts(), model)
        rows = []
        for path, prompt, method in jobs:
            rows.append(measure(path, prompt, method, prompts, model, distance))
            print(format_row(rows[-1]), flush=True)
    except JobError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(format_table(rows, len(prompts), model.name, lpips.name if lpips else model.name))
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "similarity.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        print(f"Rows: {out / 'similarity.json'}")
    return 0


def prompt_of(path: Path) -> tuple[str, str]:
    """The prompt and the method of the job in a folder. Raises ``JobError`` where there is no job, or no result."""
    folder = JobFolder.open(path)
    if not (folder.path / RESULT_GLB).is_file() and not picture_files(folder):
        raise JobError("bad_job_folder", f"{path} holds no result", "Measure a job that has ended.")
    return folder.spec.prompt, folder.spec.method


def fixed_prompts() -> list[str]:
    """The quality tables' own prompts, so that a single result has others to be told from."""
    from .quality_objects import SHAPES_AND_SURFACES

    objects = [
        f"a {' '.join(word for word in (color, surface, shape) if word and word != 'plain')}"
        for shape, surface, color in SHAPES_AND_SURFACES
    ]
    return [asked.prompt for asked in quality_prompts()] + objects


def measure(
    path: Path, prompt: str, method: str, prompts: Sequence[str], model: TextImageModel, distance: Distance
) -> Measured:
    """One finished job. Raises ``JobError`` for a result that cannot be read."""
    folder = JobFolder.open(path)
    single = picture_files(folder)
    surface = None if single else surface_of(folder)
    views = read_pictures(single) if surface is None else orbit_of(folder, surface, VIEWS, model.size)
    values = similarity(views, prompts, model)
    own = [model.says(other) for other in prompts].index(model.says(prompt))
    flicker = None
    if surface is not None:
        flicker = round(a_lpips(orbit_of(folder, surface, FRAMES, model.size), distance), 5)
    found, cosine = nearest(values, prompt, prompts, model), round(float(values[own]), 4)
    return Measured(str(path), method, prompt, cosine, found == prompt, found, flicker)


def picture_files(folder: JobFolder) -> list[Path]:
    """Those of a job that makes single pictures."""
    return sorted((folder.path / RESULT).glob(PICTURES))


def read_pictures(files: Iterable[Path]) -> Tensor:
    """Pictures of one size, ``[N, 3, H, W]`` in [0, 1]."""
    loaded = [torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()) for file in files]
    return torch.stack(loaded).permute(0, 3, 1, 2) / 255


def surface_of(folder: JobFolder) -> Surface:
    """The textured mesh of a result, in the unit ball, as other programs get it."""
    mesh = load_mesh(folder.path / RESULT_GLB)
    points, _, _ = normalize(gather_parts(mesh))
    return Surface(
        mesh=mesh,
        points=torch.as_tensor(points, dtype=torch.float32),
        triangles=torch.as_tensor(mesh.triangles, dtype=torch.int32),
        uv=torch.as_tensor(mesh.uv, dtype=torch.float32),
        part=torch.as_tensor(mesh.part, dtype=torch.int64),
        uv_source=("new",) * mesh.part_count,
        rasterizer=get_rasterizer(),
    )


def orbit_of(folder: JobFolder, surface: Surface, views: int, size: int) -> Tensor:
    """Its bare colors from evenly spaced sides, the first one from the front."""
    return turntable_pictures(surface, load_albedo(folder, surface), views, size, BACKGROUND, lit=False)


def format_row(row: Measured) -> str:
    """One line while the table is made."""
    flicker = "     -" if row.flicker is None else f"{row.flicker:.4f}"
    told = "first" if row.first else f"nearer to “{row.nearest}”"
    return f"{row.method:8}{row.prompt:36.35}{row.similarity:7.3f}  {flicker}  {told}"


def format_table(rows: Sequence[Measured], among: int, model: str, perceptual: str) -> str:
    """Means by method."""
    lines = [f"\n{'':12}{'results':>8}{'R-precision':>13}{'similarity':>12}{'A-LPIPS':>10}"]
    for method in dict.fromkeys(row.method for row in rows):
        group = [row for row in rows if row.method == method]
        flickers = [row.flicker for row in group if row.flicker is not None]
        first, cosine = np.mean([row.first for row in group]), np.mean([row.similarity for row in group])
        flicker = f"{np.mean(flickers):10.4f}" if flickers else f"{'-':>10}"
        lines.append(f"{method:12}{len(group):8}{first:13.0%}{cosine:12.3f}{flicker}")
    lines.append(
        f"R-precision: the own prompt is the nearest of {among}; similarity: cosine, by {model}, mean of {VIEWS} views;"
    )
    lines.append(
        f"A-LPIPS: between neighbors of {FRAMES} views, by {perceptual}; figures of different models do not compare"
    )
    return "\n".join(lines)
