"""Cameras on a sphere around the object, their matrices, and the words for where they stand.

World: right-handed, Z up, the object's front faces -Y. Azimuth 0 is a camera at -Y, azimuth 90 one at +X.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NEAR, FAR = 0.01, 100.0


@dataclass(frozen=True)
class Shake:
    """How far cameras are off, as by an unsteady hand, each ``[B, 3]`` in world axes.

    Attributes:
        position: added to where they are.
        center: added to what they look at.
        up: added to the upward direction (0, 0, 1).
    """

    position: Tensor
    center: Tensor
    up: Tensor

    def to(self, device: torch.device | str) -> Shake:
        """The same on another device."""
        return Shake(self.position.to(device), self.center.to(device), self.up.to(device))

    def select(self, rows: slice | list[int]) -> Shake:
        """That of some cameras."""
        return Shake(self.position[rows], self.center[rows], self.up[rows])


@dataclass(frozen=True)
class Cameras:
    """A batch of B cameras that look at the origin; square pictures are upright (Z up), also straight from above.

    Azimuth, elevation and distance are those without the ``shake``; prompts go by them.

    Attributes:
        azimuth: ``[B]`` degrees; 0 front (-Y), 90 at +X, 180 back.
        elevation: ``[B]`` degrees, -90 to 90.
        distance: ``[B]`` from the origin, in world units, > 0.
        fov_y: ``[B]`` vertical field of view in degrees, 0 to 180 (exclusive).
        shake: None for a steady hand.
    """

    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    fov_y: Tensor
    shake: Shake | None = None

    def __len__(self) -> int:
        return len(self.azimuth)

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras on another device."""
        moved = (t.to(device) for t in (self.azimuth, self.elevation, self.distance, self.fov_y))
        return Cameras(*moved, None if self.shake is None else self.shake.to(device))

    def select(self, rows: slice | list[int]) -> Cameras:
        """Some of them, in this order."""
        some = (t[rows] for t in (self.azimuth, self.elevation, self.distance, self.fov_y))
        return Cameras(*some, None if self.shake is None else self.shake.select(rows))

    def axes(self) -> Tensor:
        """Unit vectors right, up, back (from origin to camera) as rows, ``[B, 3, 3]``; defined at the poles too."""
        steady = self._orbit_axes()
        if self.shake is None:
            return steady
        back = F.normalize(self.positions() - self.shake.center, dim=-1)
        up = self.shake.up + torch.tensor([0.0, 0.0, 1.0]).to(back)
        right = torch.linalg.cross(up, back)
        # Straight from above no direction is upward; there the steady camera's right is as good as any.
        right = torch.where(right.norm(dim=-1, keepdim=True) > 1e-4, right, steady[:, 0])
        right = F.normalize(right - back * (right * back).sum(-1, keepdim=True), dim=-1)
        return torch.stack([right, torch.linalg.cross(back, right), back], dim=1)

    def _orbit_axes(self) -> Tensor:
        az, el = torch.deg2rad(self.azimuth), torch.deg2rad(self.elevation)
        sa, ca, se, ce = az.sin(), az.cos(), el.sin(), el.cos()
        rows = [ca, sa, torch.zeros_like(sa), -sa * se, ca * se, ce, sa * ce, -ca * ce, se]
        return torch.stack(rows, dim=-1).view(-1, 3, 3)

    def positions(self) -> Tensor:
        """Where the cameras are, ``[B, 3]``."""
        place = self._orbit_axes()[:, 2] * self.distance[:, None]
        return place if self.shake is None else place + self.shake.position

    def view(self) -> Tensor:
        """World to camera, ``[B, 4, 4]``; the camera looks along its -Z, +Y is up (not flipped)."""
        axes = self.axes()
        matrix = torch.zeros(len(self), 4, 4, dtype=axes.dtype, device=axes.device)
        matrix[:, :3, :3] = axes
        matrix[:, :3, 3] = -(axes @ self.positions()[:, :, None])[:, :, 0]
        matrix[:, 3, 3] = 1.0
        return matrix

    def projection(self) -> Tensor:
        """Camera to clip space, ``[B, 4, 4]``, with y flipped so that picture row 0 is the top."""
        half = torch.tan(torch.deg2rad(self.fov_y) / 2)
        matrix = torch.zeros(len(self), 4, 4, dtype=half.dtype, device=half.device)
        matrix[:, 0, 0] = 1 / half
        matrix[:, 1, 1] = -1 / half
        matrix[:, 2, 2] = -(FAR + NEAR) / (FAR - NEAR)
        matrix[:, 2, 3] = -2 * FAR * NEAR / (FAR - NEAR)
        matrix[:, 3, 2] = -1.0
        return matrix

    def mvp(self) -> Tensor:
        """World to clip space, ``[B, 4, 4]``: ``clip = mvp @ [x, y, z, 1]``; near 0.01, far 100."""
        return self.projection() @ self.view()

    def clip(self, points: Tensor) -> Tensor:
        """Clip coordinates ``[B, V, 4]`` of world points ``[V, 3]`` or ``[B, V, 3]``; differentiable."""
        matrix = self.mvp().to(points)
        return points @ matrix[:, :, :3].transpose(1, 2) + matrix[:, None, :, 3]

    def directions(self, size: int) -> Tensor:
        """Unit view rays through the pixel centers, ``[B, size, size, 3]`` in the world; row 0 is the top."""
        like = {"dtype": self.fov_y.dtype, "device": self.fov_y.device}
        half = torch.tan(torch.deg2rad(self.fov_y) / 2)[:, None, None]
        x = (2 * torch.arange(size, **like) + 1) / size - 1
        y = 1 - (2 * torch.arange(size, **like) + 1) / size
        shape = (len(self), size, size)
        rays = torch.stack(
            [
                (x[None, None, :] * half).expand(shape),
                (y[None, :, None] * half).expand(shape),
                -torch.ones(shape, **like),
            ],
            dim=-1,
        )
        return F.normalize(torch.einsum("bhwi,bij->bhwj", rays, self.axes()), dim=-1)


def orbit(count: int, elevation: float = 15.0, distance: float = 3.0, fov_y: float = 40.0) -> Cameras:
    """``count`` cameras evenly around the object, the first at its front, azimuth growing."""
    azimuth = torch.arange(count, dtype=torch.float32) * (360.0 / max(count, 1))
    return Cameras(
        azimuth, torch.full((count,), elevation), torch.full((count,), distance), torch.full((count,), fov_y)
    )


def sample_cameras(
    generator: torch.Generator | None,
    count: int,
    elevation: tuple[float, float] = (-10.0, 60.0),
    distance: tuple[float, float] = (2.5, 3.5),
    fov_y: tuple[float, float] = (40.0, 40.0),
    elevation_law: str = "camera",
    ring: int = 1,
    distance_unit: str = "scene",
) -> Cameras:
    """Random cameras, as in DreamFusion (Poole et al. 2022, arXiv 2209.14988) and threestudio.

    Elevations are with probability 1/2 uniform in degrees, else uniform on the sphere, that is, sin(elevation) is
    uniform between the sines of the limits; :func:`random_elevation` has the other laws. Azimuths lie in [-180, 180),
    one in each of ``count`` equal sectors. The numbers of a seed do not depend on the ranges.

    Args:
        ring: cameras come in rings of so many, side by side in the batch: evenly around, each ring turned by chance,
            with one elevation, distance and angle of view (Shi et al. 2023, 2308.16512).
        distance_unit: of ``distance``: the ``scene``'s, or half heights of the ``frame`` at the origin.

    Raises:
        ValueError: when a range is upside down, or ``count`` cameras make no whole rings.
    """
    for name, (low, high) in {"elevation": elevation, "distance": distance, "fov_y": fov_y}.items():
        if not low <= high:
            raise ValueError(f"{name} range ({low}, {high}) is upside down; give (lowest, highest).")
    if count % ring:
        raise ValueError(f"{count} cameras make no rings of {ring}")
    coin, u_az, u_el, u_distance, u_fov = torch.rand((5, count // ring), generator=generator)
    if ring > 1:
        azimuth = ((torch.arange(ring) + u_az[:, None]) / ring).flatten()
    else:
        azimuth = (torch.arange(count) + u_az) / count
    angle, far = between(fov_y, u_fov), between(distance, u_distance)
    if distance_unit == "frame":
        far = far / torch.tan(torch.deg2rad(angle) / 2)
    alike = (random_elevation(elevation, coin, u_el, elevation_law), far, angle)
    return Cameras(azimuth * 360.0 - 180.0, *(numbers.repeat_interleave(ring) for numbers in alike))


def random_elevation(limits: tuple[float, float], coin: Tensor, u: Tensor, law: str = "camera") -> Tensor:
    """Degrees within ``limits``: uniform where ``coin < 1/2``, else uniform on the sphere.

    Args:
        coin, u: ``[B]`` in [0, 1).
        law: ``camera`` has a coin each; ``batch``, as threestudio, the first one's for all. ``csd``, as CSD's public
            code: one coin too, and its second law takes the sine uniform between ``limits / 90``, which is narrower:
            for (-10, 45) it is -6.4 to 30 degrees.

    Raises:
        ValueError: for another law.
    """
    if law not in ("camera", "batch", "csd"):
        raise ValueError(f"unknown law {law!r}")
    if law == "csd":
        low, high = (e / 90.0 for e in limits)
    else:
        low, high = (math.sin(math.radians(e)) for e in limits)
    on_sphere = torch.rad2deg(torch.asin(between((low, high), u).clamp(-1, 1)))
    coin = coin if law == "camera" else coin[:1]
    return torch.where(coin < 0.5, between(limits, u), on_sphere).clamp(*limits)


def between(limits: tuple[float, float], u: Tensor) -> Tensor:
    """From [0, 1) to ``limits``."""
    return limits[0] + (limits[1] - limits[0]) * u


def view_names(azimuth: Tensor, elevation: Tensor, front_angle: float = 45.0) -> list[str]:
    """The word for each camera: overhead above 60 degrees, front within ``front_angle`` of azimuth 0, back within as
    much of 180, else side.

    All comparisons are strict: at 45 degrees, and at 135, 45 still makes it a side; at 60 it is not overhead.

    Args:
        azimuth, elevation: ``[B]`` degrees; azimuth may be any number, it is wrapped to [-180, 180).
    """
    names = []
    for az, el in zip(azimuth.tolist(), elevation.tolist(), strict=True):
        turned = abs((az + 180.0) % 360.0 - 180.0)
        if el > 60.0:
            names.append("overhead")
        elif turned < front_angle:
            names.append("front")
        else:
            names.append("back" if turned > 180.0 - front_angle else "side")
    return names
