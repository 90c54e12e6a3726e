"""Rows of long tables: each is in a file as soon as it is made, and a repeated run makes those that are missing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from ..judged.quality_textures import start_process

Row = Mapping[str, Any]


class Task(Protocol):
    """What makes one row; it travels to another process.

    Attributes:
        key: names the row, once in a file.
        fingerprint: of all that the row depends on: one made with another fingerprint is made again.
    """

    @property
    def key(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class RowFile:
    """A file with one JSON object a line. A later row of the same key stands for the earlier one."""

    path: Path

    def read(self) -> dict[str, Row]:
        """Rows by key. A line that is no row, such as the last one of a run that was cut off, is passed over."""
        try:
            lines = self.path.read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        rows = {}
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("key"), str):
                rows[row["key"]] = row
        return rows

    def append(self, task: Task, row: Row) -> None:
        """Add a row under the task's name; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": task.key, "fingerprint": task.fingerprint, **row}) + "\n"
        with self.path.open("a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a run was cut off within its last line
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def of(self, tasks: Iterable[Task]) -> dict[str, Row]:
        """Those rows of the tasks that are there and fit, by key, in the order of the tasks."""
        rows = self.read()
        fitting = {t.key: rows[t.key] for t in tasks if rows.get(t.key, {}).get("fingerprint") == t.fingerprint}
        return fitting


def make_rows(
    tasks: Sequence[Any],
    make: Callable[[Any], Row],
    file: RowFile,
    processes: int = 1,
    said: Callable[[Row], str] = str,
    show: bool = False,
) -> int:
    """Make the rows that ``file`` does not have, each written down as it comes. Returns how many could not be made.

    One that fails is told in a line and tried again by the next run; the others go on. What is there already is
    counted first, and so is what does not fit any more.

    Args:
        make: a function of a module; with several processes it runs in them.
        said: a line about a new row. show: make none, and only count.
    """
    there = file.of(tasks)
    left = [task for task in tasks if task.key not in there]
    if there or show:
        print(f"{len(there) or 'None'} of {len(tasks)} rows {_be(len(there))} there: {file.path}", flush=True)
    known = file.read()
    unlike = sum(task.key in known for task in left)
    if unlike:
        what = "left out" if show else "made again"
        print(f"{unlike} more {_be(unlike)} of other settings than now, and {what}", flush=True)
    if show:
        return 0
    failed, started = 0, time.monotonic()
    for count, (task, row, error) in enumerate(_made(left, make, processes), 1):
        if row is None:
            failed += 1
            text = f"failed: {error}"
        else:
            file.append(task, row)
            text = said(row)
        spent = (time.monotonic() - started) / 60
        print(f"{count}/{len(left)}  {spent:5.1f} min  {task.key:36} {text}", flush=True)
    return failed


def _be(count: int) -> str:
    return "is" if count < 2 else "are"


def _made(
    tasks: Sequence[Any], make: Callable[[Any], Row], processes: int
) -> Iterator[tuple[Any, Row | None, Exception | None]]:
    """Each task with its row, or with what went wrong, in the order in which they are done."""
    if processes == 1:
        for task in tasks:
            try:
                yield task, make(task), None
            except Exception as error:
                yield task, None, error
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), start_process, (True,)) as pool:
        waiting = {pool.submit(make, task): task for task in tasks}
        try:
            for done in as_completed(waiting):
                error = done.exception()
                if error is None:
                    yield waiting[done], done.result(), None
                elif isinstance(error, Exception):
                    yield waiting[done], None, error
                else:  # Ctrl+C reaches the processes, too
                    raise error
        finally:
            pool.shutdown(cancel_futures=True)
