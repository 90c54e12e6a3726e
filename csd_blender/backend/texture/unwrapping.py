"""UV maps that are made while other work goes on: the wait is for xatlas, which runs in processes of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from ...job.errors import JobError
from ..geometry.mesh import Mesh
from .unwrap import Atlas, first_atlas, plan_uv, solid_part, unwrap

TIMEOUT = 60.0  # seconds for a part, as in choose_uv


class Unwrapping:
    """The maps of all parts of a clean mesh, as :func:`~.unwrap.choose_uv` finds them, on their way.

    A thread waits for xatlas, part by part, and does nothing else; what follows is done by who asks for the result, so
    that no two threads compute. To be used in a ``with`` statement: no process is left when that ends.
    """

    def __init__(self, mesh: Mesh, mode: str, texture_size: int, warn: Callable[[str, str], object]):
        """Looks at the maps that there are, and begins. Arguments and errors as :func:`~.unwrap.plan_uv`."""
        self._mesh, self._size, self._warn = mesh, texture_size, warn
        self._plan = plan_uv(mesh, mode, warn)
        self._given_up = threading.Event()
        self._waits = ThreadPoolExecutor(1, thread_name_prefix="unwrapping")
        self._first = {part: self._waits.submit(self._ask, part) for part in self._plan.missing}

    def __enter__(self) -> Unwrapping:
        return self

    def __exit__(self, *exception: object) -> None:
        self._given_up.set()
        self._waits.shutdown(cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether :meth:`result` has next to nothing to wait for."""
        return all(atlas.done() for atlas in self._first.values())

    def result(self, cancelled: Callable[[], bool]) -> tuple[np.ndarray, tuple[str, ...]]:
        """uv ``[F, 3, 2]`` float32 and each part's source.

        Raises:
            JobError: ``cancelled``, where ``cancelled`` says so; it is asked several times a second.
        """
        for part, atlas in self._first.items():
            while not wait([atlas], 0.05).done:
                if cancelled():
                    raise JobError("cancelled")
            faces = self._mesh.part == part
            self._plan.uv[faces] = unwrap(
                self._mesh, part, TIMEOUT, cancelled, self._size, self._warn, atlas=atlas.result
            )
        return self._plan.uv, self._plan.sources

    def _ask(self, part: int) -> Atlas | None:
        return first_atlas(solid_part(self._mesh, part), TIMEOUT, self._given_up.is_set, self._size, beside=True)
