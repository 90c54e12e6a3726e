"""Small jobs on a tiny model that are left behind a checkpoint, as if their process had been killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder

STEPS = 8


def reporter_until(step: int | None = None) -> Reporter:
    """Lets the job be left after so many steps; every step must tell of its progress."""
    last = [0]

    def emit(said):
        last[0] = last[0] + 1 if said.type == "progress" else last[0]

    return Reporter(emit=emit, stop_reason=lambda: "leave" if step is not None and last[0] >= step else None)


def texture_settings(model: Path) -> dict:
    return {
        "model": str(model), "steps": STEPS, "views": 1, "texture_size": 64, "preview_interval": 0, "device": "cpu",
    }  # fmt: skip


def object_settings(model: Path) -> dict:
    coarse = {"views": 1, "levels": 2, "finest_resolution": 16, "ray_samples": 24, "render_size": 16, "radius": 1.0}
    coarse |= {"later_size": 0}
    refine = {"views": 1, "tet_resolution": 8, "render_size": 16, "threshold": 0.0, "background": "colors"}
    settings = {"coarse_steps": STEPS, "refine_steps": STEPS, "coarse": coarse, "refine": refine}
    settings |= {"texture_size": 64, "preview_interval": 0, "device": "cpu", "max_faces": 5000, "model": str(model)}
    return settings


def square_folder(path: Path, job) -> JobFolder:
    """The folder of a texture job for a square."""
    folder = JobFolder.create(path, job)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    square = Mesh(np.insert(corners, 1, 0.0, axis=1), triangles, corners[triangles], part_names=("square",))
    save_npz(folder.mesh_path, square)
    return folder


def albedo(folder: JobFolder) -> np.ndarray:
    return np.asarray(Image.open(folder.path / "result" / "albedo.png"))
