"""Whole texture jobs on a tiny diffusion model with random weights: what they write, and that they survive anything."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh, merge
from csd_blender.backend.geometry.mesh_io import load_mesh, save_npz
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import ModelCache, run_job
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.processes import HeldFile
from csd_blender.job.result import Part, is_complete, read_result
from tests.support.no_memory import hungry
from tests.support.tiny_jobs import after, run, warnings_but_terms

ROOT = Path(__file__).resolve().parents[3]
ENDLESS = 1200  # seconds after which a test gives up; no machine that works comes near it


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


def albedo(folder, name="albedo.png"):
    return np.asarray(Image.open(folder.path / "result" / name))


def every_progress(monkeypatch):
    monkeypatch.setattr("csd_blender.backend.support.reporting.PROGRESS_INTERVAL", 0.0)


def test_a_job_writes_texture_mesh_turntable_and_record(make_job, models):
    folder = make_job()
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    picture = albedo(folder)
    assert picture.shape == (64, 64, 3) and picture.std() > 1.0  # no longer the gray it began with
    record = read_result(folder.path)
    assert record.complete and record.prompt == "a red mug" and record.seed == 0
    assert record.parts == (Part("box", {"albedo": "result/albedo.png"}, "user"),)
    assert set(record.versions) >= {"csd_blender", "torch", "diffusers"} and record.licences
    assert {"network", "encode", "render", "optimizer"} <= set(record.timings["time_shares"])
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
    outcome, _ = run(left, models, stop=after(step, "leave"))
    assert (outcome.type, outcome.code) == ("error", "interrupted")
    assert not is_complete(left.path)
    outcome, events = run(left, models, resume=True)
    assert outcome.type == "result"
    first = next(body["step"] for kind, body in events if kind == "progress")
    assert first == step + 1  # it went on, it did not begin anew
    assert np.array_equal(albedo(whole), albedo(left))


def test_cancel_keeps_the_best_so_far_and_the_job_can_still_be_resumed(make_job, models, monkeypatch):
    every_progress(monkeypatch)
    folder, whole = make_job(), make_job("whole")
    outcome, _ = run(folder, models, stop=after(3, "cancel"))
    assert outcome.type == "cancelled" and outcome.kept
    assert albedo(folder).std() > 0.5 and not is_complete(folder.path)
    run(whole, models)
    assert run(folder, models, resume=True)[0].type == "result"
    assert np.array_equal(albedo(whole), albedo(folder))


def test_cancel_before_the_first_step_keeps_nothing(make_job, models):
    outcome, _ = run(make_job(), models, stop=after(0, "cancel"))
    assert outcome.type == "cancelled" and not outcome.kept


KILLED_AFTER = """
import os, signal, sys
from csd_blender.backend.cli.main import main
from csd_blender.job.folder import JobFolder

append, left = JobFolder.append_event, [int(sys.argv[2])]

def deadly(self, event):
    append(self, event)
    if event["type"] == sys.argv[3]:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))

JobFolder.append_event = deadly
sys.exit(main(["texture", "--resume", sys.argv[1]]))
"""


def killed(folder, count: int, kind: str, how: str = "SIGKILL") -> int:
    """The real command line, ended by a signal right after the ``count``-th event of a kind. Its exit status."""
    command = [sys.executable, "-c", KILLED_AFTER, str(folder.path), str(count), kind, how]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=ENDLESS).returncode


def newest_checkpoint(folder) -> int:
    return max((int(path.stem[5:]) for path in (folder.path / "checkpoint").glob("*.json")), default=0)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_at_any_moment_a_job_resumes_to_the_same_texture(make_job, models, monkeypatch):
    """Killed without warning, several times, each time after so many events, until it comes through."""
    settings = {"steps": 40, "checkpoint_interval": 1.0}
    whole, other = make_job("whole", **settings), make_job("killed", **settings)
    run(whole, models)
    for count, kind in ((1, "stage"), (1, "checkpoint"), (2, "checkpoint")):
        before = newest_checkpoint(other)
        status = killed(other, count, kind)
        assert status == (0 if is_complete(other.path) else -signal.SIGKILL)
        assert newest_checkpoint(other) >= before + (kind == "checkpoint")
    outcome, events = run(other, models, resume=True)
    assert outcome.type == "result"
    assert not [b for k, b in events if k == "warning" and b["code"] == "checkpoint_unusable"]
    assert np.array_equal(albedo(whole), albedo(other))


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_job_that_is_terminated_stores_a_checkpoint_first(make_job, models):
    folder, whole = make_job(steps=40, checkpoint_interval=3600.0), make_job("whole", steps=40)
    assert killed(folder, 1, "progress", "SIGTERM") == 143
    assert 0 < newest_checkpoint(folder) < 40 and not is_complete(folder.path)
    run(whole, models)
    assert run(folder, models, resume=True)[0].type == "result"
    assert np.array_equal(albedo(whole), albedo(folder))


def test_halves_of_killed_writes_are_tidied_away_and_nothing_else_is(make_job, models):
    folder = make_job()
    ours = ["checkpoint/step_000003.json.0123456789ab.tmp", "preview/view.rgba.abc_1234.tmp", "job.json.01234567.tmp"]
    theirs = ["notes.tmp", "result/mine.txt.tmp", "my.0123456789ab.tmp.bak"]
    for name in ours + theirs:
        (folder.path / name).write_bytes(b"x")
    assert run(folder, models)[0].type == "result"
    assert [name for name in ours + theirs if (folder.path / name).exists()] == theirs


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_results_have_the_mode_that_the_users_umask_gives(make_job, models, umask, mode):
    before = os.umask(umask)
    try:
        folder = make_job(f"job{umask}", steps=1)
        assert run(folder, models)[0].type == "result"
    finally:
        os.umask(before)
    written = [path for path in folder.path.rglob("*") if path.is_file()]
    assert len(written) > 5 and {path.stat().st_mode & 0o777 for path in written} == {mode}


def test_a_folder_that_is_removed_during_the_job_is_told_in_a_sentence_and_not_made_anew(make_job, models, monkeypatch):
    every_progress(monkeypatch)
    folder = make_job()
    outcome, _ = run(folder, models, stop=lambda done: shutil.rmtree(folder.path) if done == 3 else None)
    assert (outcome.type, outcome.code) == ("error", "bad_job_folder")
    assert str(folder.path) in outcome.detail and not folder.path.exists()


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_a_file_that_may_not_grow_ends_in_the_sentence_about_a_full_disk(make_job):
    """What a quota does; the log of the job cannot be written any more either."""
    folder = make_job(steps=3)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    code = limit + "import sys; from csd_blender.backend.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "texture", "--resume", str(folder.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ENDLESS)
    assert done.returncode == 1 and "The disk is full." in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.path.rglob("*.tmp"))


def test_several_objects_get_a_texture_each(make_job, models):
    folder = make_job(mesh=merge([box("left", -1.0), box("right", 1.0)]))
    outcome, _ = run(folder, models)
    assert outcome.type == "result", outcome
    assert [p.name for p in read_result(folder.path).parts] == ["left", "right"]
    assert not np.array_equal(albedo(folder, "albedo_0.png"), albedo(folder, "albedo_1.png"))


def test_the_result_of_a_mesh_from_far_away_stands_there_with_the_same_texture(make_job, models):
    near, far, place = make_job("near"), make_job("far", mesh=box()), [500_000.25, 5_500_000.5, 120.0]
    save_npz(far.mesh_path, replace(box(), offset=place))
    for folder in (near, far):
        assert run(folder, models)[0].type == "result"
    here, there = (load_mesh(folder.path / "result" / "mesh.glb") for folder in (near, far))
    assert np.allclose(there.positions + there.offset, here.positions + np.array(place), rtol=0, atol=1e-6)
    assert np.array_equal(albedo(near), albedo(far))


def test_sds_is_one_setting_away_and_gives_another_texture(make_job, models):
    csd, sds = make_job("csd"), make_job("sds", method="sds")
    for folder in (csd, sds):
        assert run(folder, models)[0].type == "result"
    assert not np.array_equal(albedo(csd), albedo(sds))


def test_memory_that_runs_out_once_costs_a_warning_not_the_job(make_job, models, monkeypatch):
    folder = make_job(views=4)
    model = models.get(folder.spec.model, "cpu")
    hungry(monkeypatch, model, {0})
    outcome, events = run(folder, models)
    assert outcome.type == "result"
    assert warnings_but_terms(events) == ["oom_step_down"]


def test_a_step_repeated_after_memory_ran_out_takes_the_random_numbers_of_the_first_try(make_job, models, monkeypatch):
    usual, spoiled = make_job("usual", steps=3), make_job("spoiled", steps=3)
    run(usual, models)
    model = models.get(spoiled.spec.model, "cpu")
    hungry(monkeypatch, model, {0}, RuntimeError)
    run(spoiled, models)
    pictures = [np.asarray(Image.open(f.path / "result" / "albedo.png")).astype(int) for f in (usual, spoiled)]
    # Pictures are now encoded one by one, which rounds differently but sees the same noise.
    assert np.abs(pictures[0] - pictures[1]).max() <= 2


def test_a_negative_prompt_that_is_too_long_is_told_and_the_preset_s_own_is_not(make_job, models):
    _, events = run(make_job("long", steps=1, negative_prompt=" ".join(["blurry"] * 60)), models)
    [said] = [b["text"] for k, b in events if k == "warning" and b["code"] == "prompt_cut"]
    assert "of the negative prompt it goes by “blurry" in said
    _, events = run(make_job("usual", steps=1), models)
    assert "prompt_cut" not in [b["code"] for k, b in events if k == "warning"]


def test_a_long_prompt_is_cut_so_that_the_view_words_stay(make_job, models):
    folder = make_job(prompt=" ".join(["red"] * 60))
    _, events = run(folder, models)
    warning = next(b for k, b in events if k == "warning" and b["code"] == "prompt_cut")
    assert 5 < warning["text"].count("red") < 24


def test_two_processes_never_work_in_one_folder(make_job, models):
    folder = make_job()
    with HeldFile(folder.path / "running.lock", "the test works on it"):
        outcome, _ = run(folder, models)
    assert (outcome.type, outcome.code) == ("error", "busy")
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
    assert (outcome.type, outcome.code) == ("error", "no_space")
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
    assert (outcome.type, outcome.code) == ("error", code)
    assert "Traceback" not in json.dumps(outcome.to_json())


def test_a_missing_model_ends_in_one_sentence(make_job, models, tmp_path):
    folder = make_job()
    settings = json.loads((folder.path / "job.json").read_text()) | {"model": str(tmp_path / "nowhere")}
    (folder.path / "job.json").write_text(json.dumps(settings))
    outcome, _ = run(folder, models)
    assert (outcome.type, outcome.code) == ("error", "model_missing")


def test_a_folder_that_is_no_job_ends_in_one_sentence(models, tmp_path):
    outcome = run_job(str(tmp_path), Reporter(emit=lambda said: None), models)
    assert (outcome.type, outcome.code) == ("error", "bad_job_folder")
