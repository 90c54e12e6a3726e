"""Quiet start of Warp, and where it keeps compiled kernels."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import warp as wp

CACHE_VARIABLE = "CSD_KERNEL_CACHE"


def set_kernel_cache(path: str | os.PathLike[str]) -> None:
    """Keep compiled kernels in this folder; it is made when missing. Must come before the first kernel is used."""
    Path(path).mkdir(parents=True, exist_ok=True)
    wp.config.kernel_cache_dir = str(path)


@cache
def start_warp() -> None:
    """Start Warp once, without a word; keeps compiled kernels in :func:`kernel_cache`."""
    wp.config.log_level = wp.LOG_ERROR
    if wp.config.kernel_cache_dir is None:
        set_kernel_cache(kernel_cache())
    with _native_silence():
        wp.init()


def kernel_cache() -> Path:
    """A folder of our own that can be written: the one in ``CSD_KERNEL_CACHE``, the user's, or a temporary one.

    Warp's own would be below the home folder, which on shared machines and in containers may be read-only or missing.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    place = Path(chosen) if chosen else user_cache() / "kernels"
    # (Who has no home would get one called “~” in the folder we stand in.)
    if (chosen or place.is_absolute()) and _can_be_written(place):
        return place
    shared = Path(tempfile.gettempdir()) / f"csd-kernels-{getattr(os, 'getuid', int)()}"
    return shared if _is_ours(shared) else Path(tempfile.mkdtemp(prefix="csd-kernels-"))


def user_cache() -> Path:
    """Where this system keeps what programs can make again."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "csd_blender" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "csd_blender"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(chosen) if os.path.isabs(chosen) else home / ".cache") / "csd_blender"


def _is_ours(place: Path) -> bool:
    """Make a folder that others cannot write to; false when somebody else has made one of this name.

    What lies in it is run as machine code.
    """
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        about = place.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(about.st_mode) or (hasattr(os, "getuid") and about.st_uid != os.getuid()):
        return False
    return _can_be_written(place) and (os.name == "nt" or not about.st_mode & 0o022)


def _can_be_written(place: Path) -> bool:
    """Whether files can be made in ``place``, by making one; the folder is made when missing."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


@contextmanager
def _native_silence() -> Iterator[None]:
    """Warp's native part warns about a missing GPU on the process's error stream, whatever its log level says."""
    try:
        kept = os.dup(2)
    except OSError:  # no error stream at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
