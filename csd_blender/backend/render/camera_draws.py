"""Backgrounds and lamps of all jobs' pictures, and random cameras of a texture job: the whole mesh, parts of it from
close by, and now and then from below."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.spec.cameras import CameraRange, SceneCameras
from .cameras import Cameras, Shake, between, random_elevation

NEAREST = 1.55  # camera distance in radii of the mesh; the near surface must stay well before the lens

NEAREST_TO_CENTER = 1.1

LAMP_DISTANCE = (0.8, 1.5)  # of the published lamps from the origin, in scene units
LAMP_AMBIENT, LAMP_DIFFUSE = 0.1, 0.9  # their light all around, and their own


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
    distance = framing_distance(zoom, fov_y).clamp_min(NEAREST)
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


def framing_distance(zoom: Tensor, fov_y: Tensor) -> Tensor:
    """From where the unit ball's apparent radius is ``zoom`` halves of the picture, for fields of view in degrees."""
    half = (fov_y * (math.pi / 360.0)).tan()
    return 1 / torch.sin(torch.atan(zoom * half))


def draw_backgrounds(views: int, any_color: bool, generator: torch.Generator, alike: bool = False) -> Tensor:
    """One color ``[views, 3]`` for each picture: any one, every second one gray; else white or black.

    ``alike``: the first one's for all.
    """
    colors = torch.rand((views, 3), generator=generator)
    coin = torch.rand((views, 1), generator=generator) < 0.5
    found = torch.where(coin, colors[:, :1], colors) if any_color else coin.float().expand(views, 3)
    return found[:1].expand(views, 3) if alike else found


def draw_shake(ranges: SceneCameras, views: int, generator: torch.Generator) -> Shake | None:
    """Cameras off by up to ``position_noise`` along each axis; what they look at and their upward direction by normal
    deviations. None, and no random number taken, where all three are zero."""
    if not (ranges.position_noise or ranges.center_noise or ranges.up_noise):
        return None
    position = (torch.rand((views, 3), generator=generator) * 2 - 1) * ranges.position_noise
    center, up = torch.randn((2, views, 3), generator=generator)
    return Shake(position, center * ranges.center_noise, up * ranges.up_noise)


@dataclass(frozen=True)
class Lamps:
    """Points that shine on the scene, one for each picture.

    Attributes:
        kind: ``dreamfusion`` or ``magic3d``.
        offset: ``[B, 3]``; ``dreamfusion``: what is added to the camera's position to get the lamp's direction from the
            origin; ``magic3d``: that direction in axes (any, any, from the origin to the camera).
        distance: ``[B]`` from the origin.
    """

    kind: str
    offset: Tensor
    distance: Tensor

    def positions(self, cameras: Cameras) -> Tensor:
        """Where they are, ``[B, 3]``."""
        eye = cameras.positions()
        offset, distance = self.offset.to(eye), self.distance.to(eye)
        if self.kind == "dreamfusion":
            return F.normalize(eye + offset, dim=-1) * distance[:, None]
        back = F.normalize(eye, dim=-1)
        across = F.normalize(torch.linalg.cross(cameras.axes()[:, 1], back), dim=-1)
        axes = torch.stack([across, torch.linalg.cross(back, across), back], dim=1)
        return torch.einsum("bi,bij->bj", offset, axes) * distance[:, None]


def draw_lights(views: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Lamps beside and mostly above the camera: direction ``[B, 3]``, ambient and diffuse strength ``[B]``."""
    u = torch.rand((views, 4), generator=generator)
    sideways, upward = u[:, 0] * 2.4 - 1.2, u[:, 1] * 1.5 - 0.2
    light = torch.stack([sideways, upward, torch.ones(views)], dim=1)
    return light, 0.3 + 0.25 * u[:, 2], 0.5 + 0.35 * u[:, 3]


def draw_lamps(
    kind: str, soft: bool, views: int, generator: torch.Generator, ring: int = 1
) -> tuple[Lamps, Tensor, Tensor]:
    """Lamps of a step as threestudio draws them, and the strengths ``[B]`` of the light all around and of the lamps'.

    ``dreamfusion``: in the direction of the camera's position plus a standard normal deviation (Poole et al. 2022).
    ``magic3d``: at most 60 degrees off the camera's direction, the angle uniform (Lin et al. 2022). Either 0.8 to 1.5
    from the origin. With ``soft`` shading chance divides the light between the two, alike for the batch.

    ``ring``: so many pictures, side by side, have one draw.

    Raises:
        ValueError: for another ``kind``.
    """
    rings = views // ring
    distance = between(LAMP_DISTANCE, torch.rand(rings, generator=generator))
    if kind == "dreamfusion":
        offset = torch.randn((rings, 3), generator=generator)
    elif kind == "magic3d":
        turn, height = torch.rand((2, rings), generator=generator)
        turn, height = turn * (2 * math.pi), math.pi / 6 + height * (math.pi / 3)
        offset = torch.stack([height.cos() * turn.cos(), height.cos() * turn.sin(), height.sin()], dim=1)
    else:
        raise ValueError(f"unknown lamp {kind!r}")
    share = float(torch.rand((), generator=generator))  # in any case: a switch must not move other random numbers
    ambient, diffuse = (1 - share, share) if soft else (LAMP_AMBIENT, LAMP_DIFFUSE)
    lamps = Lamps(kind, offset.repeat_interleave(ring, 0), distance.repeat_interleave(ring))
    return lamps, torch.full((views,), ambient), torch.full((views,), diffuse)


def _between_log(limits: tuple[float, float], u: Tensor) -> Tensor:
    return torch.exp(between((math.log(limits[0]), math.log(limits[1])), u))
