"""What a network is told beside the noisy picture and its time. A family fills in what its network reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """Conditions of N pictures, one row each; what a model does not read is None.

    Attributes:
        text: ``[N, L, D]``, a vector for each token.
        pooled: ``[N, P]``, one vector for the whole text (SDXL, SD 3).
        time_ids: ``[N, 6]``, size and cut of the training picture (SDXL).
        cameras: ``[N, K]``, from where each picture is seen, as the family writes it (MVDream, Zero-1-to-3).
        picture: ``[N, C, h, w]``, latents that the network sees beside the noisy ones (Zero-1-to-3).
        control: ``[N, C, H, W]`` pictures that ControlNets follow, in [0, 1], those of one behind those of another.
        control_weight: ``[N, K]``, how strongly each of K ControlNets counts.
    """

    text: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None
    cameras: Tensor | None = None
    picture: Tensor | None = None
    control: Tensor | None = None
    control_weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Conditions:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Conditions(**{name: None if value is None else change(value) for name, value in values.items()})

    def select(self, rows: slice | Sequence[int] | Tensor) -> Conditions:
        """Those rows, in that order."""
        return self._with(lambda part: part[rows])

    def repeat(self, times: int) -> Conditions:
        """Each row so many times, one after the other: ``[N * times, ...]``, row 0 first."""
        return self._with(lambda part: part.repeat_interleave(times, dim=0))

    def to(self, device: torch.device) -> Conditions:
        """On ``device``."""
        return self._with(lambda part: part.to(device))


def _together(conditions: Sequence[Conditions], join: Callable[[list[Tensor]], Tensor]) -> Conditions:
    joined = {}
    for f in fields(Conditions):
        parts = [getattr(c, f.name) for c in conditions]
        given = [part for part in parts if part is not None]
        if given and len(given) < len(parts):
            raise ValueError(f"only {len(given)} of {len(parts)} conditions have {f.name}; all need it, or none")
        joined[f.name] = join(given) if given else None
    return Conditions(**joined)


def cat(conditions: Sequence[Conditions]) -> Conditions:
    """All rows one below the other. Raises ``ValueError`` where only some of them have a part."""
    return _together(conditions, torch.cat)


def mix(weights: Sequence[float], conditions: Sequence[Conditions]) -> Conditions:
    """The weighted sum of equal numbers of rows. Raises ``ValueError`` where only some of them have a part."""
    return _together(conditions, lambda parts: sum(w * part for w, part in zip(weights, parts, strict=True)))
