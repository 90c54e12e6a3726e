"""Textures whose steps look where it is needed, and end when nothing changes any more."""

from __future__ import annotations

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.effects import without_effect
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import read_result
from csd_blender.job.spec.edit import EditJob
from csd_blender.job.spec.texture import TextureJob
from tests.support.tiny_jobs import after, albedo, answer, box, run

pytestmark = pytest.mark.usefixtures("every_step_tells", "no_models_of_the_user")

SETTINGS = {"steps": 6, "views": 2, "texture_size": 64, "preview_interval": 0, "device": "cpu", "control": "off"}


@pytest.fixture
def make(tmp_path, tiny_folder):
    def make(name="job", **overrides) -> JobFolder:
        job = texture_job("a red mug", model=str(tiny_folder), **SETTINGS | overrides)
        folder = JobFolder.create(tmp_path / name, job)
        save_npz(folder.mesh_path, box())
        return folder

    return make


@pytest.mark.parametrize("look", ["unseen", "changing"])
def test_a_job_looks_elsewhere_and_comes_out_the_same_when_it_was_left(make, models, look):
    plain, whole, left = make("plain"), make("whole", look=look), make("left", look=look)
    run(plain, models)
    run(whole, models)
    assert not np.array_equal(albedo(plain), albedo(whole))
    assert answer(run(left, ModelCache(), stop=after(3, "leave"))[0]) == ("error", "interrupted")
    assert run(left, ModelCache(), resume=True)[0].type == "result"
    assert np.array_equal(albedo(whole), albedo(left))


def test_a_job_ends_once_its_colors_stay(make, models):
    """With rates that fall, they stay in the end; a job that is left before that ends where it would have ended."""
    given = {"learning_rate": 0.02, "steps": 40}
    whole = make("whole", early_end=0.9, **given)
    outcome, events = run(whole, models)
    changes = [body["metrics"]["change"] * 255 for kind, body in events if kind == "progress"]
    made = read_result(whole.path)
    done = made.timings["steps"]
    assert made.complete, "nothing is left to go on with"
    assert outcome.type == "result" and 5 <= done < 40 and changes[-1] < 0.9 <= min(changes[4:-1])
    left = make("left", early_end=0.9, **given)
    run(left, ModelCache(), stop=after(done - 1, "leave"))
    assert run(left, ModelCache(), resume=True)[0].type == "result"
    assert read_result(left.path).timings["steps"] == done and np.array_equal(albedo(whole), albedo(left))


def test_jobs_of_before_keep_their_fingerprint():
    plain = texture_job("a mug").to_json()
    old = {name: value for name, value in plain.items() if name not in ("look", "early_end")}
    assert TextureJob.from_json(old).spec_hash() == TextureJob.from_json(plain).spec_hash()
    prints = {texture_job("a mug", **own).spec_hash() for own in ({}, {"look": "unseen"}, {"early_end": 1.0})}
    assert len(prints) == 3


def test_a_shape_that_moves_is_not_watched():
    assert without_effect(EditJob, {"shape": "free"})["look"] == "The shape moves, too"
    assert "look" not in without_effect(EditJob, {})
