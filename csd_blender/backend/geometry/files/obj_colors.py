"""The base color of an OBJ file's materials, out of its .mtl files: ``Kd``, or ``map_Kd`` in its place."""

from __future__ import annotations

from pathlib import Path

from ....job.errors import JobError
from ....job.folder import read_ordinary
from .colors import MAX_PICTURE_FILE, Material
from .common import BadFile, quote, text_lines

#: How many words follow an option of a texture; of those that are not here, one.
OPTIONS = {"-mm": 2, "-o": 3, "-s": 3, "-t": 3}


def obj_materials(path: Path, names: tuple[str, ...], libraries: tuple[str, ...]) -> dict[int, Material]:
    """Materials by their number, an index into ``names``. Libraries that are not there say nothing.

    Raises:
        BadFile: a library cannot be read.
    """
    known: dict[str, Material] = {}
    for library in libraries:
        file = _beside(path.parent, library)
        if file is not None:
            _read_library(file, known)
    return {i: known[name] for i, name in enumerate(names) if name in known}


def _beside(folder: Path, written: str) -> Path | None:
    """The file that a name means: as it is written, or, where that leads nowhere, the one of that name right here."""
    plain = written.replace("\\", "/")
    for name in (plain, plain.rsplit("/", 1)[-1]):
        try:
            if name and (folder / name).is_file():
                return folder / name
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


def _read_library(path: Path, known: dict[str, Material]) -> None:
    name, plain = "", None
    try:
        for line in text_lines(path):
            words = line[:4096].split("#")[0].split() if "map_" not in line[:100] else line[:4096].split()
            if len(words) < 2:
                continue
            if words[0] == "newmtl":
                name, plain = " ".join(words[1:])[:200], None
                known[name] = Material()
            elif words[0] == "Kd" and name and words[1] not in ("xyz", "spectral"):
                values = [min(1.0, max(0.0, float(word))) for word in words[1:4]]
                plain = tuple(values * 3)[:3] if len(values) == 1 else tuple(values)
                if len(plain) == 3 and known[name].read is None:
                    known[name] = Material(plain)
            elif words[0].lower() == "map_kd" and name:
                known[name] = _mapped(path, words[1:])
    except ValueError as error:
        reason = str(error) if isinstance(error, BadFile) else "it has a color that is no numbers"
        raise BadFile(f"its material file “{quote(path.name)}”: {reason}") from None


def _mapped(path: Path, words: list[str]) -> Material:
    """The picture behind the options of a ``map_Kd``. Blender's reader and writer, too, take it in place of Kd."""
    at = 0
    while at < len(words) - 1 and words[at] in ("-blendu", "-blendv", "-boost", "-cc", "-clamp", "-imfchan", "-texres",
                                               "-type", *OPTIONS):  # fmt: skip
        at += 1 + _taken(words[at + 1 :], OPTIONS.get(words[at], 1))
    written = " ".join(words[at:])

    def read() -> bytes:
        file = _beside(path.parent, written)
        if file is None:
            raise JobError("picture_unreadable", f"“{quote(written)}” is not there")
        return read_ordinary(file, MAX_PICTURE_FILE)

    return Material(None, written, read)


def _taken(words: list[str], most: int) -> int:
    """How many words an option takes: one at least, and further ones that are numbers."""
    count = 1
    while count < min(most, len(words) - 1) and words[count].lstrip("-+").replace(".", "", 1).isdigit():
        count += 1
    return count
