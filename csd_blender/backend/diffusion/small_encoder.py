"""A small encoder in the place of a VAE's own: that of an ``AutoencoderTiny``.

It brings a picture to the same latents by a few convolutions. It knows no variance: what it gives stands for the
posterior's mean, and nothing is added to it. Its latents are as the network takes them, in diffusers' convention: less
the config's ``shift_factor``, times its ``scaling_factor``, which are 0 and 1 in all that are published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...job.models.contents import Stamp
from ..support.draws import Draws, normal


@dataclass(frozen=True)
class SmallEncoder:
    """One that is loaded.

    Attributes:
        name: as a job gives it. folder: where it lies.
        network: diffusers' ``EncoderTiny``, frozen; it takes pictures in [-1, 1].
        shift, scale: of its latents.
        stamp: of its files when they were read, see ``contents.stamp_of``.
    """

    name: str
    folder: Path
    network: torch.nn.Module
    shift: float = 0.0
    scale: float = 1.0
    stamp: Stamp = ()

    def encode(self, pixels: Tensor, one_by_one: bool, generator: Draws | None) -> Tensor:
        """Latents and arguments as of :func:`~.vae.encode_pictures`.

        Of ``generator`` as many random numbers are drawn as there, and left: the rest of a job's are the same with
        either encoder.
        """
        pixels = pixels.to(next(self.network.parameters()).dtype, memory_format=torch.channels_last)
        if one_by_one:
            rows = [checkpoint(self.network, row, use_reentrant=False) for row in pixels.split(1)]
            latents = torch.cat(rows).float()
        else:
            latents = self.network(pixels).float()
        if generator is not None:
            normal(latents.shape, generator)
        return (latents.contiguous() - self.shift) * self.scale
