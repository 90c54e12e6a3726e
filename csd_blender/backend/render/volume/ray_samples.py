"""Where rays look at a volume: marching in steps through what is occupied, and leaving out what cannot be seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import warp as wp
from torch import Tensor
from torch.nn.functional import pad

from ...fields.radiance_field import RadianceField
from ...support.warp_launch import is_warp_device, launch_parts, load
from ..cameras import Cameras
from . import kernels as kernels
from .occupancy import OccupancyGrid
from .volume_twin import march_twin, see_twin

MIN_TRANSMITTANCE = 1e-3  # samples behind less light than this are left out, as nerfacc (arXiv 2305.04966) does
MIN_ALPHA = 1e-4  # and so are those that would take less of it; fog needs it this low, see `march`
MOST_VALUES = 1 << 24  # places for a density and a color (16 bytes) that a march may take


@dataclass(frozen=True)
class RaySamples:
    """Points on the rays of B pictures of S x S pixels: R = B * S * S rays, N samples, a ray's samples in a row.

    Attributes:
        offsets: ``[R + 1]`` int32, the first sample of each ray, and N.
        t: ``[N]`` distance from the camera, growing along a ray.
        ray: ``[N]`` int32, the ray of each sample; rays count columns, then rows, then pictures.
        points: ``[N, 3]`` world.
        directions: ``[R, 3]`` unit vectors from the camera.
        step: length of ray that each sample stands for, in world units.
        views: B.
        size: S.
        density, color: ``[N]`` and ``[N, 3]`` of the field at the points, without gradient, where `march` had to know
            them and there was room to keep them; else None.
    """

    offsets: Tensor
    t: Tensor
    ray: Tensor
    points: Tensor
    directions: Tensor
    step: float
    views: int
    size: int
    density: Tensor | None = None
    color: Tensor | None = None

    def __len__(self) -> int:
        return len(self.t)

    def keep(self, mask: Tensor) -> RaySamples:
        """Only the samples where ``mask`` ``[N]`` is true."""
        offsets = pad(mask.cumsum(0, dtype=torch.int32), (1, 0))[self.offsets.long()]
        density, color = (None if x is None else x[mask] for x in (self.density, self.color))
        parts = {"t": self.t[mask], "ray": self.ray[mask], "points": self.points[mask]}
        return replace(self, offsets=offsets, density=density, color=color, **parts)


def march(
    cameras: Cameras,
    size: int,
    occupancy: OccupancyGrid,
    step: float,
    generator: torch.Generator | None = None,
    visible_in: RadianceField | None = None,
    min_alpha: float = MIN_ALPHA,
) -> RaySamples:
    """Samples along the rays through all pixel centers, ``step`` apart, in the occupied cells of the cube.

    Args:
        cameras: B cameras, in perspective; they may stand inside the cube.
        size: S, pixels on each side.
        occupancy: what to skip; its device is where all is done.
        step: world units.
        generator: shifts each ray's samples together by a random part of a step; None puts them at the steps' middles.
        visible_in: leave out in the same pass what `prune` would leave out by this field's density.
        min_alpha: `prune`'s. With 0.001 a tenth fewer samples are left, with 0.01 (threestudio's) half as many in fog,
            whose opacity then is up to 0.01 or 0.14 too low.
    """
    device, views = occupancy.occupied.device, len(cameras)
    cameras = cameras.to(device)
    directions = cameras.directions(size).float().view(-1, 3).contiguous()
    positions = cameras.positions().float().contiguous()
    rays = len(directions)
    jitter = torch.full((rays,), 0.5) if generator is None else torch.rand(rays, generator=generator)
    jitter = jitter.to(device)
    low, high = occupancy.bounds()
    limit = max(math.ceil(math.dist(low, high) / step), 0) + 2
    if not is_warp_device(device):
        origins = positions.repeat_interleave(size * size, 0)
        t, counts = march_twin(origins, directions, jitter, occupancy.occupied, occupancy.radius, step, limit)
        ray = torch.repeat_interleave(torch.arange(rays, device=device, dtype=torch.int32), counts)
        points = origins[ray.long()] + directions[ray.long()] * t[:, None]
        samples = RaySamples(_offsets(counts), t, ray, points, directions, step, views, size)
        return samples if visible_in is None else prune(samples, visible_in.density, min_alpha)

    load(kernels, device)
    lines = [positions, directions]
    box = [occupancy.occupied, occupancy.radius, wp.vec3(*low), wp.vec3(*high), step, limit]
    keeps_values = visible_in is not None and rays * limit <= MOST_VALUES
    if visible_in is None:
        table, levels = torch.empty((0, 4), device=device), torch.empty((0, 4), dtype=torch.int32, device=device)
        pruning = [0, 0.0, 0.0, table, levels, 1.0, 0.0, 1.0]
    else:
        pruning = [1 + keeps_values, MIN_TRANSMITTANCE, min_alpha, *visible_in.kernel_arguments()]
    counts = torch.empty(rays, dtype=torch.int32, device=device)
    rows = [torch.empty((rays, limit), device=device)]
    rows += [torch.empty((rays if keeps_values else 0, limit, 4), device=device)]
    launch_parts(kernels.march, rays, [*lines, jitter, *box, *pruning, counts, *rows], device)

    offsets = _offsets(counts)
    total = int(offsets[-1])
    t, points = torch.empty(total, device=device), torch.empty((total, 3), device=device)
    ray = torch.empty(total, dtype=torch.int32, device=device)
    kept = total if keeps_values else 0
    density, color = torch.empty(kept, device=device), torch.empty((kept, 3), device=device)
    launch_parts(kernels.pack, rays, [*lines, offsets, *rows, t, ray, points, density, color], device)
    values = (density, color) if keeps_values else (None, None)
    return RaySamples(offsets, t, ray, points, directions, step, views, size, *values)


@torch.no_grad()
def prune(samples: RaySamples, density: Callable[[Tensor], Tensor], min_alpha: float = MIN_ALPHA) -> RaySamples:
    """Only the samples that can be seen: a thousandth of the light reaches them, and they take enough of that.

    Args:
        density: takes points ``[N, 3]``, gives ``[N]``; no gradient is kept.
        min_alpha: least opacity of one step that is enough.
    """
    values = density(samples.points).detach().contiguous()
    device = values.device
    if not is_warp_device(device):
        return samples.keep(see_twin(samples.offsets, values, samples.step, MIN_TRANSMITTANCE, min_alpha))
    load(kernels, device)
    mask = torch.empty(len(samples), dtype=torch.bool, device=device)
    inputs = [samples.offsets, values, samples.step, MIN_TRANSMITTANCE, min_alpha, mask]
    launch_parts(kernels.see, len(samples.directions), inputs, device)
    return samples.keep(mask)


def _offsets(counts: Tensor) -> Tensor:
    return pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
