"""Texture jobs, edits and objects under ControlNets: what they write, that they resume, and that memory may run out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from csd_blender.backend.diffusion.additions import load_control
from csd_blender.backend.geometry.files.colors import Colors, save_colors
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.files import CONTROL_PICTURE, CONTROL_RECORD, INPUT_COLORS
from csd_blender.job.folder import JobFolder
from csd_blender.job.models.control import PUBLISHED
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.result import read_result
from tests.support.no_memory import hungry
from tests.support.tiny_jobs import TINY, after, albedo, answer, box, merged, run, same_result
from tests.support.tiny_models import write_control

pytestmark = pytest.mark.usefixtures("every_step_tells", "no_models_of_the_user")

SETTINGS = {"steps": 5, "views": 2, "texture_size": 64, "preview_interval": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def nets(tiny_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("nets")
    return {
        kind: write_control(place / kind, tiny_folder, seed=i, stride=4) for i, kind in enumerate(("depth", "normal"))
    }


@pytest.fixture
def make_job(tmp_path, tiny_folder, nets):
    def make(name="job", **overrides) -> JobFolder:
        both = {"control": "depth,normal:0.5", "control_model": f"{nets['depth']},{nets['normal']}"}
        job = texture_job("a red mug", model=str(tiny_folder), **SETTINGS | both | overrides)
        folder = JobFolder.create(tmp_path / name, job)
        save_npz(folder.mesh_path, box())
        return folder

    return make


def test_a_texture_follows_its_control_nets_and_shows_what_they_see(make_job, models):
    followed, plain = make_job("followed"), make_job("plain", control="off")
    for folder in (followed, plain):
        assert run(folder, models)[0].type == "result"
    assert not np.array_equal(albedo(followed), albedo(plain))
    sheet = np.asarray(Image.open(followed.path / CONTROL_PICTURE))
    assert sheet.shape == (2 * 256, 2 * 256, 3)  # depth above normals, two views
    depth, normals = sheet[:256], sheet[256:]
    assert np.array_equal(depth[..., 0], depth[..., 1]) and depth.max() > 240 and depth[0, 0].tolist() == [0, 0, 0]
    assert normals[0, 0].tolist() == [128, 128, 255] and normals[..., 2].min() > 120
    licences = read_result(followed.path).licences
    assert [name for name in licences if name.startswith("ControlNet ")] == [
        f"ControlNet {folder}" for folder in (followed.spec.control_model.split(","))
    ]
    assert not (plain.path / CONTROL_PICTURE).exists() and models.model.control is None


def test_a_job_without_control_after_one_with_it_is_as_if_that_had_never_been(make_job, models):
    before, between, later = make_job("before", control="off"), make_job("between"), make_job("later", control="off")
    for folder in (before, between, later):
        run(folder, models)
    assert np.array_equal(albedo(before), albedo(later))


@pytest.mark.parametrize("step", [1, 3])
def test_a_job_that_was_left_resumes_to_the_same_texture(make_job, models, step):
    whole, left = make_job("whole"), make_job("left")
    run(whole, models)
    outcome, _ = run(left, ModelCache(), stop=after(step, "leave"))
    assert answer(outcome) == ("error", "interrupted")
    sheet = (left.path / CONTROL_PICTURE).read_bytes()
    outcome, events = run(left, ModelCache(), resume=True)
    assert outcome.type == "result"
    assert next(body["step"] for kind, body in events if kind == "progress") == step + 1
    assert np.array_equal(albedo(whole), albedo(left))
    assert (left.path / CONTROL_PICTURE).read_bytes() == sheet == (whole.path / CONTROL_PICTURE).read_bytes()


def test_the_strength_falls_over_the_job(make_job, models, monkeypatch):
    folder, weights = make_job(control_strength=2.0, control_end=0.5), []
    model = models.get(folder.spec.model, "cpu")
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda *a: weights.append(a[2].control_weight[0]) or predict(*a))
    run(folder, models)
    expected = [[2 - i / 4, 1 - i / 8] for i in range(5)]
    assert torch.allclose(torch.stack(weights), torch.tensor(expected))


def test_memory_that_runs_out_costs_views_and_not_the_control(make_job, models, monkeypatch):
    folder, seen = make_job(), []
    model = models.get(folder.spec.model, "cpu")
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda *a: seen.append(len(a[2].control.unique(dim=0))) or predict(*a))
    hungry(monkeypatch, model, on_calls=range(1, 5))
    outcome, events = run(folder, models)
    assert outcome.type == "result"
    said = [body["text"] for kind, body in events if kind == "warning" and body["code"] == "oom_step_down"]
    assert len(said) == 4 and "1 views" in said[3]
    assert seen == [2, 1, 1, 1, 1]  # (of as many views; calls that fail raise before they are seen)


def test_auto_tells_what_it_found_and_a_resumed_job_has_the_same(make_job, models, nets, monkeypatch):
    found = make_job("found", control="auto")
    _, events = run(found, models, stop=after(2, "leave"))
    said = [body["text"] for kind, body in events if kind == "warning" and body["code"] == "control"]
    assert said == ["ControlNets that were found keep the work to the shape: depth and normal."]
    record = json.loads((found.path / CONTROL_RECORD).read_text())
    assert record["control"] == "depth:1,normal:1" and str(nets["normal"]) in record["control_model"]
    none = make_job("none", control="auto", control_model="")
    run(none, models, stop=after(2, "leave"))
    assert json.loads((none.path / CONTROL_RECORD).read_text())["control"] == "off"
    # one that came onto the disk in the meantime does not count for a job that began without
    monkeypatch.setitem(PUBLISHED, 16, {"depth": ("a/depth",)})
    repository = Path(os.environ["HF_HUB_CACHE"]) / "models--a--depth" / "snapshots" / "abc"
    shutil.copytree(nets["depth"], repository)
    whole, later = make_job("whole", control="off"), make_job("later", control="auto", control_model="")
    for folder, resume in ((whole, False), (later, False), (none, True)):
        assert run(folder, models, resume=resume)[0].type == "result"
    assert np.array_equal(albedo(none), albedo(whole)) and not np.array_equal(albedo(later), albedo(whole))


@pytest.mark.parametrize("recorded", ["now", "by an older version"])
def test_a_job_of_the_bundled_model_goes_on_where_the_program_moved_to(tmp_path, monkeypatch, recorded):
    settings = SETTINGS | {"steps": 3, "views": 1}
    whole, left = (JobFolder.create(tmp_path / name, texture_job("a red mug", **settings)) for name in ("a", "b"))
    for folder in (whole, left):
        save_npz(folder.mesh_path, box())
    assert run(whole, ModelCache())[0].type == "result"
    place = shutil.copytree(load_control.MINI_CONTROL, tmp_path / "Doe, John" / "control")
    monkeypatch.setattr(load_control, "MINI_CONTROL", place)
    assert answer(run(left, ModelCache(), stop=after(1, "leave"))[0]) == ("error", "interrupted")
    assert str(tmp_path) not in (left.path / CONTROL_RECORD).read_text()
    if recorded != "now":
        old = {"control": "depth:1,normal:1", "control_model": f"depth+normal={place}"}
        (left.path / CONTROL_RECORD).write_text(json.dumps(old))
    monkeypatch.undo()
    shutil.rmtree(place)
    outcome, _ = run(left, ModelCache(), resume=True)
    assert outcome.type == "result" and np.array_equal(albedo(whole), albedo(left))


def test_of_published_nets_the_repository_is_recorded(make_job, nets, monkeypatch):
    monkeypatch.setitem(PUBLISHED, 16, {"depth": ("a/depth",)})
    shutil.copytree(nets["depth"], Path(os.environ["HF_HUB_CACHE"]) / "models--a--depth" / "snapshots" / "abc")
    folder = make_job(control="auto", control_model="")
    run(folder, ModelCache(), stop=after(2, "leave"))
    assert json.loads((folder.path / CONTROL_RECORD).read_text()) == {
        "control": "depth:1",
        "control_model": "depth=a/depth",
    }
    assert run(folder, ModelCache(), resume=True)[0].type == "result"


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"control": "canny"}, "bad_setting", "follows depth, which control does not name"),
        ({"control": "depth", "control_model": ""}, "control_missing", "for depth"),
        ({"control": "depth", "control_model": "/no/such"}, "control_missing", "/no/such"),
    ],
)
def test_what_cannot_be_followed_ends_the_job_in_one_sentence(make_job, models, settings, code, words):
    outcome, _ = run(make_job(**settings), models)
    assert answer(outcome) == ("error", code) and words in json.dumps(outcome.to_json())


def test_a_net_for_depth_and_normals_beside_the_bundled_model_is_taken_from_there(tmp_path, monkeypatch):
    """As the one that is to come: four channels in one net, which says nothing in its name."""
    bundled = write_control(tmp_path / "control", load_control.MINI_FOLDER, channels=4, stride=4, scale=0.05)
    monkeypatch.setattr(load_control, "MINI_CONTROL", bundled)
    models, made = ModelCache(), []
    for control in ("auto", "normal", "off"):
        job = texture_job("a red mug", control=control, **SETTINGS | {"steps": 2, "views": 1})
        folder = JobFolder.create(tmp_path / f"job_{control}", job)
        save_npz(folder.mesh_path, box())
        outcome, _ = run(folder, models)
        assert outcome.type == "result", outcome
        made.append(albedo(folder))
        if control != "off":
            assert np.asarray(Image.open(folder.path / CONTROL_PICTURE)).shape == (512, 256, 3)  # depth, normals
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_an_edit_follows_its_control_nets(make_job, models, tmp_path, tiny_folder):
    textured = []
    for name, control in (("followed", make_job("a").spec.control), ("plain", "off")):
        spec = make_job(f"{name}_texture").spec
        job = edit_job(
            "a red mug", "a mug", model=str(tiny_folder), alignment=1.0, control=control,
            control_model=spec.control_model, **SETTINGS,
        )  # fmt: skip
        folder = JobFolder.create(tmp_path / name, job)
        mesh = box()
        save_npz(folder.mesh_path, mesh)
        faces = len(mesh.triangles)
        gray = np.full((4, 4, 3), 128, np.uint8)
        colors = Colors(np.zeros((faces, 3, 2), np.float32), np.zeros(faces, np.int32), (gray,))
        save_colors(folder.path / INPUT_COLORS, colors)
        outcome, _ = run(folder, models)
        assert outcome.type == "result", outcome
        textured.append(albedo(folder))
    assert (tmp_path / "followed" / CONTROL_PICTURE).exists() and not np.array_equal(*textured)


# ---- objects -------------------------------------------------------------------------------------------------------


def object_folder(path, tiny_folder, nets, **overrides) -> JobFolder:
    settings = merged(TINY, {"refine": {"normals_share": 0.0, "shaded_share": 0.0, "views": 2}} | overrides)
    settings |= {"coarse_steps": 2, "refine_steps": 3}
    both = {"control": "depth,normal", "control_model": f"{nets['depth']},{nets['normal']}"}
    return JobFolder.create(path, text_to_3d_job("a red mug", model=str(tiny_folder), **both | settings))


def test_the_refine_stage_follows_its_own_mesh_and_resumes(tmp_path, tiny_folder, nets, models, monkeypatch):
    whole, left = (object_folder(tmp_path / name, tiny_folder, nets) for name in ("whole", "left"))
    plain = object_folder(tmp_path / "plain", tiny_folder, nets, control="off")
    model, told = models.get(whole.spec.model, "cpu"), []
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda *a: told.append(a[2].control) or predict(*a))
    assert run(whole, models)[0].type == "result"
    assert [c is None for c in told] == [True] * 2 + [False] * 3  # the coarse stage has no surface yet
    assert (whole.path / CONTROL_PICTURE).exists()
    run(plain, models)
    assert not same_result(whole, plain)
    run(left, models, stop=after(3, "leave"))
    assert run(left, models, resume=True)[0].type == "result"
    assert same_result(whole, left)


def test_pictures_of_the_shape_alone_follow_nothing(tmp_path, tiny_folder, nets, models, monkeypatch):
    settings = {"refine": {"normals_share": 1.0, "views": 1}, "coarse": {"textureless_normals": True}}
    folder = object_folder(tmp_path / "job", tiny_folder, nets, **settings)
    model, told = models.get(folder.spec.model, "cpu"), []
    predict = model.predict_noise
    monkeypatch.setattr(model, "predict_noise", lambda *a: told.append(a[2].control) or predict(*a))
    assert run(folder, models)[0].type == "result"
    assert told and all(c is None for c in told)


def test_an_object_s_missing_net_is_told_before_its_first_step(tmp_path, tiny_folder, nets, models):
    folder = object_folder(tmp_path / "job", tiny_folder, nets, control_model="")
    outcome, events = run(folder, models)
    assert answer(outcome) == ("error", "control_missing")
    assert not [kind for kind, _ in events if kind == "progress"]
