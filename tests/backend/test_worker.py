"""The backend process as Blender starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.name == "nt", reason="Windows has another way to interrupt")
def test_a_worker_can_be_interrupted_whatever_its_starter_ignores():
    child = subprocess.Popen(
        [sys.executable, "-m", "csd_blender.backend", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell script's `blender &` hands down
    )
    try:
        assert any(json.loads(line)["type"] == "hello" for line in child.stdout)  # heartbeats may come before
        child.send_signal(signal.SIGINT)
        status = child.wait(timeout=30)  # its stdin stays open: only the interrupt can have ended it
        rest = child.stdout.read()
    finally:
        child.kill()
    assert status == 0
    assert "bye" in [json.loads(line)["type"] for line in rest.splitlines()[-2:]]  # a heartbeat may come after
