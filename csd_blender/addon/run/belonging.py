"""Which file a job belongs to, whether that is the open one, and whether its objects still suit the result."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import bpy

from ...job.errors import JobError
from ...job.files import TARGETS
from ...job.folder import write_atomic
from .. import folders
from ..errors import SceneError
from ..job import Job
from ..kinds.choose import kind_of
from ..preferences import jobs_folder
from ..scene import apply_texture, export, open_file, targets
from ..scene.stored_arrays import read_json


def follow_file(job: Job | None) -> None:
    """After a file was loaded: find the job's objects if it is the one that the job belongs to."""
    open_file.another_is_open()
    if job is None:
        return
    job.in_file = belongs(job)
    if job.in_file:
        targets.bind(job.targets)
    else:
        let_go(job)


def belongs(job: Job) -> bool:
    """Whether the open file is the job's, or one that this was saved as before or after."""
    return any(open_file.is_same(path, bpy.data.filepath) for path in (job.blend_file, *job.also))


def resume_here(job: Job) -> None:
    """Find the objects of a job that is taken up again from its folder.

    The open file is the job's own when it is that file, or is still the unsaved one in which the job was started. When
    the job's file is gone or never was saved, objects of the same names, faces and UV maps do as well: the file was
    moved or recovered.
    """
    same_unsaved = not job.blend_file and export.read_word(job.folder, "opening") == open_file.opening()
    job.in_file = same_unsaved or belongs(job)
    if job.in_file:
        targets.bind(job.targets)
    elif job.blend_file and os.path.isfile(job.blend_file):
        let_go(job)
    else:
        targets.bind(job.targets, strictly=True)
        job.in_file = bool(job.targets) and all(t.uid for t in job.targets)


def remember_file(job: Job) -> None:
    """After a save: note the file, and what the objects are called now, for later sessions."""
    if not job.in_file:
        return
    job.also = earlier(job.blend_file, job.also)
    job.blend_file = bpy.data.filepath
    for target in job.targets:
        obj = targets.find_object(target)
        if obj is not None:
            target.others = export.others_than(obj)
        target.saved_name = ""
    place = () if kind_of(job).job.BELONGS_TO_FILE else job.place
    data = export.targets_bytes(job.targets, job.blend_file, place, job.also)[TARGETS]
    try:
        write_atomic(job.folder / TARGETS, data)
    except (JobError, OSError):
        pass  # a later session then looks for the objects by what it knows


def earlier(blend_file: str, also: Sequence[str]) -> list[str]:
    """The names that a job's file had, without the one it has now."""
    return [p for p in dict.fromkeys((*also, blend_file)) if p and not open_file.is_same(p, bpy.data.filepath)]


def saved_as(previous: str) -> None:
    """After a save under a new name: the results of all sessions that belong to the file do so by that, too, also those
    that went on to another file when this one was saved under another name before."""
    if not previous or open_file.is_same(previous, bpy.data.filepath):
        return
    for folder in folders.of_jobs(jobs_folder()):
        names = (export.read_word(folder, "blend_file"), *export.read_also(folder))
        if any(open_file.is_same(name, previous) for name in names):
            move_to_file(folder)


def move_to_file(folder: Path) -> None:
    """Note in the folder of a job that is not the session's that its file has the open one's name now."""
    try:
        record = read_json(folder / TARGETS)
        record["also"] = earlier(record["blend_file"], export.read_also(folder))
        record["blend_file"] = bpy.data.filepath
        write_atomic(folder / TARGETS, json.dumps(record, indent=1).encode())
    except (JobError, OSError, ValueError, LookupError, RecursionError, TypeError):
        pass  # it was deleted or damaged; a later session then looks for the objects by what it knows


def let_go(job: Job) -> None:
    for target in job.targets:
        target.uid = 0


def accept_problem(job: Job) -> str:
    """Why the open file is not the place for the job's result, as a sentence without full stop; empty when it is.

    Cheap enough for ``poll``. A new object belongs to no file and can be added to any.
    """
    if job.in_file or not kind_of(job).job.BELONGS_TO_FILE:
        return ""
    if job.blend_file:
        return f"It belongs to {Path(job.blend_file).name}; open that file"
    return "It belongs to a file that was never saved and is no longer open"


def check_accept(job: Job) -> None:
    """Raise :class:`SceneError` with the sentences of :func:`accept_problem`."""
    if accept_problem(job) and job.blend_file:
        raise SceneError(
            f"The result belongs to {Path(job.blend_file).name}.", f"Open {job.blend_file} and accept it there."
        )
    if accept_problem(job):
        raise SceneError(
            "The result belongs to a file that was never saved and is no longer open.",
            "Open the file that has its objects and press Resume, or discard it.",
        )


def changed_maps(job: Job) -> list[str]:
    """Names of the objects whose own UV map the finished result needs and which changed or went since.

    Where this is not empty, accepting needs the artist's choice: the result on a new map
    (``apply_texture.apply_result(..., new_map=True)``), or nothing.
    """
    sources = apply_texture.uv_sources(job.folder)
    kept = [t for i, t in enumerate(job.targets) if not (i < len(sources) and sources[i] == "new")]
    return [t.name for t in kept if targets.uv_state(t) != "same"]
