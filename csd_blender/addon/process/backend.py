"""The backend process as Blender owns it: where its Python is, starting it, what to say about it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from ...job.errors import JobError
from ...job.models.store import FOLDER
from ...job.process import client as job_client
from ...job.process.bodies import Device
from ...job.setup.environment import LOCKS, Lock, installed_python
from ..job import Job
from ..preferences import environments_folder, log_path, models_folder, preference, preferred_path
from ..session import session

PACKAGE = Path(__file__).parents[2]
LEAVE_TIME, SAVE_TIME = 1.0, 6.0  # seconds that quitting Blender waits at most; the longer one during a job

_python: Path | None = None
_astray = False  # whether the preferences name a Python that is not there


def look_for_python() -> Path | None:
    """Find the backend's Python on disk and remember it; call when preferences or the installation changed."""
    global _python, _astray
    chosen = preferred_path("backend_python")
    if chosen:
        _python = Path(chosen) if os.path.isfile(chosen) else None
    else:
        _python = installed_python(environments_folder(), "backend")
    _astray = bool(chosen) and _python is None
    return _python


@functools.cache
def setup_size() -> str:
    """What *Set Up* will take on the disk, for people."""
    return f"{Lock.read(LOCKS / 'backend.txt').size_mb / 1000:.0f} GB"


def ready() -> bool:
    """Whether a backend is installed; asks no file system."""
    return _python is not None


def why_not_ready() -> str:
    """The same as a sentence without its full stop; empty when there is one. Asks no file system either."""
    if ready():
        return ""
    return "The Backend Python in the preferences is not there" if is_astray() else "The backend is not set up"


def is_astray() -> bool:
    """Whether the preferences name a Python that is not there; what *Set Up* makes would not be used then."""
    return _astray and not ready()


def missing() -> JobError:
    """The error for a Python that is not there or cannot be run, to be raised."""
    found = look_for_python()  # from now on the panel offers what there is to be done
    if not preference("backend_python").strip():
        return JobError("backend_missing")
    if found is None:
        return JobError("backend_missing", fix="Correct Backend Python in the preferences, or clear it.")
    return JobError("backend_python")


def command() -> list[str]:
    """How to start the process. Raises ``JobError`` as :func:`missing` makes it."""
    python = look_for_python()  # it may have been deleted since Blender started
    if python is None:
        raise missing()
    return job_client.backend_command(str(python), str(PACKAGE))


def environment() -> dict[str, str]:
    """What the backend's processes find around them: nothing of Blender's Python, no network, the folder of models."""
    return {**job_client.backend_environment(), FOLDER: str(models_folder())}


def client() -> job_client.BackendClient:
    """The running client; starts the process when there is none or when it ended.

    Raises:
        JobError: when it is not installed or cannot be started.
    """
    if session.client is not None and session.client.state in ("stopped", "lost"):
        stop()
    if session.client is None:
        started = job_client.BackendClient(command(), log_path(), env=environment())
        start_with(started.start)
        session.client = started
    return session.client


def submit(running: job_client.BackendClient, job: Job, resume: bool) -> None:
    """Hand ``job`` over. Raises as :func:`client` does, since the process may have ended meanwhile."""
    start_with(lambda: running.submit(job.id, str(job.folder), resume=resume))


def start_with(start: Callable[[], None]) -> None:
    """Do what may start the process; where its Python is gone, say so without the system's own words."""
    try:
        start()
    except JobError as error:
        if error.code != "backend_missing":
            raise
        raise missing() from error


def stop() -> None:
    """End the process; a job that still runs saves a checkpoint and can be resumed."""
    old, session.client = session.client, None
    if old is not None:
        old.shutdown(SAVE_TIME if old.job else LEAVE_TIME)


def facts() -> list[tuple[str, str]]:
    """What the *Backend* panel shows, from memory only."""
    rows = [("State", state_text())]
    hello = session.client.hello if session.client is not None else None
    if hello is not None:
        device = session.job.spec.device if session.job is not None else preference("device", "auto")
        device = hello.default_device if device == "auto" else device
        known = next((d for d in hello.devices if d.id == device), None)
        name = "Processor" if device == "cpu" else known.name if known else ""
        rows.append(("Device", name or device or "unknown"))
        memory = memory_text(known)
        if memory:
            rows.append(("Memory", memory))
    return rows


def state_text() -> str:
    if session.setup is not None:
        return "Setting up"
    if not ready():
        return "Not set up"
    if session.client is None:
        return "Ready, not running"
    words = {"starting": "Starting", "ready": "Running, idle", "busy": "Working", "lost": "Ended unexpectedly"}
    return words.get(session.client.state, "Ready, not running")


def memory_text(device: Device | None) -> str:
    """What the job uses, of what the device has; empty while it uses nothing, as the computer's memory is no news."""
    job = session.active_job()
    used = (job.device_memory_mb or job.memory_mb) if job is not None else 0
    total = device.memory_mb if device else 0
    if not used:
        return ""
    return f"{used / 1024:.1f} of {total / 1024:.0f} GB used" if total else f"{used / 1024:.1f} GB used"
