"""The folder of one job. Complete in itself: it can be copied to another machine and resumed there.

Its files have their names in :mod:`files`. Every file is written beside its place and renamed, so nobody ever sees
half a file.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import files
from .errors import JobError, writing_failed
from .kinds import JobSpec, load
from .ordinary import FILE, FOLDER, LINK, NOTHING, NotOrdinary, entries_of, open_ordinary, read_ordinary, what_is

LARGEST_RECORD = 2**26  # bytes of a JSON file that is read; none of ours comes near it
LARGEST_COARSE = 2**30  # bytes of a stored coarse stage; the largest that can be asked for has less
#: Names of files that a write which was killed left half done, of this version and of earlier ones.
HALF_DONE = re.compile(r".+\.[0-9a-z_]{8,16}\.tmp")


def not_ordinary(said: str) -> JobError:
    """``bad_job_folder`` for what lies in the place of a job's own file or folder; ``said``: what, and where."""
    return JobError("bad_job_folder", said, "Take it away, or start the job anew.")


@contextmanager
def friendly(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing ``path`` into sentences."""
    try:
        yield
    except NotOrdinary as error:
        raise not_ordinary(str(error)) from error
    except OSError as error:
        raise writing_failed(error, path) from error


def write_atomic(path: Path, data: bytes, sync: bool = True) -> None:
    """Replace ``path`` by ``data`` in one go; the file gets the mode that the user's umask allows.

    Raises ``JobError`` ``no_space`` or ``no_permission``.
    """
    with friendly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = f"{path}.{secrets.token_hex(6)}.tmp"
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            _replace(partial, path)
        except BaseException:
            if os.path.exists(partial):
                os.unlink(partial)
            raise


def _replace(partial: str, path: Path) -> None:
    for attempt in range(20):
        try:
            os.replace(partial, path)
            return
        except PermissionError:  # Windows, while somebody reads the old file
            if os.name != "nt" or attempt == 19:
                raise
            time.sleep(0.02)


@dataclass(frozen=True)
class JobFolder:
    """An existing job folder; see the module's text for its files."""

    path: Path
    spec: JobSpec
    was_there: bool = field(default=True, compare=False)  # before the job; empty then, where this made the job

    @classmethod
    def create(cls, path: str | Path, spec: JobSpec) -> JobFolder:
        """Make the folder and its ``job.json``.

        Raises:
            JobError: ``folder_not_empty`` when ``path`` already holds something; nothing is ever overwritten.
        """
        path = Path(path).absolute()
        with friendly(path):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise JobError("folder_not_empty", str(path))
            was_there = path.exists()
            for name in files.SUBFOLDERS:
                (path / name).mkdir(parents=True, exist_ok=True)
        write_atomic(path / files.JOB, json.dumps(spec.to_json(), indent=1).encode())
        return cls(path, spec, was_there)

    @classmethod
    def open(cls, path: str | Path) -> JobFolder:
        """Open an existing folder. Raises ``JobError`` ``bad_job_folder`` or, for its settings, ``bad_setting``.

        One in which a link, a pipe or the like lies in the place of a file or folder of the job is refused: it may come
        from anybody, and the job would write to, or delete, what belongs elsewhere.
        """
        path = Path(path).absolute()
        try:
            check_ordinary(path)
            data = json.loads(read_ordinary(path / files.JOB, LARGEST_RECORD).decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise JobError("bad_job_folder", f"{path} has no readable {files.JOB}") from error
        spec = load(data)
        with friendly(path):
            for name in files.SUBFOLDERS:
                # Not exist_ok, which fails where the folder is being tidied away in the same moment (a closed job).
                with suppress(FileExistsError):
                    (path / name).mkdir()
        return cls(path, spec)

    def with_settings(self, values: dict[str, Any]) -> JobFolder:
        """The same folder with other values of settings that its result does not depend on, stored in it. Raises
        ``JobError`` as :meth:`open` and :meth:`write_bytes`."""
        spec = load(self.spec.to_json() | values)
        self.write_bytes(files.JOB, json.dumps(spec.to_json(), indent=1).encode())
        return JobFolder(self.path, spec)

    def withdraw(self) -> None:
        """Remove what a job that never began left in its folder, and the folder, where nothing else lies in it, unless
        it was there before."""
        for entry in list(self.path.iterdir()):
            if entry.name in files.BEGUN or HALF_DONE.fullmatch(entry.name):
                with suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if not self.was_there:
            with suppress(OSError):
                self.path.rmdir()

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def mesh_path(self) -> Path:
        """The mesh that the job was given, where it was; not the one that it makes."""
        return self.path / files.INPUT_MESH

    def write_bytes(self, name: str, data: bytes, sync: bool = True) -> Path:
        """Write a file below the folder in one piece; ``sync=False`` for what may be lost in a power cut.

        Raises ``JobError`` ``no_space``, ``no_permission`` or, when the folder was removed, ``bad_job_folder``.
        """
        self.check_there()
        path = self.path / name
        if what_is(path.parent) == LINK and path.parent != self.path:
            raise not_ordinary(f"{path.parent} became a link during the job")
        write_atomic(path, data, sync)
        return path

    def check_there(self) -> None:
        """Raise ``JobError('bad_job_folder')`` when the folder was removed or moved; nothing may make it anew."""
        if not self.path.is_dir():
            raise JobError("bad_job_folder", f"{self.path} was removed or moved during the job")

    def tidy(self) -> None:
        """Remove what writes that were killed left half done. Only for the process that holds the folder."""
        for place in (self.path.resolve(), *(self.path / name for name in files.FOLDERS)):
            for file in entries_of(place):
                if HALF_DONE.fullmatch(file.name) and what_is(file) == FILE:
                    with suppress(OSError):
                        file.unlink()

    def append_event(self, event: dict) -> None:
        """Add a line to ``events.jsonl``."""
        line = json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False, allow_nan=False) + "\n"
        self.check_there()
        with friendly(self.path), open_ordinary(self.path / files.EVENTS, os.O_WRONLY | os.O_APPEND) as file:
            file.write(line.encode("utf-8", "backslashreplace"))  # JSON's own escapes, as in messages.encode

    def events(self) -> list[dict]:
        """All readable events; a line cut off by a crash is passed over."""
        try:
            lines = read_ordinary(self.path / files.EVENTS, 2**30).splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                found.append(event)
        return found


def check_ordinary(folder: Path) -> None:
    """Raise ``JobError('bad_job_folder')`` unless all that a job made in its folder are ordinary files and folders.

    Other files and folders of the user's may lie there; nobody touches them. Raises ``OSError`` or ``ValueError`` where
    that cannot be told.
    """
    for name in files.OWN:
        if what_is(folder / name) not in (FILE, NOTHING):
            raise not_ordinary(f"{folder / name} is a link or no ordinary file")
    for name in files.FOLDERS:
        if what_is(folder / name) not in (FOLDER, NOTHING):
            raise not_ordinary(f"{folder / name} is a link or no folder")
        for entry in entries_of(folder / name):
            kind = what_is(entry)
            if kind not in (FILE, NOTHING) and (kind != FOLDER or entry.suffix in files.ENDINGS):
                raise not_ordinary(f"{entry} is a link or no ordinary file")


def coarse_settings(source: JobFolder, prompt: object) -> dict:
    """Settings of a job that refines the coarse stage of ``source`` anew: that stage's own, and where to start.

    ``prompt`` is as somebody gave it: what is no text is left for the job to refuse. Colors that were found for another
    prompt are left behind: the late, quiet noise of refining hardly changes them. Raises ``JobError('bad_job_folder')``
    when there is no finished coarse stage.
    """
    plain = source.spec.to_json()
    if not (source.path / files.COARSE_SHAPE).is_file() or "coarse" not in plain:
        raise JobError("bad_job_folder", f"{source.path} has no finished coarse stage")
    same = isinstance(prompt, str) and prompt.strip() == source.spec.prompt.strip()
    return {"start": "coarse", "keep_colors": same, "coarse": plain["coarse"]}


def read_coarse(source: JobFolder) -> bytes:
    """The coarse stage of ``source``, as it is kept. Raises ``JobError('bad_job_folder')`` when it cannot be read."""
    path = source.path / files.COARSE_SHAPE
    try:
        return read_ordinary(path, LARGEST_COARSE)
    except OSError as error:
        raise JobError("bad_job_folder", f"{path} cannot be read: {error.strerror or 'it is too large'}") from error
