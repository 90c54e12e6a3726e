"""The container of glTF 2.0: JSON, buffers, and accessors as arrays. What nobody asks for (pictures) is not touched."""

from __future__ import annotations

import base64
import binascii
import json
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from .common import MAX_TEXT, BadFile, check_size, quote

MAX_VALUES = 4_000_000  # of the JSON text, which take about 100 bytes each
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass
class Accessor:
    """Rows of numbers that are read when they are asked for.

    Attributes:
        rows: ``[count, width]`` as they lie in the file; None when all are zero but for the sparse ones.
        scale: what normalized integers are divided by; 0 for numbers that are taken as they are.
        sparse_rows: increasing numbers of the rows that have other values, and these values.
    """

    count: int
    width: int
    rows: np.ndarray | None
    scale: int
    sparse_rows: np.ndarray
    sparse_values: np.ndarray

    def integers(self) -> np.ndarray:
        """``[count]`` int64, for indices."""
        return self._take(np.arange(self.count))[:, 0].astype(np.int64)

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """``[n, width]`` float64 of the given rows, integers scaled to [0, 1] or [-1, 1] where the file says so."""
        values = self._take(rows).astype(np.float64)
        return np.maximum(values / self.scale, -1.0) if self.scale else values

    def _take(self, rows: np.ndarray) -> np.ndarray:
        values = np.zeros((len(rows), self.width), self.sparse_values.dtype) if self.rows is None else self.rows[rows]
        if len(self.sparse_rows):
            place = np.minimum(np.searchsorted(self.sparse_rows, rows), len(self.sparse_rows) - 1)
            found = self.sparse_rows[place] == rows
            values[found] = self.sparse_values[place[found]]
        return values


def entry(values: object, index: object, what: str) -> dict:
    """The object with this number in a list of objects. Raises ``BadFile`` when either is not what it must be."""
    if isinstance(index, bool) or not isinstance(index, int) or not isinstance(values, list):
        raise BadFile(f"it names {what} {quote(index)}, which is no number of one")
    if not 0 <= index < len(values) or not isinstance(values[index], dict):
        raise BadFile(f"it names {what} {quote(index)}, but there are {len(values)}")
    return values[index]


def integer(holder: dict, key: str, default: int | None, what: str) -> int:
    """A whole number that is not negative. Raises ``BadFile``."""
    value = holder.get(key, default)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise BadFile(f"{what} has {key} {quote(value)}")
    return value


def numbers(value: object, count: int, what: str) -> np.ndarray:
    """``[count]`` finite numbers. Raises ``BadFile``."""
    good = isinstance(value, list) and len(value) == count
    good = good and all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300 for v in value)
    if not good:
        raise BadFile(f"{what} is not {count} numbers")
    return np.array(value, np.float64)


class Document:
    """An opened .gltf or .glb file.

    Raises (here and in all methods):
        BadFile: what is wrong with it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.binary: memoryview | None = None
        text = self._container()
        # values are separated by these; a text of a few MB can otherwise become GB of objects
        if sum(text.count(sign) for sign in (b",", b"[", b"{")) > MAX_VALUES:
            raise BadFile("its JSON text has millions of values, which is no sound glTF file")
        try:
            data = json.loads(bytes(text).decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise BadFile("its JSON text is damaged") from None
        if not isinstance(data, dict) or not isinstance(data.get("asset"), dict):
            raise BadFile("it is JSON, but no glTF 2.0")
        least, version = str(data["asset"].get("minVersion", "2.0")), str(data["asset"].get("version", ""))
        if not re.fullmatch(r"2\.\d+", version) or least != "2.0":
            raise BadFile(f"it is glTF version '{quote(version if least == '2.0' else least)}', and 2.0 is read")
        self.data: dict = data
        self._buffers: dict[int, memoryview] = {}
        self._accessors: dict[int, Accessor] = {}

    def list_of(self, key: str) -> list:
        """A list at the top of the JSON text, or an empty one."""
        value = self.data.get(key, [])
        if not isinstance(value, list):
            raise BadFile(f"its {key} are no list")
        return value

    def _container(self) -> bytes:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            head = file.read(20)
            if head[:4] != b"glTF":
                if size > MAX_TEXT:
                    raise BadFile(f"its JSON text has {size >> 20} MB; at most {MAX_TEXT >> 20} MB are read")
                return head + file.read()
            if len(head) < 20:
                raise BadFile(f"the file ends early: it has {size} bytes")
            _, version, length, chunk, kind = struct.unpack("<4sIIII", head)
            if version != 2:
                raise BadFile(f"it is binary glTF version {version}, and version 2 is read")
            if length > size:
                raise BadFile(f"the file ends early: {size} of {length} bytes are there")
            if kind != 0x4E4F534A or 20 + chunk > length:
                raise BadFile("it does not begin with a whole JSON chunk")
            if chunk > MAX_TEXT:
                raise BadFile(f"its JSON text has {chunk >> 20} MB; at most {MAX_TEXT >> 20} MB are read")
            text = file.read(chunk)
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        at = 20 + chunk
        if at + 8 <= length:
            chunk, kind = struct.unpack_from("<II", whole, at)
            if at + 8 + chunk > length:
                raise BadFile(f"the file ends early: its binary chunk has {length - at - 8} of {chunk} bytes")
            if kind == 0x004E4942:
                self.binary = whole[at + 8 : at + 8 + chunk]
        return text

    def _buffer(self, index: int) -> memoryview:
        if index not in self._buffers:
            buffer = entry(self.data.get("buffers"), index, "buffer")
            length = integer(buffer, "byteLength", None, f"buffer {index}")
            uri = buffer.get("uri")
            if uri is None:
                if index or self.binary is None:
                    names = ", ".join(map(quote, buffer.get("extensions", {}) or ["no uri"]))
                    raise BadFile(f"buffer {index} has no data ({names})")
                found = self.binary
            elif not isinstance(uri, str):
                raise BadFile(f"buffer {index} has a uri that is no text")
            elif uri[:5].lower() == "data:":
                found = _data_uri(uri, f"buffer {index}")
            else:
                found = self._file(uri, "buffer")
            if len(found) < length:
                raise BadFile(f"buffer {index} has {len(found)} of {length} bytes")
            self._buffers[index] = found[:length]
        return self._buffers[index]

    def picture(self, image: dict, index: object) -> memoryview:
        """The bytes of an entry of the file's ``images``."""
        uri = image.get("uri")
        if uri is None:
            return self.view(image.get("bufferView"))[0]
        if not isinstance(uri, str):
            raise BadFile(f"image {index} has a uri that is no text")
        return _data_uri(uri, f"image {index}") if uri[:5].lower() == "data:" else self._file(uri, "picture")

    def _file(self, uri: str, what: str) -> memoryview:
        """A file beside this one. Names are percent-encoded, but not by every program."""
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", uri) or uri.startswith(("/", "\\")):
            raise BadFile(f"its {what} '{quote(uri)}' does not lie beside it")
        try:
            for name in (unquote(uri), uri):
                path = self.path.parent / name
                if path.is_file():
                    with path.open("rb") as file:
                        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # not permitted, empty, a name that no file can have
            reason = getattr(error, "strerror", None) or "it is empty"
            raise BadFile(f"its {what} file '{quote(unquote(uri))}' cannot be read: {reason}") from None
        raise BadFile(f"its {what} file '{quote(unquote(uri))}' is not there; it belongs beside the .gltf file")

    def view(self, index: object) -> tuple[memoryview, int]:
        """The bytes of a buffer view, and its stride or 0."""
        view = entry(self.data.get("bufferViews"), index, "buffer view")
        what = f"buffer view {index}"
        source = integer(view, "buffer", None, what)
        start, length = integer(view, "byteOffset", 0, what), integer(view, "byteLength", None, what)
        try:
            data = self._buffer(source)
        except BadFile as error:
            names = ", ".join(map(quote, view.get("extensions", {})))
            raise BadFile(f"{error} ({names})" if names else str(error)) from None
        if start + length > len(data):
            raise BadFile(f"{what} ends behind its buffer")
        return data[start : start + length], integer(view, "byteStride", 0, what)

    def accessor(self, index: Any, kinds: tuple[str, ...], what: str) -> Accessor:
        """Rows of one of the ``kinds`` (SCALAR, VEC2 …). ``what`` they are is said in errors."""
        declared = entry(self.data.get("accessors"), index, "accessor")
        if index not in self._accessors:
            self._accessors[index] = self._read_accessor(declared, index)
        found = self._accessors[index]
        if found.width not in [WIDTHS[kind] for kind in kinds]:
            raise BadFile(f"{what} are not {' or '.join(kinds)}")
        return found

    def count(self, index: object) -> int:
        """How many rows an accessor has. A number that its bytes do not bear out is damage, not a large mesh."""
        return self._declared(entry(self.data.get("accessors"), index, "accessor"), index)[0]

    def _declared(self, accessor: dict, index: object) -> tuple[int, int, np.dtype, np.ndarray | None]:
        """Count, width and type of an accessor's rows, and the rows where they lie in the file; nothing is copied."""
        what = f"accessor {index}"
        kind, code = accessor.get("type"), accessor.get("componentType")
        if not isinstance(kind, str) or kind not in WIDTHS or not isinstance(code, int) or code not in COMPONENTS:
            raise BadFile(f"{what} has type {quote(kind)} of {quote(code)}")
        count, width, dtype = integer(accessor, "count", None, what), WIDTHS[kind], np.dtype(COMPONENTS[code])
        if accessor.get("bufferView") is None:
            return count, width, dtype, None
        start = integer(accessor, "byteOffset", 0, what)
        return count, width, dtype, self._rows(accessor["bufferView"], start, count, width, dtype, what)

    def _read_accessor(self, accessor: dict, index: object) -> Accessor:
        count, width, dtype, rows = self._declared(accessor, index)
        check_size(0, count // 3)
        sparse = accessor.get("sparse")
        sparse_rows, sparse_values = np.zeros(0, np.int64), np.zeros((0, width), dtype)
        if sparse is not None:
            sparse_rows, sparse_values = self._sparse(sparse, count, width, dtype, f"accessor {index}")
        scale = np.iinfo(dtype).max if accessor.get("normalized") is True and dtype.kind != "f" else 0
        return Accessor(count, width, rows, scale, sparse_rows, sparse_values)

    def _rows(self, view: object, start: int, count: int, width: int, dtype: np.dtype, what: str) -> np.ndarray:
        data, stride = self.view(view)
        row = width * dtype.itemsize
        stride = stride or row
        if stride < row or (count and start + stride * (count - 1) + row > len(data)):
            raise BadFile(f"it is damaged: {what} claims {count} rows, more than its buffer view holds")
        if not count:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

    def _sparse(self, sparse: object, count: int, width: int, dtype: np.dtype, what: str) -> tuple:
        """Numbers of the rows and their values."""
        what = f"{what} (sparse)"
        if not isinstance(sparse, dict) or not all(isinstance(sparse.get(k), dict) for k in ("indices", "values")):
            raise BadFile(f"{what} has no indices and values")
        size, places, values = integer(sparse, "count", None, what), sparse["indices"], sparse["values"]
        if places.get("componentType") not in (5121, 5123, 5125):
            raise BadFile(f"{what} has indices of {quote(places.get('componentType'))}")
        kind = np.dtype(COMPONENTS[places["componentType"]])
        at = self._rows(places.get("bufferView"), integer(places, "byteOffset", 0, what), size, 1, kind, what)
        at = at[:, 0].astype(np.int64)
        found = self._rows(values.get("bufferView"), integer(values, "byteOffset", 0, what), size, width, dtype, what)
        if size and (at[-1] >= count or (np.diff(at) <= 0).any()):
            raise BadFile(f"{what} has indices that do not rise or exceed its {count} rows")
        return at, found


def _data_uri(uri: str, what: str) -> memoryview:
    kind, comma, data = uri[5:].partition(",")
    if not comma:
        raise BadFile(f"{what} has a data uri without data")
    if not kind.lower().replace(" ", "").endswith(";base64"):
        return memoryview(unquote_to_bytes(data))
    try:
        # Spaces and line ends are harmless; any other sign that is passed over would shift all numbers after it.
        letters = "".join((unquote(data) if "%" in data else data).split())
        return memoryview(base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True))
    except (binascii.Error, ValueError):
        raise BadFile(f"{what} has damaged base64 data") from None
