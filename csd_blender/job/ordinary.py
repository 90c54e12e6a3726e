"""Files that are what they seem: ordinary ones, and no link, pipe or device that somebody put in their place.

A job's folder is made to be copied from one computer to another, so it may come from anybody. What is read has a limit
and makes nobody wait; what is changed or deleted lies in the folder itself, never where a link in it leads.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

NOTHING, FILE, FOLDER, LINK, OTHER = "nothing", "file", "folder", "link", "other"
#: What Windows marks a folder with that leads elsewhere; ``stat`` has the name on Windows alone.
_JUNCTION = 0xA0000003
#: Windows lacks some: no file of its can be a pipe, and links are looked for before a file is opened.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY"))


class NotOrdinary(OSError):
    """There is a link, a folder, a pipe or a device in the place of a file, or a link in that of a folder."""


def what_is(path: str | Path) -> str:
    """One of the words above for what lies at ``path`` itself; where a link leads is not looked at.

    Raises ``OSError`` where that cannot be told, ``ValueError`` for names that no file can have.
    """
    try:
        about = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    if stat.S_ISLNK(about.st_mode) or getattr(about, "st_reparse_tag", 0) == _JUNCTION:
        return LINK
    if stat.S_ISDIR(about.st_mode):
        return FOLDER
    return FILE if stat.S_ISREG(about.st_mode) else OTHER


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is a link, missing, or may not be looked into."""
    try:
        return list(folder.iterdir()) if what_is(folder) == FOLDER else []
    except (OSError, ValueError):
        return []


def read_ordinary(path: str | Path, limit: int, first: int | None = None) -> bytes:
    """The bytes of an ordinary file of at most ``limit`` bytes, or the ``first`` of them; never waits for a pipe or a
    device.

    A link to such a file is followed: what is read may lie elsewhere, such as a model in another program's store.
    Raises ``OSError`` for anything else, ``ValueError`` for names that no file can have.
    """
    # A pipe without a writer would block in open() without the flags.
    handle = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise NotOrdinary(f"{path} is no ordinary file")
        if about.st_size > limit:
            raise OSError(f"{path} has {about.st_size} bytes, {limit} at most are read")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(about.st_size if first is None else min(first, about.st_size))
    finally:
        os.close(handle)


def open_ordinary(path: str | Path, flags: int) -> BinaryIO:
    """An ordinary file to write to, made where it is missing; never one that a link leads to.

    Args:
        flags: ``os.O_WRONLY | os.O_APPEND``, ``os.O_RDWR``.

    Raises:
        NotOrdinary: for anything else that lies there. OSError: where the system refuses.
    """
    refusal = NotOrdinary(f"{path} is a link or no ordinary file")
    if what_is(path) not in (FILE, NOTHING):
        raise refusal
    try:
        handle = os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | _FLAGS, 0o666)
    except OSError as error:
        # A link, or a pipe that nobody reads, which was put there in this moment.
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise refusal from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refusal
    return os.fdopen(handle, "ab" if flags & os.O_APPEND else "r+b")
