"""How large a shape to start from may be, and at which density a field is cut."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ....job.spec.cameras import SceneCameras

LEAST_RADIUS = 0.05
ROOM = 0.95  # of the picture is for the shape
GRID = 64  # points along an axis, at which a field is looked at
FILLED = 1e-5  # density
LEAST_DENSITY = 0.01


def framed_radius(ranges: SceneCameras) -> float:
    """Radius of the largest ball around the origin that all cameras of ``ranges`` see whole, with a little room.

    Where they are unsteady, it is enough for deviations of three times the standard one; where that leaves nothing, it
    is small.
    """
    nearest = ranges.distance[0] - math.sqrt(3) * ranges.position_noise
    aside = math.atan2(3 * ranges.center_noise, max(nearest, 1e-6))
    return max(LEAST_RADIUS, ROOM * nearest * math.sin(math.radians(ranges.fov_y[0]) / 2 - aside))


@torch.no_grad()
def mean_density(density: Callable[[Tensor], Tensor], radius: float, device: torch.device) -> float:
    """The threshold of Magic3D as threestudio has it: the mean density where there is any, taken over the box of half
    side ``radius``, and then over what is tight around the surface at that mean. At least 0.01.

    ``density``: from points ``[N, 3]`` to ``[N]``.
    """
    low, high = torch.full((3,), -radius), torch.full((3,), radius)
    threshold = 0.0
    for _ in range(2):
        lines = [torch.linspace(float(a), float(b), GRID) for a, b in zip(low, high, strict=True)]
        slices = [torch.cartesian_prod(*lines[:2], z[None]) for z in lines[2]]
        found = torch.cat([density(points.to(device)).cpu() for points in slices])
        filled = found[found > FILLED]
        if not len(filled):
            return LEAST_DENSITY
        threshold = float(filled.mean())
        inside = torch.cat(slices)[found >= threshold]
        half_cell = (high - low) / (2 * GRID - 2)  # the surface is about that far beyond the last point
        first, last = inside.amin(0) - half_cell, inside.amax(0) + half_cell
        room = 0.1 * (last - first)
        low, high = (first - room).clamp_min(-radius), (last + room).clamp_max(radius)
    return max(LEAST_DENSITY, threshold)
