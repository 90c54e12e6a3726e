"""The folders of jobs on the disk, as the artist meets them: what each holds, and how it was answered.

Nothing here deletes a result, except :func:`remove`, which is called when the artist asks for it. Touches no Blender
data, so any thread may list the folders.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..job import files
from ..job.errors import JobError
from ..job.folder import write_atomic
from ..job.kinds import KINDS
from ..job.ordinary import FOLDER, entries_of, read_ordinary, what_is
from ..job.process.processes import HeldFile
from ..job.result import is_complete
from .errors import SceneError
from .scene import apply_texture

# What stands in ``files.ANSWER``: how the artist answered.
ACCEPTED, DISCARDED, FAILED = "accepted", "discarded", "failed"
LARGEST_RECORD = 2**20  # bytes of a job.json that is read; ours have three thousand
DAMAGED = (OSError, ValueError, RecursionError, TypeError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One job folder in the list of results.

    Attributes:
        made: when, for people. has_result: whether there is something to show. complete: whether it came to its end; an
        incomplete one can go on. answer: empty, or how the artist answered. size: bytes on the disk.
    """

    folder: str
    prompt: str
    seed: int | None = None
    made: str = ""
    kind: str = ""
    has_result: bool = False
    complete: bool = False
    answer: str = ""
    size: int = 0
    readable: bool = True

    @property
    def waits(self) -> bool:
        """Whether nobody has said yet what is to become of it."""
        return not self.answer and self.readable

    @property
    def state(self) -> str:
        if not self.readable:
            return "damaged"
        if self.answer:
            return self.answer
        if self.complete:
            return "finished"
        return "stopped early" if self.has_result else "not finished"

    @property
    def noun(self) -> str:
        """What came out of it, in a word."""
        return next((kind.spec.label.lower() for kind in KINDS if kind.spec.kind == self.kind), "result")

    @property
    def label(self) -> str:
        """One line for a menu."""
        words = [f"“{short(self.prompt, 40)}”", self.noun, self.state]
        if self.seed is not None:
            words.insert(1, f"seed {self.seed}")
        return ", ".join([*words, self.made] if self.made else words)


def short(text: str, length: int) -> str:
    """``text`` cut to ``length`` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def size_text(size: int) -> str:
    """``340 kB``, ``12 MB``, ``1.5 GB``."""
    if size < 1_000_000:
        return f"{size / 1000:.0f} kB"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def new_job_id(prompt: str) -> str:
    """A folder name that sorts by time and can be read: ``20260131-201502-red-brick``."""
    words = "-".join(re.findall(r"[a-z0-9]+", prompt.lower())[:4])
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{words[:32] or 'job'}-{random.randrange(16**4):04x}"


def close(folder: Path, answer: str) -> None:
    """Note how the artist answered; what only a resume needs goes when the job came to its end."""
    with suppress(JobError):  # it will only be offered once more
        if folder.is_dir():
            write_atomic(folder / files.ANSWER, answer.encode(), sync=False)
    if answer == FAILED or is_complete(folder):
        threading.Thread(target=remove_working_files, args=(folder,), daemon=True).start()


def reopen(folder: Path) -> None:
    """Forget the answer: the job goes on, or the answer was undone."""
    try:
        (folder / files.ANSWER).unlink()
    except OSError:
        pass  # there was none, or it stays in the list as answered


def remove_working_files(folder: Path) -> None:
    """What only a resume or a live preview needs, most of the folder's size; the result and its small picture stay.

    A link in the place of one of the two folders stays too, and so does all that it leads to: that is the user's own.
    """
    if what_is(folder / files.CHECKPOINT) == FOLDER:
        shutil.rmtree(folder / files.CHECKPOINT, ignore_errors=True)
    for file in entries_of(folder / files.PREVIEW):  # none where the artist has just deleted it all
        if file != folder / files.PREVIEW_VIEW:
            with suppress(OSError):
                file.unlink()


def has_checkpoint(folder: Path) -> bool:
    return any((folder / files.CHECKPOINT).glob("*"))


def is_finished(folder: Path) -> bool:
    """Whether the result is there and whole; a job that was stopped early can still go on."""
    return has_result(folder) and is_complete(folder)


def has_result(folder: Path) -> bool:
    """Whether there is something to show, be it complete or the best of a job that was stopped."""
    try:
        apply_texture.read_result(folder)
        return True
    except (SceneError, *DAMAGED):
        return False


def entries(root: Path) -> list[Entry]:
    """Every job of Blender below ``root``, the newest first. No folder, however damaged, hides the others."""
    listed = []
    for folder in of_jobs(root):
        try:
            if (folder / files.TARGETS).exists() and (folder / files.JOB).exists():
                listed.append((made_at(folder), folder.name, describe(folder)))
        except OSError:
            continue  # it has just gone, or nobody may look into it
        except Exception:
            log.exception("the job folder %s cannot be described", folder)
            listed.append((0.0, folder.name, Entry(str(folder), folder.name, readable=False)))
    return [entry for _made, _name, entry in sorted(listed, key=lambda row: row[:2], reverse=True)]


def of_jobs(root: Path) -> list[Path]:
    """The folders below ``root``, which may be damaged."""
    try:
        with os.scandir(root) as found:
            return [Path(f.path) for f in found if not f.name.startswith(".") and f.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def describe(folder: Path) -> Entry:
    """What one job folder holds. Raises ``OSError`` when it goes in the same moment."""
    record = read_record(folder / files.JOB)
    prompt = record.get("prompt")
    seed = record.get("seed")
    with_result = has_result(folder)
    return Entry(
        folder=str(folder),
        prompt=clean(prompt) if isinstance(prompt, str) and prompt.strip() else folder.name,
        seed=seed if type(seed) is int and 0 <= seed < 2**31 else None,
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime(made_at(folder))),
        kind=str(record.get("kind")),
        has_result=with_result,
        complete=with_result and is_complete(folder),
        answer=read_answer(folder),
        size=size_of(folder),
        readable=bool(record),
    )


def made_at(folder: Path) -> float:
    """Seconds since the epoch, from the folder's name or else from its ``job.json``."""
    stamp = re.match(r"\d{8}-\d{6}", folder.name)
    if stamp:
        try:
            return datetime.strptime(stamp[0], "%Y%m%d-%H%M%S").timestamp()
        except (ValueError, OverflowError, OSError):
            pass
    return (folder / files.JOB).stat().st_mtime


def read_answer(folder: Path) -> str:
    try:
        said = read_ordinary(folder / files.ANSWER, LARGEST_RECORD).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError:
        return "answered"
    return said if said in (ACCEPTED, DISCARDED, FAILED) else "answered"  # earlier versions did not say how


def read_record(path: Path) -> dict:
    """The table in a JSON file; empty when that is missing, too large, nested without end or no table."""
    try:
        record = json.loads(read_ordinary(path, LARGEST_RECORD).decode("utf-8"))
    except DAMAGED:
        return {}
    return record if isinstance(record, dict) else {}


def clean(text: str) -> str:
    """One line that Blender can show: no line breaks, no halves of characters."""
    return " ".join(text[:400].encode("utf-8", "replace").decode().split())


def size_of(folder: Path) -> int:
    """Bytes of all files below ``folder``; links are not followed."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for item in found:
                    if item.is_dir(follow_symlinks=False):
                        waiting.append(item.path)
                    else:
                        total += item.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def remove(folder: Path, root: Path) -> None:
    """Delete a job folder for good.

    Raises:
        SceneError: it is no job folder below ``root``, or the system does not let go of it; it is whole then.
    """
    if folder.parent != root or folder.is_symlink() or not (folder / files.JOB).exists():
        raise SceneError("This is no job folder of the extension.", "Delete it with the system's file manager.")
    try:
        with HeldFile(folder / files.LOCK, "it runs in another Blender"):
            pass  # nobody works on it
    except JobError as error:
        if error.code == "busy":
            raise SceneError("This job is still running, in another Blender or a shell.", "Cancel it there.") from error
    gone = root / f".deleted-{folder.name}"
    try:
        os.replace(folder, gone)  # all or nothing, and out of the list at once
    except OSError as error:
        raise SceneError("The result cannot be deleted.", f"The system says: {error.strerror}.") from error
    shutil.rmtree(gone, ignore_errors=True)
