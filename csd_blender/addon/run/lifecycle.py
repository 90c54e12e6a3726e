"""One job from the click to accept or discard. Operators, the pump and the API all come through here."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import bpy

from ...job import files
from ...job.errors import JobError
from ...job.folder import JobFolder
from ...job.process.bodies import Cancelled, Failed, Finished, Preview, Progress, StageBegun, Warned, read
from ...job.process.messages import Message
from .. import folders
from ..errors import SceneError
from ..job import Job, Problem
from ..kinds import common
from ..kinds.choose import Kind, kind_of
from ..preferences import preference
from ..process import backend
from ..scene import apply_texture, export
from ..scene.preview import cover
from ..scene.preview.pictures import read_view
from ..session import session
from . import results, showing, view_icon
from .belonging import check_accept, resume_here
from .showing import forget_pictures, refresh_preview

# Errors whose detail an artist can use, those about files among them, since it names the file; else it is for the log.
TELLING = (
    "bad_setting",
    "licence_not_accepted",
    "model_not_finite",
    "no_gpu",
    "no_permission",
    "no_space",
    "uv_overlap",
)
TELLING_ENDS = ("_missing", "_unreadable")


def start(context, kind: Kind, overrides: dict, objects: Sequence[bpy.types.Object] | None = None) -> Job:
    """Write the job's folder and hand it to the backend.

    Args:
        overrides: settings by name; what is missing comes from the scene.
        objects: that it is about; the selected meshes when None.

    Raises:
        SceneError, JobError: with a sentence for the artist; nothing was started then.
    """
    if session.active_job() is not None:
        raise JobError("busy")
    try:
        job = kind.job.write(kind.settings, context, overrides, objects)
        job.warnings = [*common.idle_notes(kind.spec, context.scene, overrides), *job.warnings]
        client = backend.client()
    except BaseException:
        refresh_preview()  # the result before this one is still offered
        raise
    put_aside()
    begin(job, client, resume=False)
    for text, listener in itertools.product(job.warnings, list(session.listeners)):
        listener(Warned(text).message(job.id))  # as those of the backend reach a script
    results.refresh()
    return job


def begin(job: Job, client, resume: bool) -> None:
    backend.submit(client, job, resume)
    take_in(job)
    session.notice, session.problem = "", None
    forget_pictures()


def take_in(job: Job) -> None:
    """Make ``job`` the session's; it is remembered as the open file's, whatever that is called later."""
    session.job = job
    if job.in_file and kind_of(job).job.BELONGS_TO_FILE:
        session.of_file.add(job.folder)


def resume(folder: Path, show: bool = False) -> Job:
    """Go on with a job of this or an earlier session; a finished one is shown again.

    Args:
        show: also show again what there is of a job that was stopped early, in place of going on with it.

    Raises:
        SceneError, JobError: when the folder cannot be used.
    """
    if session.active_job() is not None:
        raise JobError("busy")
    folder = Path(folder)
    job = read_job(folder)
    complete = folders.is_finished(folder)
    offered = complete or (show and folders.has_result(folder))
    client = None if offered else backend.client()
    put_aside()
    if offered:
        show_again(job, complete)
    else:
        folders.reopen(folder)
        begin(job, client, resume=True)
    results.refresh()
    return job


def read_job(folder: Path) -> Job:
    """The job of an earlier session or of this one, with its objects where the open file has them.

    Raises ``SceneError`` or ``JobError`` when the folder cannot be used.
    """
    opened = JobFolder.open(folder)
    targets, blend_file = export.read_targets(folder)
    job = Job(folder.name, folder, opened.spec, targets, blend_file, also=export.read_also(folder))
    kind_of(job).job.restore(job)
    resume_here(job)
    return job


def show_again(job: Job, complete: bool) -> None:
    """Offer a result of an earlier job, with its small picture."""
    forget_pictures()
    job.phase, job.stopped_early = "finished", not complete
    job.look_for_control()
    take_in(job)
    session.notice, session.problem = "", None
    picture = read_view(job.folder / files.PREVIEW_VIEW)
    if picture is not None:
        view_icon.show(picture)
        job.has_view = True
    refresh_preview()


def cancel() -> None:
    """Ask the running job to stop; what it has so far is offered."""
    job = session.active_job()
    if job is not None and session.client is not None:
        job.phase = "cancelling"
        session.client.cancel(job.id)


def handle(message: Message) -> None:
    """Bring the session up to date with one message from the backend."""
    for listener in list(session.listeners):
        listener(message)
    job = session.job
    if job is None or message.job != job.id or not job.active:
        return
    said = read(message)
    if isinstance(said, StageBegun):
        job.enter_stage(said.name, said.label)
    elif isinstance(said, Progress):
        job.step, job.total, job.seconds_left = said.step, said.total, said.seconds_left
        job.memory_mb, job.device_memory_mb = int(said.memory_mb), int(said.device_memory_mb)
        job.look_for_control()
    elif isinstance(said, Preview):
        target = job.targets[said.part] if said.part < len(job.targets) else None
        showing.pictures.put(said, job.folder, target)
    elif isinstance(said, Warned):
        if said.text and said.text not in job.warnings:
            job.warnings.append(said.text)
    elif isinstance(said, (Finished, Cancelled, Failed)):
        end(job, said)


def end(job: Job, said: Finished | Cancelled | Failed) -> None:
    """The job's terminal event."""
    if isinstance(said, Finished):
        finish(job)
    elif isinstance(said, Cancelled):
        job.stopped_early = True
        if said.kept:
            finish(job)
        else:
            end_without_result(job, "cancelled")
            if not folders.has_checkpoint(job.folder):
                folders.close(job.folder, folders.DISCARDED)  # nothing had been computed
    else:
        text = said.text
        if said.detail and (said.code in TELLING or said.code.endswith(TELLING_ENDS)):
            text = f"{text.rstrip('.')}: {said.detail}."
        if said.kept:  # what there was before it failed is offered, as after a cancel
            job.stopped_early = True
            job.warnings.append(f"{text} {said.fix}".strip())
            finish(job)
            return
        end_without_result(job, "failed", problem_of(job, text, said))
        backend.look_for_python()  # where it was deleted meanwhile, Set Up is the thing to offer
    results.refresh()


def problem_of(job: Job, text: str, said: Failed) -> Problem:
    """What to tell. A Python of the artist's own that ended before it said anything most likely lacks packages."""
    if said.code == "worker_died" and not job.stage and preference("backend_python").strip():
        error = backend.missing()
        return Problem(error.text, f"{error.fix} The log tells more.", said.retryable, error.code)
    return Problem(text, said.fix, said.retryable, said.code)


def finish(job: Job) -> None:
    job.seconds = time.monotonic() - job.started
    try:
        kind_of(job).job.check_result(job.folder)
    except SceneError as error:
        end_without_result(job, "failed", Problem(error.text, error.fix, retryable=True))
        return
    job.phase = "finished"


def end_without_result(job: Job, phase, problem: Problem | None = None) -> None:
    job.phase, job.problem = phase, problem
    job.seconds = time.monotonic() - job.started
    forget_pictures()
    cover.uncover_all()


def accept(new_map: bool = False) -> list[apply_texture.Applied]:
    """Make the finished result an ordinary part of the file.

    Args:
        new_map: put a texture on a new UV map where the object's own one changed since the job began.

    Raises:
        SceneError: when there is nothing to accept, or an object is in Edit Mode; the job stays as it is then.
    """
    job = session.job
    if job is None or job.phase != "finished":
        raise SceneError("There is no finished texture or object.", "Generate one first.")
    check_accept(job)
    try:
        applied = kind_of(job).job.accept(job, new_map)
    except SceneError:
        refresh_preview()  # nothing was changed, and the result still waits for an answer
        raise
    forget_pictures()
    session.notice = " ".join(a.message for a in applied if a.message)
    session.job = session.problem = session.discarded = None
    close_folder(job, folders.ACCEPTED)
    return applied


def discard() -> None:
    """Put the old materials back and forget the result, which stays in its folder; a running job is not touched."""
    job = session.job
    if job is None or job.active:
        return
    leave_scene()
    if job.phase == "finished" or (job.problem is not None and not job.problem.retryable):
        close_folder(job, folders.DISCARDED)
    else:
        results.refresh()


def put_aside() -> None:
    """Make room for another job. A result that nobody has answered stays in the list, and waits there."""
    job = session.job
    if job is None or job.active:
        return
    leave_scene()
    if job.problem is not None and not job.problem.retryable:
        folders.close(job.folder, folders.FAILED)


def leave_scene() -> None:
    """Take the ended job and its preview out of the scene and the panel."""
    forget_pictures()
    cover.uncover_all()
    session.job = session.problem = None


def close_folder(job: Job, answer: str) -> None:
    folders.close(job.folder, answer)
    results.refresh()


def backend_changed() -> None:
    """A preference about the backend was changed: end it, and look for the one to use now."""
    job = session.active_job()
    backend.stop()
    if job is not None:
        problem = Problem("The backend was stopped because a preference changed.", "Resume the job.", True)
        end_without_result(job, "failed", problem)
    backend.look_for_python()
    results.refresh()
