"""Undo, saving and loading while a preview is on a mesh."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from ...job.errors import JobError
from .. import folders
from ..errors import SceneError
from ..scene.preview import cover
from ..session import session
from . import belonging, lifecycle, old_files, pump, results, showing

_path = ""  # of the file, before it was saved under another name


@persistent
def before_save(*_args) -> None:
    """A saved file never has a preview in it."""
    global _path
    _path = bpy.data.filepath
    old_files.stamp()
    cover.uncover_all()


@persistent
def after_save(*_args) -> None:
    belonging.saved_as(_path)
    if session.job is not None:
        belonging.remember_file(session.job)
    for folder in session.of_file:
        if session.job is None or folder != session.job.folder:
            belonging.move_to_file(folder)
    restore()


@persistent
def before_undo(*_args) -> None:
    """Blender leaves what is the same in both steps in memory as it is, with all that was put on it since the last one,
    and removes the data-blocks that the other step lacks: a covered slot would point at nothing, and Blender crash.

    What a preview added to a mesh points at nothing, and stays: the steps of Edit Mode have it in them.
    """
    cover.uncover_all(meshes=False)


@persistent
def after_undo(*_args) -> None:
    """The state that undo or redo brought back may hold a preview that is no more, or lack the one that is."""
    restore()
    follow_undo()


@persistent
def after_load(*_args) -> None:
    """Find the job's objects in the new file when it is the same one again."""
    old_files.upgrade()
    belonging.follow_file(session.job)
    session.discarded, session.show_textures = None, False
    session.of_file = {session.job.folder} if session.job is not None and session.job.in_file else set()
    results.fill()  # the window manager, which has the rows of the list, may be a new one
    restore()


def restore() -> None:
    job = session.job
    live = job.id if job is not None and job.in_scene else ""
    cover.uncover_all(keep_job=live)
    if live:
        showing.refresh_preview()
        pump.start()  # which shows what has to wait, as for the end of Edit Mode


def follow_undo() -> None:
    """After an undo or redo: a discarded result is offered again when that was undone, and goes again with the redo."""
    folder = session.discarded
    if folder is None:
        return
    job = session.job
    still = any(scene.csd.discarded == folder.name for scene in bpy.data.scenes)
    if not still and job is None:
        try:
            lifecycle.resume(folder, show=True)
            folders.reopen(folder)
        except (SceneError, JobError):
            session.discarded = None  # it was deleted meanwhile
    elif still and job is not None and job.folder == folder and job.phase == "finished":
        lifecycle.discard()


HANDLERS = {
    "save_pre": before_save,
    "save_post": after_save,
    "save_post_fail": after_save,
    "undo_pre": before_undo,
    "redo_pre": before_undo,
    "undo_post": after_undo,
    "redo_post": after_undo,
    "load_post": after_load,
}


def register() -> None:
    for name, handler in HANDLERS.items():
        getattr(bpy.app.handlers, name).append(handler)
    # Switched on, or updated, while a file is open. There is no data yet while an extension is being registered.
    bpy.app.timers.register(old_files.upgrade)


def unregister() -> None:
    if bpy.app.timers.is_registered(old_files.upgrade):
        bpy.app.timers.unregister(old_files.upgrade)
    for name, handler in HANDLERS.items():
        handlers = getattr(bpy.app.handlers, name)
        if handler in handlers:
            handlers.remove(handler)
