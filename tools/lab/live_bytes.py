"""How much memory tensors take at most while something runs, counted and not measured: no card, and hardly any memory.

Within :func:`counted` tensors are torch's fake ones: they have shapes, types and storages of a size, and no numbers, so
networks of any size run in seconds on any computer. What is counted is what every tensor's storage would take, from its
birth to its end, autograd's own included. What a graphics card takes besides is not: kernels' work space, the gaps
between blocks of memory, and what its driver holds.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that come into being while it is on.

    Attributes:
        now: of those that are alive. peak: the most that there were at once, since :meth:`restart`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor)
        return made

    def restart(self) -> int:
        """Forget the peak so far; what is alive stays. Returns that."""
        self.peak = self.now
        return self.now

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = weakref.finalize(storage, self._gone, key, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int) -> None:
        self._known.pop(key, None)
        self.now -= size


@contextmanager
def counted(fake: bool = True) -> Iterator[LiveBytes]:
    """A counter that is on within. ``fake``: with tensors that hold no numbers; else with real ones."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext(), LiveBytes() as live:
        yield live
