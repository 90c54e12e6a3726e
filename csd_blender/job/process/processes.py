"""Child processes that never outlive their use: groups that end together, and a lock that a crash releases."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import JobError, writing_failed
from ..ordinary import NotOrdinary, open_ordinary

BEHIND = 5  # nice levels between a program with a window and its child that computes


def own_group() -> dict[str, Any]:
    """Popen arguments for a process group of its own, so that it can be ended with its children."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def behind_owner() -> dict[str, Any]:
    """As :func:`own_group`, for a child that works behind a program with a window; :func:`step_back` after the start
    does the rest."""
    arguments = own_group()
    if os.name == "nt":
        arguments["creationflags"] |= subprocess.BELOW_NORMAL_PRIORITY_CLASS
    return arguments


def step_back(process: subprocess.Popen) -> None:
    """Let the child, just started with :func:`behind_owner`, have the processor only where this process leaves it free.

    Drawing a window takes milliseconds at a time, so that the child loses next to nothing, and the window never waits.
    """
    if os.name == "nt":
        return  # it was started like that
    try:
        os.setpriority(os.PRIO_PROCESS, process.pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + BEHIND))
        # Where Linux weighs sessions against each other, it is the session's own value that counts.
        with open("/proc/self/autogroup") as file:
            own = int(file.read().rpartition(" ")[2])  # "/autogroup-25 nice 0"
        with open(f"/proc/{process.pid}/autogroup", "w") as file:
            file.write(str(min(19, own + BEHIND)))
    except (OSError, ValueError):
        pass  # it has just ended, or the system knows no such thing


def kill_tree(process: subprocess.Popen | None) -> None:
    """Kill a child that was started with :func:`own_group`, and its children, also when it has ended before them.

    Returns at once; the caller waits for the child.
    """
    if process is None:
        return
    try:
        if os.name != "nt":
            # A group's number is not given away again before its last member ended.
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            hidden = {"creationflags": subprocess.CREATE_NO_WINDOW}
            nowhere = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.Popen(command, **hidden, **nowhere)
    except ProcessLookupError:
        pass  # nobody is left
    except OSError:
        if process.poll() is None:
            process.kill()


def interrupt(process: subprocess.Popen | None) -> None:
    """What Ctrl-C does, to this child alone. Does nothing where the system has no way to do it."""
    if process is None:
        return
    try:
        process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)
    except (OSError, ValueError, SystemError):  # the last is what Windows' Python makes of a console of its own
        pass  # it has just ended, or shares no console with us


def open_streams() -> None:
    """Give this process the standard streams that its starter closed.

    Without, the next file that is opened would become the error stream, and get every library's complaints.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The system gives away the lowest free number, and those below have been looked after.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


def leave_when_interrupted() -> None:
    """Until a command has something to save, Ctrl+C ends the process at once: an exception in the middle of an import
    would come out of libraries in a dozen shapes."""

    def leave(signum: int, frame: object) -> None:
        try:
            os.write(2, b"\nInterrupted.\n")
        finally:
            os._exit(130)

    signal.signal(signal.SIGINT, leave)


class HeldFile:
    """A file that one process at a time can hold; the system lets go of it when that process ends, however it ends.

    Use as a context manager.

    Raises:
        JobError: ``busy`` with ``reason`` while another process, or another holder in this one, has it;
            ``no_permission`` when the file cannot be made.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        self._file: Any = None

    def __enter__(self) -> HeldFile:
        try:
            self._file = open_ordinary(self.path, os.O_RDWR)
        except NotOrdinary as error:
            raise JobError("no_permission", str(error)) from error
        except OSError as error:
            raise writing_failed(error, self.path) from error
        try:
            if os.name == "nt":
                import msvcrt

                self._file.seek(0)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise JobError("busy", self.reason) from error
        return self

    def __exit__(self, *_: object) -> None:
        # The file stays: removing it would let two processes hold two files of one name.
        self._file.close()
