"""What the client's tests share: a client of the fake worker, a clock that a test holds, waiting for events."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process import client as client_module
from csd_blender.job.process import link as link_module
from csd_blender.job.process.client import BackendClient, Patience
from csd_blender.job.process.messages import TERMINAL

WORKER = Path(__file__).with_name("fake_worker.py")
ENDLESS = 600.0  # seconds after which a test gives up; nothing that goes well comes near it, on any machine
CALM = Patience(interrupt=ENDLESS, kill=ENDLESS, silence=ENDLESS, hello=ENDLESS)  # slowness is no fault


@pytest.fixture
def start(tmp_path):
    clients = []

    def make(mode: str, patience: Patience = CALM) -> BackendClient:
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


class Clock:
    """Time as a test wants it: who waits for the backend loses patience when the test says so, and not before."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(client_module, "time", made)
    monkeypatch.setattr(link_module, "time", made)
    return made


def run(client: BackendClient, folder: JobFolder, on_message=None) -> list:
    """Submit a job and poll until its end and a little longer; returns all its messages."""
    client.submit("job", folder.path)
    return drain(client, on_message)


def drain(client, on_message=None) -> list:
    """Everything until a job's end, and what comes right after it."""
    seen = until(client, ends, on_message)
    for _ in range(60):  # a second end would come now
        seen += client.poll()
        time.sleep(0.005)
    return seen


def until(client, holds, on_message=None) -> list:
    """All messages until ``holds`` says so of them."""
    seen, end = [], time.monotonic() + ENDLESS
    while not holds(seen):
        assert time.monotonic() < end, "it did not happen"
        for message in client.poll():
            seen.append(message)
            if on_message:
                on_message(message)
        time.sleep(0.005)
    return seen


def ends(messages) -> list:
    return [(m.type, m.get("code")) for m in messages if m.type in TERMINAL]
