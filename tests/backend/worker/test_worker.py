"""The backend process as Blender starts it: whatever it is told, it answers and lives on."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from csd_blender.backend.worker import run_job as run_job_module
from csd_blender.backend.worker import serve as worker
from csd_blender.backend.worker.serve import Channel, Worker, hear
from csd_blender.job.process.bodies import Cancelled, Failed, Finished
from csd_blender.job.process.messages import LIMIT, TERMINAL, decode, read_lines
from tests.support.hostile import CASES, garbled, spoiled

ROOT = Path(__file__).parents[3]
ENDLESS = 600  # seconds after which a test gives up


def line(kind: str, job: str = "", **body) -> bytes:
    record = {"v": 1, "type": kind, "job": job, "seq": 1, **body}
    return json.dumps(record).encode() + b"\n"  # surrogates become escapes


def answers(made: Worker) -> list[dict]:
    """What it wrote: JSON in UTF-8, each line as long as the other side takes."""
    lines = made.channel.stream.getvalue().splitlines(keepends=True)
    assert all(len(said) <= LIMIT and said.endswith(b"\n") for said in lines)
    return [json.loads(said.decode("utf-8")) for said in lines]


@pytest.fixture
def idle() -> Worker:
    return Worker(Channel(io.BytesIO()))


@pytest.fixture
def work(monkeypatch):
    """Run what waits in the inbox; ``during`` is called while a job runs, and tells how that job ended."""

    def do(made: Worker, during=lambda: None) -> None:
        def run_job(path, reporter, models, resume=False):
            during()
            return Cancelled() if reporter.stop_reason() == "cancel" else Finished()

        monkeypatch.setattr(run_job_module, "run_job", run_job)
        while not made.inbox.empty():
            worker.run(made, made.inbox.get(), None)

    return do


def ends(made: Worker) -> list[tuple[str, str]]:
    return [(said["job"], said["type"]) for said in answers(made) if said["type"] in TERMINAL]


def test_a_cancel_ends_the_job_that_it_names(idle, work):
    hear(idle, line("submit", "a", folder="/x"))
    hear(idle, line("submit", "b", folder="/x"))
    work(idle, lambda: hear(idle, line("cancel", "b")))
    assert ends(idle) == [("a", "result"), ("b", "cancelled")]


def test_a_cancel_that_comes_too_late_does_not_hit_the_next_job_of_that_name(idle, work):
    """A resumed job has the name that it had before."""
    hear(idle, line("submit", "a", folder="/x"))
    work(idle)
    hear(idle, line("cancel", "a"))
    hear(idle, line("submit", "a", folder="/x", resume=True))
    work(idle)
    assert ends(idle) == [("a", "result"), ("a", "result")]


def test_a_job_that_is_submitted_while_it_is_being_cancelled_is_not_cancelled_with_it(idle, work):
    again = [line("cancel", "a"), line("submit", "a", folder="/x", resume=True)]
    hear(idle, line("submit", "a", folder="/x"))
    work(idle, lambda: [hear(idle, again.pop(0)) for _ in list(again)])
    assert ends(idle) == [("a", "cancelled"), ("a", "result")]


@pytest.mark.parametrize("kind", ["set", "ping", "unload", "", "result"])
def test_a_message_that_no_owner_sends_is_answered_and_does_nothing(idle, kind):
    assert hear(idle, line(kind, preview_interval=3))
    (said,) = answers(idle)
    assert (said["type"], said["code"]) == ("warning", "bad_message") and repr(kind) in said["text"]
    assert idle.inbox.empty()


@pytest.mark.parametrize(
    "submit",
    [
        {"folder": None},
        {"folder": ""},
        {"folder": ["x"]},
        {"folder": "x" * 5000},
        {"folder": "/x", "resume": "yes"},
        {"job": "", "folder": "/x"},
        {"job": "x" * 1_000_000, "folder": "/x"},
    ],
)
def test_a_job_that_cannot_be_is_answered_with_its_error_at_once(idle, submit):
    assert hear(idle, line("submit", **{"job": "a", **submit}))
    (said,) = answers(idle)
    assert said["type"] == "error" and said["text"] and said["fix"] and len(said["detail"]) < 300
    assert submit.get("job", "a").startswith(said["job"]) and idle.inbox.empty()


def test_names_that_are_no_text_come_back_as_they_were(idle, work):
    name = "job \udcff \ud800"
    hear(idle, line("submit", name, folder="/tmp/\udcff"))
    work(idle)
    assert ends(idle) == [(name, "result")]


def test_a_message_that_cannot_be_written_is_sent_without_what_is_too_much(idle):
    idle.channel.send(Failed("internal", "x" * 2 * LIMIT, fix=object(), detail=float("nan")), "a")
    (said,) = answers(idle)
    assert said["type"] == "error" and said["code"] == "internal" and 0 < len(said["text"]) < 1000


def test_a_line_without_end_takes_no_memory_and_the_next_one_is_read():
    long = b"x" * (LIMIT + 1)
    assert list(read_lines(io.BytesIO(long + long + b"\nnext\n" + long))) == [None, b"next\n", None]
    exact = b"y" * (LIMIT - 1) + b"\n"
    assert list(read_lines(io.BytesIO(exact + b"half"))) == [exact, b"half"]


def test_a_worker_outlives_whatever_it_is_told(idle):
    """Every line is answered, handed on or passed over; what is answered can be read."""
    rng = random.Random(1)
    good = [
        {"type": "submit", "job": "a", "folder": "/x", "resume": False},
        {"type": "cancel", "job": "a"},
        {"type": "later", "value": 2.5},
        {"type": "hello", "client": "Blender", "protocol": 1},
    ]
    for _ in range(CASES):
        record = {"v": 1, "job": "", "seq": 1, **rng.choice(good)}
        try:
            data = json.dumps(spoiled(record, rng, 3) if rng.random() < 0.9 else record).encode()
        except (RecursionError, ValueError):
            data = b"[" * 100_000
        if rng.random() < 0.3:
            data = garbled(data, rng)
        message = decode(data)
        before = len(idle.channel.stream.getvalue())
        assert hear(idle, data) is (message is None or message.type != "shutdown")
        answered = len(idle.channel.stream.getvalue()) > before
        assert answered or (message is not None and message.type in ("submit", "cancel", "hello"))
    assert all(len(said.get("text", "")) + len(said.get("detail", "")) < 300 for said in answers(idle))
    assert 0 < idle.inbox.qsize() < CASES


# ---- the process itself --------------------------------------------------------------------------------------------


def serve(**options) -> subprocess.Popen:
    command = [sys.executable, "-m", "csd_blender.backend", "serve"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, **{**pipes, **options})


def kinds(output: bytes) -> list[str]:
    return [json.loads(said)["type"] for said in output.splitlines()]


@pytest.mark.skipif(os.name == "nt", reason="Windows has another way to interrupt")
def test_a_worker_can_be_interrupted_whatever_its_starter_ignores():
    # as a shell script's `blender &` hands down
    child = serve(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    try:
        assert any(json.loads(said)["type"] == "hello" for said in child.stdout)  # heartbeats may come before
        child.send_signal(signal.SIGINT)
        status = child.wait(timeout=ENDLESS)  # its stdin stays open: only the interrupt can have ended it
        rest = child.stdout.read()
    finally:
        child.kill()
    assert status == 0
    assert "bye" in kinds(rest)[-2:]  # a heartbeat may come after


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_process_that_is_told_strange_things_answers_each_and_ends_in_good_order(tmp_path):
    """Through the true pipe: bytes that are no text, a line without end, halves of letters, a job that is no job."""
    strange = [
        b"\xff\xfe\x00garbage\n",
        b"x" * 5_000_000 + b"\n",
        b"[" * 200_000 + b"\n",
        line("submit", "x" * 900_000, folder="/x"),
        line("submit", "name \udcff", folder=str(tmp_path / "\udcff")),
        line("submit", "null", folder="/x\0y"),
        line("set", preview_interval=3),
        b'{"v":1,"type":"sub',
    ]
    child = serve()
    child.stdin.write(b"".join(strange))
    child.stdin.flush()
    before = []
    while not before or kinds(before[-1])[0] != "hello":  # until torch is there, however long that takes
        before.append(child.stdout.readline())
    output, _ = child.communicate(timeout=ENDLESS)
    said = kinds(b"".join(before) + output)
    assert child.returncode == 0 and said[-1] in ("bye", "heartbeat") and "hello" in said
    assert said.count("warning") == 5 and said.count("error") >= 1


@pytest.mark.skipif(os.name == "nt", reason="closes standard streams")
def test_a_worker_whose_stdin_is_closed_from_the_start_ends():
    child = serve(stdin=None, preexec_fn=lambda: os.close(0))
    output, _ = child.communicate(timeout=ENDLESS)
    assert child.returncode == 0 and "bye" in kinds(output)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_that_is_terminated_says_goodbye():
    child = serve()
    try:
        assert any(json.loads(said)["type"] == "hello" for said in child.stdout)
        child.terminate()
        rest = child.stdout.read()
        assert child.wait(timeout=ENDLESS) == 143 and "bye" in kinds(rest)
    finally:
        child.kill()
