"""Whole text-to-3D jobs on a tiny diffusion model: what they write, and that they survive anything."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import load_mesh, save_npz
from csd_blender.backend.jobs import ModelCache, run_job
from csd_blender.backend.pipelines import object_output, texture_output
from csd_blender.backend.reporting import Reporter
from csd_blender.backend.texture.unwrap import check_uv
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets_3d import text_to_3d_job

ROOT = Path(__file__).resolve().parents[3]
COARSE, REFINE = 4, 4
TINY = {
    "coarse_steps": COARSE,
    "refine_steps": REFINE,
    "coarse": {
        "views": 1,
        "levels": 2,
        "finest_resolution": 16,
        "ray_samples": 24,
        "render_size": 16,
        "radius": 1.0,
        "learning_rate": 0.03,
    },
    "refine": {"views": 1, "tet_resolution": 8, "render_size": 16, "threshold": 0.0, "color_rate": 0.05},
    "texture_size": 64,
    "max_faces": 400,
    "preview_interval": 0,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Films and turntables cost more than these jobs; only the module's undisturbed job has them in full."""
    monkeypatch.setattr(object_output, "FILM_FRAMES", 2)
    monkeypatch.setattr(object_output, "FILM_SIZE", 16)
    monkeypatch.setattr(texture_output, "TURNTABLE_SIZE", 16)


def merged(table, given):
    both = {k: merged(table[k], v) if isinstance(v, dict) and k in table else v for k, v in given.items()}
    return table | both


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
    assert outcome.type == "result", outcome.body
    return folder, events


def run(folder, models, resume=False, stop=lambda step: None):
    """Run a job; ``stop`` gets the number of steps done by this run and answers with a reason to stop."""
    events, done = [], [0]

    def emit(kind, body):
        events.append((kind, body))

    def reason():
        return stop(done[0])

    reporter = Reporter(emit=emit, stop_reason=reason)
    progress = reporter.progress

    def count(*arguments):
        done[0] += 1
        progress(*arguments)

    reporter.progress = count
    outcome = run_job(str(folder.path), reporter, models, resume=resume)
    return outcome, events


def after(steps, reason):
    """Stop once so many steps are done."""
    return lambda done: reason if done >= steps else None


def albedo(folder):
    return np.asarray(Image.open(folder.path / "result" / "albedo.png"))


def mesh_of(folder) -> Mesh:
    with np.load(folder.path / "result" / "mesh.npz", allow_pickle=False) as arrays:
        return Mesh(arrays["positions"], arrays["triangles"], arrays["uv"], part_names=("object",))


def same_result(a, b) -> bool:
    one, two = mesh_of(a), mesh_of(b)
    return (
        np.array_equal(one.positions, two.positions)
        and np.array_equal(one.triangles, two.triangles)
        and np.array_equal(albedo(a), albedo(b))
    )


def stages(events):
    return [body["name"] for kind, body in events if kind == "stage"]


def first_step(events):
    return next(body["step"] for kind, body in events if kind == "progress")


def answer(outcome):
    assert "Traceback" not in json.dumps(outcome.body)
    return (outcome.type, outcome.body.get("code"))


def box(size=(1.0, 1.0, 1.0)) -> Mesh:
    shape = trimesh.creation.box(size)
    return Mesh(shape.vertices, shape.faces)


# ---- what a job writes ---------------------------------------------------------------------------------------------


def test_a_job_writes_object_pictures_and_record(whole):
    folder, events = whole
    record = folder.read_result()
    assert record["kind"] == "text-to-3d" and record["complete"] and folder.finished
    assert record["settings"] == folder.spec.to_json() and record["seed"] == 0
    assert record["parts"] == [{"name": "object", "albedo": "result/albedo.png", "uv_source": "new"}]
    assert record["timings"]["steps"] == COARSE + REFINE == folder.spec.steps
    assert set(record["timings"]["time_shares"]) == {"coarse", "refine"}
    mesh = mesh_of(folder)
    assert record["faces"] == len(mesh.triangles) and record["watertight"] is True
    assert trimesh.Trimesh(mesh.positions, mesh.triangles, process=False).is_watertight
    assert albedo(folder).shape == (64, 64, 3) and albedo(folder).std() > 1.0
    textured = load_mesh(folder.path / "result" / "mesh.glb")
    assert len(textured.triangles) == len(mesh.triangles) and textured.uv is not None
    assert Image.open(folder.path / "result" / "turntable.png").size == (1024, 512)
    film = Image.open(folder.path / "result" / "turntable.gif")
    assert film.n_frames > 30 and film.size == (224, 224)
    assert Image.open(folder.path / "stages" / "coarse.png").size == (768, 384)
    assert (folder.path / "stages" / "coarse.safetensors").stat().st_size > 0
    assert not list(folder.path.rglob("*.tmp"))


def test_the_outcome_names_the_files_it_wrote(make_job, models):
    folder = make_job(coarse_steps=1, refine_steps=0)
    outcome, _ = run(folder, models)
    assert outcome.type == "result" and folder.finished
    assert {"albedo", "mesh", "arrays", "turntable", "film", "result", "uv"} <= set(outcome.body["files"])
    assert all((folder.path / name).stat().st_size > 0 for name in outcome.body["files"].values())


def test_stages_are_announced_in_order(whole):
    _, events = whole
    announced = [body for kind, body in events if kind == "stage"]
    names = list(dict.fromkeys(body["name"] for body in announced))
    assert [n for n in names if n in ("load", "coarse", "refine", "finish")] == ["load", "coarse", "refine", "finish"]
    indices = [body["index"] for body in announced]
    assert indices == sorted(indices) and {body["count"] for body in announced} == {4}
    last = {body["stage"]: (body["step"], body["total"]) for kind, body in events if kind == "progress"}
    assert last == {"coarse": (COARSE, COARSE), "refine": (REFINE, REFINE)}


def test_the_object_stands_on_the_floor_as_high_as_asked(make_job, models):
    folder = make_job(height=2.5, coarse_steps=1, refine_steps=0)
    assert run(folder, models)[0].type == "result"
    low, high = mesh_of(folder).positions.min(0), mesh_of(folder).positions.max(0)
    assert low[2] == pytest.approx(0, abs=1e-5) and high[2] == pytest.approx(2.5, abs=1e-4)
    assert (low + high)[:2] == pytest.approx(0, abs=1e-4)


def test_the_new_uv_map_can_carry_the_texture(whole):
    folder, _ = whole
    mesh = mesh_of(folder)
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    check = check_uv(mesh, 0)
    assert check.reason == "" and check.overlap < 1e-3 and check.outside == 0 and check.coverage > 0.2


def test_faces_outside_the_budget_are_simplified_away(make_job, models):
    folder = make_job(max_faces=100, coarse_steps=1, refine_steps=0)
    assert run(folder, models)[0].type == "result"
    record = folder.read_result()
    assert 4 <= record["faces"] <= 100 and record["watertight"] is True


def test_the_same_seed_gives_the_same_object_and_another_one_does_not(whole, make_job, models):
    again, other = make_job("again"), make_job("other", seed=1)
    for folder in (again, other):
        assert run(folder, models)[0].type == "result"
    assert same_result(whole[0], again)
    assert not np.array_equal(albedo(whole[0]), albedo(other))
    one, two = mesh_of(again).positions, mesh_of(other).positions
    assert one.shape != two.shape or not np.array_equal(one, two)


def test_previews_show_a_view_and_in_the_end_the_mesh_and_change_nothing(whole, make_job, models):
    folder = make_job(preview_interval=0.001)
    _, events = run(folder, models)
    previews = [body for kind, body in events if kind == "preview"]
    kinds = [body["kind"] for body in previews]
    assert "mesh" in kinds and kinds[0] == "view" and set(kinds) == {"view", "mesh"}
    view = next(body for body in reversed(previews) if body["kind"] == "view")
    assert (folder.path / view["path"]).stat().st_size == view["width"] * view["height"] * 4
    with np.load(folder.path / "preview" / "mesh.npz", allow_pickle=False) as arrays:
        positions, triangles, colors = arrays["positions"], arrays["triangles"], arrays["colors"]
    assert positions.dtype == np.float32 and triangles.dtype == np.int32 and colors.dtype == np.uint8
    assert positions.shape == colors.shape and triangles.max() < len(positions)
    assert positions[:, 2].min() == pytest.approx(0, abs=1e-5) and np.ptp(positions[:, 2]) == pytest.approx(1, abs=1e-5)
    steps = [body["step"] for body in previews]
    assert steps == sorted(steps) and steps[-1] == COARSE + REFINE
    assert same_result(whole[0], folder)


def test_checkpoints_are_few_and_count_the_steps_of_both_stages(whole):
    folder, events = whole
    written = [body["step"] for kind, body in events if kind == "checkpoint"]
    assert written == [COARSE]  # a job this short needs only the one between the stages
    assert [p.name for p in (folder.path / "checkpoint").glob("*.json")] == [f"step_{COARSE:06d}.json"]


def test_sds_is_one_setting_away_and_gives_another_object(whole, make_job, models):
    folder = make_job(method="sds")
    assert run(folder, models)[0].type == "result"
    assert not np.array_equal(albedo(whole[0]), albedo(folder))


@pytest.mark.parametrize("recipe", ["dreamfusion", "magic3d", "fantasia3d"])
@pytest.mark.parametrize("subject", ["character", "sparse"])
def test_every_recipe_runs_through(make_job, models, recipe, subject):
    """Lit, white and normal pictures, Perp-Neg, orientation loss: whatever the recipe asks for."""
    coarse = {} if recipe == "fantasia3d" else {"ambient_only_steps": 0, "shaded_share": 1.0}
    folder = make_job(recipe=recipe, subject=subject, coarse_steps=2, refine_steps=2, coarse=coarse)
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome.body
    assert ("coarse" in stages(events)) == (recipe != "fantasia3d")
    assert folder.read_result()["complete"]


def test_the_published_recipe_runs_with_normals_and_perp_neg(make_job, models):
    folder = make_job(subject="character", coarse={"ambient_only_steps": 0, "shaded_share": 1.0})
    assert folder.spec.coarse.guidance.perp_neg == 3 and folder.spec.coarse.textureless_normals
    outcome, _ = run(folder, models)
    assert outcome.type == "result", outcome.body


def test_a_shape_that_is_fixed_is_still_painted(make_job, models):
    """Pictures of the shape alone would teach nothing any more; the job must not fall over them."""
    fixed = make_job("fixed", refine={"fixed_shape_after": 0, "normals_share": 1.0})
    unrefined = make_job("unrefined", refine_steps=0)
    for folder in (fixed, unrefined):
        outcome, _ = run(folder, models)
        assert outcome.type == "result", outcome.body
    assert np.array_equal(mesh_of(fixed).positions, mesh_of(unrefined).positions)
    assert not np.array_equal(albedo(fixed), albedo(unrefined))


def test_a_coarse_model_of_its_own_is_loaded_for_the_coarse_stage_only(whole, make_job, models, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "other")
    loaded = []
    cache = ModelCache()
    get = cache.get
    cache.get = lambda name, device: loaded.append(Path(name).name) or get(name, device)
    folder = make_job(coarse_model=str(tmp_path / "other"))
    outcome, _ = run(folder, cache)
    assert outcome.type == "result" and loaded == ["other", tiny_folder.name]
    assert same_result(whole[0], folder)  # the copy has the same weights


# ---- stopping and going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, COARSE, COARSE + 2, COARSE + REFINE - 1])
def test_a_job_that_was_left_resumes_to_exactly_the_same_object(whole, make_job, models, steps):
    folder = make_job()
    outcome, _ = run(folder, models, stop=after(steps, "leave"))
    assert answer(outcome) == ("error", "interrupted") and not folder.finished
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result", outcome.body
    assert first_step(events) == (steps + 1 if steps < COARSE else steps - COARSE + 1)
    assert ("coarse" in stages(events)) == (steps < COARSE)
    assert folder.read_result()["timings"]["steps"] == COARSE + REFINE
    assert same_result(whole[0], folder)


@pytest.mark.parametrize("steps", [2, COARSE, COARSE + 2])
def test_cancel_keeps_the_object_so_far_and_the_job_can_still_be_resumed(whole, make_job, models, steps):
    folder = make_job()
    outcome, _ = run(folder, models, stop=after(steps, "cancel"))
    assert outcome.type == "cancelled" and outcome.body["kept"]
    assert all((folder.path / name).is_file() for name in outcome.body["files"].values())
    assert not folder.finished and folder.read_result()["timings"]["steps"] == steps
    assert len(mesh_of(folder).triangles) > 10
    outcome, _ = run(folder, models, resume=True)
    assert outcome.type == "result" and folder.finished
    assert same_result(whole[0], folder)


def test_cancel_before_the_first_step_keeps_nothing(make_job, models):
    outcome, _ = run(make_job(), models, stop=after(0, "cancel"))
    assert outcome.type == "cancelled" and not outcome.body["kept"]


def test_a_job_left_twice_in_both_stages_still_comes_to_the_same_end(whole, make_job, models):
    folder = make_job()
    for resume, steps in ((False, 2), (True, 1), (True, 3)):
        assert answer(run(folder, models, resume=resume, stop=after(steps, "leave"))[0]) == ("error", "interrupted")
    assert run(folder, models, resume=True)[0].type == "result"
    assert same_result(whole[0], folder)


def test_a_finished_job_that_is_resumed_gives_the_same_again(whole, make_job, models):
    folder = make_job()
    run(folder, models)
    assert run(folder, models, resume=True)[0].type == "result"
    assert same_result(whole[0], folder)


KILLED_AT = """
import itertools, os, signal, sys, types
from csd_blender.backend.cli import main
from csd_blender.backend.pipelines import stepping
from csd_blender.job.folder import JobFolder

write, left = JobFolder.write_bytes, [int(sys.argv[2])]
stepping.time = types.SimpleNamespace(monotonic=itertools.count().__next__)  # every step seems to take a second

def deadly(self, name, data, sync=True):
    if name.startswith("checkpoint/") and name.endswith(".json"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    return write(self, name, data, sync)

JobFolder.write_bytes = deadly
main(["text-to-3d", "--resume", sys.argv[1]])
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_in_either_stage_while_storing_a_job_resumes_to_the_same_object(whole, make_job, models):
    """The real command line, ended without warning when a checkpoint is half written, once in each stage."""
    folder = make_job(checkpoint_interval=1.0)
    for checkpoints, found in ((3, 2), (4, COARSE + 1)):
        command = [sys.executable, "-c", KILLED_AT, str(folder.path), str(checkpoints)]
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
        assert max(int(p.stem[5:]) for p in (folder.path / "checkpoint").glob("*.json")) == found
        assert not folder.finished
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and first_step(events) == 2
    assert same_result(whole[0], folder)


def test_a_checkpoint_of_other_settings_is_refused(make_job, models):
    folder = make_job()
    run(folder, models, stop=after(2, "leave"))
    settings = json.loads((folder.path / "job.json").read_text()) | {"seed": 7}
    (folder.path / "job.json").write_text(json.dumps(settings))
    assert answer(run(folder, models, resume=True)[0]) == ("error", "bad_job_folder")


def test_a_damaged_checkpoint_costs_time_not_the_job(whole, make_job, models):
    folder = make_job()
    run(folder, models, stop=after(COARSE + 2, "leave"))
    newest = max((folder.path / "checkpoint").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:100])
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and first_step(events) == 1
    assert same_result(whole[0], folder)


# ---- other places to start from ------------------------------------------------------------------------------------


def from_coarse(make_job, source, name="anew", **overrides):
    """A job that repeats only the refine stage of another one."""
    folder = make_job(name, start="coarse", **overrides)
    (folder.path / "stages").mkdir(exist_ok=True)
    shutil.copyfile(source.path / "stages/coarse.safetensors", folder.path / "stages/coarse.safetensors")
    return folder


def test_the_second_stage_alone_gives_what_the_whole_job_gave(whole, make_job, models):
    folder = from_coarse(make_job, whole[0])
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome.body
    assert "coarse" not in stages(events) and folder.read_result()["timings"]["steps"] == REFINE
    assert folder.finished and same_result(whole[0], folder)


def test_the_second_stage_can_be_repeated_with_other_settings(whole, make_job, models):
    folder = from_coarse(make_job, whole[0], seed=3, refine={"tet_resolution": 12})
    assert run(folder, models)[0].type == "result"
    assert len(mesh_of(folder).triangles) != len(mesh_of(whole[0]).triangles)


def test_the_second_stage_alone_resumes_as_well(whole, make_job, models):
    folder = from_coarse(make_job, whole[0])
    assert answer(run(folder, models, stop=after(2, "leave"))[0]) == ("error", "interrupted")
    _, events = run(folder, models, resume=True)
    assert first_step(events) == 3 and same_result(whole[0], folder)


def test_without_a_coarse_stage_there_is_nothing_to_refine(make_job, models):
    assert answer(run(make_job(start="coarse"), models)[0]) == ("error", "bad_job_folder")


def test_a_coarse_stage_of_another_size_is_refused(whole, make_job, models):
    folder = from_coarse(make_job, whole[0], coarse={"levels": 1})
    assert answer(run(folder, models)[0]) == ("error", "bad_job_folder")


def test_a_closed_mesh_is_a_place_to_start_from(make_job, models):
    folder = make_job(start="mesh", mesh=box((0.6, 1.0, 2.0)), refine_steps=1, refine={"tet_resolution": 12})
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome.body
    assert "coarse" not in stages(events) and folder.read_result()["complete"]
    size = np.ptp(mesh_of(folder).positions, axis=0)
    assert size == pytest.approx(np.array([0.3, 0.5, 1.0]), abs=0.12)  # the box, one meter high, rounded by its grid


def test_a_job_that_started_from_a_mesh_resumes_exactly(make_job, models):
    undisturbed, left = (make_job(name, start="mesh", mesh=box()) for name in ("undisturbed", "left"))
    run(undisturbed, models)
    assert answer(run(left, models, stop=after(2, "leave"))[0]) == ("error", "interrupted")
    assert run(left, models, resume=True)[0].type == "result"
    assert same_result(undisturbed, left)


def test_a_mesh_that_encloses_nothing_is_answered_with_a_sentence(make_job, models):
    flat = Mesh([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    outcome, _ = run(make_job(start="mesh", mesh=flat), models)
    assert answer(outcome) == ("error", "mesh_unusable") and "closed" in outcome.body["fix"]


def test_a_mesh_with_a_hole_still_works(make_job, models):
    whole_box = box()
    open_box = Mesh(whole_box.positions, whole_box.triangles[:-1])
    outcome, _ = run(make_job(start="mesh", mesh=open_box, refine_steps=1), models)
    assert outcome.type == "result", outcome.body


def test_a_start_mesh_that_is_missing_is_answered_with_a_sentence(make_job, models):
    kind, code = answer(run(make_job(start="mesh"), models)[0])
    assert kind == "error" and code != "internal"


def test_an_ellipsoid_needs_no_coarse_stage(make_job, models):
    folder = make_job(start="ellipsoid", refine_steps=0, refine={"tet_resolution": 32}, max_faces=100_000)
    assert run(folder, models)[0].type == "result"
    size = np.ptp(mesh_of(folder).positions, axis=0)
    assert size[:2] / size[2] == pytest.approx(np.array([5 / 7, 5 / 7]), abs=0.02)
    assert not (folder.path / "stages" / "coarse.png").exists()


# ---- what can go wrong ---------------------------------------------------------------------------------------------


def hungry(monkeypatch, model, on_calls):
    """Let memory run out at these calls of the network (counted from 0)."""
    predict, calls = model.predict_noise, [0]

    def predict_or_fail(noisy, t, embeddings):
        calls[0] += 1
        if calls[0] - 1 in on_calls:
            raise torch.OutOfMemoryError("no more")
        return predict(noisy, t, embeddings)

    monkeypatch.setattr(model, "predict_noise", predict_or_fail)


@pytest.mark.parametrize("call", [0, 2, COARSE, COARSE + 2])
def test_memory_that_runs_out_once_costs_a_warning_not_the_job(make_job, models, monkeypatch, call):
    folder = make_job()
    hungry(monkeypatch, models.get(folder.spec.model, "cpu"), {call})
    outcome, events = run(folder, models)
    assert outcome.type == "result" and folder.finished
    assert [b["code"] for k, b in events if k == "warning"] == ["oom_step_down"]


def test_memory_that_keeps_running_out_halves_the_views(make_job, models, monkeypatch):
    folder = make_job(coarse={"views": 4}, refine={"views": 2})
    hungry(monkeypatch, models.get(folder.spec.model, "cpu"), {0, 1, 2})
    outcome, events = run(folder, models)
    assert outcome.type == "result" and folder.finished
    said = [b["text"] for k, b in events if k == "warning"]
    assert len(said) == 3 and "one at a time" in said[0] and "2 views" in said[1] and "1 views" in said[2]


def test_without_memory_for_one_view_the_job_ends_in_one_sentence(make_job, models, monkeypatch):
    folder = make_job()
    hungry(monkeypatch, models.get(folder.spec.model, "cpu"), range(100))
    assert answer(run(folder, models)[0]) == ("error", "oom")


def test_an_empty_scene_is_answered_with_a_sentence(make_job, models):
    folder = make_job(coarse={"blob_scale": -50, "blob_std": 10})
    outcome, _ = run(folder, models)
    assert answer(outcome) == ("error", "empty_scene")
    assert outcome.body["text"] == "Nothing took shape from the prompt." and "seed" in outcome.body["fix"]


@pytest.mark.parametrize("name", ["coarse.safetensors", "albedo.png", "mesh.glb", "turntable.gif"])
def test_a_full_disk_ends_in_one_sentence_and_the_job_can_be_resumed(whole, make_job, models, monkeypatch, name):
    folder = make_job()
    replace = os.replace

    def full(source, target, *args):
        if str(target).endswith(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target, *args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert answer(run(folder, models)[0]) == ("error", "no_space")
    assert not list(folder.path.rglob("*.tmp"))
    assert run(folder, models, resume=True)[0].type == "result"
    assert same_result(whole[0], folder)


@pytest.mark.parametrize(
    ("allow", "code"), [(False, "licence_not_accepted"), (True, "bad_setting")], ids=["forbidden", "allowed"]
)
def test_a_rasterizer_that_cannot_be_used_is_refused_before_any_work(make_job, models, allow, code):
    folder = make_job(rasterizer="nvdiffrast", allow_noncommercial=allow)
    outcome, events = run(folder, models)
    assert answer(outcome) == ("error", code)
    assert not [kind for kind, _ in events if kind == "progress"]


def test_nvdiffrast_needs_a_gpu(make_job, models, monkeypatch):
    monkeypatch.setattr("csd_blender.backend.pipelines.text_to_3d.choose_rasterizer", lambda job: object())
    folder = make_job(rasterizer="nvdiffrast", allow_noncommercial=True)
    outcome, events = run(folder, models)
    assert answer(outcome) == ("error", "bad_setting") and "NVIDIA" in outcome.body["detail"]
    assert not [kind for kind, _ in events if kind == "progress"]


def test_the_plain_torch_rasterizer_makes_nearly_the_same_object(whole, make_job, models):
    folder = make_job(rasterizer="torch", refine_steps=1)
    assert run(folder, models)[0].type == "result"
    assert len(mesh_of(folder).triangles) > 10


def test_a_missing_model_ends_in_one_sentence(make_job, models, tmp_path):
    for name, settings in {"a": {"coarse_model": str(tmp_path / "nowhere")}, "b": {}}.items():
        folder = make_job(name, **settings)
        if not settings:
            table = json.loads((folder.path / "job.json").read_text()) | {"model": str(tmp_path / "nowhere")}
            (folder.path / "job.json").write_text(json.dumps(table))
        assert answer(run(folder, models)[0]) == ("error", "model_missing")
