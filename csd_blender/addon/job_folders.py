"""The folders of jobs on the disk, as the artist meets them: their names, and which can be gone on with."""

from __future__ import annotations

import random
import re
import shutil
import threading
from datetime import datetime
from pathlib import Path

from ..job.errors import JobError
from ..job.folder import JobFolder
from ..job.spec_3d import TextTo3DJob
from . import scene_import
from .preferences import jobs_folder
from .scene_export import SceneError
from .session import Unfinished

CLOSED = "closed"  # a file in the job folder: the artist accepted or discarded the result


def new_job_id(prompt: str) -> str:
    """A folder name that sorts by time and can be read: ``20260131-201502-red-brick``."""
    words = "-".join(re.findall(r"[a-z0-9]+", prompt.lower())[:4])
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{words[:32] or 'job'}-{random.randrange(16**4):04x}"


def close(folder: Path) -> None:
    """Note that nobody will come back to this job, and delete what only a resume needs."""
    try:
        (folder / CLOSED).touch()
    except OSError:
        pass  # it will only be offered once more
    threading.Thread(target=remove_working_files, args=(folder,), daemon=True).start()


def remove_working_files(folder: Path) -> None:
    """What only a resume or a preview needs, most of a job folder's size; the result stays."""
    for name in ("checkpoint", "preview"):
        shutil.rmtree(folder / name, ignore_errors=True)


def has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoint").glob("*"))


def unfinished(current: Path | None) -> list[Unfinished]:
    """Jobs of Blender that were neither accepted nor discarded, the newest first; ``current`` is left out."""
    found = []
    folders = sorted(jobs_folder().glob("*/job.json"), reverse=True) if jobs_folder().is_dir() else []
    for file in folders[:200]:
        folder = file.parent
        if folder == current or (folder / CLOSED).exists() or not (folder / "target.json").exists():
            continue
        found.append(describe(folder))
    return found


def describe(folder: Path) -> Unfinished:
    stamp = re.match(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)", folder.name)
    prompt, makes_object = folder.name, False
    try:
        spec = JobFolder.open(folder).spec
        prompt, makes_object = spec.prompt, isinstance(spec, TextTo3DJob)
    except (JobError, OSError):
        pass  # it is listed all the same; resuming it will say what is wrong
    label = f"{prompt[:40]}, {stamp[1]}-{stamp[2]}-{stamp[3]} {stamp[4]}:{stamp[5]}" if stamp else prompt[:40]
    return Unfinished(str(folder), label + (" (finished)" if is_finished(folder) else ""), makes_object)


def is_finished(folder: Path) -> bool:
    """Whether the result is there and whole; a job that was stopped early can still go on."""
    try:
        return bool(scene_import.read_result(folder).record.get("complete", True))
    except SceneError:
        return False
