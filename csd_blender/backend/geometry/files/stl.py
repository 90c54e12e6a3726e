"""STL, binary or text: triangles and nothing else."""

from __future__ import annotations

import re
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


def read_stl(path: Path) -> FileMesh:
    """Read a file; what it is, is told by its length and words, not by its first five letters.

    Bytes after the last triangle of a binary file are passed over. Equal corners become one vertex.

    Raises:
        BadFile: for files that end early or are no STL. JobError: ``mesh_too_large``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
    count = int.from_bytes(head[80:84], "little")
    exact = size >= 84 and size == 84 + RECORD.itemsize * count
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not exact and text[:5].lower() == b"solid" and b"\0" not in head:
        corners = _text_corners(path)
    elif not exact and b"\0" not in head:
        raise BadFile("it is no STL file: neither its words nor its length fit")
    else:
        corners = _binary_corners(path, size, count)
    check_size(len(corners))
    points, triangles = np.unique(corners.reshape(-1, 3) + 0.0, axis=0, return_inverse=True)  # (+ 0.0: -0 is 0)
    return FileMesh(positions=points.astype(np.float64), triangles=triangles.reshape(-1, 3))


def _binary_corners(path: Path, size: int, count: int) -> np.ndarray:
    if size < 84:
        raise BadFile(f"it has {size} bytes, and an STL file begins with 84")
    there = (size - 84) // RECORD.itemsize
    if there < count:
        raise BadFile(f"the file ends early: {there} of {count} triangles are there")
    check_size(count)
    records = np.fromfile(path, RECORD, count, offset=84)
    return np.ascontiguousarray(records["corners"])


def _text_corners(path: Path) -> np.ndarray:
    check_text_size(path)
    data = path.read_bytes()
    facets = sum(1 for _ in re.finditer(rb"\bfacet\s+normal\b", data, re.I))
    check_size(facets)
    rows = [match.groups() for match in FACET.finditer(data)]
    if not re.search(rb"\bend\s?solid\b", data[-4096:], re.I) or facets > len(rows) + 1:
        raise BadFile(f"the file ends early or is damaged: {len(rows)} of {facets} facets are whole")
    if facets != len(rows):
        raise BadFile(f"a facet is damaged: {len(rows)} of {facets} have three corners")
    try:
        if any(b"_" in word for row in rows for word in row):
            raise ValueError
        return np.array([[float(word) for word in row] for row in rows], np.float64).reshape(-1, 3, 3)
    except ValueError:
        raise BadFile("a corner has a coordinate that is no number") from None
