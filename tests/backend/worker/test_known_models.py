"""A job that goes on with other weights than it began with says so."""

from __future__ import annotations

import os
import shutil

import pytest

from csd_blender.backend.diffusion.loading import MINI_FOLDER
from csd_blender.backend.worker.known_models import sum_of
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.files import MODEL_RECORD
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from tests.support.tiny_jobs import TINY, after, run, warnings_but_terms


@pytest.fixture
def model(tmp_path, tiny_folder):
    return shutil.copytree(tiny_folder, tmp_path / "model")


def make(tmp_path, model):
    return JobFolder.create(tmp_path / "job", text_to_3d_job("a red mug", model=str(model), **TINY))


def weights_of(model):
    return next((model / "unet").glob("*.safetensors"))


def changed(file):
    """Other numbers in a file of the same length."""
    data = bytearray(file.read_bytes())
    data[-8:] = bytes(8)
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model: None, []),
        (lambda model: os.utime(weights_of(model), (1, 1)), []),  # another date is no other file
        (lambda model: changed(weights_of(model)), ["model_changed"]),
        (lambda model: shutil.copy(weights_of(model), model / "unet" / "more.safetensors"), ["model_changed"]),
    ],
)
def test_a_job_that_is_resumed_knows_its_model_again(tmp_path, model, change, said):
    folder, models = make(tmp_path, model), ModelCache()
    run(folder, models, stop=after(2, "leave"))
    assert (folder.path / MODEL_RECORD).is_file()
    change(model)
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and [c for c in warnings_but_terms(events) if c == "model_changed"] == said


def test_a_job_that_begins_anew_takes_what_is_there(tmp_path, model):
    folder, models = make(tmp_path, model), ModelCache()
    run(folder, models, stop=after(1, "leave"))
    changed(weights_of(model))
    for resume in (False, True):
        _, events = run(folder, models, resume=resume, stop=after(1, "leave"))
        assert "model_changed" not in warnings_but_terms(events)


def test_a_job_of_a_version_without_such_a_record_goes_on(tmp_path, model):
    folder, models = make(tmp_path, model), ModelCache()
    run(folder, models, stop=after(2, "leave"))
    for content in (None, b"{", b"[]"):
        (folder.path / MODEL_RECORD).unlink(missing_ok=True)
        if content is not None:
            (folder.path / MODEL_RECORD).write_bytes(content)
        outcome, events = run(folder, models, resume=True, stop=after(1, "leave"))
        assert "model_changed" not in warnings_but_terms(events) and outcome.code == "interrupted"


def test_a_sum_does_not_depend_on_the_place(tmp_path):
    assert sum_of(MINI_FOLDER) == sum_of(shutil.copytree(MINI_FOLDER, tmp_path / "elsewhere"))
