"""Reading ``.npz`` and JSON files of a job folder, which may be cut off or damaged; touches no Blender data."""

from __future__ import annotations

import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ...job.folder import LARGEST_RECORD, read_ordinary

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
