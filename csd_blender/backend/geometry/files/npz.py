"""The job folder's own arrays (.npz): what they are is checked in their headers, before anything is unpacked."""

from __future__ import annotations

import io
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ....job.errors import JobError
from ....job.folder import write_atomic
from ..mesh import MAX_FACES, Mesh
from .common import MAX_VERTICES, BadFile, check_size

MAX_NAMES = 100_000  # parts and letters; both far more than a panel shows

# name: kinds of numbers, shape (None: any length up to the last number)
MESH_ARRAYS = {
    "positions": ("f", (None, 3), MAX_VERTICES),
    "triangles": ("iu", (None, 3), MAX_FACES),
    "uv": ("f", (None, 3, 2), MAX_FACES),
    "part": ("iu", (None,), MAX_FACES),
    "part_names": ("U", (None,), MAX_NAMES),
    "material": ("iu", (None,), MAX_FACES),
    "corner": ("iu", (None, 3), MAX_FACES),
    "offset": ("f", (3,), 3),
}
UV_ARRAYS = {"uv": ("f", (None, 3, 2), MAX_FACES), "source": ("U", (None,), MAX_NAMES)}  # of ``result/uv.npz``


def read_arrays(path: str | Path, wanted: dict[str, tuple[str, tuple, int]]) -> dict[str, np.ndarray]:
    """The wanted arrays that a file has; all others stay packed.

    Args:
        wanted: for each name the kinds of its numbers (``dtype.kind``), its shape with None for any length, and
            the greatest length.

    Raises:
        BadFile: for an array of another kind or shape, or one that ends early. JobError: ``mesh_too_large``.
        OSError, zipfile.BadZipFile, ValueError: for what is no such file.
    """
    found = {}
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
        raise BadFile("it is no ordinary file")
    with zipfile.ZipFile(path) as archive:
        for name, (kinds, shape, most) in wanted.items():
            if f"{name}.npy" not in archive.namelist():
                continue
            with archive.open(f"{name}.npy") as file:
                version = npy.read_magic(file)
                if version not in ((1, 0), (2, 0)):
                    raise BadFile(f"{name} is of an unknown version")
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                there, columns_first, dtype = read(file, max_header_size=10_000)
                fits = len(there) == len(shape) and all(b is None or a == b for a, b in zip(there, shape, strict=True))
                if not fits or min(there) < 0 or dtype.kind not in kinds or dtype.itemsize > MAX_NAMES:
                    raise BadFile(f"{name} has shape {there!s:.60} of {dtype!s:.20}")
                longest = max((a for a, b in zip(there, shape, strict=True) if b is None), default=0)
                if longest > most:
                    check_size(*((longest, 0) if name == "triangles" else (0, longest)))
                    raise BadFile(f"{name} has {longest} rows")
                size = math.prod(there) * dtype.itemsize
                if dtype.kind == "U" and size > 64 * MAX_NAMES:
                    raise BadFile(f"{name} has {size} bytes")
                data = file.read(size)
                if len(data) < size:
                    raise BadFile(f"{name} ends early")
                array = np.frombuffer(bytearray(data), dtype)  # (torch wants arrays that may be written)
                found[name] = array.reshape(there, order="F" if columns_first else "C")
    return found


def save_npz(path: str | Path, mesh: Mesh) -> None:
    """Write the arrays of a mesh, without pickles; the file appears whole or not at all."""
    arrays = {
        "positions": mesh.positions,
        "triangles": mesh.triangles,
        "part": mesh.part,
        "part_names": np.array(mesh.part_names, dtype=np.str_),
    }
    for name in ("uv", "material", "corner"):
        if getattr(mesh, name) is not None:
            arrays[name] = getattr(mesh, name)
    if mesh.offset.any():
        arrays["offset"] = mesh.offset
    write_arrays(path, arrays)


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name, without pickles; the file appears whole or not at all. Raises ``JobError`` as
    :func:`~csd_blender.job.folder.write_atomic`."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(Path(path), buffer.getvalue())


@contextmanager
def refusing(path: str | Path, code: str) -> Iterator[None]:
    """Whatever is wrong with a file of arrays becomes one sentence: ``JobError`` of that code."""
    try:
        yield
    except JobError:
        raise
    except BadFile as error:
        raise JobError(code, f"{Path(path).name}: {error}") from None
    except Exception as error:
        raise JobError(code, f"{Path(path).name}: {type(error).__name__}: {error!s:.100}") from error


def load_npz(path: str | Path) -> Mesh:
    """Read what `save_npz` wrote (or the Blender side, which writes the same arrays).

    Raises:
        JobError: ``mesh_unreadable``, or ``mesh_too_large`` before memory is taken.
    """
    with refusing(path, "mesh_unreadable"):
        found = read_arrays(path, MESH_ARRAYS)
        faces, vertices = len(found["triangles"]), len(found["positions"])
        if faces and not 0 <= found["triangles"].min() <= found["triangles"].max() < vertices:
            raise BadFile(f"a face uses a vertex that does not exist (there are {vertices})")
        if not np.isfinite(found.get("offset", 0.0)).all():
            raise BadFile("its offset is not finite")
        names = found.get("part_names", np.array(["mesh"])).tolist()
        return Mesh(
            positions=found["positions"],
            triangles=found["triangles"],
            uv=found.get("uv"),
            part=found.get("part", np.zeros(faces, np.int32)),
            part_names=tuple(name.encode("utf-8", "replace").decode() for name in names),
            material=found.get("material"),
            corner=found.get("corner"),
            offset=found.get("offset", np.zeros(3)),
        )
