"""UV maps that are made while other work goes on: the wait is for xatlas, which runs in processes of its own."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path

import numpy as np

from ...job.errors import JobError
from ..geometry.mesh import Mesh
from .unwrap import Atlas, SolidPart, first_atlas, plan_uv, solid_part, unwrap

TIMEOUT = 60.0  # seconds for a part, as in choose_uv
HURRY = 5.0


class Unwrapping:
    """The maps of all parts of a clean mesh, as :func:`~.unwrap.choose_uv` finds them, on their way.

    A thread waits for xatlas, part by part, and does nothing else; what follows is done by who asks for the result, so
    that no two threads compute. To be used in a ``with`` statement: no process is left when that ends.
    """

    def __init__(self, mesh: Mesh, mode: str, texture_size: int, warn: Callable[[str, str], object]):
        """Looks at the maps that there are, and begins. Arguments and errors as :func:`~.unwrap.plan_uv`."""
        self._mesh, self._size, self._warn = mesh, texture_size, warn
        self._plan = plan_uv(mesh, mode, warn)
        if self._plan.missing:
            check_room(solid_part(mesh, self._plan.missing[0]))
        self._given_up = threading.Event()
        self._first: dict[int, Future[Atlas | None]] = {part: Future() for part in self._plan.missing}
        self._waits = threading.Thread(target=self._ask_for_all, name="unwrapping", daemon=True)
        self._waits.start()

    def __enter__(self) -> Unwrapping:
        return self

    def __exit__(self, *exception: object) -> None:
        self._given_up.set()
        self._waits.join()

    @property
    def ready(self) -> bool:
        """Whether :meth:`result` has next to nothing to wait for."""
        return all(atlas.done() for atlas in self._first.values())

    def result(
        self, cancelled: Callable[[], bool], hurried: Callable[[], bool] = lambda: False
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """uv ``[F, 3, 2]`` float32 and each part's source.

        Args:
            hurried: where it says so, parts that are not done in :data:`HURRY` seconds get a simpler map.

        Raises:
            JobError: ``cancelled``, where ``cancelled`` says so; both are asked several times a second.
        """
        hurry = None
        for part, atlas in self._first.items():
            while not wait([atlas], 0.05).done:
                if cancelled():
                    raise JobError("cancelled")
                if hurry is None and hurried():
                    hurry = time.monotonic() + HURRY
                if hurry is not None and time.monotonic() > hurry:
                    self._given_up.set()
            faces = self._mesh.part == part
            self._plan.uv[faces] = unwrap(
                self._mesh, part, TIMEOUT, cancelled, self._size, self._warn, atlas=partial(_made, atlas)
            )
        return self._plan.uv, self._plan.sources

    def _ask_for_all(self) -> None:
        for part, atlas in self._first.items():
            try:
                atlas.set_result(self._ask(part))
            except BaseException as error:  # it is for who asks for the result
                atlas.set_exception(error)

    def _ask(self, part: int) -> Atlas | None:
        if self._given_up.is_set():
            return None
        return first_atlas(solid_part(self._mesh, part), TIMEOUT, self._given_up.is_set, self._size, beside=True)


def _made(atlas: Future) -> Atlas | None:
    """What came of it; nothing where it was given up."""
    try:
        return atlas.result()
    except JobError:
        return None


def check_room(part: SolidPart) -> None:
    """Raise ``OSError`` where what xatlas is handed cannot be written, now and not when somebody waits for it."""
    with tempfile.TemporaryDirectory(prefix="csd-unwrap-") as folder:
        np.savez(Path(folder, "in.npz"), positions=part.positions, triangles=part.triangles)
