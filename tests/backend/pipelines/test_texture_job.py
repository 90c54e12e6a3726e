"""Whole texture jobs on a tiny diffusion model with random weights: what they write, and that they survive anything."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh, merge
from csd_blender.backend.geometry.mesh_io import load_mesh, save_npz
from csd_blender.backend.jobs import ModelCache, run_job
from csd_blender.backend.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets import texture_job
from csd_blender.job.processes import HeldFile

ROOT = Path(__file__).resolve().parents[3]


def box(name: str = "box", shift: float = 0.0) -> Mesh:
    """A cube whose six sides lie side by side in the UV tile."""
    shape = trimesh.creation.box((1.0, 1.0, 1.0))
    corners = shape.vertices[shape.faces]
    axis = np.abs(shape.face_normals).argmax(1)
    side = axis * 2 + (shape.face_normals[np.arange(12), axis] > 0)
    flat = np.stack([np.delete(c, a, axis=1) for c, a in zip(corners, axis, strict=True)]) + 0.5
    cell = np.stack([side % 3, side // 3], 1)[:, None] / np.array([3, 2])
    uv = cell + (0.05 + 0.9 * flat) / np.array([3, 2])
    return Mesh(shape.vertices + [shift, 0, 0], shape.faces, uv, part_names=(name,))


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    def make(name="job", mesh=None, prompt="a red mug", **overrides) -> JobFolder:
        settings = {"steps": 6, "views": 2, "texture_size": 64, "preview_interval": 0, "device": "cpu"} | overrides
        folder = JobFolder.create(tmp_path / name, texture_job(prompt, model=str(tiny_folder), **settings))
        save_npz(folder.mesh_path, mesh or box())
        return folder

    return make


@pytest.fixture(scope="module")
def models():
    return ModelCache()


def run(folder, models, resume=False, stop=lambda step: None):
    """Run a job; ``stop`` gets the number of the last step and answers with a reason to stop. Returns the outcome."""
    events, last = [], [0]

    def emit(kind, body):
        events.append((kind, body))
        if kind == "progress":
            last[0] = body["step"]

    reporter = Reporter(emit=emit, stop_reason=lambda: stop(last[0]))
    outcome = run_job(str(folder.path), reporter, models, resume=resume)
    return outcome, events


def albedo(folder, name="albedo.png"):
    return np.asarray(Image.open(folder.path / "result" / name))


def every_progress(monkeypatch):
    monkeypatch.setattr("csd_blender.backend.reporting.PROGRESS_INTERVAL", 0.0)


def test_a_job_writes_texture_mesh_turntable_and_record(make_job, models):
    folder = make_job()
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome.body
    picture = albedo(folder)
    assert picture.shape == (64, 64, 3) and picture.std() > 1.0  # no longer the gray it began with
    record = folder.read_result()
    assert record["complete"] and record["settings"]["prompt"] == "a red mug" and record["seed"] == 0
    assert record["parts"] == [{"name": "box", "albedo": "result/albedo.png", "uv_source": "user"}]
    assert set(record["versions"]) >= {"csd_blender", "torch", "diffusers"} and record["licences"]
    assert {"network", "encode", "render", "optimizer"} <= set(record["timings"]["time_shares"])
    textured = load_mesh(folder.path / "result" / "mesh.glb")
    assert len(textured.triangles) == 12 and textured.uv is not None
    assert Image.open(folder.path / "result" / "turntable.png").size == (1024, 512)
    labels = [body["label"] for kind, body in events if kind == "stage"]
    assert len(labels) == 4 and [k for k, _ in events].count("progress") >= 1


def test_the_same_seed_gives_the_same_texture_and_another_one_does_not(make_job, models):
    a, b, c = make_job("a"), make_job("b"), make_job("c", seed=1)
    for folder in (a, b, c):
        run(folder, models)
    assert np.array_equal(albedo(a), albedo(b))
    assert not np.array_equal(albedo(a), albedo(c))


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_job_that_was_left_resumes_to_the_same_texture(make_job, models, monkeypatch, step):
    every_progress(monkeypatch)
    whole, left = make_job("whole"), make_job("left")
    run(whole, models)
    outcome, _ = run(left, models, stop=lambda last: "leave" if last >= step else None)
    assert (outcome.type, outcome.body["code"]) == ("error", "interrupted")
    assert not left.finished
    outcome, events = run(left, models, resume=True)
    assert outcome.type == "result"
    first = next(body["step"] for kind, body in events if kind == "progress")
    assert first == step + 1  # it went on, it did not begin anew
    assert np.array_equal(albedo(whole), albedo(left))


def test_cancel_keeps_the_best_so_far_and_the_job_can_still_be_resumed(make_job, models, monkeypatch):
    every_progress(monkeypatch)
    folder, whole = make_job(), make_job("whole")
    outcome, _ = run(folder, models, stop=lambda last: "cancel" if last >= 3 else None)
    assert outcome.type == "cancelled" and outcome.body["kept"]
    assert albedo(folder).std() > 0.5 and not folder.finished
    run(whole, models)
    assert run(folder, models, resume=True)[0].type == "result"
    assert np.array_equal(albedo(whole), albedo(folder))


def test_cancel_before_the_first_step_keeps_nothing(make_job, models):
    outcome, _ = run(make_job(), models, stop=lambda last: "cancel")
    assert outcome.type == "cancelled" and not outcome.body["kept"]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_any_moment_a_job_resumes_to_the_same_texture(make_job):
    """The real command line, killed without warning, several times, until it comes through."""
    settings = {"steps": 500, "checkpoint_interval": 1.0}  # a few seconds
    whole, killed = make_job("whole", **settings), make_job("killed", **settings)
    rng = random.Random(0)

    def start(folder):
        command = [sys.executable, "-m", "csd_blender.backend", "texture", "--resume", str(folder.path)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert start(whole).wait(timeout=300) == 0
    kills = 0
    while kills < 2:
        child = start(killed)
        end = time.monotonic() + 120
        while not list((killed.path / "checkpoint").glob("*.json")) and time.monotonic() < end:
            if child.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 0.5))
        if child.poll() is not None:
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        kills += 1
    assert kills > 0
    assert start(killed).wait(timeout=300) == 0
    assert np.array_equal(albedo(whole), albedo(killed))


def test_several_objects_get_a_texture_each(make_job, models):
    folder = make_job(mesh=merge([box("left", -1.0), box("right", 1.0)]))
    outcome, _ = run(folder, models)
    assert outcome.type == "result", outcome.body
    assert [p["name"] for p in folder.read_result()["parts"]] == ["left", "right"]
    assert not np.array_equal(albedo(folder, "albedo_0.png"), albedo(folder, "albedo_1.png"))


def test_a_mesh_without_uvs_gets_some_before_the_first_preview(make_job, models):
    mesh = box()
    mesh.uv = None
    folder = make_job(mesh=mesh, preview_interval=0.01)
    outcome, events = run(folder, models)
    assert outcome.type == "result"
    with np.load(folder.path / "result" / "uv.npz", allow_pickle=False) as arrays:
        assert arrays["uv"].shape == (12, 3, 2) and arrays["source"].tolist() == ["new"]
    previews = [body for kind, body in events if kind == "preview"]
    assert {p["kind"] for p in previews} == {"texture", "view"}
    for p in previews:
        assert (folder.path / p["path"]).stat().st_size == p["width"] * p["height"] * 4


def test_sds_is_one_setting_away_and_gives_another_texture(make_job, models):
    csd, sds = make_job("csd"), make_job("sds", method="sds")
    for folder in (csd, sds):
        assert run(folder, models)[0].type == "result"
    assert not np.array_equal(albedo(csd), albedo(sds))


def test_memory_that_runs_out_once_costs_a_warning_not_the_job(make_job, models, monkeypatch):
    folder = make_job(views=4)
    model = models.get(folder.spec.model, "cpu")
    predict, failures = model.predict_noise, [1]

    def hungry(noisy, t, embeddings):
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("no more")
        return predict(noisy, t, embeddings)

    monkeypatch.setattr(model, "predict_noise", hungry)
    outcome, events = run(folder, models)
    assert outcome.type == "result"
    assert [b["code"] for k, b in events if k == "warning"] == ["oom_step_down"]


def test_a_step_repeated_after_memory_ran_out_takes_the_random_numbers_of_the_first_try(make_job, models, monkeypatch):
    usual, spoiled = make_job("usual", steps=3), make_job("spoiled", steps=3)
    run(usual, models)
    model = models.get(spoiled.spec.model, "cpu")
    predict, failures = model.predict_noise, [1]

    def hungry(noisy, t, embeddings):
        if failures:
            failures.pop()
            raise RuntimeError("CUDA error: out of memory")
        return predict(noisy, t, embeddings)

    monkeypatch.setattr(model, "predict_noise", hungry)
    run(spoiled, models)
    pictures = [np.asarray(Image.open(f.path / "result" / "albedo.png")).astype(int) for f in (usual, spoiled)]
    # Pictures are now encoded one by one, which rounds differently but sees the same noise.
    assert np.abs(pictures[0] - pictures[1]).max() <= 2


def test_a_long_prompt_is_cut_so_that_the_view_words_stay(make_job, models):
    folder = make_job(prompt=" ".join(["red"] * 60))
    _, events = run(folder, models)
    warning = next(b for k, b in events if k == "warning" and b["code"] == "prompt_cut")
    assert 5 < warning["text"].count("red") < 24


def test_two_processes_never_work_in_one_folder(make_job, models):
    folder = make_job()
    with HeldFile(folder.path / "running.lock", "the test works on it"):
        outcome, _ = run(folder, models)
    assert (outcome.type, outcome.body["code"]) == ("error", "busy")
    assert run(folder, models)[0].type == "result"


def test_a_full_disk_ends_in_one_sentence(make_job, models, monkeypatch):
    folder = make_job()
    replace = os.replace

    def full(source, target, *args):
        if "result" in str(target) and str(target).endswith("albedo.png"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target, *args)

    monkeypatch.setattr(os, "replace", full)
    outcome, _ = run(folder, models)
    assert (outcome.type, outcome.body["code"]) == ("error", "no_space")
    assert not list(folder.path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda m: setattr(m, "triangles", np.zeros((0, 3), np.int32)), "mesh_no_faces"),
        (lambda m: m.positions.__setitem__(0, np.nan), "mesh_not_finite"),
        (lambda m: m.triangles.__setitem__((0, 0), 99), "mesh_unreadable"),
    ],
)
def test_a_broken_mesh_ends_in_one_sentence(make_job, models, change, code):
    mesh = box()
    change(mesh)
    if not len(mesh.triangles):
        mesh.uv, mesh.part = None, np.zeros(0, np.int32)
    outcome, _ = run(make_job(mesh=mesh), models)
    assert (outcome.type, outcome.body["code"]) == ("error", code)
    assert "Traceback" not in json.dumps(outcome.body)


def test_a_missing_model_ends_in_one_sentence(make_job, models, tmp_path):
    folder = make_job()
    settings = json.loads((folder.path / "job.json").read_text()) | {"model": str(tmp_path / "nowhere")}
    (folder.path / "job.json").write_text(json.dumps(settings))
    outcome, _ = run(folder, models)
    assert (outcome.type, outcome.body["code"]) == ("error", "model_missing")


def test_a_folder_that_is_no_job_ends_in_one_sentence(models, tmp_path):
    outcome = run_job(str(tmp_path), Reporter(emit=lambda kind, body: None), models)
    assert (outcome.type, outcome.body["code"]) == ("error", "bad_job_folder")
