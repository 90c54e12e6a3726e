"""Jobs on a tiny diffusion model, and an undisturbed one that all others are held against."""

from __future__ import annotations

import pytest

from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.output import texture
from csd_blender.backend.pipelines.text_to_3d import output
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from tests.support.tiny_jobs import TINY, merged, run


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Films and turntables cost more than these jobs; only the module's undisturbed job has them in full."""
    monkeypatch.setattr(output, "FILM_FRAMES", 2)
    monkeypatch.setattr(output, "FILM_SIZE", 16)
    monkeypatch.setattr(texture, "TURNTABLE_SIZE", 16)


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    def make(name="job", prompt="a red mug", mesh=None, **overrides) -> JobFolder:
        job = text_to_3d_job(prompt, model=str(tiny_folder), **merged(TINY, overrides))
        folder = JobFolder.create(tmp_path / name, job)
        if mesh is not None:
            save_npz(folder.mesh_path, mesh)
        return folder

    return make


@pytest.fixture(scope="module")
def models():
    return ModelCache()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_folder, models):
    """An undisturbed job that all others are held against, and its events."""
    job = text_to_3d_job("a red mug", model=str(tiny_folder), **TINY)
    folder = JobFolder.create(tmp_path_factory.mktemp("whole") / "job", job)
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    return folder, events
