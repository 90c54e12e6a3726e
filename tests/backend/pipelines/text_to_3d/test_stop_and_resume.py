"""Text-to-3D jobs that are stopped anywhere come to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.backend.pipelines.text_to_3d.tiny_jobs import (
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
