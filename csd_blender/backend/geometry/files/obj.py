"""Wavefront OBJ: polygons with a UV at each corner, objects and names of materials. Curves are passed over."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .common import MAX_LINE, BadFile, FileMesh, check_size, quote, text_lines
from .polygons import triangulate

MAX_LIBRARIES = 100  # names of material files that are kept
NUMBERS = ("v", "vt", "f", "fo")  # words that numbers follow; "fo" is the old one for a face


def read_obj(path: Path) -> FileMesh:
    """Read a file as the format's description (Wavefront, 1995) and Blender's own reader understand it.

    Any white space separates, ``#`` begins a comment, a backslash at the end of a vertex, UV or face goes on with the
    next line; a negative index counts back from the line it stands in. A face whose corners have not all a UV counts as
    one without.

    Raises:
        BadFile: naming the line. JobError: ``mesh_too_large``.
    """
    lines = _Lines()
    for number, line in enumerate(_joined(text_lines(path)), 1):
        if len(line) > MAX_LINE:
            if _key(line) in NUMBERS:
                raise BadFile(f"line {number} has {len(line)} characters")
            continue
        words = line.split()
        if words:
            try:
                _take(lines, line, words, number)
            except (ValueError, IndexError, OverflowError) as error:
                reason = str(error) if isinstance(error, BadFile) else f"'{quote(line.strip())}' cannot be understood"
                raise BadFile(f"line {number}: {reason}") from None
    if not lines.points:
        raise BadFile("there is no line of a vertex, so it is no OBJ file")
    return _assemble(lines)


@dataclass
class _Lines:
    """What the lines said so far; indices from 0, -1 for a UV that is not there."""

    points: array = field(default_factory=lambda: array("d"))  # three numbers each
    uvs: array = field(default_factory=lambda: array("d"))  # two numbers each
    colors: array = field(default_factory=lambda: array("d"))  # three numbers each, of vertices that have them
    corners: array = field(default_factory=lambda: array("q"))
    corner_uvs: array = field(default_factory=lambda: array("q"))
    sizes: array = field(default_factory=lambda: array("q"))
    face_lines: array = field(default_factory=lambda: array("q"))
    objects: array = field(default_factory=lambda: array("q"))
    materials: array = field(default_factory=lambda: array("q"))
    names: list[str] = field(default_factory=lambda: [""])
    material_numbers: dict[str, int] = field(default_factory=dict)
    libraries: list[str] = field(default_factory=list)
    material: int = -1  # before the first of them is named
    triangles: int = 0


def _joined(lines: Iterator[str]) -> Iterator[str]:
    """Lines with their continuations; an empty one in place of each that was joined, so that numbers stay right.

    Comments and names may end with a backslash, as folders of Windows do, and must not swallow the line below them.
    """
    begun, joined = "", 0
    for line in lines:
        if line.rstrip().endswith("\\") and "#" not in line and (begun or _key(line) in NUMBERS):
            begun, joined = begun + line.rstrip()[:-1] + " ", joined + 1
            if len(begun) > MAX_LINE:
                raise BadFile(f"a line is continued over {len(begun)} characters")
            continue
        yield begun + line
        for _ in range(joined):
            yield ""
        begun, joined = "", 0
    if begun:
        yield begun


def _key(line: str) -> str:
    """A line's first word."""
    return (line[:100].split(None, 1) or [""])[0]


def _take(lines: _Lines, line: str, words: list[str], number: int) -> None:
    key = words[0]
    if key in NUMBERS:
        if "#" in line:
            line = line[: line.index("#")]
            words = line.split()
        if "_" in line or not line.isascii():  # Python's own numbers would allow both
            raise ValueError
    if key == "v":
        x, y, z = words[1:4]
        lines.points.extend((float(x), float(y), float(z)))
        if len(words) == 7:  # as many programs write colors, in no standard
            with suppress(ValueError):
                lines.colors.extend([float(word) for word in words[4:]])
        check_size(0, len(lines.points) // 3)
    elif key == "vt":
        lines.uvs.extend((float(words[1]), float(words[2]) if len(words) > 2 else 0.0))
        check_size(0, len(lines.uvs) // 2)
    elif key in ("f", "fo"):
        _take_face(lines, words[1:], number)
    elif key == "o":
        lines.names.append(" ".join(words[1:])[:200])
    elif key == "mtllib":
        lines.libraries += [" ".join(words[1:])[:1000]][: MAX_LIBRARIES - len(lines.libraries)]
    elif key == "usemtl":
        lines.material = lines.material_numbers.setdefault(" ".join(words[1:])[:200], len(lines.material_numbers))


def _take_face(lines: _Lines, words: list[str], number: int) -> None:
    corners, uvs = [], []
    for word in words:
        vertex, _, rest = word.partition("/")
        index = int(vertex)
        corners.append(index - 1 if index > 0 else _index(index, len(lines.points) // 3, "vertex"))
        uv = rest.partition("/")[0]
        index = int(uv) if uv else 0
        uvs.append(index - 1 if index > 0 or not uv else _index(index, len(lines.uvs) // 2, "UV"))
    if len(corners) < 3:  # points and lines
        return
    lines.triangles += len(corners) - 2
    check_size(lines.triangles)
    lines.corners.extend(corners)
    lines.corner_uvs.extend(uvs if min(uvs) >= 0 else [-1] * len(uvs))
    lines.sizes.append(len(corners))
    lines.face_lines.append(number)
    lines.objects.append(len(lines.names) - 1)
    lines.materials.append(lines.material)


def _index(written: int, so_far: int, what: str) -> int:
    """From one that counts back."""
    if written == 0:
        raise BadFile(f"it uses {what} 0, but they are counted from 1")
    if written < -so_far:
        raise BadFile(f"it uses {what} {written}, but there are only {so_far} before it")
    return so_far + written


def _assemble(lines: _Lines) -> FileMesh:
    points = np.array(lines.points, np.float64).reshape(-1, 3)
    uvs = np.array(lines.uvs, np.float64).reshape(-1, 2)
    corners, corner_uvs = _indices(lines, lines.corners, len(points), "vertex"), None
    sizes = np.array(lines.sizes, np.int64)
    triangles, face = triangulate(points, corners, sizes)
    if max(lines.corner_uvs, default=-1) >= 0:
        corner_uvs = _indices(lines, lines.corner_uvs, len(uvs), "UV")
        uv = np.where(corner_uvs[triangles, None] >= 0, uvs[corner_uvs[triangles]], 0.0)
    objects = np.array(lines.objects, np.int64)[face]
    used, part = np.unique(objects, return_inverse=True)
    names = tuple(lines.names[i] for i in used)
    corner_color = None
    if len(lines.colors) == len(lines.points) and np.isfinite(lines.colors).all():
        colors = np.array(lines.colors).reshape(-1, 3)
        colors = np.clip(colors * (255 if colors.max() <= 1 else 1), 0, 255)
        corner_color = np.uint8(np.round(colors))[corners[triangles]]
    base = np.array(lines.materials, np.int64)[face] if lines.material_numbers else None
    return FileMesh(
        positions=points,
        triangles=corners[triangles],
        uv=None if corner_uvs is None else uv,
        part=part,
        part_names=names if names != ("",) else (),
        material=None if base is None else base - min(base.min(initial=0), 0),
        base=base,
        base_names=tuple(lines.material_numbers),
        libraries=tuple(lines.libraries),
        corner_color=corner_color,
    )


def _indices(lines: _Lines, written: array, count: int, what: str) -> np.ndarray:
    """As an array. Raises ``BadFile`` naming the line of the first that does not exist, in the whole file."""
    if max(written, default=-1) >= count:
        corner = next(i for i, index in enumerate(written) if index >= count)
        face = int(np.searchsorted(np.cumsum(lines.sizes), corner, side="right"))
        raise BadFile(f"line {lines.face_lines[face]}: it uses {what} {written[corner] + 1}, but there are {count}")
    return np.array(written, np.int64)
