"""The list of all results: read from the disk in a thread, kept in memory, shown in the panel."""

from __future__ import annotations

import threading
from pathlib import Path

import bpy

from .. import folders
from ..folders import Entry
from ..preferences import jobs_folder
from ..session import session
from . import screen

THREAD = "csd-results"
_found: list[tuple[int, list[Entry]]] = []
_asked = 0  # counts up with every look at the disk; only the newest one's answer counts


class CSDResult(bpy.types.PropertyGroup):
    """A row of the list, as Blender's list widget wants it; what it stands for is in ``session.results``."""

    __annotations__ = {"folder": bpy.props.StringProperty(options={"SKIP_SAVE"})}


def refresh(now: bool = False) -> None:
    """Look at the disk again soon, in a thread, so that a slow disk never holds up the window; or ``now``, here.

    Without a window nobody looks at the list, and only what is asked for ``now`` is done.
    """
    global _asked
    _asked += 1
    if now:
        take(folders.entries(jobs_folder()))
    elif not bpy.app.background:
        threading.Thread(target=look, args=(jobs_folder(), _asked), name=THREAD, daemon=True).start()
        if not bpy.app.timers.is_registered(arrive):
            bpy.app.timers.register(arrive, first_interval=0.05, persistent=True)


def look(root: Path, number: int) -> None:
    _found.append((number, folders.entries(root)))


def arrive() -> float | None:
    """Timer: take in what the thread found."""
    looking = any(thread.name == THREAD for thread in threading.enumerate())  # asked first: it may end meanwhile
    newest = next((entries for number, entries in _found if number == _asked), None)
    if newest is None:
        return 0.1 if looking else None
    _found.clear()
    take(newest)
    screen.redraw()
    return None


def take(entries: list[Entry]) -> None:
    session.results = entries
    fill()


def fill() -> None:
    """Let the list widget have the rows of ``session.results``; the chosen one stays chosen."""
    manager = bpy.context.window_manager
    chosen = selected()
    manager.csd_results.clear()
    for entry in session.results:
        row = manager.csd_results.add()
        row.name, row.folder = entry.prompt, entry.folder
    rows = [entry.folder for entry in session.results]
    manager.csd_result = rows.index(chosen.folder) if chosen is not None and chosen.folder in rows else 0


def drop(folder: str) -> None:
    """Leave one row out at once, before the next look at the disk."""
    take([entry for entry in session.results if entry.folder != folder])


def find(folder: str) -> Entry | None:
    return next((entry for entry in session.results if entry.folder == folder), None)


def selected() -> Entry | None:
    """The entry that is chosen in the list."""
    manager = bpy.context.window_manager
    rows, index = manager.csd_results, manager.csd_result
    return find(rows[index].folder) if 0 <= index < len(rows) else None


def waiting() -> list[Entry]:
    """Those that nobody has answered yet, without the one that is offered now."""
    current = str(session.job.folder) if session.job is not None else ""
    return [entry for entry in session.results if entry.waits and entry.folder != current]


def stop() -> None:
    if bpy.app.timers.is_registered(arrive):
        bpy.app.timers.unregister(arrive)


CLASSES = (CSDResult,)


def register() -> None:
    bpy.types.WindowManager.csd_results = bpy.props.CollectionProperty(type=CSDResult, options={"SKIP_SAVE"})
    bpy.types.WindowManager.csd_result = bpy.props.IntProperty(name="Result", options={"SKIP_SAVE"})


def unregister() -> None:
    stop()
    del bpy.types.WindowManager.csd_result
    del bpy.types.WindowManager.csd_results
