"""PLY: polygons or triangle strips with UVs, as text or binary in either byte order."""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from .common import MAX_LINE, BadFile, FileMesh, check_size, check_text_size, quote
from .polygons import triangulate

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
INDICES = ("vertex_indices", "vertex_index")
FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")
MAX_HEADER = 1 << 20
WANTED = ("vertex", "face", "tristrips")


@dataclass
class Property:
    name: str
    kind: str  # of numpy, without byte order
    count_kind: str = ""  # of the length of a list; empty for a single number


@dataclass
class Element:
    name: str
    count: int
    properties: list[Property] = field(default_factory=list)


@dataclass
class Column:
    """The values of a property: ``values`` of all rows one after another, ``sizes[i]`` of them in row i.

    ``kind`` is the file's, of numpy without byte order; text is read as numbers of one kind.
    """

    values: np.ndarray
    sizes: np.ndarray
    kind: str = "f8"


def read_ply(path: Path) -> FileMesh:
    """Read a file (G. Turk's format 1.0). Elements other than vertices, faces and tristrips are passed over.

    UVs are those of the faces' corners (``texcoord``) or else of the vertices.

    Raises:
        BadFile: for files that end early or break the format. JobError: ``mesh_too_large``.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER)
    form, elements, begin, pictures = _header(head)
    for element in elements:
        if element.properties and element.count > path.stat().st_size:
            raise BadFile(f"the file ends early: its header promises {element.count} rows of '{quote(element.name)}'")
        if element.name in ("vertex", "face"):
            check_size(0, element.count)
    if form == "ascii":
        check_text_size(path)
        with path.open("rb") as file:
            file.seek(begin)
            rows = _text_rows(io.TextIOWrapper(file, "ascii", "replace", newline=None), elements)
    else:
        data = np.memmap(path, np.uint8, "r", offset=begin) if path.stat().st_size > begin else np.zeros(0, np.uint8)
        rows = _binary_rows(data, elements, "<" if form == "binary_little_endian" else ">")
    return replace(_assemble(rows), pictures=pictures)


def _header(head: bytes) -> tuple[str, list[Element], int, tuple[str, ...]]:
    """Format, elements, where the data begins, and the pictures that comments name, as MeshLab has it. The first line's
    ending is that of all header lines."""
    for ending in (b"\r\n", b"\n", b"\r"):
        if head.startswith(b"ply" + ending):
            break
    else:
        raise BadFile("it does not begin with a line 'ply'")
    end = head.find(ending + b"end_header" + ending)
    if end < 0:
        raise BadFile("its header has no end")
    form, elements, pictures = "", [], []
    for line in head[:end].split(ending)[1:]:
        words = line.decode("ascii", "replace").split()
        try:
            if words[:2] == ["comment", "TextureFile"]:
                pictures.append(line.decode("utf-8", "replace").split(None, 2)[2].strip())
            if not words or words[0] in ("comment", "obj_info"):
                continue
            if words[0] == "format":
                _, form, version = words
                if form not in FORMATS or version != "1.0":
                    raise ValueError
            elif words[0] == "element":
                _, name, count = words
                if not count.isdigit() or len(count) > 18:
                    raise ValueError
                elements.append(Element(name, int(count)))
            elif words[:2] == ["property", "list"] and len(words) == 5:
                if TYPES[words[2]][0] == "f":
                    raise ValueError
                elements[-1].properties.append(Property(words[4], TYPES[words[3]], TYPES[words[2]]))
            else:
                key, kind, name = words
                if key != "property":
                    raise ValueError
                elements[-1].properties.append(Property(name, TYPES[kind]))
        except (ValueError, KeyError, IndexError):
            raise BadFile(f"its header has a line '{quote(' '.join(words))}' that cannot be understood") from None
    if not form:
        raise BadFile("its header names no format")
    if len({e.name for e in elements}) < len(elements):
        raise BadFile("its header names an element twice")
    for element in elements:
        if element.name in WANTED and len({p.name for p in element.properties}) < len(element.properties):
            raise BadFile(f"its header names a property of '{element.name}' twice")
    return form, elements, end + len(ending + b"end_header" + ending), tuple(pictures)


def _text_rows(file: Iterable[str], elements: list[Element]) -> dict[str, dict[str, Column]]:
    """The wanted elements of a text file, row by row."""
    lines = (line for line in file if not line.isspace())
    result = {}
    for element in elements:
        if element.name not in WANTED:
            if not element.properties:
                continue
            if sum(1 for _ in islice(lines, element.count)) < element.count:
                raise BadFile(f"the file ends early, within its {element.count} rows of '{quote(element.name)}'")
            continue
        if not any(prop.count_kind for prop in element.properties):
            table = _text_table(lines, element)
            one = np.ones(element.count, np.int64)
            result[element.name] = {p.name: Column(table[:, i], one, p.kind) for i, p in enumerate(element.properties)}
            continue
        columns = [(array("d"), array("q")) for _ in element.properties]
        taken = 0
        for line in islice(lines, element.count):
            taken += 1
            if len(line) > MAX_LINE:
                raise BadFile(f"row {taken} of '{element.name}' has {len(line)} characters")
            words, at = line.split(), 0
            for prop, (values, sizes) in zip(element.properties, columns, strict=True):
                size = 1
                if prop.count_kind:
                    size = int(words[at]) if at < len(words) and words[at].isdigit() else -1
                    at += 1
                if size < 0 or at + size > len(words):
                    raise BadFile(f"row {taken} of '{element.name}' has too few values")
                values.extend(_numbers(words[at : at + size], element.name))
                sizes.append(size)
                at += size
            if at < len(words):
                raise BadFile(f"row {taken} of '{element.name}' has {len(words) - at} values too many")
        if taken < element.count:
            raise BadFile(f"the file ends early: {taken} of {element.count} rows of '{element.name}' are there")
        result[element.name] = {
            prop.name: Column(np.array(values, np.float64), np.array(sizes, np.int64), prop.kind)
            for prop, (values, sizes) in zip(element.properties, columns, strict=True)
        }
    return result


def _text_table(lines: Iterable[str], element: Element) -> np.ndarray:
    """Rows of single numbers."""
    values, width, taken = array("d"), len(element.properties), 0
    for line in islice(lines, element.count if width else 0):
        words, taken = line.split(None, width), taken + 1
        if len(words) != width:
            amount = "few" if len(words) < width else "many"
            raise BadFile(f"row {taken} of '{element.name}' has too {amount} values")
        values.extend(_numbers(words, element.name))
    if taken < element.count and width:
        raise BadFile(f"the file ends early: {taken} of {element.count} rows of '{element.name}' are there")
    return np.array(values, np.float64).reshape(-1, max(width, 1))


def _numbers(words: list[str], name: str) -> list[float]:
    try:
        if "_" in "".join(words):  # Python's own numbers would allow it
            raise ValueError
        return [float(word) for word in words]
    except ValueError:
        raise BadFile(f"'{name}' has values that are no numbers") from None


def _binary_rows(data: np.ndarray, elements: list[Element], order: str) -> dict[str, dict[str, Column]]:
    """The wanted elements of a binary file; ``data`` is what follows the header."""
    result, at = {}, 0
    last = max((i for i, e in enumerate(elements) if e.name in WANTED), default=-1)
    for element in elements[: last + 1]:
        properties = element.properties
        least = sum(int((p.count_kind or p.kind)[1]) for p in properties)
        if element.count * least > len(data) - at:
            raise BadFile(f"the file ends early, within its {element.count} rows of '{quote(element.name)}'")
        if not least:  # rows of nothing
            result[element.name] = {}
            continue
        if any(p.count_kind for p in properties):
            columns, at = _walk(data, at, element, order)
        else:
            kind = np.dtype([(str(i), order + p.kind) for i, p in enumerate(properties)])
            rows = np.frombuffer(data, kind, element.count, at) if element.count else np.zeros(0, kind)
            one = np.ones(element.count, np.int64)
            columns = [Column(rows[str(i)], one, p.kind) for i, p in enumerate(properties)]
            at += element.count * least
        if element.name in WANTED:
            result[element.name] = {p.name: c for p, c in zip(properties, columns, strict=True)}
    return result


def _walk(data: np.ndarray, at: int, element: Element, order: str) -> tuple[list[Column], int]:
    """Rows with lists, whose lengths must be read one after another; the values are then taken all at once."""
    view, end = memoryview(data), len(data)
    codes = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I"}
    plan = [(struct.Struct(order + codes[p.count_kind]) if p.count_kind else None, int(p.kind[1]))
            for p in element.properties]  # fmt: skip
    starts, sizes = [[] for _ in plan], [[] for _ in plan]
    steps = list(zip(plan, starts, sizes, strict=True))
    for row in range(element.count):
        for (counter, width), start, size in steps:
            number = 1
            if counter is not None:
                if at + counter.size > end:
                    raise BadFile(f"the file ends early: {row} of {element.count} rows of '{element.name}' are there")
                number = counter.unpack_from(view, at)[0]
                at += counter.size
                if number < 0:
                    raise BadFile(f"row {row + 1} of '{quote(element.name)}' has a list of {number} values")
            start.append(at)
            size.append(number)
            at += number * width
        if at > end:
            raise BadFile(f"the file ends early: {row} of {element.count} rows of '{quote(element.name)}' are there")
    columns = []
    for prop, start, size in zip(element.properties, starts, sizes, strict=True):
        if element.name in WANTED:
            columns.append(_gather(data, np.array(start, np.int64), np.array(size, np.int64), order + prop.kind))
        else:
            columns.append(Column(np.zeros(0), np.zeros(0, np.int64)))
    return columns, at


def _gather(data: np.ndarray, starts: np.ndarray, sizes: np.ndarray, kind: str) -> Column:
    """Lists of ``sizes`` values that begin at the bytes ``starts``."""
    width = int(kind[2])
    first = np.cumsum(sizes) - sizes
    place = np.repeat(starts, sizes) + (np.arange(int(sizes.sum())) - np.repeat(first, sizes)) * width
    values = data[place[:, None] + np.arange(width)]
    return Column(values.reshape(-1).view(kind), sizes)


def _assemble(rows: dict[str, dict[str, Column]]) -> FileMesh:
    vertex = rows.get("vertex", {})
    if any(name not in vertex for name in "xyz"):
        raise BadFile("it has no vertices with x, y and z")
    if any((column.sizes != 1).any() for column in (vertex[name] for name in "xyz")):
        raise BadFile("its vertices have lists for x, y or z")
    points = np.stack([np.asarray(vertex[name].values, np.float64) for name in "xyz"], axis=1)
    face = rows.get("face", {})
    indices = next((face[name] for name in INDICES if name in face), None)
    if indices is None and len(face):
        raise BadFile("its faces have no vertex_indices")
    corners, sizes = (np.zeros(0, np.int64),) * 2
    if indices is not None:
        corners, sizes = _vertex_numbers(indices.values, len(points)), indices.sizes
    triangles, polygon = triangulate(points, corners, sizes)
    uv = _corner_uv(face, corners, sizes, triangles, polygon) if "texcoord" in face else None
    triangles = corners[triangles]
    if "tristrips" in rows:
        triangles = np.concatenate([triangles, _strips(rows["tristrips"], len(points))])
        check_size(len(triangles))
        uv = None
    if uv is None:
        pair = next((pair for pair in UVS if all(name in vertex for name in pair)), None)
        if pair is not None and all((vertex[name].sizes == 1).all() for name in pair):
            uv = np.stack([np.asarray(vertex[name].values, np.float64) for name in pair], axis=1)[triangles]
    number = face.get("texnumber")
    base = None
    if number is not None and "tristrips" not in rows and (number.sizes == 1).all():
        base = np.asarray(number.values, np.float64)[polygon].astype(np.int64)
    return FileMesh(points, triangles, uv, base=base, corner_color=_corner_color(vertex, triangles))


def _corner_color(vertex: dict[str, Column], triangles: np.ndarray) -> np.ndarray | None:
    """``[F, 3, 3]`` bytes of the vertices' red, green and blue, which are bytes, or numbers from 0 to 1."""
    columns = next((names for names in COLORS if all(name in vertex for name in names)), None)
    if columns is None or any((vertex[name].sizes != 1).any() for name in columns):
        return None
    values = np.stack([np.asarray(vertex[name].values) for name in columns], axis=1)
    if not np.isfinite(values).all():
        return None
    kind = vertex[columns[0]].kind
    most = 1.0 if kind[0] == "f" else 65535.0 if kind == "u2" else 255.0
    return np.uint8(np.round(np.clip(values / most, 0, 1) * 255))[triangles]


def _vertex_numbers(values: np.ndarray, count: int) -> np.ndarray:
    numbers = np.asarray(values)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < count):  # (nan fits neither)
        wrong = numbers[~((numbers >= 0) & (numbers < count))][0]
        raise BadFile(f"a face uses vertex {wrong:.9g}, but there are {count}, counted from 0")
    whole = numbers.astype(np.int64)
    if (whole != numbers).any():
        raise BadFile(f"a face uses vertex {numbers[whole != numbers][0]:.9g}, which is no whole number")
    return whole


def _corner_uv(face, corners, sizes, triangles, polygon) -> np.ndarray | None:
    """``[F, 3, 2]`` of a list of two numbers a corner in each face; zeros for faces whose list is of another length."""
    texcoord = face["texcoord"]
    fits = texcoord.sizes == 2 * sizes
    if not fits.any():
        return None
    first_corner, first_value = np.cumsum(sizes) - sizes, np.cumsum(texcoord.sizes) - texcoord.sizes
    place = first_value[polygon, None] + 2 * (triangles - first_corner[polygon, None])
    place = np.where(fits[polygon, None], place, 0)
    values = np.asarray(texcoord.values, np.float64)
    uv = np.stack([values[place], values[place + 1]], axis=-1)
    return np.where(fits[polygon, None, None], uv, 0.0)


def _strips(rows: dict[str, Column], count: int) -> np.ndarray:
    """Triangles of strips: every second one is turned round, -1 begins a new strip, repeated vertices give none."""
    indices = next((rows[name] for name in INDICES if name in rows), None)
    if indices is None:
        raise BadFile("its tristrips have no vertex_indices")
    check_size(0, len(indices.values) // 8)
    values = np.asarray(indices.values, np.float64)
    numbers = _vertex_numbers(values[values != -1], count)
    every = np.full(len(values), -1, np.int64)
    every[values != -1] = numbers
    begins = np.zeros(len(values) + 1, np.int64)
    begins[np.cumsum(indices.sizes) - indices.sizes] = 1  # (an empty last list may begin behind the end)
    cut = every == -1
    strip = np.cumsum(begins[:-1]) + np.cumsum(cut)
    _, first = np.unique(strip[~cut], return_index=True)
    start = np.zeros(len(numbers), np.int64)
    start[first] = first
    place = np.arange(len(numbers)) - np.maximum.accumulate(start) if len(numbers) else start
    if len(numbers) < 3:
        return np.zeros((0, 3), np.int64)
    a, b, c = numbers[:-2], numbers[1:-1], numbers[2:]
    odd = (place[:-2] % 2).astype(bool)
    rows3 = np.stack([np.where(odd, b, a), np.where(odd, a, b), c], axis=1)
    same = strip[~cut]
    good = (same[:-2] == same[2:]) & (a != b) & (b != c) & (a != c)
    return rows3[good]
