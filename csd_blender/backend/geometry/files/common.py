"""What the readers of mesh files share: their result, their limits and their way to refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....job.errors import JobError
from ..mesh import MAX_FACES

MAX_VERTICES = 8 * MAX_FACES  # even triangles that share nothing have but three each
MAX_TEXT = 256 << 20  # bytes; half a million triangles take about 60 MB as text
MAX_LINE = 4 << 20  # characters of a line that is looked into
UNKNOWN = "\ufffd"  # in the place of bytes that are no UTF-8
QUOTED = 40  # characters of a file that an error repeats


class BadFile(ValueError):
    """What is wrong with a file: a clause without the file's name and without a full stop."""


@dataclass
class FileMesh:
    """What a file holds, in its own axes and units.

    Attributes:
        positions: ``[V, 3]`` float64.
        triangles: ``[F, 3]`` int64, counter-clockwise seen from outside.
        uv: ``[F, 3, 2]``, v up; None when the file has no UVs. Zeros for faces without.
        part: ``[F]`` the object of each face, an index into ``part_names``; None for a single object.
        part_names: the objects' names as the file has them; empty for a single one without a name.
        material: ``[F]`` number of the face's material, or None.
        base: ``[F]`` number of the face's material in the file, -1 for none: what its base color is found by.
        base_names: of materials that are known by names, by these numbers. libraries: files that describe them.
        pictures: files of the formats that name nothing but these, by the numbers in ``base``.
        corner_color: ``[F, 3, 3]`` uint8 sRGB, of formats that keep such colors with the vertices; None for others.
        corner_light: ``[F, 3, 3]`` linear light, 0 to 1, of formats that keep that.
    """

    positions: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None = None
    part: np.ndarray | None = None
    part_names: tuple[str, ...] = ()
    material: np.ndarray | None = None
    base: np.ndarray | None = None
    base_names: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    corner_color: np.ndarray | None = None
    corner_light: np.ndarray | None = None


def check_size(faces: int, vertices: int = 0) -> None:
    """Refuse what is too large before memory is taken for it.

    Raises:
        JobError: ``mesh_too_large``.
    """
    if faces > MAX_FACES:
        raise JobError("mesh_too_large", f"{faces} triangles", faces=faces, limit=MAX_FACES)
    if vertices > MAX_VERTICES:
        raise JobError("mesh_too_large", f"{vertices} vertices", vertices=vertices, limit=MAX_VERTICES)


def quote(text: object) -> str:
    """A piece of a file or its name for an error: one short printable line."""
    line = "".join(c if c.isprintable() else "?" for c in str(text)[: QUOTED + 1])
    return line if len(line) <= QUOTED else line[: QUOTED - 1] + "…"


def unique_names(names: list[str]) -> tuple[str, ...]:
    """Names as Blender would give them to objects: short, printable, not empty, and each one only once."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    result = []
    for raw in names:
        base = "".join(c for c in raw[:200] if c.isprintable()).strip()[:60] or "object"
        name = base
        while name in taken:
            numbers[base] = numbers.get(base, 0) + 1
            name = f"{base[:55]}.{numbers[base]:03d}"
        taken.add(name)
        result.append(name)
    return tuple(result)


def check_text_size(path: Path) -> None:
    """Raises ``BadFile`` for a text file that could not hold half a million triangles and is much larger."""
    size = path.stat().st_size
    if size == 0:
        raise BadFile("the file is empty")
    if size > MAX_TEXT:
        raise BadFile(f"the file has {size >> 20} MB, and text files of at most {MAX_TEXT >> 20} MB are read")


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, whichever of LF, CR LF and CR ends them; UTF-8 or UTF-16 by its byte order mark."""
    check_text_size(path)
    with path.open("rb") as file:
        head = file.read(4096)
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not wide and b"\0" in head:
        raise BadFile("it holds binary data where text is expected")
    encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "replace")
    try:
        with path.open(encoding=encoding, errors=errors, newline=None) as file:
            yield from file
    except UnicodeError:
        raise BadFile("its text is not the UTF-16 that it begins as") from None


def beside(folder: Path, written: str) -> Path | None:
    """The file that a name in a mesh file means: as it is written, or, where that leads nowhere, the one of that name
    right here. On other systems capital and small letters were the same; and where a program wrote letters in an old
    code, any letters count in their place."""
    plain = written.strip('"').replace("\\", "/")
    for name in (plain, plain.rsplit("/", 1)[-1]):
        try:
            if name and (folder / name).is_file():
                return folder / name
            if name and "/" not in name:
                like = re.compile(re.sub(f"{UNKNOWN}+", ".+", re.escape(name)), re.IGNORECASE)
                found = [file for file in folder.iterdir() if like.fullmatch(file.name) and file.is_file()]
                if len(found) == 1:
                    return found[0]
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


SIGNS = (
    (re.compile(rb"glTF"), "a binary glTF file", (".glb", ".gltf")),
    (re.compile(rb"ply[\r\n]"), "a PLY file", (".ply",)),
    (re.compile(rb"Kaydara FBX"), "an FBX file", ()),
    (re.compile(rb"BLENDER"), "a .blend file", ()),
    (re.compile(rb"PK\x03\x04"), "a zip archive", ()),
    (re.compile(rb"\x1f\x8b|\x28\xb5\x2f\xfd"), "a compressed file", ()),
    (re.compile(rb"\x89PNG|\xff\xd8\xff"), "a picture", ()),
    (re.compile(rb"version https://git-lfs"), "only a pointer of Git LFS", ()),
    (re.compile(rb"\s*<(!doctype|html|head|body)\b", re.I), "a web page", ()),
    (re.compile(rb"\s*<\?xml", re.I), "an XML file", ()),
)


def check_kind(path: Path) -> None:
    """Raises ``BadFile`` for an empty file, and for one whose first bytes tell that it is something else."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise BadFile("the file is empty")
    head = head.removeprefix(b"\xef\xbb\xbf")
    for sign, what, suffixes in SIGNS:
        if sign.match(head) and path.suffix.lower() not in suffixes:
            advice = f"; its name must end with {suffixes[0]}" if suffixes else ""
            raise BadFile(f"it is {what}{advice}")
