"""The same as the operators, for scripts: ``from bl_ext.user_default.csd_blender.addon import api``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import bpy
import numpy as np

from ..job.errors import JobError, quoted
from ..job.process.messages import Message
from ..job.spec.edit import EditJob
from ..job.spec.picture import PictureJob
from ..job.spec.text_to_3d import TextTo3DJob
from ..job.spec.texture import TextureJob
from .errors import SceneError
from .job import Job
from .kinds.choose import KINDS, Kind, as_asked, kind_of
from .process import backend
from .run import lifecycle, pump
from .scene.apply_texture import Applied
from .scene.targets import find_object, selected_meshes
from .session import session


def texture(
    objects: bpy.types.Object | Sequence[bpy.types.Object] | None = None,
    prompt: str | None = None,
    *,
    progress: Callable[[Message], None] | None = None,
    **settings,
) -> list[Applied]:
    """Texture ``objects``, wait, apply the result, and make it one undo step.

    Args:
        objects: a mesh object or several; the selected ones when None.
        prompt: what the surface should look like; the scene's when None.
        progress: called with every message of the backend.
        settings: those of ``bpy.ops.csd.texture``: quality, seed, texture_size, ...; the scene's when left out.

    Returns:
        For each object its image and material.

    Raises:
        SceneError: the scene does not allow it. JobError: a setting is out of range. JobFailed: the backend failed.
        TypeError: a setting of that name does not exist.
    """
    if prompt is not None:
        settings["prompt"] = prompt
    return generate(KINDS[TextureJob.kind], settings, meshes(objects), progress)


def edit(
    objects: bpy.types.Object | Sequence[bpy.types.Object] | None = None,
    source: str | None = None,
    target: str | None = None,
    *,
    progress: Callable[[Message], None] | None = None,
    **settings,
) -> list[Applied]:
    """Edit the textures that ``objects`` have, wait, apply the result, and make it one undo step.

    Args:
        objects: as in :func:`texture`; each with a base color that is an image or plain.
        source: what they look like now. target: what they should look like. The scene's when None.
        progress: called with every message of the backend.
        settings: those of ``bpy.ops.csd.edit``: alignment, shape, quality, seed, ...; the scene's when left out.

    Returns:
        For each object its new image and material; the old ones stay in the file. With ``shape="free"`` a single
        entry, whose ``object`` is the new one.

    Raises:
        As :func:`texture` does.
    """
    if target is not None and "prompt" in settings:
        raise TypeError("edit() was given both target and prompt, which are the same")
    given = {"source": source, "prompt": target}
    settings |= {name: value for name, value in given.items() if value is not None}
    return generate(KINDS[EditJob.kind], settings, meshes(objects), progress)


def meshes(objects: bpy.types.Object | Sequence[bpy.types.Object] | None) -> list[bpy.types.Object]:
    """What a script gave, each object once; the selected ones for None. Raises ``SceneError`` for what is no mesh."""
    if objects is None:
        return selected_meshes(bpy.context)
    single = isinstance(objects, (str, bpy.types.ID)) or not isinstance(objects, Iterable)
    chosen = [objects] if single else list(objects)
    strangers = [o for o in chosen if not isinstance(o, bpy.types.Object)]
    if strangers:
        fix = "Give the object itself, such as bpy.context.object, or a list of objects."
        raise SceneError(f"{quoted(strangers[0])} is no object.", fix)
    chosen = list(dict.fromkeys(chosen))
    try:
        others = [o for o in chosen if o.type != "MESH"]
    except ReferenceError:
        raise SceneError("An object that was given is deleted.", "Look it up again by its name.") from None
    if others:
        raise SceneError(f"“{others[0].name}” is not a mesh.", "Convert it to a mesh first.")
    return chosen


def text_to_3d(
    prompt: str | None = None,
    *,
    progress: Callable[[Message], None] | None = None,
    **settings,
) -> bpy.types.Object:
    """Make an object from a prompt, wait, add it to the scene at the 3D cursor, and make it one undo step.

    Args:
        prompt: what the object should be; the scene's when None.
        progress: called with every message of the backend.
        settings: those of ``bpy.ops.csd.text_to_3d``: subject, quality, recipe, height, ..., the scene's when left
            out; and fields of the job, such as ``keep="all"`` or ``refine={"views": 2}``. ``start_from_mesh=True``
            begins with the selected meshes, ``refine_from=FOLDER`` with the coarse shape of an earlier job.

    Returns:
        The new object, selected and active.

    Raises:
        As :func:`texture` does.
    """
    if prompt is not None:
        settings["prompt"] = prompt
    [applied] = generate(KINDS[TextTo3DJob.kind], settings, None, progress)
    return applied.object


def image(
    prompt: str | None = None,
    *,
    progress: Callable[[Message], None] | None = None,
    **settings,
) -> list[bpy.types.Image]:
    """Make pictures of a prompt, wait, add them to the file as packed images, and make it one undo step.

    Args:
        prompt: what they should show; the scene's when None.
        progress: called with every message of the backend.
        settings: those of ``bpy.ops.csd.image``: method, count, size, seed, ...; the scene's when left out.

    Returns:
        The images, those of the first method first; they stay in the file though nothing uses them.

    Raises:
        As :func:`texture` does.
    """
    if prompt is not None:
        settings["prompt"] = prompt
    return [applied.image for applied in generate(KINDS[PictureJob.kind], settings, None, progress)]


def generate(
    kind: Kind,
    settings: dict,
    objects: Sequence[bpy.types.Object] | None = None,
    progress: Callable[[Message], None] | None = None,
) -> list[Applied]:
    """Start a job of any kind, wait, and apply the result. Raises as :func:`texture` does."""
    settings = {name: plain(value) for name, value in settings.items()}
    # Now, or all would be computed and could not be used.
    as_asked(kind, settings, bpy.context.scene.csd).job.check_mode(bpy.context, objects)
    if session.active_job() is not None:
        raise JobError("busy")
    with listening(progress):
        return wait_and_accept(lifecycle.start(bpy.context, kind, settings, objects))


def plain(value: object) -> object:
    """A setting as jobs hold it: numbers and arrays of NumPy as Python's own, paths as texts."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def resume(folder: str | Path, *, progress: Callable[[Message], None] | None = None) -> list[Applied]:
    """Go on with the job in ``folder``, wait, and apply the result. Raises as :func:`texture` does."""
    if not isinstance(folder, (str, os.PathLike)):
        raise SceneError(f"{quoted(folder)} is no folder.", "Give the path of a job's folder.")
    if session.active_job() is not None:
        raise JobError("busy")
    active = bpy.context.view_layer.objects.active
    if active is not None and active.mode == "EDIT":
        raise SceneError(f"“{active.name}” is in Edit Mode.", "Leave Edit Mode before a job is resumed.")
    job = lifecycle.read_job(Path(folder))
    objects = [found for found in map(find_object, job.targets) if found is not None]
    kind_of(job).job.check_mode(bpy.context, objects)
    with listening(progress):
        return wait_and_accept(lifecycle.resume(Path(folder)))


def wait_and_accept(job: Job) -> list[Applied]:
    try:
        pump.run_to_end(job)
    except BaseException:  # Ctrl+C, or the caller's own function: the job must not go on unseen
        abandon(job)
        raise
    if job.phase == "failed":
        problem = job.problem
        raise JobFailed(problem.text, problem.fix)
    if job.phase != "finished":
        raise JobFailed("The job was cancelled.")
    applied = lifecycle.accept()
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message=kind_of(job).undo_step)
    return applied


def abandon(job: Job) -> None:
    """Leave a job that nobody waits for any more: the panel takes over, or, without one, it ends."""
    lifecycle.cancel()
    if bpy.app.background:
        backend.stop()
        lifecycle.end_without_result(job, "cancelled")
    else:
        pump.start()


class JobFailed(SceneError):
    """The backend ended the job with an error; ``text`` and ``fix`` are its sentences."""


class listening:
    """Call ``callback`` with every message while the block runs."""

    def __init__(self, callback: Callable[[Message], None] | None):
        if callback is not None and not callable(callback):  # now, or what had been computed would be lost with it
            raise SceneError(f"progress={quoted(callback)} is no function.", "Give one that takes a message, or none.")
        self.callback = callback

    def __enter__(self) -> None:
        if self.callback is not None:
            session.listeners.append(self.callback)

    def __exit__(self, *_error) -> None:
        if self.callback is not None:
            session.listeners.remove(self.callback)
