"""How a model saves memory, from nothing at all to networks that take turns on the device; no number changes by it.

The ladder in ``optimize/out_of_memory.py`` switches these on; models look at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...support.memory import Saving

CPU = torch.device("cpu")


@dataclass
class Thrift:
    """What a model does for memory's sake; switched off, all is as fast as it can be.

    Attributes:
        saving: of activations. turns: of weights; None while all networks are on the device.
        least_rows: so many rows, side by side, have to go through the network in one call.
    """

    saving: Saving = Saving()
    turns: Turns | None = None
    least_rows: int = 1

    def bring(self, network: nn.Module) -> None:
        """To be called before ``network`` is used: it is on the device then, on its way back too (see ``guard``)."""
        if self.turns is not None:
            self.turns.bring(network)

    def guard(self, made: Tensor, network: nn.Module) -> Tensor:
        """What ``network`` made, which a gradient will go through: ``network`` is back on the device when it comes."""
        if self.turns is not None and made.requires_grad:
            made.register_hook(lambda gradient: self.bring(network))
        return made

    def reset(self) -> None:
        """All networks on the device, nothing saved."""
        self.saving = Saving()
        if self.turns is not None:
            self.turns.end()
            self.turns = None


@dataclass
class Resting:
    """A frozen weight, and its copy in the computer's memory, where it is while its network rests."""

    weight: Tensor
    copy: Tensor


class Turns:
    """Frozen networks of which one at a time is on the device.

    Their weights never change, so that nothing is copied back: a network that rests has its copy in the computer's
    memory, page-locked where CUDA reads it, and one that is brought a fresh copy of that.

    Attributes:
        brought: how often a network came to the device.
    """

    def __init__(self, networks: Sequence[nn.Module], device: torch.device):
        self.device, self.brought = device, 0
        self._resting = {id(network): [_rest(t, device) for t in _tensors(network)] for network in networks}
        self._networks = tuple(networks)  # so that an id stays that of its network
        self._present: int | None = None
        for network in networks:
            self._put_away(id(network))

    def bring(self, network: nn.Module) -> None:
        """``network`` to the device, all others to rest; one that takes no turns is there already."""
        wanted = id(network)
        if wanted == self._present:
            return
        if self._present is not None:
            self._put_away(self._present)
            self._present = None
        if wanted in self._resting:
            self._fetch(wanted)
            self._present = wanted

    def end(self) -> None:
        """All of them to the device, to stay."""
        for known in self._resting:
            if known != self._present:
                self._fetch(known)
        self._resting.clear()

    def _fetch(self, known: int) -> None:
        self.brought += 1
        for one in self._resting[known]:
            one.weight.data = one.copy.to(self.device, non_blocking=True, copy=True)

    def _put_away(self, known: int) -> None:
        for one in self._resting[known]:
            one.weight.data = one.copy


def _tensors(network: nn.Module) -> list[Tensor]:
    weights = [*network.parameters(), *network.buffers()]
    if any(weight.requires_grad for weight in weights):
        raise ValueError("a network that learns cannot rest: what it learns would be lost")
    return weights


def _rest(weight: Tensor, device: torch.device) -> Resting:
    copy = weight.data.to(CPU)
    if device.type == "cuda":
        try:
            copy = copy.pin_memory()
        except RuntimeError:  # more than the system lets be locked; it is slower then
            pass
    return Resting(weight, copy)
