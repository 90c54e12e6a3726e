"""Every test of addon/ gets a fresh scene, a data folder of its own and the fake worker."""

import sys

import pytest

from tests.support.blender import MODULE, bpy, module, use_worker


@pytest.fixture(scope="session", autouse=True)
def extension():
    """Switched on once; switched off at the end, because callables left with Blender hang its exit."""
    bpy.context.preferences.use_preferences_save = False
    assert bpy.ops.preferences.addon_enable(module=MODULE) == {"FINISHED"}
    yield
    bpy.ops.preferences.addon_disable(module=MODULE)


@pytest.fixture(autouse=True)
def blender(extension, tmp_path, monkeypatch):
    """A fresh factory scene (a cube, a light, a camera), a data folder of its own, the happy fake worker."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.backend_python = sys.executable
    preferences.data_folder = str(tmp_path / "data")
    use_worker(monkeypatch, "happy")
    session = module("addon.session").session
    session.notice, session.problem, session.results = "", None, []
    bpy.ops.ed.undo_push(message="Start")
    yield bpy
    module("addon.process.setup").stop()
    module("addon.process.backend").stop()
    session.job = None
    module("addon.run.showing").forget_pictures()
