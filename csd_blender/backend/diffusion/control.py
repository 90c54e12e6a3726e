"""ControlNets (Zhang et al. 2023, arXiv 2302.05543): networks that look at a picture of the shape and change what the
model's own network says.

Each reads the noisy latents, the time and the text as that does, and a picture; what it finds is added inside. Those of
several nets add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...job.models.contents import Stamp
from .conditions import Conditions
from .cost.thrift import Thrift


@dataclass(frozen=True)
class ControlNet:
    """One of them, frozen.

    Attributes:
        name: as a job gives it. folder: where it lies. network: a ``ControlNetModel``.
        kinds: what it follows, see ``job/models/control``.
        weight: how strongly it counts beside the others.
        stamp: of its files when they were read, see ``contents.stamp_of``.
    """

    name: str
    folder: Path
    kinds: tuple[str, ...]
    network: nn.Module
    weight: float = 1.0
    stamp: Stamp = ()

    @property
    def channels(self) -> int:
        """Of its picture."""
        return int(self.network.config.conditioning_channels)


@dataclass(frozen=True)
class ControlNets:
    """All that a job has."""

    nets: tuple[ControlNet, ...]

    @property
    def layout(self) -> tuple[tuple[str, ...], ...]:
        """What each follows."""
        return tuple(net.kinds for net in self.nets)

    def weights(self, strength: float) -> Tensor:
        """``[K]``, how strongly each counts when all together count so."""
        return torch.tensor([net.weight * strength for net in self.nets])

    @torch.no_grad()
    def residuals(
        self,
        noisy: Tensor,
        t: Tensor,
        conditions: Conditions,
        added: Mapping[str, Tensor] | None = None,
        thrift: Thrift | None = None,
    ) -> dict[str, Any]:
        """What a ``UNet2DConditionModel`` wants to be told of them, by the names of its arguments.

        Args:
            noisy: ``[N, C, h, w]``. t: ``[N]``.
            conditions: N rows with ``control`` pictures and ``control_weight``.
            added: what the family tells its network besides (``added_cond_kwargs``), in its precision.
            thrift: the model's.
        """
        pictures, weights = conditions.control, conditions.control_weight
        if pictures is None or weights is None:
            raise ValueError("ControlNets want pictures and weights")
        down: list[Tensor] = []
        middle, first = None, 0
        for k, net in enumerate(self.nets):
            dtype = net.network.dtype
            picture = pictures[:, first : first + net.channels]
            first += net.channels
            if thrift is not None:
                thrift.bring(net.network)
            found, center = net.network(
                noisy.to(dtype),
                t,
                encoder_hidden_states=conditions.text.to(dtype),
                controlnet_cond=picture.to(dtype),
                added_cond_kwargs=added,
                return_dict=False,
            )
            weight = weights[:, k].to(dtype).view(-1, 1, 1, 1)
            found, center = [x * weight for x in found], center * weight
            down = [a + b for a, b in zip(down, found, strict=True)] if down else found
            middle = center if middle is None else middle + center
        return {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}


def residuals(
    nets: ControlNets | None,
    noisy: Tensor,
    t: Tensor,
    conditions: Conditions,
    added: Mapping[str, Tensor] | None = None,
    thrift: Thrift | None = None,
) -> dict[str, Any]:
    """:meth:`ControlNets.residuals`; nothing without nets, or without pictures for them."""
    if nets is None or conditions.control is None:
        return {}
    return nets.residuals(noisy, t.to(noisy.device), conditions, added, thrift)
