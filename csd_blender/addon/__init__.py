"""The Blender side: scene to job, job to scene, the panel. All heavy work is done by the backend process."""

import atexit

import bpy

from . import (
    backend,
    backend_setup,
    handlers,
    icons,
    live_preview,
    menus,
    object_operators,
    operators,
    panels,
    preferences,
    preview,
    properties,
    pump,
    result_operators,
    results,
    results_panel,
    usual_words,
)
from .session import session

MODULES = (
    properties,
    preferences,
    results,
    operators,
    object_operators,
    result_operators,
    usual_words,
    panels,
    results_panel,
    menus,
    icons,
    handlers,
)


def register() -> None:
    """Everything or nothing: what was registered is taken back when a later part fails."""
    done = []
    try:
        for module in MODULES:
            module.register()
            done.append(module)
        backend.look_for_python()
        results.refresh()
    except Exception:
        for module in reversed(done):
            module.unregister()
        raise
    atexit.register(leave)


def unregister() -> None:
    atexit.unregister(leave)
    leave_objects_clean()
    leave()
    for module in reversed(MODULES):
        module.unregister()


def leave_objects_clean() -> None:
    """Before the extension goes: no preview may stay behind. In a restricted context there is no data to clean."""
    if hasattr(bpy.data, "objects"):
        preview.uncover_all()


def leave() -> None:
    """End the processes and take back timers and handlers, which hang or crash Blender's exit when left."""
    pump.stop()
    results.stop()
    handlers.unregister()
    live_preview.pictures.close()
    backend_setup.stop()
    backend.stop()
    session.job = None
