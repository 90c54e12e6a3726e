"""Which .blend is open: by its path, and for one that was never saved, by when it was opened."""

from __future__ import annotations

import os
import uuid

_opening = uuid.uuid4().hex


def opening() -> str:
    """A word for the file as it is open now; it changes with every file that is loaded, and from session to session."""
    return _opening


def another_is_open() -> None:
    """A file was loaded."""
    global _opening
    _opening = uuid.uuid4().hex


def is_same(one: str, other: str) -> bool:
    """Whether two paths name one saved .blend."""
    if not one or not other:
        return False
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return os.path.normcase(os.path.abspath(one)) == os.path.normcase(os.path.abspath(other))
