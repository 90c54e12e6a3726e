"""Preview pictures made ready outside the main thread; touches no Blender data."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....job.files import RESULT_ARRAYS
from ....job.process.bodies import MESH, VIEW, Preview
from ..apply_texture import corner_uv, uv_sources
from ..stored_arrays import UNREADABLE, MeshArrays, read_mesh
from ..target import Target


def linear_table() -> np.ndarray:
    """Scene-linear float32 of the 256 sRGB bytes; float images hold linear light in Blender (IEC 61966-2-1)."""
    x = np.arange(256) / 255.0
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


LINEAR = linear_table()
LARGEST = 1024  # pixels; a larger picture would hold Blender's main thread for too long
LARGEST_VIEW = 512  # pixels; a job's small picture is square
CHUNK = 2**16  # values converted at a time, so that the main thread never waits long for the interpreter


def to_linear(data: bytes, width: int, height: int) -> tuple[np.ndarray, int, int]:
    """sRGB bytes ``[height * width * 4]`` as scene-linear float32, and the size, at most ``LARGEST``."""
    values = np.frombuffer(data, np.uint8).reshape(height, width, 4)
    step = -(-max(width, height) // LARGEST)
    values = np.ascontiguousarray(values[::step, ::step])
    height, width = values.shape[:2]
    values = values.ravel()
    pixels = np.empty(len(values), np.float32)
    for i in range(0, len(values), CHUNK):
        np.take(LINEAR, values[i : i + CHUNK], out=pixels[i : i + CHUNK], mode="clip")
    return pixels, width, height


@dataclass
class Picture:
    """One preview ready for Blender.

    Attributes:
        kind: ``texture`` or ``view``. pixels: float32 RGBA for a texture (linear), int32 RGBA words for a view.
        uv: float32 ``[corners, 2]`` with the first texture of a part whose UV map is new, else None.
    """

    kind: str
    part: int
    width: int
    height: int
    pixels: np.ndarray
    uv: np.ndarray | None = None
    uv_is_new: bool = False


def read_view(path: Path) -> Picture | None:
    """The small picture that a job left in its folder; None when there is none, or it is damaged."""
    try:
        if not 0 < path.stat().st_size <= 4 * LARGEST_VIEW**2:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    side = math.isqrt(len(data) // 4)
    if len(data) != 4 * side * side:
        return None
    return Picture(VIEW, 0, side, side, np.frombuffer(data, np.int32))


class PictureMaker:
    """A thread that turns preview messages into :class:`Picture`; only the newest of each kind and part is kept."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._waiting: dict[tuple[str, int], tuple[Preview, Path, Target | None]] = {}
        self._ready: dict[tuple[str, int], Picture | MeshArrays] = {}
        self._making = False
        self._uv: dict[tuple[Path, int], tuple[bool, np.ndarray | None]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, said: Preview, folder: Path, target: Target | None) -> None:
        """Hand in what a message shows; returns at once. A mesh is read from the file that it names."""
        if self._thread is None:
            self._closed = False
            self._thread = threading.Thread(target=self._run, name="csd-pictures", daemon=True)
            self._thread.start()
        with self._wake:
            self._waiting[said.kind, said.part] = (said, folder, target)
            self._wake.notify()

    def take(self) -> Picture | MeshArrays | None:
        """One finished picture, or None."""
        with self._wake:
            return self._ready.pop(next(iter(self._ready))) if self._ready else None

    def put_back(self, picture: Picture | MeshArrays) -> None:
        """Have ``picture``, or a newer one in its place, returned by the next :meth:`take`."""
        key = (picture.kind, picture.part)
        with self._wake:
            self._ready = {key: self._ready.get(key, picture)} | self._ready

    def busy(self) -> bool:
        """Whether a picture is ready or will be."""
        with self._wake:
            return bool(self._waiting or self._making or self._ready)

    def clear(self) -> None:
        """Forget everything, as when a job ended."""
        with self._wake:
            self._waiting.clear()
            self._ready.clear()
            self._uv.clear()
            self._making = False

    def close(self) -> None:
        thread, self._thread = self._thread, None
        with self._wake:
            self._closed = True
            self._wake.notify()
        if thread is not None:
            thread.join(timeout=1.0)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                key = next(iter(self._waiting))
                said, folder, target = self._waiting.pop(key)
                self._making = True
            picture = self._make(said, folder, target)
            with self._wake:
                # What was forgotten meanwhile belongs to a job that ended.
                if picture is not None and self._making:
                    self._ready[key] = picture
                self._making = False

    def _make(self, said: Preview, folder: Path, target: Target | None) -> Picture | MeshArrays | None:
        if said.kind == MESH:
            return self._make_mesh(said, folder)
        data = said.pixels
        if not data or len(data) != said.width * said.height * 4:
            return None
        if said.kind == VIEW:
            return Picture(said.kind, said.part, said.width, said.height, np.frombuffer(data, np.int32))
        pixels, width, height = to_linear(data, said.width, said.height)
        new, uv = self._part_uv(folder, said.part, target)
        return Picture(said.kind, said.part, width, height, pixels, uv, new)

    def _make_mesh(self, said: Preview, folder: Path) -> MeshArrays | None:
        try:
            picture = read_mesh(folder, said.path, LINEAR, said.part)
        except UNREADABLE:
            return None  # the next one replaces it
        picture.final = said.path == RESULT_ARRAYS
        return picture

    def _part_uv(self, folder: Path, part: int, target: Target | None) -> tuple[bool, np.ndarray | None]:
        key = (folder, part)
        if key not in self._uv:
            sources = uv_sources(folder)
            new = part < len(sources) and sources[part] == "new"
            known = target is not None and target.maps_back
            self._uv[key] = (new, corner_uv(folder, part, target) if new and known else None)
        return self._uv[key]
