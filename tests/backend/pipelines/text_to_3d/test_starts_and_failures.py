"""Other places to start from, and what can go wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pytest

from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.job.result import is_complete, read_result
from tests.support.no_memory import hungry
from tests.support.tiny_jobs import (
    COARSE,
    REFINE,
    after,
    answer,
    box,
    first_step,
    mesh_of,
    run,
    same_result,
    stages,
    warnings_but_terms,
)


def from_coarse(make_job, source, name="anew", **overrides):
    """A job that repeats only the refine stage of another one."""
    folder = make_job(name, start="coarse", **overrides)
    (folder.path / "stages").mkdir(exist_ok=True)
    shutil.copyfile(source.path / "stages/coarse.safetensors", folder.path / "stages/coarse.safetensors")
    return folder


def test_the_second_stage_alone_gives_what_the_whole_job_gave(whole, make_job, models):
    folder = from_coarse(make_job, whole[0])
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    assert "coarse" not in stages(events) and read_result(folder.path).timings["steps"] == REFINE
    assert is_complete(folder.path) and same_result(whole[0], folder)


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
    assert outcome.type == "result", outcome
    assert "coarse" not in stages(events) and read_result(folder.path).complete
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
    assert answer(outcome) == ("error", "mesh_unusable") and "closed" in outcome.fix


def test_a_mesh_with_a_hole_still_works(make_job, models):
    whole_box = box()
    open_box = Mesh(whole_box.positions, whole_box.triangles[:-1])
    outcome, _ = run(make_job(start="mesh", mesh=open_box, refine_steps=1), models)
    assert outcome.type == "result", outcome


def test_a_start_mesh_that_is_missing_is_answered_with_a_sentence(make_job, models):
    kind, code = answer(run(make_job(start="mesh"), models)[0])
    assert kind == "error" and code != "internal"


def test_an_ellipsoid_needs_no_coarse_stage(make_job, models):
    folder = make_job(start="ellipsoid", refine_steps=0, refine={"tet_resolution": 32}, max_faces=100_000)
    assert run(folder, models)[0].type == "result"
    size = np.ptp(mesh_of(folder).positions, axis=0)
    assert size[:2] / size[2] == pytest.approx(np.array([5 / 7, 5 / 7]), abs=0.02)
    assert not (folder.path / "stages" / "coarse.png").exists()


@pytest.mark.parametrize("call", [0, 2, COARSE, COARSE + 2])
def test_memory_that_runs_out_once_costs_a_warning_not_the_job(make_job, models, monkeypatch, call):
    folder = make_job()
    hungry(monkeypatch, models.get(folder.spec.model, "cpu"), {call})
    outcome, events = run(folder, models)
    assert outcome.type == "result" and is_complete(folder.path)
    assert warnings_but_terms(events) == ["oom_step_down"]


def test_memory_that_keeps_running_out_halves_the_views(make_job, models, monkeypatch):
    folder = make_job(coarse={"views": 4}, refine={"views": 2})
    hungry(monkeypatch, models.get(folder.spec.model, "cpu"), range(5))
    outcome, events = run(folder, models)
    assert outcome.type == "result" and is_complete(folder.path)
    said = [b["text"] for k, b in events if k == "warning" and b["code"] == "oom_step_down"]
    assert len(said) == 5 and "one at a time" in said[0] and "2 views" in said[3] and "1 views" in said[4]


def test_without_memory_for_one_view_the_job_ends_in_one_sentence(make_job, models, monkeypatch):
    folder = make_job()
    hungry(monkeypatch, models.get(folder.spec.model, "cpu"), range(100))
    assert answer(run(folder, models)[0]) == ("error", "oom")


def test_an_empty_scene_is_answered_with_a_sentence(make_job, models):
    folder = make_job(coarse={"blob_scale": -50, "blob_std": 10})
    outcome, _ = run(folder, models)
    assert answer(outcome) == ("error", "empty_scene")
    assert outcome.text == "Nothing took shape from the prompt." and "seed" in outcome.fix


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
    monkeypatch.setattr("csd_blender.backend.pipelines.text_to_3d.job.choose_rasterizer", lambda job: object())
    folder = make_job(rasterizer="nvdiffrast", allow_noncommercial=True)
    outcome, events = run(folder, models)
    assert answer(outcome) == ("error", "bad_setting") and "NVIDIA" in outcome.detail
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
