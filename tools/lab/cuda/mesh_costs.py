"""What geometry costs on the card: a step against the number of faces, and the rasterizers by the size of pictures."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
import torch

from csd_blender.backend.pipelines.text_to_3d.output import bare_surface
from csd_blender.backend.pipelines.texture import make_field
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.rasterizer.choose import get_rasterizer
from csd_blender.backend.render.rasterizer.interface import Rasterizer
from csd_blender.backend.render.rasterizer.topology import topology
from csd_blender.backend.render.surface import Surface
from csd_blender.job.presets.texture import texture_job

from ..bench import texture_steps
from .report import free_memory, median_ms, table
from .sizes import Lab
from .step_costs import make_model


def ball(faces: int) -> tuple[np.ndarray, np.ndarray]:
    """A dented sphere of about ``faces`` triangles: positions ``[V, 3]`` float32, triangles ``[F, 3]`` int32."""
    rows = max(2, round(math.sqrt(faces / 4)))
    columns = 2 * rows
    polar, around = np.meshgrid(
        np.linspace(0.02, math.pi - 0.02, rows + 1), np.linspace(0, 2 * math.pi, columns, endpoint=False), indexing="ij"
    )
    radius = 0.8 + 0.1 * np.sin(9 * polar) * np.sin(7 * around)
    points = radius[..., None] * np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1
    )
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    triangles = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return np.float32(points.reshape(-1, 3)), np.int32(triangles)


def by_faces(lab: Lab) -> str:
    """A texture step's cost against the mesh: its rendering and field alone, and all of it."""
    networks = {"mini": make_model(lab, "mini"), lab.networks[0][0]: make_model(lab, lab.networks[0][1])}
    rows = []
    for count in lab.faces:
        surface = bare_surface(*ball(count), get_rasterizer()).to(lab.device)
        row: list[object] = [len(surface.triangles)]
        for views, size in ((4, 64), (1, 512)):
            row.append(median_ms(rendering(surface, views, size), lab.device, lab.warm, lab.repeats))
        for model, views in ((networks["mini"], 4), (networks[lab.networks[0][0]], 1)):
            job = texture_job("a red brick ball", "normal", "mini", views=views, steps=1500)
            state, _, take = texture_steps(job, model, surface)
            state.step = 750
            row.append(median_ms(take, lab.device, lab.warm, lab.repeats))
        rows.append(row)
    titles = ["faces", "render + field, 4 × 64 px, ms", "render + field, 1 × 512 px, ms"]
    titles += ["whole step, mini, 4 views, ms", f"whole step, {lab.networks[0][0]}, 1 view, ms"]
    return table(titles, rows)


def rendering(surface: Surface, views: int, size: int) -> Callable[[], None]:
    """Draws pictures of the field and passes a gradient back to it."""
    device = surface.points.device
    field, cameras = make_field(size).to(device), orbit(views, elevation=20.0)
    background = torch.full((views, 3), 0.5, device=device)

    def work() -> None:
        field.table.grad = None
        surface.render(field, cameras, size, background).square().mean().backward()

    return work


def rasterizers(lab: Lab) -> str:
    """Rasterize, interpolate and antialias one picture and the way back, warp and nvdiffrast."""
    found: dict[str, Rasterizer] = {"warp": get_rasterizer("warp")}
    reason = "not asked for"
    if lab.nvdiffrast is not None:
        try:
            sys.path.insert(0, str(lab.nvdiffrast))
            found["nvdiffrast"] = get_rasterizer("nvdiffrast", allow_noncommercial=True)
            whole(found["nvdiffrast"], lab, 64)()
        except Exception as error:  # its compiler can fail in many ways, and it is not ours to mend
            found.pop("nvdiffrast", None)
            reason = f"{type(error).__name__} {str(error).splitlines()[0][:200] if str(error) else ''}"
    rows = []
    for size in lab.pictures:
        row: list[object] = [f"{size} × {size}"]
        for rasterizer in found.values():
            forward = lambda r=rasterizer, s=size: whole(r, lab, s, backward=False)  # noqa: E731
            row.append(median_ms(forward(), lab.device, lab.warm, lab.repeats))
            row.append(median_ms(whole(rasterizer, lab, size), lab.device, lab.warm, lab.repeats))
        rows.append(row)
        free_memory()
    titles = ["one picture"]
    for name in found:
        titles += [f"{name} forward, ms", f"{name} forward + backward, ms"]
    faces = len(ball(lab.raster_faces)[1])
    note = f"{faces:,} faces; rasterize, interpolate three values a vertex, antialias; gradients of both."
    if "nvdiffrast" not in found:
        note += f" nvdiffrast was not measured: {reason}."
    return table(titles, rows) + "\n\n" + note


def whole(rasterizer: Rasterizer, lab: Lab, size: int, backward: bool = True) -> Callable[[], None]:
    """Draws one antialiased picture."""
    positions, triangles = (torch.from_numpy(x).to(lab.device) for x in ball(lab.raster_faces))
    positions.requires_grad_(backward)
    values = torch.rand(positions.shape, generator=torch.Generator().manual_seed(0)).to(lab.device)
    values.requires_grad_(backward)
    camera, edges = orbit(1, elevation=20.0).to(lab.device), topology(triangles)

    def work() -> None:
        clip = camera.clip(positions).contiguous()
        raster = rasterizer.rasterize(clip, triangles, (size, size))
        picture = rasterizer.antialias(
            rasterizer.interpolate(values, raster, triangles), raster, clip, triangles, edges
        )
        if backward:
            positions.grad = values.grad = None
            picture.square().mean().backward()

    return work


SECTIONS: tuple[tuple[str, Callable[[Lab], str]], ...] = (
    ("Cost by the number of faces", by_faces),
    ("Rasterizer by the size of pictures", rasterizers),
)
