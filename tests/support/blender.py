"""Blender in the test process, and what the tests say to it.

The extension is staged in a throw-away profile and switched on like an installed one. Blender as a module has no event
loop: timers never fire, so the tests turn the pump by hand.
"""

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tools.blender_profile import MODULE, link_extension

ROOT = Path(__file__).resolve().parents[2]
FAKE_WORKER = ROOT / "tests" / "support" / "fake_worker.py"


_profile = tempfile.TemporaryDirectory(prefix="csd-profile-")
link_extension(Path(_profile.name))
os.environ["BLENDER_USER_RESOURCES"] = _profile.name  # before bpy is imported

bpy = pytest.importorskip("bpy", reason="the tests of addon/ need Blender as a module")


def module(name: str):
    """A module of the extension under the name that Blender gives it."""
    return importlib.import_module(f"{MODULE}.{name}" if name else MODULE)


def use_worker(monkeypatch, mode: str) -> None:
    """Let the next backend process be the fake one in ``mode``."""
    backend = module("addon.process.backend")
    backend.stop()
    monkeypatch.setattr(backend, "command", lambda: [sys.executable, str(FAKE_WORKER), mode])


def start_job(settings: dict, objects=None, kind: str = "texture"):
    """A job on ``objects``, or the selected ones, as the operators start it."""
    return module("addon.run.lifecycle").start(bpy.context, module("addon.kinds.choose").KINDS[kind], settings, objects)


def cube():
    return bpy.data.objects["Cube"]


def select(*objects) -> None:
    for obj in bpy.context.view_layer.objects:
        obj.select_set(obj in objects)
    bpy.context.view_layer.objects.active = objects[0]


def turn_pump(until, seconds: float = 600.0) -> None:
    """Do what the timer would, until the condition holds."""
    pump = module("addon.run.pump")
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not happen in time"
        pump.tick()
        time.sleep(0.01)
