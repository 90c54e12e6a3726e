"""What a text-to-3D job leaves behind: previews while it runs, pictures of its stages, and ``result/`` at the end."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ....job.errors import JobError
from ....job.files import COARSE_PICTURE, RESULT_ARRAYS, RESULT_FILM
from ....job.folder import JobFolder
from ....job.process.bodies import VIEW
from ....job.spec.text_to_3d import TextTo3DJob
from ...diffusion.model import DiffusionModel
from ...geometry.cleanup import components, decimate, is_watertight, largest_component, place_on_floor, simplify
from ...geometry.mesh import Mesh, normalize
from ...output.texture import write_results
from ...render.camera_draws import draw_lights
from ...render.cameras import Cameras, orbit
from ...render.pictures import contact_sheet, to_bytes, turntable_cameras
from ...render.rasterizer.interface import Rasterizer
from ...render.shading import Look
from ...render.surface import Surface
from ...render.volume.render import render_volume
from ...support.png import png_bytes
from ...support.reporting import Reporter
from ..prepare import choose_rasterizer, find_uv
from .coarse import CoarseState, ray_step, show
from .refine import RefineState

VIEW_SIZE = 112
PREVIEW_FACES = 40_000  # more would hold up Blender's main thread when they land
FLOATER = 0.01  # of the surface; pieces below are never kept
FILM_FRAMES, FILM_SIZE, FILM_MILLISECONDS = 36, 224, 80
ROUGHNESS, METALLIC = 0.7, 0.0
TURN_A_PREVIEW = 20.0  # degrees, so that the small picture shows all sides by and by

Color = Callable[[Tensor], Tensor]
Place = Callable[[np.ndarray], np.ndarray]


def on_the_floor(job: TextTo3DJob) -> Place:
    """Where an object stands, from its vertices ``[V, 3]`` in the scene to meters: as tall as its job says."""
    return lambda vertices: place_on_floor(vertices, job.height)


@dataclass
class ObjectPreview:
    """The object as it grows: a small turning picture for the panel, a mesh for the viewport.

    ``place``: where the mesh stands; None as :func:`on_the_floor`.
    """

    job: TextTo3DJob
    folder: JobFolder
    reporter: Reporter
    rasterizer: Rasterizer
    shown: int = 0
    place: Place | None = None

    def coarse(self, state: CoarseState) -> None:
        """One view of the radiance field."""
        picture = coarse_pictures(state, self.job, self._turned(scene_cameras(1)), VIEW_SIZE)
        self._show(picture, state.step)

    @torch.no_grad()
    def refined(self, state: RefineState, step: int) -> None:
        """One view of the mesh, and the mesh itself. ``step`` counts from the job's first."""
        vertices, triangles = (x.detach().cpu().numpy() for x in state.geometry())
        if not len(triangles):
            return
        vertices, triangles = simplify(*largest_component(vertices, triangles, kept_share(self.job)), PREVIEW_FACES)
        device = state.geometry.border.device
        colors = to_bytes(state.color(torch.from_numpy(vertices).to(device)))
        positions = (self.place or on_the_floor(self.job))(vertices)
        self.reporter.preview_mesh(self.folder, positions, triangles, colors, step=step)
        surface = bare_surface(vertices, triangles, self.rasterizer).to(device)
        color = on_surface(state.color, vertices)
        camera = self._turned(turntable_cameras(1))
        view = surface.paint_views(camera, VIEW_SIZE, 0.25, True, lambda hit: color(hit.points))
        self._show(view, step)

    def _turned(self, camera: Cameras) -> Cameras:
        return replace(camera, azimuth=camera.azimuth - 25.0 + TURN_A_PREVIEW * self.shown)

    def _show(self, picture: Tensor, step: int) -> None:
        self.shown += 1
        self.reporter.preview(self.folder, VIEW, to_bytes(picture[0].permute(1, 2, 0)), part=0, step=step)


def kept_share(job: TextTo3DJob) -> float:
    """The least share of the surface that a loose piece must have to be kept; with 1 the largest alone is."""
    return 1.0 if job.keep == "largest" else FLOATER


def scene_cameras(views: int) -> Cameras:
    """Evenly spaced views of a scene of radius one, the first one from the front."""
    return orbit(views, elevation=15.0, distance=2.9, fov_y=45.0)


@torch.no_grad()
def coarse_pictures(state: CoarseState, job: TextTo3DJob, cameras: Cameras, size: int, gray: float = 0.25) -> Tensor:
    """The radiance field, softly lit, ``[B, 3, size, size]`` in [0, 1]."""
    cameras = cameras.to(state.field.table.device)
    background = torch.full((1, 3), gray).to(state.field.table)
    cameras = replace(cameras, distance=cameras.distance * job.coarse.radius)
    light, _, _ = draw_lights(len(cameras), torch.Generator().manual_seed(0))
    pictures = []
    for i in range(len(cameras)):  # one by one: so large a picture of fog takes much memory
        one = Cameras(*(x[i : i + 1] for x in (cameras.azimuth, cameras.elevation, cameras.distance, cameras.fov_y)))
        step = ray_step(job.coarse)
        volume = render_volume(state.field, one, size, state.occupancy, step, background, normals=True)
        soft = Look("lit", background, light[i : i + 1], torch.full((1,), 0.5), torch.full((1,), 0.6))
        pictures.append(show(volume, soft, one).clamp(0, 1))
    return torch.cat(pictures)


def bare_surface(vertices: np.ndarray, triangles: np.ndarray, rasterizer: Rasterizer) -> Surface:
    """A mesh in the unit ball without UVs, to be looked at."""
    points, _, _ = normalize(vertices)
    return Surface(
        mesh=Mesh(vertices, triangles),
        points=torch.from_numpy(points),
        triangles=torch.from_numpy(np.int32(triangles)),
        uv=torch.zeros(len(triangles), 3, 2),
        part=torch.zeros(len(triangles), dtype=torch.int64),
        uv_source=("new",),
        rasterizer=rasterizer,
    )


def on_surface(color: Color, vertices: np.ndarray) -> Color:
    """Colors by points in the unit ball around ``vertices``, from colors by points of the scene."""
    _, center, scale = normalize(vertices)
    middle = torch.from_numpy(np.float32(center))
    return lambda points: color(points / scale + middle.to(points))


def write_coarse_picture(state: CoarseState, job: TextTo3DJob, folder: JobFolder) -> None:
    """``stages/coarse.png``: the field from eight sides."""
    pictures = coarse_pictures(state, job, scene_cameras(8), 192, gray=1.0)
    folder.write_bytes(COARSE_PICTURE, png_bytes(contact_sheet(pictures)))


@torch.no_grad()
def write_object(
    state: RefineState,
    job: TextTo3DJob,
    folder: JobFolder,
    reporter: Reporter,
    stats: dict,
    model: DiffusionModel,
    place: Place | None = None,
    complete: bool = True,
) -> dict[str, str]:
    """Clean, simplify, unwrap, bake and write ``result/``; returns the files by role.

    ``place``: where it stands; None as :func:`on_the_floor`. ``complete`` as of :func:`write_results`. What is
    recorded is the job in the folder, of which ``job`` may be a part.
    """
    vertices, triangles = (x.detach().cpu().numpy() for x in state.geometry())
    if not len(triangles) or not np.isfinite(vertices).all():
        raise JobError("diverged")
    given = triangles
    vertices, triangles = largest_component(vertices, triangles, kept_share(job))
    if job.start == "mesh" and len(triangles) < len(given):
        before, after = (components(faces).max() + 1 for faces in (given, triangles))
        why = "only the largest piece is kept" if job.keep == "largest" else "they are specks by now"
        reporter.warn("pieces", f"{before - after} of {before} loose pieces of the shape were left out: {why}.")
    if len(triangles) > job.max_faces:
        vertices, triangles = decimate(vertices, triangles, job.max_faces)
    mesh = Mesh((place or on_the_floor(job))(vertices), triangles, part_names=("object",))
    # Who cancelled wants what there is so far, and that needs its UV map: only the other side's leaving ends this.
    stays = replace(reporter, stop_reason=lambda: "leave" if reporter.stop_reason() == "leave" else None)
    uv, sources = find_uv("new", job.texture_size, folder, mesh, stays)
    surface = bare_surface(vertices, triangles, choose_rasterizer(job))
    surface.mesh, surface.uv, surface.uv_source = mesh, torch.from_numpy(np.float32(uv)), tuple(sources)
    surface = surface.to(model.device)
    color = on_surface(state.color, vertices)

    of_object = {
        "roughness": ROUGHNESS,
        "metallic": METALLIC,
        "faces": len(triangles),
        "watertight": is_watertight(triangles),
    }
    buffer = io.BytesIO()
    np.savez(buffer, positions=mesh.positions, triangles=mesh.triangles, uv=np.float32(uv))
    folder.write_bytes(RESULT_ARRAYS, buffer.getvalue())
    folder.write_bytes(RESULT_FILM, film(surface, color))
    files = write_results(color, surface, folder.spec, folder, reporter, stats, model, of_object, complete)
    return files | {"arrays": RESULT_ARRAYS, "film": RESULT_FILM}


def film(surface: Surface, color: Color) -> bytes:
    """The object turning once, as an animated GIF."""
    frames = []
    for part in turntable_cameras(FILM_FRAMES).azimuth.split(6):
        cameras = replace(turntable_cameras(len(part)), azimuth=part)
        pictures = surface.paint_views(cameras, FILM_SIZE, 1.0, True, lambda hit: color(hit.points))
        frames += [Image.fromarray(to_bytes(p.permute(1, 2, 0))) for p in pictures]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": FILM_MILLISECONDS, "loop": 0}
    frames[0].save(buffer, "GIF", optimize=True, **options)
    return buffer.getvalue()
