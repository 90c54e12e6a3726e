"""Pictures of a volume of density and color, differentiable (Mildenhall et al. 2020, arXiv 2003.08934).

Rays go through pixel centers as `cameras` says, so a volume and a mesh seen by the same camera cover the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...fields.radiance_field import RadianceField
from ...support.warp_launch import is_warp_device, launch_parts, load
from ..cameras import Cameras
from . import kernels as kernels
from .occupancy import OccupancyGrid
from .ray_samples import MIN_ALPHA, RaySamples, march, prune
from .volume_twin import composite_twin

__all__ = [
    "Composite",
    "OccupancyGrid",
    "RaySamples",
    "VolumeField",
    "VolumePictures",
    "composite",
    "convexity_loss",
    "march",
    "opaque_loss",
    "orientation_loss",
    "prune",
    "render_volume",
    "sparsity_loss",
    "z_variance_loss",
]


class VolumeField(Protocol):
    """What can be rendered; `RadianceField` is one."""

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density ``[N]`` and color ``[N, 3]`` at points ``[N, 3]``."""

    def density(self, points: Tensor) -> Tensor:
        """Density ``[N]``."""

    def normals(self, points: Tensor, eps: float | None = None) -> Tensor:
        """Unit vectors against the density's slope, ``[N, 3]``."""


@dataclass(frozen=True)
class Composite:
    """Sums along rays; nothing is put behind them.

    Attributes:
        values: ``[B, S, S, C]`` the weighted sums of the values.
        opacity: ``[B, S, S, 1]`` in [0, 1].
        depth: ``[B, S, S, 1]`` the weighted sum of the distances; divide by the opacity for their mean.
        weights: ``[N]`` what each sample adds to the opacity.
    """

    values: Tensor
    opacity: Tensor
    depth: Tensor
    weights: Tensor


@dataclass(frozen=True)
class VolumePictures:
    """Pictures and what the regularizers need.

    Attributes:
        color: ``[B, 3, S, S]`` over the background.
        opacity: ``[B, 1, S, S]``.
        depth: ``[B, 1, S, S]`` weighted sum of the distances along the rays.
        normal: ``[B, 3, S, S]`` world normals times 0.5 plus 0.5, over 0.5; None when not wanted.
        samples: where the field was looked at (its rays' directions too).
        weights: ``[N]`` of the samples.
        normals: ``[N, 3]`` unit vectors at the samples; None when not wanted.
    """

    color: Tensor
    opacity: Tensor
    depth: Tensor
    normal: Tensor | None
    samples: RaySamples
    weights: Tensor
    normals: Tensor | None


def composite(density: Tensor, values: Tensor, samples: RaySamples) -> Composite:
    """Sum values along rays through an absorbing volume (Max 1995): weight = light left * (1 - exp(-density * step)).

    Differentiable with respect to both, once; the same input gives the same bits.

    Args:
        density: ``[N]`` float32 per world unit.
        values: ``[N, C]`` float32.
        samples: where they are from.
    """
    if is_warp_device(density.device):
        sums, opacity, depth, weights = _Composite.apply(density.contiguous(), values.contiguous(), samples)
    else:
        sums, opacity, depth, weights = composite_twin(samples.offsets, samples.t, samples.step, density, values)
    shape = (samples.views, samples.size, samples.size, -1)
    if not values.shape[1]:
        shape = (*shape[:3], 0)
    return Composite(sums.view(shape), opacity.view(*shape[:3], 1), depth.view(*shape[:3], 1), weights)


def render_volume(
    field: VolumeField,
    cameras: Cameras,
    size: int,
    occupancy: OccupancyGrid,
    step: float,
    background: Tensor,
    generator: torch.Generator | None = None,
    normals: bool = False,
    normal_eps: float | None = None,
    min_alpha: float = MIN_ALPHA,
) -> VolumePictures:
    """Pictures of the field, differentiable with respect to its parameters and the background.

    Args:
        field: what is seen; a `RadianceField` is marched and pruned in one pass.
        cameras: B cameras.
        size: S, pixels on each side.
        occupancy: what to skip.
        step: between samples, in world units.
        background: ``[B, 3]`` or ``[3]`` colors, or pictures ``[B, 3, S, S]`` of them.
        generator: shifts the samples of each ray; None for always the same place.
        normals: also the picture of normals.
        normal_eps: `RadianceField.normals`'s; 0 is the fastest.
        min_alpha: samples of less opacity are left out, see `march`.
    """
    with torch.no_grad():
        if isinstance(field, RadianceField):
            samples = march(cameras, size, occupancy, step, generator, visible_in=field, min_alpha=min_alpha)
        else:
            samples = prune(march(cameras, size, occupancy, step, generator), field.density, min_alpha)
    if isinstance(field, RadianceField) and samples.density is not None and samples.color is not None:
        density, values = field.known(samples.points, samples.density, samples.color)
    else:
        density, values = field(samples.points)
    unit = field.normals(samples.points, normal_eps) if normals else None
    sums = composite(density, values if unit is None else torch.cat([values, unit], 1), samples)
    pictures, opacity = sums.values.permute(0, 3, 1, 2), sums.opacity.permute(0, 3, 1, 2)
    behind = background.to(pictures)
    if behind.dim() < 4:
        behind = behind.expand(len(cameras), 3)[:, :, None, None]
    color = pictures[:, :3] + (1 - opacity) * behind
    normal = None if unit is None else pictures[:, 3:] * 0.5 + 0.5
    return VolumePictures(color, opacity, sums.depth.permute(0, 3, 1, 2), normal, samples, sums.weights, unit)


def orientation_loss(pictures: VolumePictures) -> Tensor:
    """Penalty on normals that face away from the camera where they are seen (Poole et al. 2022, arXiv 2209.14988).

    The sum over samples of weight * max(0, normal . direction)^2, divided by the number of rays that meet something.
    No gradient flows through the weights.

    Raises:
        ValueError: when the pictures were made without normals.
    """
    if pictures.normals is None:
        raise ValueError("render_volume with normals=True first.")
    samples = pictures.samples
    facing = (pictures.normals * samples.directions.index_select(0, samples.ray)).sum(-1).clamp_min(0)
    rays = (pictures.opacity > 0).sum().clamp_min(1)
    return (pictures.weights.detach() * facing.square()).sum() / rays


def sparsity_loss(opacity: Tensor) -> Tensor:
    """Mean of sqrt(opacity^2 + 0.01): less of everything (arXiv 2209.14988)."""
    return (opacity.square() + 0.01).sqrt().mean()


def opaque_loss(opacity: Tensor) -> Tensor:
    """Mean entropy of the opacity, kept 0.001 from 0 and 1: nothing half transparent (arXiv 2209.14988)."""
    o = opacity.clamp(1e-3, 1 - 1e-3)
    return -(o * o.log() + (1 - o) * (1 - o).log()).mean()


def z_variance_loss(pictures: VolumePictures) -> Tensor:
    """Mean spread of the places that a ray sees, where it sees more than half of something (HiFA, arXiv 2305.18766).

    Of such a ray the variance of the samples' distances under their weights, divided by its opacity; the mean over
    these rays, and 0 without any.
    """
    samples, opacity = pictures.samples, pictures.opacity.flatten()
    solid = opacity > 0.5
    share = 1 / opacity.clamp_min(1e-5)
    mean = (pictures.depth.flatten() * share)[samples.ray]
    spread = pictures.weights * share[samples.ray] * (samples.t - mean).square()
    return torch.where(solid[samples.ray], spread, spread.new_zeros(())).sum() / solid.sum().clamp_min(1)


def convexity_loss(pictures: VolumePictures, cells: int = 8) -> Tensor:
    """How little normals turn outwards from one cell of a picture to the next (DSD's, arXiv 2412.06780, its code).

    The picture of unit normals times 0.5 plus 0.5, times the opacity, is resized to ``cells`` x ``cells`` by plain
    bilinear interpolation. Minus the mean vertical component (world Z) of left x right, and of below x above.

    Raises:
        ValueError: when the pictures were made without normals.
    """
    if pictures.normal is None:
        raise ValueError("render_volume with normals=True first.")
    unit = F.normalize(pictures.normal * 2 - 1, dim=1)
    small = F.interpolate((unit + 1) / 2 * pictures.opacity, (cells, cells), mode="bilinear", align_corners=False)
    across = torch.linalg.cross(small[..., :-1], small[..., 1:], dim=1)
    upward = torch.linalg.cross(small[..., 1:, :], small[..., :-1, :], dim=1)
    return -(across[:, 2].mean() + upward[:, 2].mean())


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density: Tensor, values: Tensor, samples: RaySamples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        device, rays = density.device, len(samples.directions)
        load(kernels, device)
        out = torch.zeros((rays, values.shape[1]), device=device)
        opacity, depth = torch.empty((2, rays), device=device).unbind()
        weights = torch.empty_like(density)
        inputs = [*_rays(samples), density, values, out, opacity, depth, weights]
        launch_parts(kernels.composite, rays, inputs, device)
        ctx.save_for_backward(density, values, weights)
        ctx.samples = samples
        return out, opacity, depth, weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor):
        density, values, weights = ctx.saved_tensors
        results = [torch.empty_like(density), torch.empty_like(values)]
        inputs = [*_rays(ctx.samples), density, values, weights, *(g.contiguous() for g in grads), *results]
        launch_parts(kernels.composite_backward, len(ctx.samples.directions), inputs, density.device)
        return *results, None


def _rays(samples: RaySamples) -> list:
    return [samples.offsets, samples.t, samples.step]
