"""The colors of a mesh in the space around it, for a shape that begins as the mesh and moves: what edits of shapes
optimize."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..geometry.signed_distance import NearestFaces
from .painted_field import PaintedField


class NearestColors(nn.Module):
    """Every point has the color that the mesh has where it is nearest, and a change of its own.

    So the colors of what grows are those of the surface that it grows from, as long as nothing asks for others.

    Args:
        painted: the mesh's colors and the changes to them.
    """

    def __init__(self, painted: PaintedField) -> None:
        super().__init__()
        self.painted = painted
        self._faces: NearestFaces | None = None

    def forward(self, points: Tensor, exact: bool = False) -> Tensor:
        """Colors ``[N, 3]`` at ``points [N, 3]``; ``exact`` as in :meth:`PaintedField.at`."""
        return self.painted.at(points, self.nearest(points), exact)

    @torch.no_grad()
    def nearest(self, points: Tensor) -> Tensor:
        """The mesh's face ``[N]`` that is nearest to each point."""
        if self._faces is None or self._faces.device != points.device:
            corners = self.painted.corners.to(points.device)
            numbers = torch.arange(3 * len(corners), device=points.device)
            self._faces = NearestFaces(corners.reshape(-1, 3), numbers.view(-1, 3))
        return self._faces(points)
