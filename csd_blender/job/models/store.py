"""The folder of the models that were got through this program: what lies in it, and whether it is still as it came.

Each model has a folder of its own in the diffusers layout, with :data:`RECORD` in it, which is written last. While it
is being downloaded it lies beside, in ``<name>.part`` with :data:`PLAN`, so that a half one is never taken for a whole
one. :data:`SUMS` outlives the models: what a file was when it came first, it must be whenever it comes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import JobError, quoted
from ..ordinary import read_ordinary
from .contents import readable

FOLDER = "CSD_MODELS"  # in the environment: where the models lie
RECORD, PLAN, SUMS = "csd-model.json", "csd-download.json", "first-sums.json"
PART, PARTIAL, LOCK, GONE = ".part", ".partial", ".lock", ".gone"  # endings
LARGEST_TABLE = 2**22  # bytes; a model of a hundred files has 20 thousand
PIECE = 2**20  # bytes that are read at once
AGAIN = "Remove it and get it again."
NOT_OURS = "Move it away, or delete it by hand where nobody needs it."
OTHERS = "Move it away, or delete the folder by hand where nobody needs that."
LINK = "Delete the link by hand, and what it leads to where nobody needs that."


@dataclass(frozen=True)
class StoredFile:
    """A file of a model: ``path`` with ``/``, ``size`` in bytes, ``sha256`` empty while that is not known."""

    path: str
    size: int
    sha256: str = ""


@dataclass(frozen=True)
class Record:
    """A model that was downloaded, or is going to be.

    Attributes:
        id: as the catalogue has it, or the repository. source, commit: where each file is from. licence: short name.
    """

    id: str
    source: str
    commit: str
    licence: str
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def to_json(self) -> dict:
        files = {file.path: {"size": file.size, "sha256": file.sha256} for file in self.files}
        about = {"id": self.id, "source": self.source, "commit": self.commit, "licence": self.licence}
        return {**about, "files": files}

    @classmethod
    def from_json(cls, data: dict) -> Record:
        """Inverse of :meth:`to_json`. Raises ``ValueError`` for anything else, and for paths that lead out."""
        try:
            files = tuple(StoredFile(p, f["size"], f["sha256"]) for p, f in data["files"].items())
            record = cls(data["id"], data["source"], data["commit"], data["licence"], files)
        except (KeyError, TypeError, AttributeError):
            raise ValueError("no record of a model") from None
        if not files:
            raise ValueError("no record of a model")
        texts = [record.id, record.source, record.commit, record.licence, *(f.sha256 for f in files)]
        if not all(isinstance(text, str) for text in texts) or not all(is_inside(file.path) for file in files):
            raise ValueError("no record of a model")
        if not all(type(file.size) is int and file.size >= 0 for file in files):
            raise ValueError("no record of a model")
        return record


def is_inside(path: object) -> bool:
    """Whether a file's path, as a repository has it, stays within the model's folder on every system."""
    if not isinstance(path, str) or not path or "\\" in path or ":" in path or "\0" in path:
        return False
    parts = path.split("/")
    return not PurePosixPath(path).is_absolute() and not any(part in ("", ".", "..") for part in parts)


def models_folder() -> Path:
    """Where models are kept: as the environment says, else in the user's own place for data."""
    chosen = os.environ.get(FOLDER)
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~\\AppData\\Local"
    elif sys.platform == "darwin":
        base = "~/Library/Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(os.path.expanduser(base)) / "csd_blender" / "models"


def own_folder(name: str, root: Path | None = None) -> Path:
    """Where the model of that id, or that repository, lies once it is whole."""
    return (models_folder() if root is None else root) / name.replace("/", "--")


def part_folder(name: str, root: Path | None = None) -> Path:
    """Where it lies while it is being downloaded."""
    whole = own_folder(name, root)
    return whole.with_name(whole.name + PART)


def lock_file(name: str, root: Path | None = None) -> Path:
    """Held by the process that downloads or removes it."""
    whole = own_folder(name, root)
    return whole.with_name(whole.name + LOCK)


def read_table(path: Path) -> dict:
    """A JSON table; empty when there is none, or none that can be read."""
    try:
        data = json.loads(read_ordinary(path, LARGEST_TABLE).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def read_record(folder: Path, name: str = RECORD) -> Record | None:
    """The record in a model's folder, or the plan of that ``name``; None when there is none, or a damaged one."""
    try:
        return Record.from_json(read_table(folder / name))
    except ValueError:
        return None


def check_sizes(folder: Path, record: Record) -> None:
    """Raise ``JobError('model_unreadable')`` for the first file that is gone, or not as long as it came."""
    for file in record.files:
        path = folder / file.path
        try:
            about = path.stat()
        except OSError:
            raise JobError("model_unreadable", f"{path} is missing", AGAIN) from None
        size = about.st_size
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise JobError("model_unreadable", f"{path} is no ordinary file", AGAIN)
        if size != file.size:
            raise JobError("model_unreadable", f"{path} has {size:,} of {file.size:,} bytes", AGAIN)


def verify(
    folder: Path,
    record: Record,
    tell: Callable[[int], object] = lambda done: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Read every file of a model, and hold it against what it was when it came.

    Args:
        tell: gets the bytes read so far, a few times a second at the most. stop: asked as often.

    Raises:
        JobError: ``model_unreadable`` for a file that is gone or cut off, ``model_changed`` for one with another sum,
            ``cancelled``.
    """
    check_sizes(folder, record)
    done = 0
    for file in record.files:
        start = done
        found = file_sum(folder / file.path, lambda read, start=start: tell(start + read), stop)
        if file.sha256 and found != file.sha256:
            raise JobError("model_changed", str(folder / file.path), AGAIN)
        done += file.size


def file_sum(
    path: Path, tell: Callable[[int], object] = lambda done: None, stop: Callable[[], bool] = lambda: False
) -> str:
    """SHA-256 of a file. Raises ``JobError`` ``model_unreadable`` or ``cancelled``; ``tell``, ``stop`` as in
    :func:`verify`."""
    digest, read = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                if stop():
                    raise JobError("cancelled")
                digest.update(piece)
                read += len(piece)
                tell(read)
    except OSError as error:
        raise JobError("model_unreadable", f"{path} cannot be read ({error.strerror})", AGAIN) from error
    return digest.hexdigest()


def downloaded(folder: Path, plan: Record) -> int:
    """Bytes of ``plan`` that are there already, whole files and pieces."""
    total = 0
    for file in plan.files:
        for path in (folder / file.path, folder / (file.path + PARTIAL)):
            with contextlib.suppress(OSError):
                total += min(path.stat().st_size, file.size)
                break
    return total


def free_bytes(root: Path) -> int:
    """Free space on the disk where ``root`` is, or will be; 0 when it cannot be told."""
    for place in (root, *root.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return 0


def remove(folder: Path) -> None:
    """Delete a model's folder, all of it or, while its files are in use, nothing.

    Raises:
        JobError: ``no_permission`` when the system does not let go of it, when it is not ours (:func:`check_ours`), or
            when files lie in it that did not come with the model (:func:`check_alone`).
    """
    aside = set_aside(folder)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def check_ours(folder: Path) -> None:
    """Raise ``JobError('no_permission')`` for what lies in a model's place and did not come through this program, and
    ``model_unreadable`` where that cannot be told.

    Ours is what has a record or a plan in it, or nothing but pieces of downloads; never a link to somewhere else.
    """
    if not os.path.lexists(folder):
        return
    if folder.is_symlink():
        raise JobError("no_permission", f"{folder} is a link to {os.path.realpath(folder)}", LINK)
    if any(os.path.isfile(folder / name) for name in (RECORD, PLAN)):
        return
    files = []
    if folder.is_dir():
        with readable():
            files = [name for _, _, names in os.walk(folder, onerror=_not_read) for name in names]
    if not folder.is_dir() or not all(name.endswith((PARTIAL, ".tmp")) for name in files):
        raise JobError("no_permission", f"{folder} did not come through this program", NOT_OURS)


def check_alone(folder: Path) -> None:
    """Raise ``JobError('no_permission')`` where files lie in a model's folder that did not come through this program:
    who put them there may have no others. Raises as :func:`check_ours`, too."""
    check_ours(folder)
    if not os.path.lexists(folder):
        return
    known = {RECORD, PLAN}
    for record in filter(None, (read_record(folder, name) for name in (RECORD, PLAN))):
        known |= {file.path for file in record.files}
    others = []
    with readable():
        for place, folders, names in os.walk(folder, onerror=_not_read):
            linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
            found = (os.path.relpath(os.path.join(place, name), folder) for name in (*names, *linked))
            others += [name for name in found if name.replace(os.sep, "/") not in known and not _is_litter(name)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        detail = f"{folder} holds {quoted(min(others))}{more}, which did not come with the model"
        raise JobError("no_permission", detail, OTHERS)


def _is_litter(name: str) -> bool:
    """Whether a file is a piece of a download, or one that a system's file manager leaves."""
    return name.endswith((PARTIAL, ".tmp")) or os.path.basename(name) in (".DS_Store", "Thumbs.db", "desktop.ini")


def _not_read(error: OSError) -> None:
    raise error


def set_aside(folder: Path) -> Path | None:
    """The quick half of :func:`remove`: the folder under another name, by which nothing finds it; None when there is
    none. Raises as that does."""
    check_alone(folder)
    aside = folder.with_name(folder.name + GONE)
    shutil.rmtree(aside, ignore_errors=True)  # what an end in the middle left behind
    try:
        os.replace(folder, aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JobError("no_permission", f"{folder} ({error.strerror})", "Close what uses the model.") from error
    return aside


@readable()
def whole_copy(name: str, root: Path | None = None) -> Path | None:
    """The folder of a model that was got through this program; None when it was not.

    Raises:
        JobError: ``model_unreadable`` when some of it is gone, or may not be read.
    """
    folder = own_folder(name, root)
    if not (folder / RECORD).is_file():
        return None
    record = read_record(folder)
    if record is None:
        raise JobError("model_unreadable", f"{folder / RECORD} is damaged", "Get the model again.")
    check_sizes(folder, record)
    return folder
