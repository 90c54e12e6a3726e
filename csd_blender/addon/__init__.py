"""The Blender side: scene to job, job to scene, the panel. All heavy work is done by the backend process.

May import job, bpy, numpy and the standard library. Read first: api, then run, kinds and scene.
"""

import atexit

import bpy

from . import preferences, properties
from .kinds import choose
from .process import backend, downloads
from .process import setup as backend_setup
from .run import handlers, lifecycle, models, pump, results, showing, view_icon
from .scene.preview import added_map, cover
from .session import session
from .ui import (
    generate,
    menus,
    model_operators,
    models_panel,
    operators,
    panels,
    result_operators,
    results_panel,
)

MODULES = (
    properties,
    preferences,
    results,
    models,
    operators,
    generate,
    result_operators,
    model_operators,
    panels,
    results_panel,
    models_panel,
    menus,
    view_icon,
    handlers,
)


def register() -> None:
    """Everything or nothing: what was registered is taken back when a later part fails."""
    done = []
    try:
        for module in MODULES:
            add(module)
            done.append(module)
        properties.on_prompt.append(pump.warm_up_soon)
        properties.on_override.append(choose.begin_as_usual)
        preferences.on_backend_change += [lifecycle.backend_changed, models.refresh]
        preferences.sections.append(models_panel.draw_models)
        backend.look_for_python()
        results.refresh()
        models.refresh()
    except Exception:
        forget_callbacks()
        for module in reversed(done):
            take_away(module)
        raise
    atexit.register(leave)


def unregister() -> None:
    atexit.unregister(leave)
    leave_objects_clean()
    leave()
    forget_callbacks()
    for module in reversed(MODULES):
        take_away(module)


def add(module) -> None:
    """Register a module's ``CLASSES``, then what it has besides; all of it or nothing."""
    try:
        for cls in getattr(module, "CLASSES", ()):
            bpy.utils.register_class(cls)
        getattr(module, "register", lambda: None)()
    except Exception:
        drop_classes(module)
        raise


def take_away(module) -> None:
    getattr(module, "unregister", lambda: None)()
    drop_classes(module)


def drop_classes(module) -> None:
    for cls in reversed(getattr(module, "CLASSES", ())):
        if cls.is_registered:
            bpy.utils.unregister_class(cls)


def forget_callbacks() -> None:
    properties.on_prompt.clear()
    properties.on_override.clear()
    preferences.on_backend_change.clear()
    preferences.sections.clear()


def leave_objects_clean() -> None:
    """Before the extension goes: no preview may stay behind. In a restricted context there is no data to clean."""
    if hasattr(bpy.data, "objects"):
        cover.uncover_all()


def leave() -> None:
    """End the processes and take back timers and handlers, which hang or crash Blender's exit when left."""
    pump.stop()
    added_map.stop()
    results.stop()
    models.stop()
    handlers.unregister()
    showing.pictures.close()
    backend_setup.stop()
    downloads.stop()
    backend.stop()
    session.job = None
