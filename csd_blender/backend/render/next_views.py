"""Cameras that look where a texture has been seen least, or changes most, and an end when it changes no more.

Some candidates are drawn as ever, and of these the ones are taken that see most of what needs to be looked at. What
does is kept by the cells of a coarse grid around the mesh: how often their surface was seen, and how much its colors
changed of late.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fields.painted_field import colors_at
from ..geometry.cleanup import components
from .camera_draws import Shots
from .surface import Field, Surface

CANDIDATES = 4  # for each picture
SAMPLES, CELLS = 4096, 24  # of the surface, which stand for all of it; along each axis of the grid
SEED = 0x5EE  # of the samples
CLOSED = 1e-3  # of the areas' sum, that of a closed piece's areas as vectors is less
RECENT = 0.8  # share of the changes of before that is remembered from step to step
LEAST_STEPS = 5  # before it is said how much changes


@dataclass
class Watch:
    """What is known of M samples of the surface and C cells.

    Attributes:
        points, normals: ``[M, 3]``, of the faces ``face [M]``. two_sided: ``[M]`` those of open pieces.
        cell: ``[M]`` that each lies in.
        share: ``[C]`` of the samples in each cell.
        seen: ``[C]`` how often it was seen, in looks at as many pixels as it has surface.
        color: ``[M, 3]`` at the last step. change: ``[M]`` mean change of the colors in a step, of late.
        steps: ``[1]`` how many were learned from.
    """

    points: Tensor
    normals: Tensor
    two_sided: Tensor
    face: Tensor
    cell: Tensor
    share: Tensor
    seen: Tensor
    color: Tensor
    change: Tensor
    steps: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return {f"watch.{name}": getattr(self, name) for name in ("seen", "color", "change", "steps")}

    @property
    def restless(self) -> float:
        """Mean change of the surface's colors in a step, of late, in [0, 1]; 1 as long as little is known of it."""
        return float(self.change.mean()) if self.steps >= LEAST_STEPS else 1.0

    def choose(self, candidates: Shots, count: int, by_change: bool) -> Shots:
        """The ``count`` of the cameras that see most of what needs it, in the order in which they are taken; each takes
        of the need what it sees."""
        need = self.change if by_change else 1 / (1 + self.seen[self.cell])
        sight = looked_at(candidates, self.points, self.normals, self.two_sided)
        taken: list[int] = []
        for _ in range(count):
            gain = sight @ need
            gain[taken] = -1.0
            best = int(gain.argmax())
            taken.append(best)
            need = need / (1 + sight[best] / sight[best].mean().clamp_min(1e-8))
        return select(candidates, taken)

    @torch.no_grad()
    def learn(self, places: Tensor, field: Field) -> None:
        """Take in a step: what its pictures saw, ``places [B, S, S, 4]``, and the field after it."""
        points = places[places[..., 3] > 0][:, :3]
        counts = torch.bincount(cells_of(points), minlength=len(self.seen)).to(self.seen)
        self.seen += counts / (self.share * max(len(points), 1)).clamp_min(1e-8) * (self.share > 0)
        color = colors_at(field, self.points, self.face)
        new = max(1 - RECENT, 1 / (1 + float(self.steps)))
        self.change = (1 - new) * self.change + new * (color - self.color).abs().mean(1)
        self.color, self.steps = color, self.steps + 1


def start_watch(surface: Surface, field: Field) -> Watch:
    """Nothing was seen yet; all of the surface needs to be looked at."""
    generator = torch.Generator().manual_seed(SEED)
    corners = surface.points.cpu()[surface.triangles.cpu().long()]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = across.norm(dim=1).double().cumsum(0)
    face = torch.searchsorted(area, torch.rand(SAMPLES, generator=generator).double() * area[-1]).clamp_max(
        len(area) - 1
    )
    u, v = torch.rand((2, SAMPLES, 1), generator=generator)
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    points = (1 - u - v) * corners[face, 0] + u * corners[face, 1] + v * corners[face, 2]
    sign = outwards(corners, across, torch.from_numpy(components(surface.triangles.cpu().numpy())))[face]
    normals, two_sided = F.normalize(across[face], dim=1) * sign.where(sign != 0, 1.0)[:, None], sign == 0
    device, cell = surface.points.device, cells_of(points)
    share = torch.bincount(cell, minlength=CELLS**3).float() / SAMPLES
    with torch.no_grad():
        color = colors_at(field, points.to(device), face.to(device))
    moved = (value.to(device) for value in (points, normals, two_sided, face, cell, share, torch.zeros_like(share)))
    return Watch(*moved, color, torch.ones(SAMPLES, device=device), torch.zeros(1, device=device))


def outwards(corners: Tensor, across: Tensor, piece: Tensor) -> Tensor:
    """1 for faces ``[F]`` whose normals ``across [F, 3]`` (as long as twice their areas) point out of their piece, -1
    where it is turned inside out, 0 where it is no closed one: both of its sides are shown. ``corners [F, 3, 3]``."""
    count = int(piece.max()) + 1

    def of_pieces(values: Tensor) -> Tensor:
        return torch.zeros(count, values.shape[1], dtype=values.dtype).index_add_(0, piece, values)

    area = across.norm(dim=1, keepdim=True).double()
    total = of_pieces(area).clamp_min(1e-30)
    middle = of_pieces(area * corners.double().mean(1)) / total
    volume = of_pieces(torch.linalg.det(corners.double() - middle[piece][:, None])[:, None])[:, 0]
    # Of a closed surface the areas, as vectors, add up to nothing.
    closed = (of_pieces(across.double()) / total).norm(dim=1) < CLOSED
    return (volume.sign() * closed)[piece].float()


def cells_of(points: Tensor) -> Tensor:
    """The cell's number of each of ``points [N, 3]`` in the unit ball, ``[N]``."""
    place = ((points + 1) * (CELLS / 2)).long().clamp(0, CELLS - 1)
    return (place[:, 0] * CELLS + place[:, 1]) * CELLS + place[:, 2]


def looked_at(shots: Shots, points: Tensor, normals: Tensor, two_sided: Tensor) -> Tensor:
    """How much of a picture each of the points takes that is in it and faces the camera, or whose sides are both shown
    (``two_sided [M]`` bool), ``[N, M]``. What stands before it is not asked for."""
    cameras = shots.cameras.to(points.device)
    target = shots.target.to(points)[:, None]
    eye = cameras.positions()[:, None] + target
    away = eye - points
    distance = away.norm(dim=-1)
    facing = (away * normals).sum(-1) / distance
    facing = torch.where(two_sided, facing.abs(), facing.clamp_min(0))
    shown = points - target
    clip = cameras.clip(shown)
    inside = (clip[..., :2].abs() < clip[..., 3:]).all(-1)
    half = torch.tan(torch.deg2rad(cameras.fov_y) / 2)[:, None]
    return inside * facing / (distance * half).square()


def select(shots: Shots, rows: list[int]) -> Shots:
    """Some of the cameras, in this order."""
    close, below = [shots.close[i] for i in rows], [shots.below[i] for i in rows]
    return Shots(shots.cameras.select(rows), shots.target[rows], close, below)
