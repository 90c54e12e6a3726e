"""A model from the hub to its folder: asked for, planned, downloaded file by file, checked, recorded."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...job.errors import JobError, writing_failed
from ...job.folder import write_atomic
from ...job.models.catalogue import CATALOGUE, ModelEntry
from ...job.models.licences import check_cleared
from ...job.models.places import find_copy
from ...job.models.store import (
    PARTIAL,
    PLAN,
    RECORD,
    SUMS,
    Record,
    StoredFile,
    check_ours,
    downloaded,
    free_bytes,
    lock_file,
    own_folder,
    part_folder,
    read_record,
    read_table,
    remove,
    whole_copy,
)
from ...job.process.processes import HeldFile
from .answers import LOG_IN, ROOM
from .fetch import check, fetch
from .listing import Listing, RemoteFile, look_up, needed

SPARE = 50 * 2**20  # bytes that stay free
WINDOW = 10.0  # seconds over which the rate is taken
OFTEN = 0.25  # seconds between two words about progress
NEW_SUMS = "If the publisher has announced a new version, get it with “csd models get {name} --new-version”."


@dataclass(frozen=True)
class Progress:
    """How far it is: bytes ``done`` of ``total``, at ``rate`` bytes a second; ``seconds_left`` None while unknown.

    ``free``: bytes on the disk. ``text``: what is done now, for people.
    """

    text: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    seconds_left: float | None = None
    free: int = 0


@dataclass
class Pace:
    """Bytes over the last seconds, from which rate and time left follow."""

    clock: Callable[[], float] = time.monotonic
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def at(self, done: int) -> float:
        """Bytes a second, 0 while it cannot be told."""
        now = self.clock()
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        then, before = self._seen[0]
        return max(0, done - before) / (now - then) if now - then > 0.5 else 0.0


def get_model(
    entry: ModelEntry,
    root: Path,
    report: Callable[[Progress], object] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
    allow_noncommercial: bool = False,
    new_version: bool = False,
) -> Path:
    """The folder of a model that is whole; downloads it, or what is still missing of it, where it is not here yet.

    Args:
        root: folder of models. report: called a few times a second. stop: asked as often.
        new_version: files may differ from those that came first.

    Raises:
        JobError: what is wrong, in words: ``licence_not_accepted``, ``model_gated``, ``model_gone``, ``no_space``,
            ``download_failed``, ``model_changed`` and others. What came so far is kept.
        Stopped: somebody wanted that; what came so far is kept.
    """
    check_cleared(entry.id, allow_noncommercial)
    if entry.family and not entry.can_be_used:
        others = ", ".join(other.id for other in CATALOGUE if other.can_be_used and other.sources)
        raise JobError(
            "model_unreadable", f"jobs of this version cannot use {entry.label} yet", f"Choose one of {others}."
        )
    if not entry.sources:
        raise JobError("model_unreadable", f"{entry.label} came with the program", "It needs no download.")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise writing_failed(error, root) from error
    with HeldFile(lock_file(entry.id, root), f"another download of {entry.label} is running"):
        try:
            return whole_copy(entry.id, root) or find_copy(entry, root)
        except JobError as error:
            if error.code not in ("model_missing", "model_unreadable"):
                raise
        mend(entry, root)
        return _Download(entry, root, report, stop, new_version).run()


def mend(entry: ModelEntry, root: Path) -> None:
    """Let a download go on from a copy of which some is gone. Raises ``JobError('no_permission')``, also where
    something of the user's own lies in the model's place: nothing is written there then."""
    folder, part = own_folder(entry.id, root), part_folder(entry.id, root)
    for place in (folder, part):
        check_ours(place)
    if not folder.is_dir() or part.exists():
        return
    try:
        os.replace(folder, part)  # with its record, which says what came until another one takes its place
    except OSError as error:
        raise writing_failed(error, folder) from error


class _Download:
    """One download: its steps, with progress between and during them."""

    def __init__(
        self,
        entry: ModelEntry,
        root: Path,
        report: Callable[[Progress], object],
        stop: Callable[[], bool],
        new_version: bool,
    ) -> None:
        self.entry, self.root, self.report, self.stop, self.new_version = entry, root, report, stop, new_version
        self.part = part_folder(entry.id, root)
        self.pace, self.said_at, self.total = Pace(), 0.0, 0

    def run(self) -> Path:
        self.report(Progress("Asking the Hugging Face hub", free=free_bytes(self.root)))
        listing = self.find_listing()
        files = needed(self.entry, listing)
        self.check_sums(listing, {file.path: file.sha256 for file in files if file.sha256})
        plan = self.record(listing, files, {})
        self.total = plan.size
        done = downloaded(self.part, plan)
        self.check_space(plan, done)
        self.drop_others(plan)
        self.write(self.part / PLAN, plan.to_json())
        found = self.fetch_all(listing, files)
        self.check_sums(listing, found)
        return self.keep(listing, self.record(listing, files, found), found)

    def find_listing(self) -> Listing:
        """The state of the repository that was begun with, else the newest of the first one that is there."""
        plan = read_record(self.part, PLAN)
        if plan is not None:
            try:
                return look_up(plan.source, plan.commit)
            except JobError as error:
                if error.code != "model_gone":
                    raise
        problem = None
        for source in self.entry.sources:
            try:
                return look_up(source)
            except JobError as error:
                if error.code != "model_gone":
                    raise
                problem = problem or error
        if self.entry.gated:  # to those who have not agreed, the hub may also say that there is no such thing
            page = f"https://huggingface.co/{self.entry.sources[0]}"
            raise JobError("model_gated", self.entry.label, LOG_IN.format(page=page))
        assert problem is not None
        raise problem

    def record(self, listing: Listing, files: list[RemoteFile], sums: dict[str, str]) -> Record:
        licence = self.entry.licence if self.entry.family else listing.licence or "unknown"
        stored = tuple(StoredFile(file.path, file.size, sums.get(file.path, file.sha256)) for file in files)
        return Record(self.entry.id, listing.source, listing.commit, licence, stored)

    def check_sums(self, listing: Listing, sums: dict[str, str]) -> None:
        """Raise ``JobError('model_changed')`` for a file that is another one than published, or than came first."""
        first = {} if self.new_version else read_table(self.root / SUMS).get(listing.source, {})
        for path, found in sums.items():
            for known, where in ((self.entry.sums.get(path), "was looked up"), (first.get(path), "came first")):
                if known and known != found and not self.new_version:
                    detail = f"{path} of {listing.source} is another file than the one that {where}"
                    raise JobError("model_changed", detail, NEW_SUMS.format(name=self.entry.id))

    def check_space(self, plan: Record, done: int) -> None:
        """Raise ``JobError('no_space')`` before anything is written."""
        need, free = plan.size - done + SPARE, free_bytes(self.root)
        if need > free:
            detail = f"{need / 1e9:.1f} GB are needed in {self.root}, {free / 1e9:.1f} GB are free"
            raise JobError("no_space", detail, ROOM)

    def drop_others(self, plan: Record) -> None:
        """Delete what came of another state of the repository and is no part of this one: jobs would read it."""
        wanted = {file.path for file in plan.files}
        for before in (read_record(self.part, name) for name in (PLAN, RECORD)):
            for path in (file.path for file in (before.files if before else ()) if file.path not in wanted):
                for there in (self.part / path, self.part / (path + PARTIAL)):
                    try:
                        there.unlink(missing_ok=True)
                    except OSError as error:
                        raise writing_failed(error, there) from error

    def fetch_all(self, listing: Listing, files: list[RemoteFile]) -> dict[str, str]:
        """All files, the small ones first. Returns their sums."""
        found, before = {}, 0
        for file in files:
            target = self.part / file.path
            name = file.path if file.size > 10**6 else "settings"

            def tell(size: int, start: int = before, name: str = name) -> None:
                self.tell(f"Downloading {name}", start + size)

            if not target.is_file() or target.stat().st_size != file.size:
                found[file.path] = fetch(listing, file, target, tell, self.stop)
            else:
                self.tell(f"Checking {name}", before)
                found[file.path] = self.checked(listing, file, target, tell)
            before += file.size
        return found

    def checked(self, listing: Listing, file: RemoteFile, target: Path, tell: Callable[[int], None]) -> str:
        """The sum of a file that an earlier try brought; it is fetched again when it is damaged."""
        try:
            return check(file, target, self.stop)
        except JobError:
            target.unlink()
            return fetch(listing, file, target, tell, self.stop)

    def tell(self, text: str, done: int) -> None:
        now = time.monotonic()
        if now - self.said_at < OFTEN and done < self.total:
            return
        self.said_at = now
        rate = self.pace.at(done)
        left = (self.total - done) / rate if rate > 0 else None
        self.report(Progress(text, done, self.total, rate, left, free_bytes(self.root)))

    def keep(self, listing: Listing, record: Record, found: dict[str, str]) -> Path:
        """Note what came, and give the folder its name."""
        sums = read_table(self.root / SUMS)
        self.write(self.root / SUMS, {**sums, listing.source: {**sums.get(listing.source, {}), **found}})
        self.write(self.part / RECORD, record.to_json())
        (self.part / PLAN).unlink(missing_ok=True)
        folder = own_folder(self.entry.id, self.root)
        remove(folder)
        try:
            os.replace(self.part, folder)
        except OSError as error:
            raise writing_failed(error, folder) from error
        return folder

    def write(self, path: Path, data: dict) -> None:
        write_atomic(path, json.dumps(data, indent=1).encode())
