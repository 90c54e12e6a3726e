"""A box filled with tetrahedra: generated, and so regular that almost nothing of it needs to be stored.

The grid is a body-centered cubic lattice: the corners and the centers of a block of cubes. Around each edge between
two neighboring centers lie four tetrahedra, each with one edge of the cubes' common face. All of them are congruent,
with dihedral angles of 60 and 90 degrees, the most even ones that fill space by repetition; splits of a cube into five
or six have angles of 45 degrees and favor directions, which shows in the extracted triangles. It is also the lattice
of the grids that DMTet (Shen et al. 2021, arXiv 2111.04276) loads from files. Only at the six sides of the box are
tetrahedra cut in half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MAX_RESOLUTION = 256
MIN_CUBES = 2  # along an axis, however thin the box


@dataclass(frozen=True)
class Family:
    """Equal clusters of tetrahedra: one for each base cell ``[0, shape)``.

    Attributes:
        corners: for each vertex of a cluster whether it is a cube's center, and its shift from the base cell.
        tets: the vertices of each tetrahedron, as indices into ``corners``.
    """

    shape: tuple[int, int, int]
    corners: tuple[tuple[bool, tuple[int, int, int]], ...]
    tets: tuple[tuple[int, int, int, int], ...]

    @property
    def count(self) -> int:
        x, y, z = self.shape
        return x * y * z


@dataclass(frozen=True)
class TetGrid:
    """A tetrahedral grid in a box; vertices and tetrahedra are computed when asked for.

    Vertices are numbered corners first, then centers, each with the last axis running fastest.

    Attributes:
        low, high: opposite corners of the box.
        cubes: number of cubes along each axis.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    cubes: tuple[int, int, int]

    @property
    def corner_shape(self) -> tuple[int, int, int]:
        x, y, z = self.cubes
        return x + 1, y + 1, z + 1

    @property
    def corner_count(self) -> int:
        x, y, z = self.corner_shape
        return x * y * z

    @property
    def vertex_count(self) -> int:
        x, y, z = self.cubes
        return self.corner_count + x * y * z

    @property
    def cube_size(self) -> tuple[float, float, float]:
        """Edge lengths of a cube: the distance of like vertices, two steps of the resolution."""
        x, y, z = ((b - a) / n for a, b, n in zip(self.low, self.high, self.cubes, strict=True))
        return x, y, z

    @cached_property
    def families(self) -> tuple[Family, ...]:
        return tuple(_inner_families(self.cubes) + _side_families(self.cubes))

    def points(self, index: Tensor) -> Tensor:
        """Positions ``[..., 3]`` float32 of vertices ``[...]`` (any integer type)."""
        index = index.long()
        center = index >= self.corner_count
        index = torch.where(center, index - self.corner_count, index)
        z = self.cubes[2] + 1 - center.long()
        y = self.cubes[1] + 1 - center.long()
        row = torch.div(index, z, rounding_mode="floor")
        plane = torch.div(row, y, rounding_mode="floor")
        cell = torch.stack([plane, row - plane * y, index - row * z], -1).float() + 0.5 * center[..., None]
        low = torch.tensor(self.low, device=index.device)
        return low + cell * torch.tensor(self.cube_size, device=index.device)

    @property
    def vertices(self) -> Tensor:
        """All positions, ``[V, 3]`` float32."""
        return self.points(torch.arange(self.vertex_count))

    @property
    def tets(self) -> Tensor:
        """All tetrahedra, ``[T, 4]`` int32, positively oriented: 6 MB at resolution 64, 400 MB at 256."""
        clusters = ((family, self._expand(family, torch.arange(family.count))) for family in self.families)
        tets = [[cluster[corner] for corner in tet] for family, cluster in clusters for tet in family.tets]
        return torch.cat([torch.stack(tet, 1).int() for tet in tets])

    def border(self, device: torch.device | str = "cpu") -> Tensor:
        """The vertices on the sides of the box (all of them corners), ``[N]`` int64."""
        side = torch.zeros(self.corner_shape, dtype=torch.bool, device=device)
        for axis in range(3):
            side.select(axis, 0).fill_(True)
            side.select(axis, -1).fill_(True)
        return side.flatten().nonzero()[:, 0]

    def active(self, inside: Tensor) -> Tensor:
        """The tetrahedra that the surface cuts, found without making a list of all.

        Args:
            inside: ``[V]`` bool.

        Returns:
            ``[A, 4]`` int64 vertices, positively oriented, always in the same order.
        """
        flags = inside.to(torch.uint8)
        found = []
        for family in self.families:
            total = sum(self._view(flags, family, corner) for corner in range(len(family.corners)))
            mixed = total.sub_(1) < len(family.corners) - 1  # of none inside, 0, the difference wraps to 255
            cluster = self._expand(family, mixed.flatten().nonzero()[:, 0])
            within = [flags[vertices] for vertices in cluster]
            for tet in family.tets:
                cut = (sum(within[corner] for corner in tet).sub_(1) < 3).nonzero()[:, 0]
                found.append(torch.stack([cluster[corner][cut] for corner in tet], 1))
        return torch.cat(found)

    def _view(self, values: Tensor, family: Family, corner: int) -> Tensor:
        """``[V]`` values seen at one corner of all clusters of a family, without a copy."""
        center, shift = family.corners[corner]
        first, shape = (self.corner_count, self.cubes) if center else (0, self.corner_shape)
        block = values[first : first + shape[0] * shape[1] * shape[2]].view(shape)
        for axis in range(3):
            block = block.narrow(axis, shift[axis], family.shape[axis])
        return block

    def _expand(self, family: Family, which: Tensor) -> list[Tensor]:
        """Vertices of a family's clusters of these numbers ``[N]``: ``[N]`` int64 for each corner."""
        row = torch.div(which, family.shape[2], rounding_mode="floor")
        z = which - row * family.shape[2]
        x = torch.div(row, family.shape[1], rounding_mode="floor")
        y = row - x * family.shape[1]
        base = {}
        for center, shape in ((False, self.corner_shape), (True, self.cubes)):
            base[center] = (x * shape[1] + y) * shape[2] + z
        columns = []
        for center, (i, j, k) in family.corners:
            shape, first = (self.cubes, self.corner_count) if center else (self.corner_shape, 0)
            columns.append(base[center] + ((i * shape[1] + j) * shape[2] + k + first))
        return columns


def tet_grid(
    resolution: int, low: Sequence[float] = (-1.0, -1.0, -1.0), high: Sequence[float] = (1.0, 1.0, 1.0)
) -> TetGrid:
    """A grid that fills a box.

    Args:
        resolution: steps along the longest side, even, 4 to 256. Vertices lie where three step numbers are all even
            or all odd, so a cube is two steps wide; a cubic box has about ``resolution**3 / 4`` vertices and
            ``1.5 * resolution**3`` tetrahedra. DMTet's files count alike.
        low, high: ``[3]`` opposite corners of the box; along shorter sides there are fewer cubes, nearly as large.

    Raises:
        ValueError: for another resolution, or a box without volume.
    """
    if not 4 <= resolution <= MAX_RESOLUTION or resolution % 2:
        raise ValueError(f"The resolution must be an even number from 4 to {MAX_RESOLUTION}, not {resolution}.")
    low, high = tuple(float(x) for x in low), tuple(float(x) for x in high)
    sides = [b - a for a, b in zip(low, high, strict=True)]
    if len(sides) != 3 or not min(sides) > 0 or max(sides) == float("inf"):
        raise ValueError(f"The box from {low} to {high} has no volume.")
    x, y, z = (max(MIN_CUBES, round(resolution / 2 * side / max(sides))) for side in sides)
    return TetGrid((low[0], low[1], low[2]), (high[0], high[1], high[2]), (x, y, z))


def _ring(axis: int, level: int) -> list[tuple[int, int, int]]:
    """Corners of a cube's side across an axis, counterclockwise seen from its positive end."""
    ring = []
    for b, c in ((0, 0), (1, 0), (1, 1), (0, 1)):
        shift = [0, 0, 0]
        shift[axis], shift[(axis + 1) % 3], shift[(axis + 2) % 3] = level, b, c
        ring.append((shift[0], shift[1], shift[2]))
    return ring


def _inner_families(cubes: tuple[int, int, int]) -> list[Family]:
    """Four tetrahedra around the line between each two neighboring centers."""
    families = []
    for axis in range(3):
        x, y, z = (n - (i == axis) for i, n in enumerate(cubes))
        i, j, k = (int(n == axis) for n in range(3))
        ring = tuple((False, shift) for shift in _ring(axis, 1))
        tets = tuple((0, 1, 2 + m, 2 + (m + 1) % 4) for m in range(4))
        families.append(Family((x, y, z), ((True, (0, 0, 0)), (True, (i, j, k)), *ring), tets))
    return families


def _side_families(cubes: tuple[int, int, int]) -> list[Family]:
    """Two tetrahedra between each outermost center and its square on the side of the box."""
    families = []
    for axis in range(3):
        x, y, z = (1 if i == axis else n for i, n in enumerate(cubes))
        for high in (False, True):
            start = cubes[axis] - 1 if high else 0
            i, j, k = (start * (n == axis) for n in range(3))
            ring = tuple((False, shift) for shift in _ring(axis, start + high))
            tets = ((0, 1, 2, 3), (0, 1, 3, 4)) if high else ((0, 1, 3, 2), (0, 1, 4, 3))
            families.append(Family((x, y, z), ((True, (i, j, k)), *ring), tets))
    return families
