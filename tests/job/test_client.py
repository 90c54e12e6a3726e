"""Whatever the backend does, a job ends in exactly one way and the next one can start."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from csd_blender.job.client import BackendClient, Patience, backend_environment
from csd_blender.job.errors import ERRORS, JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.messages import TERMINAL
from csd_blender.job.presets import texture_job

WORKER = Path(__file__).with_name("fake_worker.py")
QUICK = Patience(interrupt=0.4, kill=0.8, silence=20, hello=20)  # a loaded machine must not look like a fault
IMPATIENT = {"no-hello": Patience(hello=1.0), "silent": Patience(silence=1.0, hello=20)}


@pytest.fixture
def start(tmp_path):
    clients = []

    def make(mode: str, patience: Patience = QUICK) -> BackendClient:
        command = [sys.executable, str(WORKER), mode]
        client = BackendClient(command, tmp_path / "logs" / "backend.log", patience=patience)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.kill()


@pytest.fixture
def folder(tmp_path):
    return JobFolder.create(tmp_path / "job", texture_job("a red mug"))


def run(client: BackendClient, folder: JobFolder, seconds: float = 10.0, on_message=None) -> list:
    """Submit a job and poll until its end and a little longer; returns all its messages."""
    client.submit("job", folder.path)
    return drain(client, seconds, on_message)


def drain(client, seconds=10.0, on_message=None):
    seen, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        for message in client.poll():
            seen.append(message)
            if on_message:
                on_message(message)
        if any(m.type in TERMINAL for m in seen):
            end = min(end, time.monotonic() + 0.3)
        time.sleep(0.005)
    return seen


def ends(messages) -> list:
    return [(m.type, m.get("code")) for m in messages if m.type in TERMINAL]


def test_a_job_runs_from_accepted_to_its_result(start, folder):
    client = start("happy")
    seen = run(client, folder)
    kinds = [m.type for m in seen]
    assert ends(seen) == [("result", None)]
    assert kinds.index("hello") < kinds.index("accepted") < kinds.index("stage") < kinds.index("result")
    previews = [m for m in seen if m.type == "preview"]
    assert {m.get("kind") for m in previews} == {"texture", "view"}
    assert all(len(m.body["pixels"]) == 64 * 64 * 4 for m in previews)
    assert folder.finished and client.state == "ready"
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
    client = start(mode, IMPATIENT.get(mode, QUICK))
    seen = run(client, folder)
    assert ends(seen) == [end]
    if end[0] == "error":
        message = next(m for m in seen if m.type == "error")
        assert message.get("text") and message.get("fix")
    assert client.state in ("ready", "stopped", "lost") and client.job == ""
    client.command[-1], client.patience = "happy", QUICK
    if client.state == "ready":
        client.kill()
    assert ends(run(client, folder)) == [("result", None)]


@pytest.mark.parametrize("mode", ["slow", "slow-cancel", "ignore-cancel", "hang"])
def test_cancel_climbs_the_ladder_until_the_job_ends(start, folder, mode):
    client = start(mode, Patience(interrupt=0.3, kill=0.6, silence=60, hello=10))
    pressed = []

    def press(message):
        if message.type == "progress" and message.get("step") >= 8 and not pressed:
            pressed.append(time.monotonic())
            client.cancel("job")

    seen = run(client, folder, on_message=press)
    assert ends(seen) == [("cancelled", None)]
    kept = next(m for m in seen if m.type == "cancelled").get("kept")
    assert kept is (mode == "slow")
    assert client.job == "" and client.state in ("ready", "lost")


def test_a_second_press_interrupts_at_once(start, folder):
    client = start("slow-cancel", Patience(interrupt=60, kill=120, silence=60, hello=10))
    client.submit("job", folder.path)
    seen, presses, end = [], 0, time.monotonic() + 30
    while not ends(seen) and time.monotonic() < end:
        seen += client.poll()
        if presses < 2 and any(m.type == "warning" for m in seen):
            client.cancel()
            presses += 1
        time.sleep(0.005)
    assert ends(seen) == [("cancelled", None)]


def wait_for_hello(client: BackendClient) -> int:
    """The child's process number, once it is ready for jobs."""
    end = time.monotonic() + 20
    while client.state == "starting" and time.monotonic() < end:
        client.poll()
        time.sleep(0.005)
    return client.hello["pid"]


def test_a_job_cancelled_before_the_backend_is_ready_ends_at_once_and_never_starts(start, folder):
    client = start("happy")
    client.submit("job", folder.path)
    client.cancel()
    assert ends(client.poll(budget=1)) == [("cancelled", None)]
    wait_for_hello(client)
    later = drain(client, 1)
    assert not any(m.type == "accepted" for m in later) and client.state == "ready"
    assert ends(run(client, folder)) == [("result", None)]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_backend_that_died_unnoticed_while_idle_does_not_cost_the_next_job(start, folder):
    client = start("happy")
    client.start()
    os.kill(wait_for_hello(client), signal.SIGKILL)
    time.sleep(0.2)
    assert ends(run(client, folder)) == [("result", None)]


def test_the_end_of_a_job_is_not_lost_in_a_flood_of_words(start, folder):
    client = start("flood")
    client.start()
    wait_for_hello(client)
    client.submit("job", folder.path)
    end = time.monotonic() + 20
    while not folder.finished and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1.0)  # nobody polls while 4000 messages arrive
    assert ends(drain(client)) == [("result", None)]


def test_writing_to_a_backend_that_does_not_read_never_blocks(start, folder):
    client = start("no-hello", Patience(hello=60))
    client.start()
    before = time.monotonic()
    for _ in range(50):
        client.send("set", preview_interval="x" * 100_000)
    assert time.monotonic() - before < 1.0


def test_a_pause_of_the_whole_computer_is_not_taken_for_silence(start, folder, monkeypatch):
    """After standby the clock has jumped and no heartbeat came meanwhile; the backend gets its time anew."""
    client = start("happy", Patience(silence=30, hello=30))
    client.start()
    wait_for_hello(client)
    real = time.monotonic
    monkeypatch.setattr("csd_blender.job.client.time.monotonic", lambda: real() + 3600)
    client._watch()
    assert client._failure == "" and client.state == "ready"


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kill_at_any_moment_ends_the_job_once(start, folder):
    rng = random.Random(1)
    for _ in range(6):
        client = start("slow", Patience(silence=60))
        client.submit("job", folder.path)
        moment = time.monotonic() + rng.uniform(0.0, 0.5)
        while time.monotonic() < moment:
            client.poll()
            time.sleep(0.002)
        os.kill(client._process.pid, signal.SIGKILL)
        seen = drain(client, 5)
        assert ends(seen) == [("error", "worker_died")]
        assert "SIGKILL" in next(m for m in seen if m.type == "error").get("detail")


def test_poll_keeps_its_budget_while_the_backend_talks(start, folder):
    client = start("chatter")
    client.submit("job", folder.path)
    spent, seen, end = [], [], time.monotonic() + 10
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
    while not any(m.type == "accepted" for m in client.poll()):
        time.sleep(0.001)
    while not folder.finished:
        time.sleep(0.05)
    time.sleep(0.2)
    textures = [m for m in drain(client, 3) if m.type == "preview" and m.get("kind") == "texture"]
    assert [m.get("step") for m in textures] == [20]


def test_a_preview_outside_of_the_job_folder_is_not_read(start, folder, tmp_path):
    client = start("happy")
    client.submit("job", folder.path)
    (tmp_path / "secret").write_bytes(b"x" * 4)
    link = client._link
    message = type("M", (), {"get": {"path": "../secret", "width": 1, "height": 1}.get})
    assert link._pixels(message) is None


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
    assert child == min(19, own + 10)


def test_shutdown_lets_the_child_leave(start, folder):
    client = start("happy")
    client.start()
    while client.state == "starting":
        client.poll()
    process = client._process
    client.shutdown(timeout=3)
    assert process.returncode == 0 and client.state == "stopped"


def test_the_child_ends_with_its_parent(tmp_path, folder):
    """A parent that is killed leaves no process behind: the pipe closes."""
    import subprocess

    code = (
        "import sys, time\n"
        "from csd_blender.job.client import BackendClient\n"
        f"c = BackendClient([sys.executable, {str(WORKER)!r}, 'slow'], {str(tmp_path / 'log')!r})\n"
        f"c.submit('job', {str(folder.path)!r})\n"
        "while not c.hello: c.poll(); time.sleep(.01)\n"
        "print(c.hello['pid'], flush=True); time.sleep(60)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 5
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
