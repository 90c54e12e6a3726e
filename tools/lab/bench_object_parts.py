"""Text to 3D: what the parts of both stages' steps cost with their resolution, on a solid ball."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from csd_blender.backend.fields.network_field import NetworkField
from csd_blender.backend.geometry.regularizers import normal_consistency
from csd_blender.backend.geometry.tet_geometry import TetGeometry
from csd_blender.backend.pipelines.prepare import choose_rasterizer
from csd_blender.backend.pipelines.text_to_3d.coarse import MIN_ALPHA, CoarseField, make_radiance_field, ray_step
from csd_blender.backend.pipelines.text_to_3d.refine import shape_from_field
from csd_blender.backend.render.cameras import sample_cameras
from csd_blender.backend.render.rasterizer.topology import topology
from csd_blender.backend.render.surface import SMALL_PICTURE
from csd_blender.backend.render.volume.render import OccupancyGrid, render_volume
from csd_blender.job.spec.text_to_3d import TextTo3DJob

BALL = 0.6  # the ball's radius, in radii of the scene
STEEP = 30.0  # raw density inside, and below zero outside
RENDER_SIZES, RAY_SAMPLES, TET_RESOLUTIONS = (32, 64, 128), (64, 110, 256), (32, 64, 128)


@torch.no_grad()
def make_ball(field: CoarseField) -> CoarseField:
    """Make the field a gray ball with a clear edge: by the finest level whose rows are not hashed, or, where a network
    stands between, by a steep blob. Returns it."""
    if isinstance(field, NetworkField):
        field.blob_scale, field.blob_std = 10 * STEEP, BALL * field.radius
        return field
    level = next(level for level in reversed(field.levels) if level.dense)
    axis = torch.linspace(-field.radius, field.radius, level.resolution + 1)
    distance = torch.cartesian_prod(axis, axis, axis).norm(dim=1)  # of a ball any order of the axes is right
    cells = (BALL * field.radius - distance) / (axis[1] - axis[0])
    field.table[level.offset : level.offset + level.rows, 0] = (cells.clamp(-1, 1) * STEEP).to(field.table)
    return field


def ball_shape(job: TextTo3DJob, device: torch.device) -> tuple[TetGeometry, CoarseField]:
    """The tetrahedral mesh of a ball, made as a job makes it, and the field it comes from."""
    field = make_ball(make_radiance_field(job.coarse).to(device))
    return shape_from_field(job, field)[0].to(device), field


def print_coarse_cost(
    job: TextTo3DJob,
    device: torch.device,
    sizes: Sequence[int] = RENDER_SIZES,
    samples: Sequence[int] = RAY_SAMPLES,
    repeats: int = 5,
) -> list[dict[str, float]]:
    """Rendering the field and the way back, by the size of pictures and by the samples along a ray."""
    middle = len(sizes) // 2, len(samples) // 2
    cases = [(size, samples[middle[1]]) for size in sizes] + [(sizes[middle[0]], count) for count in samples]
    print(f"\nRendering the field forward and backward, {job.coarse.views} views")
    print(f"  {'size':>6}{'samples a ray':>15}{'rays':>9}{'kept':>10}{'ms':>9}{'with normals':>14}")
    rows = []
    for size, count in dict.fromkeys(cases):
        row = _coarse_cost(replace(job, coarse=replace(job.coarse, ray_samples=count)), size, device, repeats)
        print(f"  {size:6}{count:15}{row['rays']:9}{row['kept']:10}{row['ms']:9.1f}{row['ms_normals']:14.1f}")
        rows.append(row)
    return rows


def _coarse_cost(job: TextTo3DJob, size: int, device: torch.device, repeats: int) -> dict[str, float]:
    stage, generator = job.coarse, torch.Generator().manual_seed(0)
    field, occupancy = make_ball(make_radiance_field(stage).to(device)), OccupancyGrid(stage.radius).to(device)
    occupancy.update(field.density, ray_step(stage))
    ranges = stage.cameras
    cameras = sample_cameras(generator, stage.views, ranges.elevation, ranges.distance, ranges.fov_y).to(device)
    gray, kept = torch.full((3,), 0.5, device=device), 0

    def render(normals: bool) -> None:
        nonlocal kept
        volume = render_volume(
            field, cameras, size, occupancy, ray_step(stage), gray, generator, normals, min_alpha=MIN_ALPHA
        )
        (volume.normal.mean() + volume.color.mean() if normals else volume.color.mean()).backward()
        kept = len(volume.samples)

    bare, both = (milliseconds(lambda n=n: render(n), device, repeats) for n in (False, True))
    return {"rays": stage.views * size * size, "kept": kept, "ms": bare, "ms_normals": both}


def print_refine_cost(
    job: TextTo3DJob,
    size: int,
    device: torch.device,
    resolutions: Sequence[int] = TET_RESOLUTIONS,
    repeats: int = 5,
) -> list[dict[str, float]]:
    """The parts of a mesh's rendering by the resolution of the tetrahedral grid; ``size`` of pictures in pixels."""
    print(f"\nThe mesh and its pictures forward and backward, ms, {size} px, {job.refine.views} views")
    print(f"  {'grid':>6}{'faces':>9}{'march':>9}{'topology':>10}{'rasterize + antialias':>23}{'regularizer':>13}")
    rows = []
    for resolution in resolutions:
        resized = replace(job, refine=replace(job.refine, tet_resolution=resolution))
        row = _refine_cost(resized, ball_shape(resized, device)[0], size, device, repeats)
        print(f"  {resolution:6}{row['faces']:9}{row['march']:9.1f}{row['topology']:10.1f}{row['raster']:23.1f}"
              f"{row['regularizer']:13.1f}")  # fmt: skip
        rows.append(row)
    return rows


def _refine_cost(
    job: TextTo3DJob, shape: TetGeometry, size: int, device: torch.device, repeats: int
) -> dict[str, float]:
    stage, ranges, rasterizer = job.refine, job.refine.cameras, choose_rasterizer(job)
    generator = torch.Generator().manual_seed(0)
    cameras = sample_cameras(generator, stage.views, ranges.elevation, ranges.distance, ranges.fov_y).to(device)
    side = size * (2 if size <= SMALL_PICTURE else 1)
    body = torch.rand((stage.views, side, side, 3), generator=generator).to(device)
    vertices, triangles = shape()
    vertices, edges = vertices.detach().requires_grad_(True), topology(triangles)

    def raster() -> None:
        clip = cameras.clip(vertices).contiguous()
        seen = rasterizer.rasterize(clip, triangles, (side, side))
        rasterizer.antialias(body, seen, clip, triangles, edges).mean().backward()

    parts: dict[str, Callable[[], object]] = {
        "march": lambda: shape()[0].mean().backward(),
        "topology": lambda: topology(triangles),
        "raster": raster,
        "regularizer": lambda: normal_consistency(vertices, triangles).backward(),
    }
    timed = {name: milliseconds(work, device, repeats) for name, work in parts.items()}
    return {"faces": len(triangles)} | timed


def milliseconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Median time of ``work`` after a first run that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:])
