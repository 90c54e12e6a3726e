"""What is in a model's single files: JSON, and the headers of safetensors; and how one is refused.

Nothing is ever run. Of safetensors only the header is read, and of other kinds of files nothing.
"""

from __future__ import annotations

import glob
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import JobError, shortened

JSON_LIMIT = 4 * 2**20  # bytes; the largest settings of a published model have a hundredth of that
HEADER_LIMIT = 100 * 2**20  # bytes, as the safetensors library has it
FLOATS = ("F64", "F32", "F16", "BF16", "F8")  # kinds of numbers that weights have
CODE = (".py", ".pyc", ".pyd", ".pyo", ".pyw")
LFS_POINTER = b"version https://git-lfs"
AGAIN = "Download the model again."

READ = (".json", ".safetensors", ".txt", ".model", ".yaml")  # endings of what is read of a model
#: Files with their sizes and times of change.
Stamp = tuple[tuple[str, int, int], ...]

#: A file's tensors by name: their types (``F16`` …) and shapes.
Header = dict[str, tuple[str, tuple[int, ...]]]


def unreadable(detail: str, fix: str = "") -> JobError:
    """The error for a model's files, to be raised."""
    return JobError("model_unreadable", detail, fix=fix)


@contextmanager
def readable() -> Iterator[None]:
    """Turn what the system says of a place that may not be looked at into a ``JobError('model_unreadable')``; around a
    block, or a function as a decorator."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or 'a file'} cannot be read ({error.strerror or error})"
        raise unreadable(what, "Change its permissions.") from error


def model_files(place: Path) -> list[Path]:
    """The files at a place, a model's folder or a single file with those beside it, that a model is read from."""
    beside = place.parent.glob(f"{glob.escape(place.stem)}.*")
    found = (*place.glob("*"), *place.glob("*/*")) if place.is_dir() else beside
    return sorted(file for file in found if file.suffix.lower() in READ)


def stamp_of(place: Path) -> Stamp:
    """What tells the files at a place, see :func:`model_files`, from those that lay there before."""
    found = []
    for file in model_files(place):
        with suppress(OSError):  # gone meanwhile
            state = file.stat()
            found.append((str(file), state.st_size, state.st_mtime_ns))
    return tuple(found)


def refuse_code(folder: Path) -> None:
    """Raise ``JobError('model_unreadable')`` when there is a program anywhere in ``folder``."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(files):
            if name.lower().endswith(CODE):
                raise unreadable(
                    f"{Path(place) / name} is a program, and models with programs are never opened",
                    "Choose another model, or delete the file if the model does not need it.",
                )


def read_json(path: Path, limit: int = JSON_LIMIT) -> dict:
    """A JSON file of at most ``limit`` bytes. Raises ``JobError('model_unreadable')`` naming it when it is missing or
    damaged, or asks for a program."""
    check_file(path)
    try:
        if path.stat().st_size > limit:
            raise ValueError("too large")
        data = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_constant)
    except OSError as error:
        raise unreadable(f"{path} cannot be read ({error.strerror})", "Change its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise unreadable(f"{path} is damaged", AGAIN) from error
    if not isinstance(data, dict):
        raise unreadable(f"{path} is damaged: it holds no table", AGAIN)
    if any(name == "auto_map" for name, _ in values_of(data)):
        raise unreadable(f"{path} asks for a program of its own (auto_map)", "Choose another model.")
    return data


def _constant(name: str) -> float:
    """Schedulers are saved with ``-Infinity`` for a limit that they have not; NaN is nobody's setting."""
    if name == "NaN":
        raise ValueError("NaN")
    return float(name)


def check_file(path: Path) -> None:
    """Raise ``JobError('model_unreadable')`` unless ``path`` is a file with contents of its own."""
    try:
        if path.exists() and not path.is_file():
            what = "is a folder and no file" if path.is_dir() else "is no ordinary file"
            raise unreadable(f"{path} {what}", "Choose another one.")
        if not path.is_file():
            half = path.is_symlink() or any(path.parent.glob("*.incomplete"))
            raise unreadable(f"{path} is missing" + (", its download did not end" if half else ""), AGAIN)
        with open(path, "rb") as file:
            start = file.read(len(LFS_POINTER))
    except OSError as error:
        raise unreadable(f"{path} cannot be read ({error.strerror})", "Change its permissions.") from error
    if start == LFS_POINTER:
        raise unreadable(
            f"{path} is a Git LFS pointer and not the file itself", "Run “git lfs pull” in the model's folder."
        )
    if not start:
        raise unreadable(f"{path} is empty", AGAIN)


def read_header(path: Path) -> Header:
    """Names of the tensors in a safetensors file, with their types (``F16`` …) and shapes.

    Raises:
        JobError: ``model_unreadable`` when the file is damaged, cut off or of another kind.
    """
    table, begin = _read_table(path)
    try:
        tensors = {n: (e["dtype"], tuple(e["shape"]), e["data_offsets"][1]) for n, e in _tensors(table)}
        end = begin + max((int(last) for _, _, last in tensors.values()), default=0)
        odd = next((n for n, (kind, _, _) in tensors.items() if not kind.startswith(FLOATS) and not counts(n)), None)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise _damaged(path) from error
    if not tensors:
        raise unreadable(f"{path} holds no weights", AGAIN)
    if odd is not None:
        what = f"{shortened(tensors[odd][0])} in {shortened(odd)}"
        detail = f"{path} holds {what} and no fractions: these weights are quantized or damaged"
        raise unreadable(detail, "Choose the model's usual ones.")
    size = path.stat().st_size
    if end > size:
        raise unreadable(f"{path} is cut off after {size:,} of {end:,} bytes", AGAIN)
    return {name: (kind, shape) for name, (kind, shape, _) in tensors.items()}


def read_remarks(path: Path) -> dict[str, str]:
    """What the maker of a safetensors file wrote into its header. Raises as :func:`read_header`."""
    remarks = _read_table(path)[0].get("__metadata__")
    return {str(name): str(value) for name, value in remarks.items()} if isinstance(remarks, dict) else {}


def read_numbers(path: Path, name: str) -> list[float]:
    """The numbers of one small tensor in a safetensors file; none, where they are of a kind that is not known here.

    Raises:
        JobError: as :func:`read_header`.
    """
    table, begin = _read_table(path)
    try:
        kind, (first, last) = table[name]["dtype"], table[name]["data_offsets"]
        with open(path, "rb") as file:
            file.seek(begin + first)
            data = file.read(last - first)
        if kind == "BF16":  # the upper half of a float32
            data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
        form = {"F16": "e", "F32": "f", "BF16": "f", "F64": "d"}.get(kind)
        return [] if form is None else [row[0] for row in struct.iter_unpack("<" + form, data)]
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise _damaged(path) from error


def _read_table(path: Path) -> tuple[dict, int]:
    """A safetensors file's own table, and the byte at which its numbers begin."""
    check_file(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length < 2 or length > HEADER_LIMIT:
            raise _damaged(path)
        if 8 + length > path.stat().st_size:
            raise unreadable(f"{path} is cut off, its download did not end", AGAIN)
        try:
            table = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise _damaged(path) from error
    if not isinstance(table, dict):
        raise _damaged(path)
    return table, 8 + length


def _damaged(path: Path) -> JobError:
    return unreadable(f"{path} is no safetensors file, or a damaged one", AGAIN)


def counts(name: str) -> bool:
    """Whether a tensor is no weight but counts: places from 0, or steps of training, as old checkpoints have them; or
    the rank of a LoRA's layer as diffusers' scripts write its alpha."""
    return name.endswith(("position_ids", "num_updates", "global_step", ".alpha"))


def _tensors(table: dict) -> Iterator[tuple[str, dict]]:
    return ((name, entry) for name, entry in table.items() if name != "__metadata__")


def values_of(data: object) -> Iterator[tuple[str, object]]:
    """Every named value of a JSON document, whatever the depth; without recursion, since it may be deep."""
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
