"""The mesh of a texture job, made ready: cleaned, moved into the unit ball, with a usable UV map for every part."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...job.errors import JobError
from ...job.folder import JobFolder
from ...job.spec.text_to_3d import TextTo3DJob
from ...job.spec.texture import TextureJob
from ..diffusion.model import DiffusionModel
from ..geometry.files.npz import UV_ARRAYS, read_arrays
from ..geometry.gather import gather_parts
from ..geometry.mesh import Mesh, clean_mesh, normalize
from ..geometry.mesh_io import load_npz
from ..render.cameras import Cameras
from ..render.rasterizer.choose import get_rasterizer
from ..render.rasterizer.interface import Raster, Rasterizer
from ..support.reporting import Reporter, Stopped
from ..texture.unwrap import choose_uv

Field = Callable[[Tensor], Tensor]
UV_FILE = "result/uv.npz"
SMALL_PICTURE = 128  # pixels; up to here four samples a pixel cost nothing beside the network


@dataclass
class Surface:
    """Geometry of the job in the field's own space.

    Attributes:
        points: ``[V, 3]`` float32, inside the unit ball around the origin.
        triangles: ``[F, 3]`` int32.
        uv: ``[F, 3, 2]`` float32, each part's own map.
        part: ``[F]`` int64, which texture a face belongs to.
        uv_source: per part ``"user"`` or ``"new"``.
    """

    mesh: Mesh
    points: Tensor
    triangles: Tensor
    uv: Tensor
    part: Tensor
    uv_source: tuple[str, ...]
    rasterizer: Rasterizer

    def to(self, device: torch.device) -> Surface:
        moved = {name: getattr(self, name).to(device) for name in ("points", "triangles", "uv", "part")}
        return replace(self, **moved)

    def render(
        self, field: Field, cameras: Cameras, size: int, background: Tensor, target: Tensor | None = None
    ) -> Tensor:
        """Pictures of the bare, unlit field.

        Args:
            field: from points ``[N, 3]`` to colors ``[N, 3]`` in [0, 1].
            background: ``[B, 3]``, one color for each picture.
            target: ``[B, 3]``, what each camera looks at; the origin when None.

        Returns:
            ``[B, 3, size, size]`` in [0, 1], differentiable with respect to the field.
        """
        samples = 2 if size <= SMALL_PICTURE else 1
        raster = self.rasterize(cameras, size * samples, target)
        covered = raster.rast[..., 3] > 0
        points = self.interpolate_corners(raster, covered, self.points[self.triangles.long()])
        pictures = background[:, None, None, :].expand(*covered.shape, 3).clone()
        pictures[covered] = field(points)
        return F.avg_pool2d(pictures.permute(0, 3, 1, 2), samples)

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
        normals = F.normalize(self.interpolate_corners(raster, covered, self.corner_normals()), dim=1)
        colors = color(Hits(face, self.interpolate_corners(raster, covered, self.uv), points, normals))
        if lit:
            eye = cameras.to(self.points.device).positions()[covered.nonzero()[:, 0]]
            toward = F.normalize(
                eye + eye.norm(dim=1, keepdim=True) * self.points.new_tensor([-0.3, 0.0, 0.5]) - points, dim=1
            )
            colors = colors * (0.35 + 0.7 * (normals * toward).sum(1, keepdim=True).abs())
        pictures = torch.full((*covered.shape, 3), background, device=self.points.device)
        pictures[covered] = colors.clamp(0, 1)
        return F.avg_pool2d(pictures.permute(0, 3, 1, 2), 2)

    def corner_normals(self, crease: float = 40.0) -> Tensor:
        """Unit shading normals ``[F, 3, 3]``: smooth, but flat where faces meet at over ``crease`` degrees."""
        flat = self.face_normals()
        index = self.triangles.long()
        a, b, c = self.points[index].unbind(1)
        weighted = torch.linalg.cross(b - a, c - a)
        smooth = torch.zeros_like(self.points)
        for corner in range(3):
            smooth.index_add_(0, index[:, corner], weighted)
        smooth = F.normalize(smooth, dim=1)[index]
        sharp = (smooth * flat[:, None]).sum(-1, keepdim=True) < math.cos(math.radians(crease))
        return torch.where(sharp, flat[:, None].expand_as(smooth), smooth)

    def face_normals(self) -> Tensor:
        """Unit normals ``[F, 3]``; zero for faces without area."""
        a, b, c = self.points[self.triangles.long()].unbind(1)
        return F.normalize(torch.linalg.cross(b - a, c - a), dim=1)

    def sample(self, count: int = 20_000, seed: int = 0) -> SurfaceSamples:
        """Points spread evenly over the area, the same ones every time."""
        generator = torch.Generator().manual_seed(seed)
        a, b, c = self.points.cpu()[self.triangles.cpu().long()].unbind(1)
        area = torch.linalg.cross(b - a, c - a).norm(dim=1)
        face = torch.multinomial(area, count, replacement=True, generator=generator)
        u, v = torch.rand((2, count, 1), generator=generator)
        flip = u + v > 1
        u, v = torch.where(flip, 1 - u, u), torch.where(flip, 1 - v, v)
        weights = torch.cat([1 - u - v, u, v], dim=1)
        points = self._blend(self.points.cpu()[self.triangles.cpu().long()], face, weights)
        return SurfaceSamples(face, weights, points, self.face_normals().cpu()[face])

    def sample_albedo(self, samples: SurfaceSamples, albedo: list[Tensor]) -> Tensor:
        """Colors ``[N, 3]`` of the baked textures, one ``[S, S, 3]`` per part, at ``samples``."""
        uv = self._blend(self.uv.cpu(), samples.face, samples.weights)
        return look_up(albedo, uv, self.part.cpu()[samples.face])

    @staticmethod
    def _blend(corners: Tensor, face: Tensor, weights: Tensor) -> Tensor:
        return (corners[face] * weights[:, :, None]).sum(1)


@dataclass(frozen=True)
class Hits:
    """What N pixels see: faces ``[N]``, texture coordinates ``[N, 2]``, points and unit normals ``[N, 3]``."""

    face: Tensor
    uv: Tensor
    points: Tensor
    normals: Tensor


@dataclass(frozen=True)
class SurfaceSamples:
    """Faces ``[N]``, barycentric weights ``[N, 3]``, points and flat normals ``[N, 3]``."""

    face: Tensor
    weights: Tensor
    points: Tensor
    normals: Tensor


def look_up(albedo: list[Tensor], uv: Tensor, part: Tensor) -> Tensor:
    """Bilinear colors ``[N, 3]`` at ``uv [N, 2]`` of the textures ``[S, S, 3]`` (row 0 is v = 1) of each part."""
    colors = torch.zeros(len(uv), 3, device=uv.device)
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], dim=1)
    for i, texture in enumerate(albedo):
        chosen = part == i
        image = texture.to(uv).permute(2, 0, 1)[None]
        found = F.grid_sample(image, grid[chosen][None, None], padding_mode="border", align_corners=False)
        colors[chosen] = found[0, :, 0].T
    return colors


def prepare_surface(job: TextureJob, folder: JobFolder, reporter: Reporter) -> Surface:
    """Read, clean and unwrap the job's mesh; writes ``result/uv.npz`` so that previews can be shown at once.

    Raises:
        JobError: for a mesh without faces, with too many, with broken coordinates, or that cannot be unwrapped.
    """
    mesh, notes = clean_mesh(load_npz(folder.mesh_path))
    for note in notes:
        reporter.warn("mesh", note)
    points, _, _ = normalize(gather_parts(mesh))
    uv, sources = _stored_uv(folder, mesh) or find_uv(job.uv, job.texture_size, folder, mesh, reporter)
    return Surface(
        mesh=mesh,
        points=torch.as_tensor(points, dtype=torch.float32),
        triangles=torch.as_tensor(mesh.triangles, dtype=torch.int32),
        uv=torch.as_tensor(uv, dtype=torch.float32),
        part=torch.as_tensor(mesh.part, dtype=torch.int64),
        uv_source=tuple(sources),
        rasterizer=choose_rasterizer(job),
    )


def choose_rasterizer(job: TextureJob | TextTo3DJob) -> Rasterizer:
    """The rasterizer that the job asks for. Raises ``JobError`` ``licence_not_accepted`` or ``bad_setting``."""
    try:
        return get_rasterizer(job.rasterizer, allow_noncommercial=job.allow_noncommercial)
    except ValueError as error:
        forbidden = job.rasterizer == "nvdiffrast" and not job.allow_noncommercial
        raise JobError("licence_not_accepted" if forbidden else "bad_setting", str(error).rstrip(".")) from None


def load_for(
    job: TextureJob | TextTo3DJob, name: str, load_model: Callable[[str, str], DiffusionModel]
) -> DiffusionModel:
    """A model on the job's device. Raises ``JobError('bad_setting')`` when the rasterizer does not work there."""
    model = load_model(name, job.device)
    if job.rasterizer == "nvdiffrast" and model.device.type != "cuda":
        raise JobError("bad_setting", "nvdiffrast needs an NVIDIA GPU; choose warp")
    return model


def find_uv(
    mode: str, texture_size: int, folder: JobFolder, mesh: Mesh, reporter: Reporter
) -> tuple[np.ndarray, list[str]]:
    """A usable UV map ``[F, 3, 2]`` and each part's source, written to ``result/uv.npz`` too.

    Raises:
        JobError: when the mesh cannot be unwrapped. Stopped: when the user stopped meanwhile.
    """

    def stopped() -> bool:
        return reporter.stop_reason() is not None

    try:
        uv, sources = choose_uv(mesh, mode, texture_size, cancelled=stopped, warn=reporter.warn)
    except JobError as error:
        if error.code == "cancelled":
            raise Stopped(reporter.stop_reason() or "cancel") from None
        raise
    buffer = io.BytesIO()
    np.savez(buffer, uv=uv, source=np.array(sources, dtype=np.str_))
    folder.write_bytes(UV_FILE, buffer.getvalue())
    return uv, sources


def _stored_uv(folder: JobFolder, mesh: Mesh) -> tuple[np.ndarray, list[str]] | None:
    """The map of an earlier run of this job: a resumed texture must fit the one it began with."""
    try:
        arrays = read_arrays(folder.path / UV_FILE, UV_ARRAYS)
        uv, sources = arrays["uv"], arrays["source"].tolist()
    except Exception:  # missing or damaged, the unwrapping decides anew
        return None
    return (uv, sources) if uv.shape == (len(mesh.triangles), 3, 2) and len(sources) == mesh.part_count else None
