"""The folder of one job. Complete in itself: it can be copied to another machine and resumed there.

``job.json`` (never changed), ``mesh.npz``, ``events.jsonl``, ``preview/``, ``checkpoint/``, ``stages/``, ``result/``.
Every file is written beside its place and renamed, so nobody ever sees half a file.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from .errors import JobError
from .spec import TextureJob
from .spec_3d import TextTo3DJob

JobSpec = Union[TextureJob, TextTo3DJob]

SUBFOLDERS = ("preview", "checkpoint", "result")
COARSE_FILE = "stages/coarse.safetensors"  # the shape that the first of an object's two stages found


@contextmanager
def _friendly(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing ``path`` into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise JobError("no_space", str(path)) from error
        raise JobError("no_permission", f"{path}: {error.strerror or error}") from error


def write_atomic(path: Path, data: bytes, sync: bool = True) -> None:
    """Replace ``path`` by ``data`` in one go. Raises ``JobError`` ``no_space`` or ``no_permission``."""
    with _friendly(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=str(path.parent), prefix=path.name + ".", suffix=".tmp")
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

    @classmethod
    def create(cls, path: str | Path, spec: JobSpec) -> JobFolder:
        """Make the folder and its ``job.json``.

        Raises:
            JobError: ``folder_not_empty`` when ``path`` already holds something; nothing is ever overwritten.
        """
        path = Path(path).absolute()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise JobError("folder_not_empty", str(path))
        with _friendly(path):
            for name in SUBFOLDERS:
                (path / name).mkdir(parents=True, exist_ok=True)
        write_atomic(path / "job.json", json.dumps(spec.to_json(), indent=1).encode())
        return cls(path, spec)

    @classmethod
    def open(cls, path: str | Path) -> JobFolder:
        """Open an existing folder. Raises ``JobError`` ``bad_job_folder`` or, for its settings, ``bad_setting``."""
        path = Path(path).absolute()
        try:
            data = json.loads((path / "job.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise JobError("bad_job_folder", f"{path} has no readable job.json") from error
        made_of_text = isinstance(data, dict) and data.get("kind") == "text-to-3d"
        spec = TextTo3DJob.from_json(data) if made_of_text else TextureJob.from_json(data)
        with _friendly(path):
            for name in SUBFOLDERS:
                # Not exist_ok, which fails where the folder is being tidied away in the same moment (a closed job).
                with suppress(FileExistsError):
                    (path / name).mkdir()
        return cls(path, spec)

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def mesh_path(self) -> Path:
        return self.path / "mesh.npz"

    def write_bytes(self, name: str, data: bytes, sync: bool = True) -> Path:
        """Write a file below the folder in one piece; ``sync=False`` for what may be lost in a power cut."""
        path = self.path / name
        write_atomic(path, data, sync)
        return path

    def append_event(self, event: dict) -> None:
        """Add a line to ``events.jsonl``."""
        line = json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False, allow_nan=False) + "\n"
        with _friendly(self.path), open(self.path / "events.jsonl", "ab") as file:
            file.write(line.encode())

    def events(self) -> list[dict]:
        """All readable events; a line cut off by a crash is passed over."""
        try:
            lines = (self.path / "events.jsonl").read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def read_result(self) -> dict | None:
        """``result/result.json``, or None while there is none."""
        try:
            return json.loads((self.path / "result" / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    @property
    def finished(self) -> bool:
        """Whether the job came to its end; a cancelled one, whose best so far was kept, can still be resumed."""
        return bool((self.read_result() or {}).get("complete"))


def coarse_settings(source: JobFolder, prompt: str) -> dict:
    """Settings of a job that refines the coarse stage of ``source`` anew: that stage's own, and where to start.

    Colors that were found for another prompt are left behind: the late, quiet noise of refining hardly changes them.
    Raises ``JobError('bad_job_folder')`` when there is no finished coarse stage.
    """
    if not (source.path / COARSE_FILE).is_file():
        raise JobError("bad_job_folder", f"{source.path} has no finished coarse stage")
    same = prompt.strip() == source.spec.prompt.strip()
    return {"start": "coarse", "keep_colors": same, "coarse": source.spec.to_json()["coarse"]}


def read_coarse(source: JobFolder) -> bytes:
    """The coarse stage of ``source``, as it is kept. Raises ``JobError('bad_job_folder')`` when it cannot be read."""
    try:
        return (source.path / COARSE_FILE).read_bytes()
    except OSError as error:
        raise JobError("bad_job_folder", f"{source.path / COARSE_FILE} cannot be read: {error.strerror}") from error
