"""One file of the hub to the disk: what is there is gone on with, what came is held against its sum."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import httpx2
from huggingface_hub import constants, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, disable_progress_bars
from huggingface_hub.utils.logging import set_verbosity_error

from ...job.errors import JobError
from ...job.models.places import hub_cache
from ...job.models.store import PARTIAL, PIECE, file_sum
from .answers import in_words
from .listing import Listing, RemoteFile

CHUNK = 2**16  # bytes that come at once; the client's own ten million would make a slow line look dead
TRIES, BETWEEN = 3, 2.0  # connections in a row without a byte, seconds between them

Tell = Callable[[int], object]
Stop = Callable[[], bool]


class Stopped(Exception):
    """Somebody wants the download to end; what came stays where it is."""


class Watched:
    """A file for the hub's client to write into. It tells how long it is, and raises :class:`Stopped` when asked to."""

    def __init__(self, file: BinaryIO, tell: Tell, stop: Stop) -> None:
        self.file, self.told, self.stop = file, tell, stop

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:  # without a buffer, a disk that is nearly full takes a part of it
            view = view[self.file.write(view) :]
        self.told(self.file.tell())
        if self.stop():
            raise Stopped
        return len(data)

    def seek(self, place: int) -> int:
        return self.file.seek(place)

    def tell(self) -> int:
        return self.file.tell()

    def truncate(self) -> int:
        return self.file.truncate()


def fetch(listing: Listing, file: RemoteFile, target: Path, tell: Tell, stop: Stop) -> str:
    """Bring ``file`` to ``target``, which gets its name when it is whole and checked. Returns its SHA-256.

    It is not downloaded where the hub's cache on this computer has it. A wrong sum of what was gone on with may come
    from the piece before: then it is fetched once from the start.

    Args:
        tell: gets the bytes that are there. stop: asked after each piece that came.

    Raises:
        JobError: what the hub or the disk says, in words; ``model_changed`` for another sum than announced.
        Stopped: the piece that came is kept.
    """
    disable_progress_bars()
    set_verbosity_error()
    partial = target.with_name(target.name + PARTIAL)
    with in_words(listing.source, file.path):
        target.parent.mkdir(parents=True, exist_ok=True)
        resumed = _size(partial) > 0
        reused = not resumed and _from_cache(listing, file, partial)
        if not reused:
            _download(listing, file, partial, tell, stop)
        try:
            found = check(file, partial, stop)
        except JobError as error:
            if error.code != "model_changed":
                raise
            partial.unlink()
            if not (resumed or reused):
                raise
            _download(listing, file, partial, tell, stop)
            try:
                found = check(file, partial, stop)
            except JobError:
                partial.unlink(missing_ok=True)
                raise
        os.replace(partial, target)
    tell(file.size)
    return found


def check(file: RemoteFile, path: Path, stop: Stop) -> str:
    """SHA-256 of what came. Raises ``JobError('model_changed')`` when it is not what the hub announced."""
    try:
        found = file_sum(path, stop=stop)
    except JobError as error:
        if error.code == "cancelled":
            raise Stopped from None
        raise
    wrong = found != file.sha256 if file.sha256 else bool(file.git_sum) and git_sum(path) != file.git_sum
    if wrong or _size(path) != file.size:
        raise JobError("model_changed", f"{file.path} came with another sum than announced, and was deleted")
    return found


def git_sum(path: Path) -> str:
    """Git's own name for a file's contents, a SHA-1 over its length and its bytes; such files are small."""
    digest = hashlib.sha1(f"blob {_size(path)}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _from_cache(listing: Listing, file: RemoteFile, partial: Path) -> bool:
    """Take the file out of the hub's cache; the same bytes on the disk, where the system lets two names share them."""
    blobs = hub_cache() / ("models--" + listing.source.replace("/", "--")) / "blobs"
    name = file.sha256 or file.git_sum
    blob = blobs / name
    if not name or not os.path.isfile(blob) or _size(blob) != file.size:
        return False
    with suppress(OSError):
        partial.unlink(missing_ok=True)
        os.link(os.path.realpath(blob), partial)
        return True
    shutil.copyfile(blob, partial)
    return True


def _download(listing: Listing, file: RemoteFile, partial: Path, tell: Tell, stop: Stop) -> None:
    """Go on with what is there until all of it is, over as many connections as it takes while they bring something."""
    vars(constants)["DOWNLOAD_CHUNK_SIZE"] = CHUNK  # the client has no argument for it
    url = hf_hub_url(listing.source, file.path, revision=listing.commit)
    if _size(partial) > file.size:
        partial.unlink()
    failed = 0
    while True:
        had = _size(partial)
        with open(partial, "ab", buffering=0) as out:
            try:
                if had < file.size:
                    headers = build_hf_headers()
                    watched = cast(BinaryIO, Watched(out, tell, stop))
                    http_get(url, watched, resume_size=had, headers=headers, expected_size=file.size)
                return
            except httpx2.TransportError:
                failed = failed + 1 if out.tell() <= had else 0
                if failed >= TRIES or stop():
                    raise
        _wait(BETWEEN, stop)


def _wait(seconds: float, stop: Stop) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stop():
            raise Stopped
        time.sleep(0.05)
