"""The list of models: looked up on the disk in a thread, kept in memory, shown in panel and preferences."""

from __future__ import annotations

import threading
from pathlib import Path

import bpy

from ...job.models.catalogue import CATALOGUE, ModelEntry, entry_of
from ...job.models.states import ModelState, look_at_all
from ...job.models.store import free_bytes
from ..preferences import models_folder
from ..session import session
from . import screen

THREAD = "csd-models"
_found: list[tuple[int, list[ModelState], int]] = []
_asked = 0  # counts up with every look at the disk; only the newest one's answer counts


def refresh(now: bool = False) -> None:
    """Look at the disk again soon, in a thread, so that a slow disk never holds up the window; or ``now``, here."""
    global _asked
    _asked += 1
    if now:
        look(models_folder(), _asked)
        arrive()
    elif not bpy.app.background:
        threading.Thread(target=look, args=(models_folder(), _asked), name=THREAD, daemon=True).start()
        if not bpy.app.timers.is_registered(arrive):
            bpy.app.timers.register(arrive, first_interval=0.05, persistent=True)


def look(root: Path, number: int) -> None:
    _found.append((number, look_at_all(root), free_bytes(root)))


def arrive() -> float | None:
    """Timer: take in what the thread found."""
    looking = any(thread.name == THREAD for thread in threading.enumerate())  # asked first: it may end meanwhile
    newest = next(((models, free) for number, models, free in _found if number == _asked), None)
    if newest is None:
        return 0.1 if looking else None
    _found.clear()
    session.models, session.models_free = newest
    screen.redraw()
    return None


def find(name: str) -> ModelState | None:
    """The row of that id."""
    return next((found for found in session.models if found.entry.id == name), None)


def entry_named(name: str) -> ModelEntry | None:
    """What is known of a model of that id, or of a repository of the hub; None when it can be neither."""
    found = find(name)
    return found.entry if found is not None else entry_of(name.strip())


def offered() -> list[ModelState]:
    """What the list shows: all that jobs can use, and whatever else is here."""
    return [m for m in session.models if m.entry.can_be_used or not m.entry.family or m.state in ("ready", "paused")]


def later() -> list[ModelEntry]:
    """Those of the catalogue that jobs cannot use yet."""
    return [entry for entry in CATALOGUE if not entry.can_be_used]


def stop() -> None:
    if bpy.app.timers.is_registered(arrive):
        bpy.app.timers.unregister(arrive)


def download_ended() -> None:
    refresh(now=bpy.app.background)


def register() -> None:
    session.model_listeners.append(download_ended)
    bpy.types.WindowManager.csd_model_name = bpy.props.StringProperty(
        name="Other Model",
        description="A repository of the Hugging Face hub with a model in the diffusers layout, as owner/name",
        options={"SKIP_SAVE"},
    )


def unregister() -> None:
    stop()
    session.model_listeners.clear()
    del bpy.types.WindowManager.csd_model_name
