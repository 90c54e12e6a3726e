"""How large the measurements are: as they are meant, or so small that a processor rehearses them in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Lab:
    """What every section is given.

    Attributes:
        device: the card; a rehearsal has the CPU in its place.
        networks: row title, and version for :func:`random_stable_diffusion`; ``mini`` is the bundled model.
        faces: of the meshes whose cost is measured. pictures: sides of the rasterizer's pictures.
        nvdiffrast: a checkout of it to be put beside our rasterizer, or None.
        scratch: a folder for jobs, removed at the end.
    """

    device: torch.device
    scratch: Path
    nvdiffrast: Path | None = None
    networks: tuple[tuple[str, str], ...] = (("SD 1.5", "1.5"), ("SD 2.1", "2.1"), ("SDXL size", "xl"))
    warm: int = 3
    repeats: int = 10
    texture: tuple[str, int] = ("draft", 90)
    texture_size: int = 512
    object_steps: tuple[int, int] = (60, 30)
    faces: tuple[int, ...] = (5_000, 20_000, 100_000, 500_000)
    pictures: tuple[int, ...] = (256, 512, 1024, 2048)
    raster_faces: int = 20_000
    batches: tuple[int, ...] = (64, 512)
    training_steps: tuple[int, int] = (20, 80)
    grids: tuple[int, ...] = (32, 64, 128)
    tests: tuple[str, ...] = ("tests/backend", "tests/job")


def rehearsal(scratch: Path) -> Lab:
    """The same on a processor, at sizes that take no time; its figures mean nothing."""
    return Lab(
        device=torch.device("cpu"),
        scratch=scratch,
        networks=(("mini", "mini"),),
        warm=1,
        repeats=2,
        texture=("draft", 3),
        texture_size=64,
        object_steps=(3, 2),
        faces=(500, 5_000),
        pictures=(32, 64),
        raster_faces=500,
        batches=(2, 4),
        training_steps=(1, 3),
        grids=(8, 16),
        tests=("tests/job/test_setup_progress.py",),
    )
