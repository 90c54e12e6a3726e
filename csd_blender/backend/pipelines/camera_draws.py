"""Backgrounds of all jobs' pictures, and random cameras of a texture job: the whole mesh, parts of it from close by,
and now and then from below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...job.spec import CameraRange
from ..render.cameras import Cameras, between, random_elevation

NEAREST = 1.55  # camera distance in radii of the mesh; the near surface must stay well before the lens

NEAREST_TO_CENTER = 1.1


@dataclass(frozen=True)
class Shots:
    """Cameras of one batch, what they look at, and how a prompt should speak of them.

    Attributes:
        target: ``[B, 3]`` point each camera turns around, in units of the mesh's bounding radius.
        close: the picture shows a part that fills it.
        below: seen from so far below that no view word fits.
    """

    cameras: Cameras
    target: Tensor
    close: list[bool]
    below: list[bool]


def draw_shots(ranges: CameraRange, count: int, generator: torch.Generator) -> Shots:
    """Draw ``count`` cameras around a mesh in the unit ball; azimuths are spread evenly over the batch.

    Elevations are, with equal chance, uniform in degrees or uniform on the sphere. ``zoom`` is the apparent radius of
    the unit ball relative to half the picture: 1 just fits.
    """
    uniform = torch.rand((8, count), generator=generator)
    offsets = torch.rand((count, 3), generator=generator) * 2 - 1
    azimuth = (torch.arange(count) + uniform[0]) / count * 360.0 - 180.0
    elevation = random_elevation(ranges.elevation, uniform[1], uniform[2])
    below = uniform[3] < ranges.below_share
    elevation = torch.where(below, -90.0 + uniform[2] * (90.0 + ranges.elevation[0]), elevation)
    fov_y = between(ranges.fov_y, uniform[4])
    close = uniform[5] < ranges.close_share
    zoom = torch.where(close, _between_log(ranges.close_zoom, uniform[6]), _between_log(ranges.zoom, uniform[6]))
    half = (fov_y * (math.pi / 360.0)).tan()
    distance = (1 / torch.sin(torch.atan(zoom * half))).clamp_min(NEAREST)
    reach = torch.where(close, 0.45, 0.06)
    target = offsets * reach[:, None]
    # A target off the center may bring the camera too near to the other side of the mesh.
    position = Cameras(azimuth, elevation, distance, fov_y).positions() + target
    inside = position.norm(dim=1) < NEAREST_TO_CENTER
    distance = torch.where(inside, NEAREST_TO_CENTER + target.norm(dim=1), distance)
    return Shots(
        cameras=Cameras(azimuth, elevation, distance, fov_y),
        target=target,
        close=close.tolist(),
        below=below.tolist(),
    )


def draw_backgrounds(views: int, any_color: bool, generator: torch.Generator) -> Tensor:
    """One color ``[views, 3]`` for each picture: any one, every second one gray; else white or black."""
    colors = torch.rand((views, 3), generator=generator)
    coin = torch.rand((views, 1), generator=generator) < 0.5
    if any_color:
        return torch.where(coin, colors[:, :1], colors)
    return coin.float().expand(views, 3)


def _between_log(limits: tuple[float, float], u: Tensor) -> Tensor:
    return torch.exp(between((math.log(limits[0]), math.log(limits[1])), u))
