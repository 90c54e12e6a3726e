"""Quiet start of Warp, and where it keeps compiled kernels."""

from __future__ import annotations

import os
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
    """Start Warp once, without a word; honors the environment variable ``CSD_KERNEL_CACHE``."""
    wp.config.log_level = wp.LOG_ERROR
    folder = os.environ.get(CACHE_VARIABLE)
    if folder and wp.config.kernel_cache_dir is None:
        set_kernel_cache(folder)
    with _native_silence():
        wp.init()


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
