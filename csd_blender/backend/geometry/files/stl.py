"""STL, binary or text: triangles and nothing else."""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from .common import BadFile, FileMesh, check_size, check_text_size

RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
FACET = re.compile(
    rb"\bfacet\s+normal\s+\S+\s+\S+\s+\S+\s+outer\s+loop\s+"
    rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)\s+"
    rb"end\s?loop\s+end\s?facet\b",
    re.I,
)
PADDING = b"\0\x1a \t\r\n"  # what stands behind the last word where files are filled up to whole blocks


def read_stl(path: Path) -> FileMesh:
    """Read a file; what it is, is told by its length and words, not by its first five letters.

    Bytes after the last triangle of a binary file are passed over, and the padding of a text. Equal corners become one
    vertex.

    Raises:
        BadFile: for files that end early or are no STL. JobError: ``mesh_too_large``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
    count = int.from_bytes(head[80:84], "little")
    exact = size >= 84 and size == 84 + RECORD.itemsize * count
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not exact and text[:5].lower() == b"solid" and b"\0" not in head.rstrip(PADDING):
        corners = _text_corners(path)
    elif not exact and b"\0" not in head:
        raise BadFile("it is no STL file: neither its words nor its length fit")
    else:
        corners = _binary_corners(path, size, count)
    check_size(len(corners))
    points = corners.reshape(-1, 3).astype(np.float64)
    first, triangles = _equal_rows(points)
    return FileMesh(positions=points[first], triangles=triangles.reshape(-1, 3))


def _equal_rows(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of each kind of row, and for each row which kind it is (three sorts of numbers, not one of rows)."""
    key = np.zeros(len(points), np.int64)
    for column in points.T:
        values, rank = np.unique(column, return_inverse=True)
        key = np.unique(key * len(values) + rank, return_inverse=True)[1]
    _, first, kind = np.unique(key, return_index=True, return_inverse=True)
    return first, kind


def _binary_corners(path: Path, size: int, count: int) -> np.ndarray:
    if size < 84:
        raise BadFile(f"it has {size} bytes, and an STL file begins with 84")
    there = (size - 84) // RECORD.itemsize
    if there < count:
        raise BadFile(f"the file ends early: {there} of {count} triangles are there")
    if count == 0 and there:
        raise BadFile(f"its head promises 0 triangles, but {size - 84} bytes follow")
    check_size(count)
    records = np.fromfile(path, RECORD, count, offset=84)
    return np.ascontiguousarray(records["corners"])


def _text_corners(path: Path) -> np.ndarray:
    check_text_size(path)
    data = path.read_bytes().rstrip(PADDING)
    facets = sum(1 for _ in re.finditer(rb"\bfacet\s+normal\b", data, re.I))
    check_size(facets)
    rows = array("d")
    for match in FACET.finditer(data):
        rows.extend(_numbers(match.groups()))
    whole = len(rows) // 9
    if not re.search(rb"\bend\s?solid\b", data[-4096:], re.I) or facets > whole + 1:
        raise BadFile(f"the file ends early or is damaged: {whole} of {facets} facets are whole")
    if facets != whole:
        raise BadFile(f"a facet is damaged: {whole} of {facets} have three corners")
    return np.array(rows, np.float64).reshape(-1, 3, 3)


def _numbers(words: tuple[bytes, ...]) -> list[float]:
    try:
        if b"_" in b"".join(words):  # Python's own numbers would allow it
            raise ValueError
        return [float(word) for word in words]
    except ValueError:
        raise BadFile("a corner has a coordinate that is no number") from None
