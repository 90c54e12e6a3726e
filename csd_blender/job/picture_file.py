"""The picture that an object is made after, as a file: whether it is one at all, before any library opens it."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from .errors import JobError, quoted
from .folder import read_ordinary
from .presets.picture_recipe import ALONE, REFINED

LARGEST = 2**26  # bytes
LONGEST_NAME = 100


def after_picture(values: dict[str, Any], picture: object) -> dict[str, Any]:
    """Settings of an object, by name, that is made after a picture: the recipe, where none is chosen, and where no
    model reads a prompt, the file's name in the place of an empty one. Where a shape is given there is nothing to make
    after it. ``picture``: its path; empty for none."""
    if values.get("refine_from") or values.get("start_from_mesh"):
        return values
    if not picture or not isinstance(picture, (str, PurePath)):
        return values
    own = {"recipe": REFINED if values.get("coarse_model") else ALONE} | values
    if own["recipe"] == ALONE and not own.get("prompt"):
        own["prompt"] = readable_name(PurePath(picture).stem)
    return own


def readable_name(stem: str) -> str:
    """A file's name without its ending as words; “picture” where that is nothing to read."""
    letters = "".join(letter if letter.isprintable() else " " for letter in stem.replace("_", " "))
    return " ".join(letters.split())[:LONGEST_NAME].strip() or "picture"


def picture_of(job: Any, picture: str | Path, fix: str) -> bytes | None:
    """The bytes of the file that a job of any kind needs; None where it needs none.

    Args:
        picture: its path; empty where none was chosen. fix: how to choose one.

    Raises:
        JobError: ``bad_picture`` when there is none, or it cannot be read or is no PNG, JPEG or WebP.
    """
    if not getattr(job, "needs_picture", False):
        return None
    if not picture:
        raise JobError("bad_picture", "Zero-1-to-3 begins with a picture, and there is none", fix)
    try:
        data = read_ordinary(picture, LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{picture} ")
        raise JobError("bad_picture", f"{quoted(str(picture))} cannot be read: {reason}") from error
    if not is_picture(data):
        raise JobError("bad_picture", f"{quoted(str(picture))} is no PNG, JPEG or WebP file")
    return data


def is_picture(data: bytes) -> bool:
    """Whether a file begins as one of the three sorts does."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return webp or data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))
