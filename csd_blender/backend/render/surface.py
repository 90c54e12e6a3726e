"""A mesh ready to be painted and seen: what a texture job optimizes on, and what previews and turntables show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..fields.painted_field import colors_at
from ..geometry.mesh import Mesh, crease_normals
from .cameras import Cameras
from .controls import Layout, ShownShape, control_pictures
from .rasterizer.interface import Raster, Rasterizer
from .shading import soft_light

Field = Callable[[Tensor], Tensor]
SMALL_PICTURE = 128  # pixels; up to here four samples a pixel cost nothing beside the network


def samples_along(size: int) -> int:
    """How many samples a pixel of pictures of ``size`` pixels has along each of its sides."""
    return 2 if size <= SMALL_PICTURE else 1


@dataclass
class Surface:
    """Geometry of the job in the field's own space.

    Attributes:
        points: ``[V, 3]`` float32, inside the unit ball around the origin.
        triangles: ``[F, 3]`` int32.
        uv: ``[F, 3, 2]`` float32, each part's own map; zeros while there is none yet.
        part: ``[F]`` int64, which texture a face belongs to.
        uv_source: per part ``"user"`` or ``"new"``; empty while there is no map yet.
    """

    mesh: Mesh
    points: Tensor
    triangles: Tensor
    uv: Tensor
    part: Tensor
    uv_source: tuple[str, ...]
    rasterizer: Rasterizer
    _normals: Tensor | None = field(init=False, default=None, repr=False)

    def to(self, device: torch.device) -> Surface:
        moved = {name: getattr(self, name).to(device) for name in ("points", "triangles", "uv", "part")}
        return replace(self, **moved)

    def render(
        self, field: Field, cameras: Cameras, size: int, background: Tensor, target: Tensor | None = None
    ) -> Tensor:
        """Pictures of the bare, unlit field.

        Args:
            field: from points ``[N, 3]`` to colors ``[N, 3]`` in [0, 1]; a painted field is told the faces, too.
            background: ``[B, 3]``, one color for each picture.
            target: ``[B, 3]``, what each camera looks at; the origin when None.

        Returns:
            ``[B, 3, size, size]`` in [0, 1], differentiable with respect to the field.
        """
        return self.render_step(field, cameras, size, background, target).pictures

    def render_step(
        self,
        field: Field,
        cameras: Cameras,
        size: int,
        background: Tensor,
        target: Tensor | None = None,
        places: bool = False,
        layout: Layout = (),
        side: int = 0,
    ) -> Rendered:
        """As :meth:`render`, with what guides ask for besides, all of it from one raster.

        Args:
            places: tell the place that each sample sees.
            layout, side: make pictures for ControlNets, see :func:`~.controls.control_pictures`.
        """
        samples = samples_along(size)
        raster = self.rasterize(cameras, size * samples, target)
        covered = raster.rast[..., 3] > 0
        points = self.interpolate_corners(raster, covered, self.points[self.triangles.long()])
        pictures = background[:, None, None, :].expand(*covered.shape, 3).clone()
        pictures[covered] = colors_at(field, points, raster.rast[covered][:, 3].long() - 1)
        seen = control = None
        if places:
            seen = points.new_zeros(*covered.shape, 4)
            seen[covered] = F.pad(points, (0, 1), value=1.0)
        if layout:
            if target is not None:
                points = points - target.to(points)[covered.nonzero()[:, 0]]
            normals = F.normalize(self.interpolate_corners(raster, covered, self.shading_normals()), dim=1)
            control = control_pictures(layout, ShownShape(covered, points, normals), cameras, side)
        return Rendered(F.avg_pool2d(pictures.permute(0, 3, 1, 2), samples), seen, control)

    def shading_normals(self) -> Tensor:
        """:func:`~..geometry.mesh.crease_normals`, found once."""
        if self._normals is None:
            points, triangles, part = (t.detach().cpu().numpy() for t in (self.points, self.triangles, self.part))
            self._normals = torch.from_numpy(crease_normals(Mesh(points, triangles, part=part))).to(self.points)
        return self._normals

    @torch.no_grad()
    def rasterize(self, cameras: Cameras, size: int, target: Tensor | None = None) -> Raster:
        """Which triangle, and where in it, each pixel of ``[B, size, size]`` sees."""
        points = self.points if target is None else self.points - target.to(self.points)[:, None]
        clip = cameras.to(self.points.device).clip(points)
        return self.rasterizer.rasterize(clip.contiguous(), self.triangles, (size, size))

    @torch.no_grad()
    def interpolate_corners(self, raster: Raster, covered: Tensor, corners: Tensor) -> Tensor:
        """Values ``[N, C]`` at the covered pixels, from one value per triangle corner ``[F, 3, C]``."""
        u, v, _, face = raster.rast[covered].unbind(-1)
        corners = corners[face.long() - 1]
        return u[:, None] * corners[:, 0] + v[:, None] * corners[:, 1] + (1 - u - v)[:, None] * corners[:, 2]

    @torch.no_grad()
    def paint_views(
        self, cameras: Cameras, size: int, background: float, lit: bool, color: Callable[[Hits], Tensor]
    ) -> Tensor:
        """Pictures ``[B, 3, size, size]`` of the mesh painted by ``color``, four samples a pixel.

        Args:
            background: its gray, 0 to 1.
            lit: shade with a soft light beside the camera; else the bare colors.
            color: from what the pixels see to colors ``[N, 3]``.
        """
        raster = self.rasterize(cameras, 2 * size)
        covered = raster.rast[..., 3] > 0
        face = raster.rast[covered][:, 3].long() - 1
        points = self.interpolate_corners(raster, covered, self.points[self.triangles.long()])
        normals = F.normalize(self.interpolate_corners(raster, covered, self.shading_normals()), dim=1)
        colors = color(Hits(face, self.interpolate_corners(raster, covered, self.uv), points, normals))
        if lit:
            eye = cameras.to(self.points.device).positions()[covered.nonzero()[:, 0]]
            colors = colors * soft_light(normals, points, eye)
        pictures = torch.full((*covered.shape, 3), background, device=self.points.device)
        pictures[covered] = colors.clamp(0, 1)
        return F.avg_pool2d(pictures.permute(0, 3, 1, 2), 2)


@dataclass(frozen=True)
class Rendered:
    """A step's pictures, and what comes with them.

    Attributes:
        pictures: ``[B, 3, size, size]`` in [0, 1].
        places: ``[B, S, S, 4]`` with S once or twice ``size``: the place on the surface and 1, or zeros beside it; None
            where nobody asked.
        control: ``[B, C, side, side]``, see :func:`~.controls.control_pictures`; None where nobody asked.
    """

    pictures: Tensor
    places: Tensor | None = None
    control: Tensor | None = None


@dataclass(frozen=True)
class Hits:
    """What N pixels see: faces ``[N]``, texture coordinates ``[N, 2]``, points and unit normals ``[N, 3]``."""

    face: Tensor
    uv: Tensor
    points: Tensor
    normals: Tensor


def look_up(albedo: list[Tensor], uv: Tensor, part: Tensor) -> Tensor:
    """Bilinear colors ``[N, 3]`` at ``uv [N, 2]`` of the textures ``[S, S, 3]`` (row 0 is v = 1) of each part, which
    repeat beyond the tile."""
    uv = torch.where((uv < 0) | (uv > 1), uv - uv.floor(), uv)
    colors = torch.zeros(len(uv), 3, device=uv.device)
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], dim=1)
    for i, texture in enumerate(albedo):
        chosen = part == i
        image = texture.to(uv).permute(2, 0, 1)[None]
        found = F.grid_sample(image, grid[chosen][None, None], padding_mode="border", align_corners=False)
        colors[chosen] = found[0, :, 0].T
    return colors
