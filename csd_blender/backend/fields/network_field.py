"""Density and color in a cube of space through small networks: the coarse field as CSD and threestudio publish it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .hash_network import CHUNK, HashNetwork
from .radiance_field import LEAST_SLOPE, TAPS


def activated(raw: Tensor, activation: str) -> Tensor:
    """Colors from a network's values: their ``sigmoid``, or ``linear``, from [-1, 1] to [0, 1] and beyond."""
    return torch.sigmoid(raw) if activation == "sigmoid" else raw * 0.5 + 0.5


def in_parts(points: Tensor) -> bool:
    """Whether points are too many at once: what the networks keep of each, nobody needs without gradients."""
    return not torch.is_grad_enabled() and len(points) > CHUNK


class NetworkField(nn.Module):
    """`RadianceField` with a network for the density and one for the color over the levels' features.

    A fresh field is the same ball of fog, as good as gray: density is
    ``softplus(raw + blob_scale * (1 - |p| / blob_std))`` (Magic3D, Lin et al. 2022, arXiv 2211.10440).

    Args:
        levels, base_resolution, finest_resolution, log2_table_size, width, seed: see `HashNetwork`.
        radius: half the edge of the cube, which is centered at the origin; outside, the density is 0.
        blob_scale, blob_std: see `RadianceField`.
        activation: of the colors, see `activated`.
    """

    def __init__(
        self,
        levels: int = 16,
        base_resolution: int = 16,
        finest_resolution: int = 4096,
        log2_table_size: int = 19,
        radius: float = 1.0,
        blob_scale: float = 10.0,
        blob_std: float = 0.5,
        width: int = 64,
        activation: str = "sigmoid",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if radius <= 0 or blob_std <= 0:
            raise ValueError(f"radius ({radius}) and blob_std ({blob_std}) must be above 0")
        self.radius, self.blob_scale, self.blob_std = float(radius), float(blob_scale), float(blob_std)
        self.activation = activation
        outputs = {"density": 1, "color": 3}
        self.network = HashNetwork(outputs, levels, base_resolution, finest_resolution, log2_table_size, width, seed)

    @property
    def table(self) -> nn.Parameter:
        """The levels' features, all rows."""
        return self.network.table

    @property
    def cell(self) -> float:
        """Edge of a cell of the finest level that counts, in world units."""
        return 2 * self.radius / self.network.levels[self.network.active - 1].resolution

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density ``[N]`` and color ``[N, 3]`` at points ``[N, 3]`` float32; see `RadianceField.forward`."""
        if in_parts(points):
            density, color = zip(*(self(part) for part in points.split(CHUNK)), strict=True)
            return torch.cat(density), torch.cat(color)
        return self._decoded(points, self.network.features(points / self.radius))

    def density(self, points: Tensor) -> Tensor:
        """The first half of `forward`."""
        if in_parts(points):
            return torch.cat([self.density(part) for part in points.split(CHUNK)])
        return self._density(points, self.network.features(points / self.radius))

    def color(self, points: Tensor) -> Tensor:
        """The second half of `forward`."""
        return activated(self.network.at("color", points / self.radius), self.activation)

    def normals(self, points: Tensor, eps: float | None = None) -> Tensor:
        """Unit vectors against the slope of the density before its softplus; see `RadianceField.normals`.

        Args:
            points: ``[N, 3]`` float32 in world coordinates.
            eps: of four taps, in world units; None is one cell of the finest level that counts. 0 is the exact slope
                (threestudio's ``analytic`` normals), differentiable by the parameters like the taps.
        """
        if in_parts(points):
            return torch.cat([self.normals(part, eps) for part in points.split(CHUNK)])
        eps = self.cell if eps is None else eps
        if eps == 0:
            slopes = self.network.slopes("density", points / self.radius) / self.radius
            away = nn.functional.normalize(points, dim=-1, eps=1e-9)
            slopes = slopes - away * (self.blob_scale / self.blob_std)
        else:
            taps = torch.tensor(TAPS).to(points)
            corners = (points[:, None] + taps * eps).view(-1, 3)
            slopes = self._logit(corners, self.network.features(corners / self.radius)).view(-1, 4) @ taps / (4 * eps)
        return -nn.functional.normalize(slopes, dim=-1, eps=LEAST_SLOPE)

    def forward_twin(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` in plain torch, in any precision; differentiable with respect to the points too."""
        return self._decoded(points, self.network.features_twin(points / self.radius))

    def normals_twin(self, points: Tensor) -> Tensor:
        """`normals` with ``eps`` 0 by plain torch's own differentiation."""
        leaf = points.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            logit = self._logit(leaf, self.network.features_twin(leaf / self.radius))
            (slopes,) = torch.autograd.grad(logit.sum(), leaf, create_graph=True)
        return -nn.functional.normalize(slopes, dim=-1, eps=LEAST_SLOPE)

    def _decoded(self, points: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        color = activated(self.network.values("color", features), self.activation)
        return self._density(points, features), color

    def _density(self, points: Tensor, features: Tensor) -> Tensor:
        inside = (points.abs() <= self.radius).all(-1)
        density = nn.functional.softplus(self._logit(points, features))
        return torch.where(inside, density, torch.zeros_like(density))

    def _logit(self, points: Tensor, features: Tensor) -> Tensor:
        blob = self.blob_scale * (1 - points.norm(dim=-1) / self.blob_std)
        return self.network.values("density", features)[:, 0] + blob


class NetworkColors(nn.Module):
    """Colors on a surface by the networks of a `NetworkField`, without its density: the refine stage's field.

    Args:
        as those of `HashNetwork`; activation: see `activated`.
    """

    def __init__(self, activation: str = "sigmoid", **arguments) -> None:
        super().__init__()
        self.activation = activation
        self.network = HashNetwork({"color": 3}, **arguments)

    def forward(self, points: Tensor) -> Tensor:
        """Colors ``[N, 3]`` at points ``[N, 3]`` in [-1, 1]; outside, those of the border."""
        return activated(self.network.at("color", points), self.activation)

    @torch.no_grad()
    def inherit(self, coarse: NetworkField) -> None:
        """Take a field's colors over, exactly; levels that did not count there begin at zero.

        Raises:
            ValueError: when the grids or networks differ in shape.
        """
        mine, theirs = self.network, coarse.network
        for name in ("table", "color_hidden", "color_out"):
            if getattr(mine, name).shape != getattr(theirs, name).shape:
                raise ValueError("colors can be taken over from a field with the same grid and network only")
            getattr(mine, name).copy_(getattr(theirs, name))
        mine.active = theirs.active
        mine.drop_inactive()
