"""Text-to-3D jobs that are stopped anywhere come to the same end."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
from safetensors.torch import load, save

from csd_blender.job.result import is_complete, read_result
from tests.support.tiny_jobs import (
    COARSE,
    REFINE,
    ROOT,
    after,
    answer,
    first_step,
    mesh_of,
    run,
    same_result,
    stages,
)


@pytest.mark.parametrize("steps", [1, 3, COARSE, COARSE + 2, COARSE + REFINE - 1])
def test_a_job_that_was_left_resumes_to_exactly_the_same_object(whole, make_job, models, steps):
    folder = make_job()
    outcome, _ = run(folder, models, stop=after(steps, "leave"))
    assert answer(outcome) == ("error", "interrupted") and not is_complete(folder.path)
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result", outcome
    assert first_step(events) == (steps + 1 if steps < COARSE else steps - COARSE + 1)
    assert ("coarse" in stages(events)) == (steps < COARSE)
    assert read_result(folder.path).timings["steps"] == COARSE + REFINE
    assert same_result(whole[0], folder)


@pytest.mark.parametrize("steps", [2, COARSE, COARSE + 2])
def test_cancel_keeps_the_object_so_far_and_the_job_can_still_be_resumed(whole, make_job, models, steps):
    folder = make_job()
    outcome, _ = run(folder, models, stop=after(steps, "cancel"))
    assert outcome.type == "cancelled" and outcome.kept
    assert all((folder.path / name).is_file() for name in outcome.files.values())
    assert not is_complete(folder.path) and read_result(folder.path).timings["steps"] == steps
    assert len(mesh_of(folder).triangles) > 10
    outcome, _ = run(folder, models, resume=True)
    assert outcome.type == "result" and is_complete(folder.path)
    assert same_result(whole[0], folder)


def test_cancel_before_the_first_step_keeps_nothing(make_job, models):
    outcome, _ = run(make_job(), models, stop=after(0, "cancel"))
    assert outcome.type == "cancelled" and not outcome.kept


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
import os, signal, sys, types
from csd_blender.backend.cli.main import main
from csd_blender.backend.optimize import loop
from csd_blender.job.folder import JobFolder
from csd_blender.job.result import is_complete

write, left = JobFolder.write_bytes, [int(sys.argv[2])]
loop.time = types.SimpleNamespace(monotonic=lambda: 0.0)  # writing seems to cost nothing: every step is stored

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
    folder = make_job()
    for checkpoints, found in ((3, 2), (4, COARSE + 1)):
        command = [sys.executable, "-c", KILLED_AT, str(folder.path), str(checkpoints)]
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
        assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
        assert max(int(p.stem[5:]) for p in (folder.path / "checkpoint").glob("*.json")) == found
        assert not is_complete(folder.path)
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
    older, newest = sorted((folder.path / "checkpoint").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:100])
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and first_step(events) == int(older.stem[5:]) - COARSE + 1
    assert same_result(whole[0], folder)


@pytest.mark.parametrize("steps", [2, COARSE + 2])
def test_when_no_checkpoint_is_of_use_the_job_says_so_and_starts_anew(whole, make_job, models, steps):
    folder = make_job()
    run(folder, models, stop=after(steps, "leave"))
    for path in (folder.path / "checkpoint").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and first_step(events) == 1 and "coarse" in stages(events)
    assert [b["code"] for k, b in events if k == "warning"].count("checkpoint_unusable") == 1
    assert same_result(whole[0], folder)


def spoil(folder, change) -> None:
    """Change the tensors of the newest checkpoint; its sum is right again afterwards."""
    newest = max((folder.path / "checkpoint").glob("*.safetensors"))
    data = save(change(load(newest.read_bytes())))
    newest.write_bytes(data)
    record = newest.with_suffix(".json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"sha256": hashlib.sha256(data).hexdigest()}))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t | {"grid": t["grid"] * 1e5},
        lambda t: t | {"grid": t["grid"] * float("nan")},
        lambda t: t | {"grid": t["grid"][:8].clone()},
        lambda t: {k: v for k, v in t.items() if k != "grid"},
        lambda t: t | {"geometry.sdf": t["geometry.sdf"][:-1].clone()},
        lambda t: t | {"colors.table": t["colors.table"][:-1].clone()},
        lambda t: t | {"optimizer.0.exp_avg": t["optimizer.0.exp_avg"][:1].clone()},
    ],
)
def test_a_refined_mesh_that_does_not_fit_is_passed_over_for_the_checkpoint_before_it(
    whole, make_job, models, change, caplog
):
    folder = make_job()
    run(folder, models, stop=after(COARSE + 2, "leave"))
    older, _ = sorted((folder.path / "checkpoint").glob("*.safetensors"))
    spoil(folder, change)
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and first_step(events) == int(older.stem[5:]) - COARSE + 1
    assert "was passed over" in caplog.text
    assert same_result(whole[0], folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {k: v for k, v in t.items() if k != "occupancy.occupied"},
        lambda t: t | {"occupancy.densities": t["occupancy.densities"][:9].clone()},
        lambda t: t | {"coarse.table": t["coarse.table"] * float("inf")},
    ],
)
def test_a_coarse_field_that_does_not_fit_is_passed_over(whole, make_job, models, change, caplog):
    folder = make_job()
    run(folder, models, stop=after(2, "leave"))
    spoil(folder, change)
    outcome, _ = run(folder, models, resume=True)
    assert outcome.type == "result" and "was passed over" in caplog.text
    assert same_result(whole[0], folder)
