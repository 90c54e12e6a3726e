"""Whatever the backend does, a job ends in exactly one way and the next one can start."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from csd_blender.job.errors import ERRORS, JobError
from csd_blender.job.process import client as client_module
from csd_blender.job.process import link as link_module
from csd_blender.job.process.bodies import Greeting
from csd_blender.job.process.client import BackendClient, Patience, backend_environment
from csd_blender.job.result import is_complete
from tests.support.client_kit import CALM, ENDLESS, WORKER, drain, ends, run, until

IMPATIENT = {"no-hello": Patience(hello=0.5), "silent": Patience(silence=0.5, hello=ENDLESS)}


def test_a_job_runs_from_accepted_to_its_result(start, folder):
    client = start("happy")
    seen = run(client, folder)
    kinds = [m.type for m in seen]
    assert ends(seen) == [("result", None)]
    assert kinds.index("hello") < kinds.index("accepted") < kinds.index("stage") < kinds.index("result")
    previews = [m for m in seen if m.type == "preview"]
    assert {m.get("kind") for m in previews} == {"texture", "view"}
    assert all(len(m.body["pixels"]) == 64 * 64 * 4 for m in previews)
    assert is_complete(folder.path) and client.state == "ready"
    assert ends(run(client, folder)) == [("result", None)]  # the same process takes the next job


@pytest.mark.parametrize(
    ("mode", "end"),
    [
        ("crash", ("error", "worker_died")),
        ("half-line", ("error", "worker_died")),
        ("exit-before-hello", ("error", "worker_died")),
        ("no-hello", ("error", "worker_silent")),
        ("silent", ("error", "worker_silent")),
        ("wrong-version", ("error", "protocol_mismatch")),
        ("oom", ("error", "oom")),
        ("disk-full", ("error", "no_space")),
        ("garbage", ("result", None)),
        ("stdout-noise", ("result", None)),
        ("two-ends", ("result", None)),
        ("chatter", ("result", None)),
        ("grandchild", ("error", "worker_died")),
        ("long-line", ("result", None)),
        ("deep-json", ("result", None)),
    ],
)
def test_every_fault_ends_in_exactly_one_message_and_a_client_that_can_start_again(start, folder, mode, end):
    client = start(mode, IMPATIENT.get(mode, CALM))
    seen = run(client, folder)
    assert ends(seen) == [end]
    if end[0] == "error":
        message = next(m for m in seen if m.type == "error")
        assert message.get("text") and message.get("fix")
    assert client.state in ("ready", "stopped", "lost") and client.job == ""
    client.command[-1], client.patience = "happy", CALM
    if client.state == "ready":
        client.kill()
    assert ends(run(client, folder)) == [("result", None)]


LADDER = Patience(interrupt=5.0, kill=10.0, silence=ENDLESS, hello=ENDLESS)


def start_and_cancel(client, folder, clock, kind="progress") -> list:
    """Cancel once the backend is deep in its job (a ``kind`` message of step 8 or later tells)."""
    client.submit("job", folder.path)
    seen = until(client, lambda seen: any(m.type == kind and m.get("step", 8) >= 8 for m in seen))
    client._step_seconds = 0.0  # how long a step takes depends on the machine
    client.cancel("job")
    return seen


def test_who_hears_a_cancel_keeps_the_best_so_far(start, folder, clock):
    client = start("slow", LADDER)
    start_and_cancel(client, folder, clock)
    seen = until(client, ends)  # the clock stands still: nobody loses patience
    assert ends(seen) == [("cancelled", None)] and next(m for m in seen if m.type == "cancelled").get("kept")
    assert client.state == "ready"


@pytest.mark.skipif(os.name == "nt", reason="a process without a console cannot be interrupted")
def test_who_does_not_hear_a_cancel_is_interrupted_before_it_is_killed(start, folder, clock):
    client = start("slow-cancel", LADDER)
    start_and_cancel(client, folder, clock, "warning")
    clock.now += LADDER.interrupt - 0.1
    assert not client.poll() and not client._interrupted
    clock.now += 0.2
    seen = client.poll()
    assert client._interrupted
    seen += until(client, ends)  # the time to kill never comes: the interrupt must have ended it
    end = next(m for m in seen if m.type == "cancelled")
    assert end.seq > 0 and not end.get("kept")  # the backend's own word, not the client's
    assert client.state == "ready" and client.job == ""


@pytest.mark.parametrize("mode", ["ignore-cancel", "hang"])
def test_whom_not_even_an_interrupt_ends_is_killed(start, folder, clock, mode):
    client = start(mode, LADDER)
    seen = start_and_cancel(client, folder, clock)
    clock.now += LADDER.interrupt + 0.1
    seen += client.poll()
    assert client._interrupted and client.state == "busy" and client._process.poll() is None
    clock.now += LADDER.kill
    seen += until(client, ends)
    assert ends(seen) == [("cancelled", None)] and not next(m for m in seen if m.type == "cancelled").get("kept")
    assert client.job == "" and client.state == "lost"


def test_a_long_step_is_waited_for_before_the_ladder_is_climbed(start, folder, clock):
    client = start("ignore-cancel", LADDER)
    start_and_cancel(client, folder, clock)
    client._step_seconds = 60.0
    clock.now += 2 * 60.0 + LADDER.interrupt - 0.1
    client.poll()
    assert not client._interrupted
    clock.now += 0.2
    client.poll()
    assert client._interrupted


@pytest.mark.skipif(os.name == "nt", reason="a process without a console cannot be interrupted")
def test_a_second_press_interrupts_at_once(start, folder, clock):
    client = start("slow-cancel", LADDER)
    start_and_cancel(client, folder, clock, "warning")
    client.poll()
    client.cancel()
    assert ends(until(client, ends)) == [("cancelled", None)] and client.state == "ready"


@pytest.mark.parametrize("pressed", [False, True], ids=["time", "second press"])
def test_the_child_itself_is_interrupted_and_only_once(start, folder, clock, monkeypatch, pressed):
    told = []
    monkeypatch.setattr(client_module, "interrupt", told.append)
    client = start("ignore-cancel", LADDER)
    start_and_cancel(client, folder, clock)
    client.poll()
    assert told == []
    if pressed:
        client.cancel("job")
    else:
        clock.now += LADDER.interrupt + 0.1
        client.poll()
    assert told == [client._process]
    client.cancel("job")
    client.poll()
    assert told == [client._process] and client.state == "busy"


def wait_for_hello(client: BackendClient) -> int:
    """The child's process number, once it is ready for jobs."""
    until(client, lambda seen: client.state != "starting")
    return client.hello.pid


def test_a_job_cancelled_before_the_backend_is_ready_ends_at_once_and_never_starts(start, folder):
    client = start("happy")
    client.submit("job", folder.path)
    client.cancel()
    assert ends(client.poll(budget=1)) == [("cancelled", None)]
    wait_for_hello(client)
    assert client.state == "ready"
    seen = run(client, folder)  # commands are taken in order: the cancelled one would be accepted first
    assert [m.type for m in seen].count("accepted") == 1 and ends(seen) == [("result", None)]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_backend_that_died_unnoticed_while_idle_does_not_cost_the_next_job(start, folder):
    client = start("happy")
    client.start()
    os.kill(wait_for_hello(client), signal.SIGKILL)
    client._process.wait()
    assert ends(run(client, folder)) == [("result", None)]


def test_the_end_of_a_job_is_not_lost_in_a_flood_of_words(start, folder):
    client = start("flood")
    client.start()
    wait_for_hello(client)
    client.submit("job", folder.path)
    end = time.monotonic() + ENDLESS
    # Nobody polls while 4000 messages arrive after the result.
    while len(client._link._inbox) < link_module.INBOX_LIMIT and time.monotonic() < end:
        time.sleep(0.02)
    assert ends(drain(client)) == [("result", None)]


def test_writing_to_a_backend_that_does_not_read_never_blocks(start, folder):
    client = start("no-hello")
    client.start()

    def talk():
        for _ in range(50):  # far more than a pipe takes
            client.send(Greeting("x" * 100_000))

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    thread.join(ENDLESS)  # a write that blocks would block for ever
    assert not thread.is_alive()


def test_a_pause_of_the_whole_computer_is_not_taken_for_silence(start, folder, monkeypatch):
    """After standby the clock has jumped and no heartbeat came meanwhile; the backend gets its time anew."""
    client = start("happy", Patience(silence=30, hello=ENDLESS))
    client.start()
    wait_for_hello(client)
    real = time.monotonic
    asleep = type("Asleep", (), {"monotonic": staticmethod(lambda: real() + 3600)})
    monkeypatch.setattr(client_module, "time", asleep)
    client._watch()
    assert client._failure == "" and client.state == "ready"


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_at_any_moment_ends_the_job_once(start, folder):
    rng = random.Random(1)
    for _ in range(6):
        client = start("slow")
        client.submit("job", folder.path)
        for _ in range(rng.randrange(120)):  # polls, not seconds
            client.poll()
            time.sleep(0.002)
        os.kill(client._process.pid, signal.SIGKILL)
        seen = drain(client)
        assert ends(seen) == [("error", "worker_died")]
        assert "SIGKILL" in next(m for m in seen if m.type == "error").get("detail")


def test_poll_keeps_its_budget_while_the_backend_talks(start, folder):
    client = start("chatter")
    client.submit("job", folder.path)
    spent, seen, end = [], [], time.monotonic() + ENDLESS
    while not ends(seen) and time.monotonic() < end:
        before = time.thread_time()  # processor time: what other processes take is not ours
        seen += client.poll(budget=0.004)
        spent.append(time.thread_time() - before)
        time.sleep(0.01)
    assert ends(seen) == [("result", None)]
    assert sorted(spent)[len(spent) // 2] < 0.01


def test_previews_that_nobody_fetched_are_merged_to_the_newest(start, folder):
    client = start("happy")
    client.submit("job", folder.path)
    until(client, lambda seen: any(m.type == "accepted" for m in seen))
    end = time.monotonic() + ENDLESS
    while not any(m.type == "result" for m in list(client._link._inbox)) and time.monotonic() < end:
        time.sleep(0.02)
    textures = [m for m in drain(client) if m.type == "preview" and m.get("kind") == "texture"]
    assert [m.get("step") for m in textures] == [20]


def test_a_second_job_is_refused_while_one_runs(start, folder):
    client = start("slow")
    client.submit("job", folder.path)
    with pytest.raises(JobError) as caught:
        client.submit("other", folder.path)
    assert caught.value.code == "busy"


def test_a_missing_program_is_named(tmp_path):
    client = BackendClient([str(tmp_path / "no-python"), "x"], tmp_path / "log")
    with pytest.raises(JobError) as caught:
        client.start()
    assert caught.value.code == "backend_missing"
    assert client.state == "stopped"


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="elsewhere the priority is given with the start")
def test_the_child_takes_the_processor_only_where_its_owner_leaves_it_free(start):
    client = start("happy")
    client.start()
    wait_for_hello(client)
    own, child = os.getpriority(os.PRIO_PROCESS, 0), os.getpriority(os.PRIO_PROCESS, client._process.pid)
    assert child == min(19, own + 5)


def test_shutdown_lets_the_child_leave(start, folder):
    client = start("happy")
    client.start()
    wait_for_hello(client)
    process = client._process
    client.shutdown(timeout=ENDLESS)
    assert process.returncode == 0 and client.state == "stopped"


def test_the_child_ends_with_its_parent(tmp_path, folder):
    """A parent that is killed leaves no process behind: the pipe closes."""
    import subprocess

    code = (
        "import sys, time\n"
        "from csd_blender.job.process.client import BackendClient\n"
        f"c = BackendClient([sys.executable, {str(WORKER)!r}, 'slow'], {str(tmp_path / 'log')!r})\n"
        f"c.submit('job', {str(folder.path)!r})\n"
        "while not c.hello: c.poll(); time.sleep(.01)\n"
        "print(c.hello.pid, flush=True); time.sleep(3600)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + ENDLESS
    while time.monotonic() < end and _alive(pid):
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_the_childs_environment_carries_no_other_python(monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_INDEX_URL", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "x")
    env = backend_environment()
    assert not {"PYTHONPATH", "PYTHONHOME", "PIP_INDEX_URL", "VIRTUAL_ENV"} & env.keys()
    assert env["HF_HUB_OFFLINE"] == "1" and "PATH" in env


def test_the_error_table_speaks_in_whole_sentences():
    for code, entry in ERRORS.items():
        assert entry.text.endswith(".") and entry.fix.endswith("."), code
        assert json.dumps(entry.text).isascii()
