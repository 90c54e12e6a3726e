"""The base color of an OBJ file's materials, out of its .mtl files: ``Kd``, or ``map_Kd`` in its place."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from ....job.errors import JobError
from .colors import PUT_BESIDE, Material, material_of_file
from .common import BadFile, beside, quote, text_lines

#: How many words follow an option of a texture; of those that are not here, one.
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
OPTIONS = {"-mm": 2, "-o": 3, "-s": 3, "-t": 3}


def obj_materials(path: Path, names: tuple[str, ...], libraries: tuple[str, ...]) -> dict[int, Material]:
    """Materials by their number, an index into ``names``.

    Raises:
        BadFile: a library cannot be read. JobError: ``picture_unreadable`` when one is not there, and a material is in
            none of the others.
    """
    known: dict[str, Material] = {}
    gone = ""
    for library in libraries:
        file = beside(path.parent, library)
        several = [(name, beside(path.parent, name)) for name in library.split()] if file is None else []
        for name, place in several or [(library, file)]:
            if place is not None:
                _read_library(place, known)
            else:
                gone = gone or name
    if gone and any(name and name not in known for name in names):
        raise JobError("picture_unreadable", f"its material file “{quote(gone)}” is not there", PUT_BESIDE)
    return {i: known[name] for i, name in enumerate(names) if name in known}


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
    """The picture behind the options of a ``map_Kd``. Blender's reader and writer, too, take it in place of Kd, and
    its UVs as ``-s`` times them plus ``-o``."""
    at, told = 0, {}
    while at < len(words) - 1 and words[at] in ("-blendu", "-blendv", "-boost", "-cc", "-clamp", "-imfchan", "-texres",
                                               "-type", *OPTIONS):  # fmt: skip
        taken = _taken(words[at + 1 :], OPTIONS.get(words[at], 1))
        told[words[at]] = words[at + 1 : at + 1 + taken]
        at += 1 + taken
    written = " ".join(words[at:])
    held = told.get("-clamp") == ["on"]
    return material_of_file(
        path.parent,
        written,
        scale=_pair(told.get("-s", ()), 1.0),
        offset=_pair(told.get("-o", ()), 0.0),
        repeats=(not held, not held),
    )


def _pair(words: Sequence[str], usual: float) -> tuple[float, float]:
    """The first two numbers of an option. Raises ``ValueError`` for what is none, or not finite."""
    u, v = ([float(word) for word in words] + [usual] * 2)[:2]
    if not (math.isfinite(u) and math.isfinite(v)):
        raise ValueError
    return u, v


def _taken(words: list[str], most: int) -> int:
    """How many words an option takes: one at least, and further ones that are numbers."""
    count = 1
    while count < min(most, len(words) - 1) and NUMBER.fullmatch(words[count]):
        count += 1
    return count
