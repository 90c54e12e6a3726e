"""Reading ``.npz`` and JSON files of a job folder, which may be cut off or damaged, and meshes in them; touches
no Blender data, so that it may be done outside the main thread."""

from __future__ import annotations

import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...job.folder import LARGEST_RECORD, read_ordinary
from ...job.process.bodies import MESH

LARGEST = 1 << 30  # bytes that the arrays of one file may take; the largest job needs a tenth of it
# What reading a damaged .npz or .json may raise: the readers' own errors, and Python's for odd values.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,  # also too deep recursion, and zip files with a password
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


def read_json(path: Path):
    """What the JSON file ``path`` holds. Raises ``UNREADABLE``, also for pipes and devices, which might never end."""
    return json.loads(read_ordinary(path, LARGEST_RECORD).decode("utf-8"))


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of ``path``, or of those in ``names`` the ones that are there.

    The file is read whole first, so that the backend can replace it meanwhile.

    Raises:
        UNREADABLE: it is not there, or not what it should be, or would take more than ``LARGEST`` bytes.
    """
    data = io.BytesIO(read_ordinary(path, LARGEST))
    with zipfile.ZipFile(data) as archive:
        wanted = [i for i in archive.infolist() if names is None or i.filename.removesuffix(".npy") in names]
        if sum(i.file_size for i in wanted) > LARGEST:
            raise ValueError(f"{path.name} is too large")
    data.seek(0)
    with np.load(data, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if names is None or name in names}


@dataclass
class MeshArrays:
    """A mesh ready for Blender.

    Attributes:
        positions: float32 ``[V, 3]``, meters, Z up, foot at zero. triangles: int32 ``[F, 3]``.
        colors: scene-linear float32 RGBA ``[V, 4]``. uv: float32 ``[F * 3, 2]``. A preview has colors, the result UVs.
        final: whether it is the result.
    """

    part: int
    positions: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray | None = None
    uv: np.ndarray | None = None
    final: bool = False
    kind: str = MESH


def read_mesh(folder: Path, name: str, linear: np.ndarray | None = None, part: int = 0) -> MeshArrays:
    """The mesh in the file ``name`` of a job folder, checked, without degenerate triangles.

    Args:
        linear: 256 scene-linear values of the sRGB bytes; needed when the file holds colors.

    Raises:
        UNREADABLE: it is not there, or not what it should be.
    """
    path = (folder / name).resolve()
    if folder.resolve() not in path.parents:
        raise ValueError(f"{name} is outside the job folder")
    arrays = read_npz(path, ("positions", "triangles", "colors", "uv"))
    positions = np.ascontiguousarray(arrays["positions"], np.float32)
    triangles = np.ascontiguousarray(arrays["triangles"], np.int32)
    if positions.ndim != 2 or positions.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError("positions and triangles must be rows of three")
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= len(positions):
        raise ValueError("there are no triangles, or they name vertices that do not exist")
    if not np.isfinite(positions).all():
        raise ValueError("positions must be numbers")
    a, b, c = triangles.T
    whole = (a != b) & (b != c) & (c != a)
    colors, uv = arrays.get("colors"), arrays.get("uv")
    if colors is not None and linear is not None:
        colors = linear_colors(colors, len(positions), linear)
    if uv is not None:
        if uv.shape != (len(triangles), 3, 2) or not np.isfinite(uv).all():
            raise ValueError("uv must be two numbers for each corner of each triangle")
        uv = np.ascontiguousarray(uv[whole].reshape(-1, 2), np.float32)
    return MeshArrays(part, positions, np.ascontiguousarray(triangles[whole]), colors, uv)


def linear_colors(colors: np.ndarray, count: int, linear: np.ndarray) -> np.ndarray:
    if colors.shape != (count, 3) or colors.dtype != np.uint8:
        raise ValueError("colors must be three bytes for each vertex")
    rgba = np.ones((count, 4), np.float32)
    rgba[:, :3] = linear[colors]
    return rgba
