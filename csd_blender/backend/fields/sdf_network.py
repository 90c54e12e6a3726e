"""The shape of Fantasia3D: signed distances and shifts of a tetrahedral grid, out of a hash grid and networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..geometry.marching_tets import crossings
from ..geometry.signed_distance import signed_distance
from ..geometry.tet_geometry import CHUNK, surface_points
from ..geometry.tet_grid import TetGrid, tet_grid
from .hash_network import HashNetwork

FIT_STEPS, FIT_POINTS, FIT_RATE = 1000, 10000, 1e-3  # as threestudio's
POOL = 200_000  # places at which the distance to the shape is measured, once


class NetworkGeometry(nn.Module):
    """`TetGeometry` whose values come from networks (Chen et al. 2023, Fantasia3D, arXiv 2303.13873).

    As in threestudio: one network for the signed distance and one for the shifts of the grid's vertices, over one hash
    grid. A step of the optimizer moves a neighborhood of the surface, not single vertices, so that the shape stays
    smooth without a regularizer. On the sides of the grid's box the function counts as positive.

    Args:
        grid: tetrahedra in the cube ``[-radius, radius]^3``.
        radius: of the scene, which the hash grid spans.
        arguments: of `HashNetwork`.

    Attributes:
        network: functions ``sdf`` (negative inside, in world units) and ``deformation`` (see `TetGeometry`).
    """

    def __init__(self, grid: TetGrid, radius: float, **arguments) -> None:
        super().__init__()
        self.grid, self.radius = grid, float(radius)
        self.network = HashNetwork({"sdf": 1, "deformation": 3}, **arguments)
        with torch.no_grad():
            self.network.deformation_out.zero_()  # the grid begins as it is
        border = torch.zeros(grid.vertex_count, dtype=torch.bool)
        border[grid.border()] = True
        self.register_buffer("border", border, persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        """The mesh: vertices ``[P, 3]``, differentiable, and triangles ``[F, 3]`` int32, counterclockwise outside."""
        inside = (self.distances() < 0) & ~self.border
        edges, triangles = crossings(inside, self.grid.active(inside))
        used, where = edges.flatten().unique(return_inverse=True)
        features = self.network.features(self.grid.points(used) / self.radius)
        fixed = self.border.index_select(0, used)
        sdf = self.network.values("sdf", features)[:, 0].masked_fill(fixed, max(self.grid.cube_size))
        shift = self.network.values("deformation", features)
        ends = [x.index_select(0, where) for x in (used, fixed, sdf, shift)]
        return surface_points(self.grid, *ends), triangles

    @torch.no_grad()
    def distances(self) -> Tensor:
        """The signed distance at all vertices of the grid, ``[V]``."""
        index = torch.arange(self.grid.vertex_count, device=self.border.device)
        parts = [self.network.at("sdf", self.grid.points(part) / self.radius)[:, 0] for part in index.split(CHUNK)]
        return torch.cat(parts)

    def fit(self, vertices: Tensor, triangles: Tensor, seed: int) -> None:
        """Take the shape of a mesh on: its signed distance, by least squares at places all over the scene.

        Only levels no finer than the tetrahedra are fitted. So few places visit few cells of the others, where each
        would leave a dent of its own; these begin as good as zero, and learn with the shape.

        Args:
            vertices: ``[V, 3]``. triangles: ``[F, 3]`` integer, on the device of this module.
            seed: of the places.

        Raises:
            ValueError: when nothing of the mesh is left in the grid.
        """
        generator = torch.Generator().manual_seed(seed)
        places = ((torch.rand((POOL, 3), generator=generator) * 2 - 1) * self.radius).to(vertices)
        wanted = signed_distance(places, vertices, triangles)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=FIT_RATE, fused=vertices.device.type != "mps")
        count = len(self.network.levels)
        finest = 2 * max(self.grid.cubes)  # cells along the scene as small as a step of the grid
        self.network.active = max(1, sum(level.resolution <= finest for level in self.network.levels))
        for _ in range(FIT_STEPS):
            some = torch.randint(POOL, (FIT_POINTS,), generator=generator).to(places.device)
            found = self.network.at("sdf", places[some] / self.radius)[:, 0]
            optimizer.zero_grad(set_to_none=True)
            F.mse_loss(found, wanted[some]).backward()
            optimizer.step()
        self.network.active = count
        if not ((self.distances() < 0) & ~self.border).any():
            raise ValueError("The shape is too thin for the network that is to take it on.")


def whole_scene(resolution: int, radius: float) -> TetGrid:
    """Tetrahedra in all of the scene, so that the shape can grow anywhere."""
    return tet_grid(resolution, [-radius] * 3, [radius] * 3)
