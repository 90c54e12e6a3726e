"""``--resume`` goes on with a job as it is, and a job that never began leaves nothing behind."""

from __future__ import annotations

import json
import os

import pytest

from csd_blender.backend.cli import console
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.bodies import Failed, Finished
from tests.support.shell import answer

RUN = console.run_on_console  # itself; the tests put another one in its place


@pytest.fixture
def stored(tmp_path):
    return JobFolder.create(tmp_path / "job", texture_job("red brick", steps=5, device="cuda"))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--steps", "50", "--seed", "9"), "--seed, --steps"), (("--prompt", "blue wood"), "--prompt"),
        (("--out", "elsewhere"), "--out"), (("--settings", '{"views": 2}'), "--settings"), (("a.obj",), "MESH"),
        (("--control", "off"), "--control"),
    ],
)  # fmt: skip
def test_what_would_make_it_another_job_is_refused_by_name(jobs, stored, more, named):
    status, said = answer("texture", "--resume", str(stored.path), *more)
    assert status == 2 and not jobs
    assert said == f"Error: --resume goes on with the job as it is; leave out {named}, or begin a new one.\n"


def test_what_its_result_does_not_depend_on_may_be_another(jobs, stored):
    """A job that was begun for a device that is not there would else never be resumed."""
    assert answer("texture", "--resume", str(stored.path), "--device", "cpu", "--preview-interval", "0")[0] == 0
    [spec] = jobs
    assert (spec.device, spec.preview_interval) == ("cpu", 0) and spec.spec_hash() == stored.spec.spec_hash()
    assert JobFolder.open(stored.path).spec == spec, "the next time, too"


def test_a_finished_job_says_so_and_nothing_of_it_is_written_again(jobs, stored, capfd):
    record = {"settings": stored.spec.to_json(), "parts": [{"albedo": "result/albedo.png"}], "complete": True}
    (stored.path / "result" / "result.json").write_text(json.dumps(record))
    (stored.path / "result" / "albedo.png").write_bytes(b"retouched")
    assert answer("texture", "--resume", str(stored.path)) == (0, "") and not jobs
    assert capfd.readouterr().out == f"This job is finished; its result is in {stored.path / 'result'}.\n"
    assert (stored.path / "result" / "albedo.png").read_bytes() == b"retouched"
    (stored.path / "result" / "result.json").write_text(json.dumps(record | {"complete": False}))
    assert answer("texture", "--resume", str(stored.path))[0] == 0 and jobs


@pytest.fixture
def outcome(monkeypatch):
    """Lets the job end as the test says, with or without a checkpoint."""

    def ends(said, checkpoint=False):
        def run_job(path, reporter, models, resume):
            if checkpoint:
                (JobFolder.open(path).path / "checkpoint" / "step.json").write_text("{}")
            return said

        monkeypatch.setattr(console, "run_job", run_job)
        monkeypatch.setattr(console.logging, "basicConfig", lambda **_: None)

    return ends


NO_GPU, OOM, INTERNAL = (Failed.of(JobError(code)) for code in ("no_gpu", "oom", "internal"))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("said", "checkpoint", "stays"),
    [
        (NO_GPU, False, False), (NO_GPU, True, True), (OOM, False, True), (INTERNAL, False, True),
        (Finished({}, {}), False, True),
    ],
)  # fmt: skip
def test_a_job_that_is_refused_before_it_began_leaves_the_folder_as_it_was(
    outcome, cube, tmp_path, said, checkpoint, stays, there
):
    outcome(said, checkpoint)
    out = tmp_path / "out"
    if there:
        out.mkdir()
    answer("texture", str(cube), "--prompt", "red brick", "--out", str(out))
    assert (out / "job.json").exists() == stays
    assert stays or (list(out.iterdir()) == [] if there else not out.exists())


@pytest.mark.parametrize("there", [True, False])
def test_an_input_that_cannot_be_stored_leaves_no_half_of_a_job(jobs, cube, tmp_path, monkeypatch, there):
    from csd_blender.backend.geometry.files import npz

    def full(path, data):
        raise JobError("no_space", str(path))

    monkeypatch.setattr(npz, "write_atomic", full)
    out = tmp_path / "out"
    if there:
        out.mkdir()
    status, said = answer("texture", str(cube), "--prompt", "red brick", "--out", str(out))
    assert status == 1 and "The disk is full" in said and not jobs
    assert list(out.iterdir()) == [] if there else not out.exists()


def test_only_what_is_in_the_folder_goes(tmp_path):
    outside = tmp_path / "mine"
    outside.mkdir()
    (outside / "work.txt").write_text("x")
    folder = JobFolder.create(tmp_path / "job", texture_job("red brick"))
    (folder.path / "stages").symlink_to(outside)
    folder.withdraw()
    assert not folder.path.exists() and (outside / "work.txt").exists()
    folder = JobFolder.create(tmp_path / "job", texture_job("red brick"))
    (folder.path / "notes.txt").write_text("put there meanwhile")
    folder.withdraw()
    assert [entry.name for entry in folder.path.iterdir()] == ["notes.txt"]


@pytest.mark.skipif(os.name == "nt", reason="links and pipes as this system has them")
@pytest.mark.parametrize("name", ["backend.log", "events.jsonl", "running.lock"])
@pytest.mark.parametrize("pipe", [False, True])
def test_a_link_or_a_pipe_in_the_folder_is_told_at_once(jobs, stored, tmp_path, name, pipe):
    mine = tmp_path / "work.txt"
    mine.write_text("a year")
    os.mkfifo(stored.path / name) if pipe else (stored.path / name).symlink_to(mine)
    status, said = answer("texture", "--resume", str(stored.path))
    assert status == 1 and f"{name} is a link or no ordinary file" in said and not jobs
    if name == "backend.log":  # put there meanwhile
        with pytest.raises(JobError, match="is a link"):
            RUN(stored, resume=True)
    assert mine.read_text() == "a year"
