"""Texture jobs on meshes without a UV map, which is made while they paint: what is shown when, and nothing is lost."""

from __future__ import annotations

import io

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.texture.unwrapping import Unwrapping
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from tests.support.tiny_jobs import after, albedo, box, first_step, run

pytestmark = pytest.mark.usefixtures("every_step_tells")
UV = ("result", "uv.npz")


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    def make(name="job", **overrides) -> JobFolder:
        settings = {"steps": 6, "views": 2, "texture_size": 64, "preview_interval": 1e-9, "device": "cpu"} | overrides
        folder = JobFolder.create(tmp_path / name, texture_job("a red mug", model=str(tiny_folder), **settings))
        save_npz(folder.mesh_path, box())
        return folder

    return make


@pytest.fixture
def ready(monkeypatch):
    """Decides when there is a map: of the n-th time that somebody looks on."""
    looks = [0]

    def install(first: float) -> None:
        looks[0] = 0

        def answer(self) -> bool:
            looks[0] += 1
            return looks[0] >= first

        monkeypatch.setattr(Unwrapping, "ready", property(answer))

    return install


def kinds(events) -> list[str]:
    return [body["kind"] for kind, body in events if kind == "preview"]


def test_until_there_is_a_map_the_panel_alone_has_something_to_show(make_job, models, ready):
    folder, at_once = make_job("late"), make_job("at once")
    ready(3)
    outcome, events = run(folder, models)
    assert outcome.type == "result" and kinds(events)[:4] == ["view", "view", "texture", "view"]
    ready(0)
    assert kinds(run(at_once, models)[1])[:2] == ["texture", "view"]
    assert np.array_equal(albedo(folder), albedo(at_once))
    with np.load(folder.path.joinpath(*UV), allow_pickle=False) as arrays:
        assert arrays["uv"].shape == (12, 3, 2) and arrays["source"].tolist() == ["new"]
    previews = [body for kind, body in events if kind == "preview"]
    for p in previews:
        assert (folder.path / p["path"]).stat().st_size == p["width"] * p["height"] * 4


def test_a_texture_is_shown_when_its_map_is_on_the_disk(make_job, models, ready, monkeypatch):
    folder, there = make_job(), []
    write = JobFolder.write_bytes

    def noted(self, name, *arguments, **more):
        if "texture" in str(name):
            there.append(self.path.joinpath(*UV).is_file())
        return write(self, name, *arguments, **more)

    monkeypatch.setattr(JobFolder, "write_bytes", noted)
    ready(2)
    run(folder, models)
    assert there and all(there)


def test_who_cancels_before_there_is_a_map_keeps_the_texture_so_far(make_job, models, ready):
    folder = make_job()
    ready(float("inf"))
    outcome, events = run(folder, models, stop=after(3, "cancel"))
    assert outcome.type == "cancelled" and outcome.kept and set(kinds(events)) == {"view"}
    assert albedo(folder).shape == (64, 64, 3) and folder.path.joinpath(*UV).is_file()


def test_a_job_that_is_left_before_there_is_a_map_goes_on_to_the_same_texture(make_job, models, ready):
    whole, left = make_job("whole"), make_job("left", checkpoint_interval=2)
    ready(float("inf"))
    assert run(whole, models)[0].type == "result"
    assert run(left, models, stop=after(4, "leave"))[0].code == "interrupted"
    assert not left.path.joinpath(*UV).is_file()
    outcome, events = run(left, models, resume=True)
    assert outcome.type == "result" and first_step(events) > 2
    assert np.array_equal(albedo(whole), albedo(left))


def test_a_map_that_was_there_before_stays_when_the_job_goes_on(make_job, models, ready):
    folder = make_job(checkpoint_interval=2)
    ready(0)
    run(folder, models, stop=after(4, "leave"))
    own = np.full((12, 3, 2), 0.25, np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, uv=own, source=np.array(["new"]))
    folder.path.joinpath(*UV).write_bytes(buffer.getvalue())
    assert run(folder, models, resume=True)[0].type == "result"
    with np.load(folder.path.joinpath(*UV), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["uv"], own)


@pytest.mark.parametrize(
    "uv,sources",
    [
        (np.full((12, 3, 2), np.nan), ["new"]), (np.zeros((12, 3, 2)), ["new"]), (np.full((12, 3, 2), 0.5), ["evil"]),
        (np.full((12, 3, 2), 0.5), ["user"]), (np.full((12, 3, 2), 0.5), ["new", "new"]),
    ],
)  # fmt: skip
def test_a_map_that_can_be_none_of_an_earlier_run_is_made_anew(make_job, models, ready, uv, sources):
    folder = make_job(checkpoint_interval=2)
    ready(0)
    run(folder, models, stop=after(4, "leave"))
    right = folder.path.joinpath(*UV).read_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, uv=np.float32(uv), source=np.array(sources))
    folder.path.joinpath(*UV).write_bytes(buffer.getvalue())
    assert run(folder, models, resume=True)[0].type == "result"
    with np.load(folder.path.joinpath(*UV)) as made, np.load(io.BytesIO(right)) as wanted:
        assert np.array_equal(made["uv"], wanted["uv"]) and made["source"].tolist() == ["new"]
