"""A surface that can be optimized: a signed distance and a shift for every vertex of a tetrahedral grid (DMTet)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .cleanup import largest_component
from .marching_tets import crossings, interpolate
from .signed_distance import distance_within, signed_distance
from .tet_grid import TetGrid, tet_grid

Density = Callable[[Tensor], Tensor]
COARSE = 3  # cubes along a cube of the grid on which from_mesh looks for the surface first
CHUNK = 1 << 18  # points given to a density function at once
MARGIN = 0.1  # space around a shape, in sizes of the shape


class TetGeometry(nn.Module):
    """The zero surface of a function on a tetrahedral grid whose vertices may move (Shen et al. 2021, 2111.04276).

    On the sides of the grid's box the function counts as positive, so the mesh is always closed and stays inside.

    Attributes:
        grid: the grid, needed to make a module whose ``state_dict`` can be loaded.
        sdf: parameter ``[V]``, negative inside; in units of a cube of the grid where it starts from a shape, at most 1.
        deformation: parameter ``[V, 3]``; a vertex moves by half a cube times its tanh.
    """

    def __init__(self, grid: TetGrid, sdf: Tensor | None = None):
        """``sdf`` ``[V]``; all outside when None."""
        super().__init__()
        self.grid = grid
        sdf = torch.ones(grid.vertex_count) if sdf is None else sdf.detach().clone()
        self.sdf = nn.Parameter(sdf)
        self.deformation = nn.Parameter(torch.zeros((grid.vertex_count, 3), dtype=sdf.dtype, device=sdf.device))
        border = torch.zeros(grid.vertex_count, dtype=torch.bool, device=sdf.device)
        border[grid.border(sdf.device)] = True
        self.register_buffer("border", border, persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        """The mesh: vertices ``[P, 3]``, differentiable, and triangles ``[F, 3]`` int32, counterclockwise outside."""
        inside = (self.sdf.detach() < 0) & ~self.border
        edges, triangles = crossings(inside, self.grid.active(inside))
        ends = edges.flatten()
        fixed = self.border.index_select(0, ends)
        sdf = self.sdf.index_select(0, ends).masked_fill(fixed, 1.0)
        return surface_points(self.grid, ends, fixed, sdf, self.deformation.index_select(0, ends)), triangles

    @classmethod
    def from_density(
        cls,
        density_fn: Density,
        resolution: int,
        radius: float,
        threshold: float,
        device: torch.device | str = "cpu",
        outliers: float = 0.0,
    ) -> TetGeometry:
        """Start from a volume's density, as threestudio's conversion does: once for the box, again inside of it.

        Signs are those of ``threshold - density``. Where on an edge the surface lies is read from ratios, for
        densities leap by orders of magnitude and differences would put all vertices at the ends of their edges; the
        function then is the distance to that surface, so that every vertex answers alike to a step of the optimizer.

        Args:
            density_fn: ``[N, 3]`` points in ``[-radius, radius]`` to ``[N]`` or ``[N, 1]``, not negative.
            resolution: see `tet_grid`; counts along the longest side of the shape's box, enlarged by 10 %.
            threshold: the density at the surface, > 0.
            outliers: pieces with less than this share of the surface do not enlarge the box.

        Raises:
            ValueError: when nothing is denser than the threshold; `workable_threshold` finds a lower one.
        """
        grid = tet_grid(resolution, [-radius] * 3, [radius] * 3)
        vertices, triangles = cls(grid, _ratio(density_fn, grid, threshold, device))()
        if outliers > 0:
            kept, _ = largest_component(vertices.detach().cpu().numpy(), triangles.cpu().numpy(), outliers)
            vertices = torch.from_numpy(kept)
        low, high = _enlarged(vertices.detach().cpu(), resolution)
        grid = tet_grid(resolution, low.clamp(min=-radius).tolist(), high.clamp(max=radius).tolist())
        rough = cls(grid, _ratio(density_fn, grid, threshold, device))
        with torch.no_grad():
            vertices, triangles = rough()
            scale = max(grid.cube_size)
            distance = _chunked(lambda points: distance_within(points, vertices, triangles, scale), grid, device)
        return cls(grid, torch.where(rough.sdf.detach() < 0, -distance, distance) / scale)

    @classmethod
    def from_mesh(cls, points: Tensor, triangles: Tensor, resolution: int) -> TetGeometry:
        """Start from a mesh, in its box enlarged by 10 %. It may have small holes and intersect itself.

        Args:
            points: ``[V, 3]``. triangles: ``[F, 3]`` integer, on the device of the result.

        Raises:
            ValueError: when it has no faces or encloses nothing that the grid resolves.
        """
        used = points[triangles.long().unique()].detach().cpu()
        if not len(used):
            raise ValueError("A mesh without faces has no inside.")
        low, high = _enlarged(used, resolution)
        grid = tet_grid(resolution, low.tolist(), high.tolist())
        distance = _grid_distance(grid, points, triangles)
        if not (distance < 0).any():
            raise ValueError("The mesh encloses no space, or none that is wide enough for the grid.")
        return cls(grid, (distance / max(grid.cube_size)).clamp(-1, 1))

    @classmethod
    def from_ellipsoid(
        cls, radii: Sequence[float], resolution: int, radius: float = 1.0, device: torch.device | str = "cpu"
    ) -> TetGeometry:
        """Start from an ellipsoid of these half axes ``[3]`` in a box of ``[-radius, radius]``.

        Raises:
            ValueError: when it does not fit into the box or is too thin for the grid.
        """
        if not 0 < min(radii) <= max(radii) < radius:
            raise ValueError(f"The half axes {tuple(radii)} must lie between 0 and the box's {radius}.")
        grid = tet_grid(resolution, [-radius] * 3, [radius] * 3)
        axes = torch.tensor([float(r) for r in radii], device=device)

        def distance(points: Tensor) -> Tensor:
            one, two = (points / axes).norm(dim=1), (points / axes**2).norm(dim=1)
            return torch.where(two > 0, one * (one - 1) / two.clamp(min=1e-9), -axes.min())

        sdf = _chunked(distance, grid, device)
        if not (sdf < 0).any():
            raise ValueError(f"The half axes {tuple(radii)} are too short for a grid of resolution {resolution}.")
        return cls(grid, (sdf / max(grid.cube_size)).clamp(-1, 1))


def surface_points(grid: TetGrid, ends: Tensor, fixed: Tensor, sdf: Tensor, deformation: Tensor) -> Tensor:
    """Where a surface crosses edges of the grid, ``[P, 3]``; differentiable.

    Args:
        ends: ``[2 P]`` vertices, two for each edge. fixed: ``[2 P]`` those that do not move.
        sdf: ``[2 P]`` of either sign on each edge. deformation: ``[2 P, 3]``, see `TetGeometry`.
    """
    step = torch.tensor(grid.cube_size, dtype=sdf.dtype, device=sdf.device) / 2
    shift = torch.tanh(deformation) * step
    positions = grid.points(ends).to(sdf.dtype) + shift.masked_fill(fixed[:, None], 0.0)
    return interpolate(positions.view(-1, 2, 3), sdf.view(-1, 2))


def workable_threshold(
    density_fn: Density,
    threshold: float,
    radius: float,
    device: torch.device | str = "cpu",
    share: float = 2e-4,
    resolution: int = 64,
    halvings: int = 10,
) -> float:
    """The threshold itself, or the first of its half, quarter, ... at which enough of the volume is inside.

    Args:
        share: of the box, that must be denser.
        resolution: of the grid on which density is measured.
        halvings: how often at most.

    Raises:
        ValueError: when the volume is all but empty, so that no threshold makes a shape.
    """
    grid = tet_grid(resolution, [-radius] * 3, [radius] * 3)
    density = _density(density_fn, grid, device)
    density[grid.border(device)] = 0.0
    for n in range(halvings + 1):
        if (density > threshold / 2**n).sum() >= share * grid.vertex_count:
            return threshold / 2**n
    raise ValueError(f"The volume is empty: its density reaches {density.max().item():.3g} at most.")


def _density(density_fn: Density, grid: TetGrid, device: torch.device | str) -> Tensor:
    """Density at all vertices ``[V]`` float32, not negative and finite."""
    with torch.no_grad():
        density = _chunked(lambda points: density_fn(points).reshape(len(points)).float(), grid, device)
    return density.nan_to_num(0.0, 1e30, 0.0).clamp(0.0, 1e30)


def _ratio(density_fn: Density, grid: TetGrid, threshold: float, device: torch.device | str) -> Tensor:
    """``(threshold - density) / (threshold + density)`` at the vertices: between -1 and 1, the same for any scale."""
    if not threshold > 0:
        raise ValueError(f"The density threshold must be above 0, not {threshold}.")
    density = _density(density_fn, grid, device)
    inner = density.clone()
    inner[grid.border(device)] = 0.0
    if not (inner > threshold).any():
        raise ValueError(f"Nothing is denser than {threshold:g}; the density reaches {inner.max().item():.3g} at most.")
    return (threshold - density) / (threshold + density)


def _chunked(function: Density, grid: TetGrid, device: torch.device | str) -> Tensor:
    """A function's values at all vertices, ``[V]``."""
    index = torch.arange(grid.vertex_count, device=device)
    return torch.cat([function(grid.points(part)) for part in index.split(CHUNK)])


def _grid_distance(grid: TetGrid, points: Tensor, triangles: Tensor) -> Tensor:
    """Signed distances ``[V]`` to a mesh, true within a cube of the surface; farther away the sign alone is."""
    device, reach = points.device, max(grid.cube_size)
    x, y, z = (max(1, n // COARSE) for n in grid.cubes)
    coarse = TetGrid(grid.low, grid.high, (x, y, z))
    corners = torch.arange(coarse.corner_count, device=device)
    rough = signed_distance(coarse.points(corners), points, triangles)
    low, size = torch.tensor(grid.low, device=device), torch.tensor(coarse.cube_size, device=device)
    clear = float(size.norm()) / 2 + reach  # no surface near any point of which such a corner is the nearest one

    def distance(where: Tensor) -> Tensor:
        i, j, k = ((where - low) / size).round().long().unbind(1)
        result = rough[(i * (y + 1) + j) * (z + 1) + k]
        near = (result.abs() <= clear).nonzero()[:, 0]
        return result.index_copy(0, near, signed_distance(where[near], points, triangles))

    return _chunked(distance, grid, device)


def _enlarged(points: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """The box ``[3]``, ``[3]`` of points with room on each side: 10 % of its own length, and at least two cubes."""
    low, high = points.amin(0), points.amax(0)
    room = torch.maximum(MARGIN * (high - low), 4 / resolution * (high - low).max())
    return low - room, high + room
