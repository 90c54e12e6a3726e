"""Whatever stands in a message, a specification or a file of a job folder: an answer in words, nothing else."""

from __future__ import annotations

import io
import json
import random
import types

import pytest

from csd_blender.job.errors import JobError, quoted
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.bodies import FROM_BACKEND, TO_BACKEND, read, typed
from csd_blender.job.process.client import BackendClient
from csd_blender.job.process.link import Link
from csd_blender.job.process.messages import LIMIT, TERMINAL, Message, decode, encode
from csd_blender.job.result import is_complete
from csd_blender.job.spec.schedule import Schedule
from csd_blender.job.spec.text_to_3d import TextTo3DJob
from csd_blender.job.spec.texture import TextureJob
from tests.support.hostile import CASES, garbled, spoiled, value

BODIES = {
    "hello": {"protocol": 1, "version": "1", "python": "3", "torch": "2", "default_device": "cpu",
              "features": ["texture"], "devices": [{"id": "cpu", "name": "CPU", "memory_mb": 9}], "pid": 3},
    "heartbeat": {"phase": "idle", "time": 1.5},
    "accepted": {},
    "stage": {"name": "paint", "label": "Painting", "index": 1, "count": 4},
    "progress": {"stage": "paint", "step": 3, "total": 9, "steps_per_second": 2.5, "seconds_left": None,
                 "memory_mb": 100, "device_memory_mb": 0, "metrics": {"t": 0.5}},
    "preview": {"path": "preview/view.rgba", "kind": "view", "part": 0, "width": 2, "height": 2, "step": 3},
    "checkpoint": {"path": "checkpoint/step_000003.json", "step": 3},
    "warning": {"code": "mesh", "text": "It has holes."},
    "result": {"files": {"albedo": "result/albedo.png"}, "stats": {"seconds": 3.5}},
    "cancelled": {"kept": True, "files": {}},
    "error": {"code": "oom", "text": "No memory.", "fix": "Buy some.", "retryable": False, "detail": "here"},
    "bye": {},
}  # fmt: skip


def said(error: JobError) -> None:
    """An error that an artist can read, whoever wrote the value that it is about."""
    assert len(error.message) < 600 and error.message.encode() and "\n" not in error.message
    assert error.text and error.fix


def as_line(rng: random.Random) -> bytes:
    """One line that a broken backend may send."""
    kind = rng.choice(list(BODIES))
    record = {"v": 1, "type": kind, "job": rng.choice(("job", "job", "other", "")), "seq": 1, **BODIES[kind]}
    if rng.random() < 0.8:
        record = spoiled(record, rng, 3)
    try:
        line = json.dumps(record, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):
        line = b'{"v":1,"type":"progress","job":"job","step":' + b"[" * 20_000
    return garbled(line, rng) if rng.random() < 0.3 else line


def consume(message: Message) -> None:
    """What the Blender side does with a message, without Blender."""
    body = message.body
    if message.type == "progress":
        assert 0 <= body["step"] / max(1, body["total"]) < float("inf")
        f"{body.get('memory_mb', 0) / 1024:.1f} {round(body.get('seconds_left') or 0)} {1.0 * body['step']}"
    elif message.type == "preview":
        assert body["kind"] == "mesh" or len(body["pixels"]) == body["width"] * body["height"] * 4
        {(body["kind"], body.get("part", 0)): 1}
    elif message.type == "hello":
        for device in body.get("devices", []):
            f"{device['memory_mb'] / 1024:.0f} {device['name']}{device['id']}".encode()
    for name in ("text", "fix", "detail", "label", "name", "phase", "code", "default_device"):
        body.get(name, "").encode()
    assert isinstance(body.get("kept", False), bool) and isinstance(body.get("retryable", False), bool)
    assert set(map(type, body.get("files", {}).values())) <= {str}


def test_a_client_outlives_whatever_a_backend_says(tmp_path):
    rng = random.Random(1)
    folder = JobFolder.create(tmp_path / "job", texture_job("a red mug"))
    folder.write_bytes("preview/view.rgba", bytes(16), sync=False)
    some = [[as_line(rng).replace(b"\n", b"") + b"\n" for _ in range(8)] for _ in range(max(1, CASES // 8))]
    whole = [encode(Message(kind, "job", 1, body)) for kind, body in BODIES.items() if kind not in TERMINAL]
    shown = 0
    for lines in some:
        client = BackendClient(["none"], tmp_path / "log")
        client._process = types.SimpleNamespace(
            stdout=io.BytesIO(b"".join(lines + whole)), stdin=io.BytesIO(), poll=lambda: None, pid=2**30
        )
        client._give_up = lambda: None
        client.job, client._folder = "job", folder.path
        client._link = Link(client._process, folder.path)
        client._link.reader.join()
        messages = []
        while found := client.poll(budget=60):
            messages += found
        for message in messages:
            consume(message)
        assert sum(m.type in TERMINAL for m in messages) <= 1
        if client.job:  # no line ended the job: those at the end, which are as they should be, came through
            assert {"stage", "warning", "preview", "progress"} <= {m.type for m in messages}
            shown += 1
    assert 0 < shown < len(some) or CASES < 1000


def test_every_message_of_the_contract_goes_through_as_it_is():
    assert {kind.type for kind in FROM_BACKEND} == BODIES.keys()
    for kind, body in BODIES.items():
        message = Message(kind, "job", 1, dict(body))
        assert typed(decode(encode(message))) == message
        assert read(message).to_json() == body and read(message).message("job", 1) == message


def test_what_the_owner_says_goes_through_as_it_is():
    said = {"hello": {"client": "x", "protocol": 1}, "submit": {"folder": "/tmp/\udcff", "resume": True}}
    for kind in TO_BACKEND:
        message = Message(kind.type, "job", 1, said.get(kind.type, {}))
        assert read(decode(encode(message)), TO_BACKEND).message("job", 1) == message


def test_lines_are_decoded_to_a_message_or_to_nothing():
    rng = random.Random(2)
    for _ in range(CASES):
        message = decode(as_line(rng))
        if message is not None:
            assert isinstance(message.type, str) and isinstance(message.job, str) and type(message.seq) is int
            try:
                assert decode(encode(message)).job == message.job
            except ValueError:
                pass  # an infinite number: "1e999" is JSON


@pytest.mark.parametrize("cls", [TextureJob, TextTo3DJob])
def test_any_json_is_a_job_or_an_error_in_words(cls):
    rng = random.Random(3)
    start = {"prompt": "a mug", "seed": 3}
    good = (texture_job if cls is TextureJob else text_to_3d_job)(**start).to_json()
    accepted = 0
    for _ in range(CASES // 2):
        data = value(rng) if rng.random() < 0.1 else spoiled(good, rng, 3)
        try:
            job = cls.from_json(data)
        except JobError as error:
            said(error)
            continue
        accepted += 1
        assert cls.from_json(json.loads(json.dumps(job.to_json()))).spec_hash() == job.spec_hash()
    assert 0 < accepted < CASES // 2


@pytest.mark.parametrize("make", [texture_job, text_to_3d_job])
def test_any_settings_are_a_job_or_an_error_in_words(make):
    rng = random.Random(4)
    plain = make("a mug").to_json()
    plain |= {"quality": "draft", "steps": 30, "coarse_steps": 30, "refine_steps": 10}
    for _ in range(CASES // 2):
        names = rng.sample(list(plain), 3)
        settings = {name: value(rng) for name in names}
        if rng.random() < 0.4:
            settings = {name: spoiled({"x": plain[name]}, rng).get("x") for name in names}
        try:
            make(**{"prompt": "a mug", **settings})
        except JobError as error:
            said(error)


def test_any_value_is_a_schedule_or_refused():
    rng = random.Random(5)
    for _ in range(CASES):
        data = [value(rng, 3) for _ in range(4)] if rng.random() < 0.6 else value(rng)
        try:
            made = Schedule.from_json(data)
        except ValueError:
            continue
        assert all(abs(made.at(step)) < 1e309 for step in (-1, 0, 5, 10**6))


def test_files_of_a_job_folder_may_hold_anything(tmp_path):
    rng = random.Random(6)
    folder = JobFolder.create(tmp_path / "job", texture_job("a mug"))
    job = folder.spec.to_json()
    record = {"settings": job, "complete": True, "parts": [{"name": "a", "albedo": "result/a.png"}]}
    event = {"time": 3.5, "type": "progress", "step": 3}
    read = {
        "job.json": (job, lambda: JobFolder.open(folder.path)),
        "result/result.json": (record, lambda: is_complete(folder.path)),
        "events.jsonl": (event, lambda: [e.get("type") for e in folder.events()]),
    }
    for i in range(CASES):
        name = rng.choice(list(read))
        tree, look = read[name]
        try:
            data = json.dumps(value(rng) if i % 5 == 0 else spoiled(tree, rng, 2)).encode()
        except RecursionError:
            data = b"[" * 100_000
        (folder.path / name).write_bytes(garbled(data, rng) if rng.random() < 0.4 else data)
        try:
            look()
        except JobError as error:
            said(error)


def test_a_quoted_value_is_short_and_can_be_written_whatever_it_is():
    rng = random.Random(7)
    for _ in range(CASES):
        text = quoted(value(rng))
        assert 0 < len(text) <= 80 and text.encode()
    assert quoted("a mug") == "'a mug'" and quoted([60, -20]) == "[60, -20]"
    assert len(quoted("x" * LIMIT)) == 80 and len(quoted([[10**5000] * 9] * 9)) <= 80
