"""MVDream (Shi et al. 2023, arXiv 2308.16512): four views of one thing, drawn together.

A Stable Diffusion 2 whose attention of a picture to itself goes to all views of the thing, and which is told from where
each is seen: the camera's matrix, through two linear layers, is added to the time. Diffusers' own network has a place
for both: a projected class, and attention processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor

from ....job.models.contents import unreadable
from ....job.models.files import ModelFiles
from ....job.spec.cameras import VIEWS_AT_ONCE
from .. import stable_diffusion
from ..conditions import Conditions
from ..stable_diffusion import StableDiffusion

NUMBERS = 16  # of a camera's matrix


def camera_numbers(axes: Tensor, places: Tensor) -> Tensor:
    """Cameras as the network reads them, ``[B, 16]``: the matrices from camera to world, row by row.

    Args:
        axes: ``[B, 3, 3]``, right, up and back as rows. places: ``[B, 3]``, not at the origin.

    The published world has the front at +X, ours at -Y; cameras look along their -Z in both. The distance is always
    1: how far a camera is says nothing, since with the angle of view it tells no more than how large a thing is.
    """
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).to(places)
    rotation = quarter @ axes.transpose(1, 2)
    place = torch.nn.functional.normalize(places @ quarter.T, dim=-1)
    matrix = torch.eye(4).to(place).repeat(len(place), 1, 1)
    matrix[:, :3, :3], matrix[:, :3, 3] = rotation, place
    return matrix.flatten(1)


class AcrossViews:
    """Attention of pictures to themselves, in which each goes to all ``views`` of its own thing, that lie side by side
    in the batch: ``[N, L, C]`` to ``[N / views, views * L, C]`` and back."""

    def __init__(self, views: int):
        self.views = views
        self.within = AttnProcessor2_0()

    def __call__(self, attn: Any, hidden_states: Tensor, *others: Any, **named: Any) -> Tensor:
        rows, length, width = hidden_states.shape
        together = hidden_states.reshape(rows // self.views, self.views * length, width)
        return self.within(attn, together, *others, **named).reshape(rows, length, width)


def see_all_views(unet: torch.nn.Module, views: int) -> None:
    """Let all of a ``UNet2DConditionModel``'s attention of pictures to themselves go to all views."""
    unet.set_attn_processor(
        {
            name: AcrossViews(views) if name.endswith("attn1.processor") else usual
            for name, usual in unet.attn_processors.items()
        }
    )


@dataclass
class MVDream(StableDiffusion):
    """A :class:`~..model.DiffusionModel` whose rows come by the ``views`` of one thing, side by side.

    Conditions have ``cameras``, see :func:`camera_numbers`.
    """

    @property
    def views(self) -> int:
        """How many rows are of one thing."""
        return self.thrift.least_rows

    def network_noise(
        self, noisy: Tensor, t: Tensor, conditions: Conditions, unet: torch.nn.Module | None = None
    ) -> Tensor:
        """As of every model. Raises ``ValueError`` for rows that are no whole things, or have no cameras."""
        if conditions.cameras is None or len(noisy) % self.views:
            raise ValueError(f"{len(noisy)} rows; wanted are the cameras of {self.views} views of each thing")
        return super().network_noise(noisy, t, conditions, unet)


def load(name: str, files: ModelFiles, device: torch.device) -> MVDream:
    """The model that the files hold. Raises ``JobError('model_unreadable')`` naming the file that does not fit."""
    numbers = files.unet.config.get("projection_class_embeddings_input_dim")
    if numbers != NUMBERS:
        raise unreadable(f"{files.unet.folder} wants {numbers} numbers of a camera, and not the {NUMBERS} of a matrix")
    plain = stable_diffusion.load(name, files, device, classes=("projection",))
    see_all_views(plain.unet, VIEWS_AT_ONCE)
    plain.thrift.least_rows = VIEWS_AT_ONCE
    return MVDream(**vars(plain))
