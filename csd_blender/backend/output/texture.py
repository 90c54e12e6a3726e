"""What a texture job leaves behind: previews while it runs, and ``result/`` at the end."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ... import __version__
from ...job.errors import JobError
from ...job.files import RESULT_GLB, RESULT_RECORD, RESULT_TURNTABLE, RESULT_UV, map_file, map_role
from ...job.folder import JobFolder
from ...job.kinds import JobSpec
from ...job.models import control
from ...job.models.licences import licence_of
from ...job.process.bodies import TEXTURE, VIEW
from ...job.result import Part, Result
from ..diffusion.model import DiffusionModel
from ..fields.painted_field import colors_at
from ..geometry.mesh_io import save_glb
from ..render.cameras import Cameras
from ..render.pictures import contact_sheet, to_bytes, turntable_cameras, turntable_pictures
from ..render.surface import Field, Surface
from ..support.png import png_bytes
from ..support.reporting import Reporter
from ..texture.bake import bake
from ..texture.dilate import GROW, dilate

PREVIEW_TEXTURE = 512
PREVIEW_GROWS = 2  # texels that islands grow in it; what is further off is seen from afar alone
PREVIEW_VIEW = 160
TURNTABLE_VIEWS, TURNTABLE_SIZE = 8, 256


@dataclass
class TexturePreview:
    """The texture as it grows, for the mesh in Blender and for the panel.

    Attributes:
        settle: gives the surface its UV map once there is one; until then the panel alone has something to show.
    """

    surface: Surface
    folder: JobFolder
    reporter: Reporter
    settle: Callable[[Surface], object] = lambda surface: None

    @torch.no_grad()
    def show(self, field: Field, step: int) -> None:
        """Write and announce the current texture of every part and one small view."""
        self.settle(self.surface)
        size = min(PREVIEW_TEXTURE, self.folder.spec.texture_size)
        for part, texture in enumerate(bake_parts(field, self.surface, size, 1, PREVIEW_GROWS)):
            self.reporter.preview(self.folder, TEXTURE, to_bytes(texture), part=part, step=step)
        camera = turntable_cameras(1)
        camera = Cameras(camera.azimuth - 25.0, camera.elevation, camera.distance, camera.fov_y)
        view = self.surface.paint_views(
            camera, PREVIEW_VIEW, 0.25, True, lambda hit: colors_at(field, hit.points, hit.face)
        )
        self.reporter.preview(self.folder, VIEW, to_bytes(view[0].permute(1, 2, 0)), part=0, step=step)


def bake_parts(
    field: Field, surface: Surface, size: int, supersample: int | None = None, grow: int = GROW
) -> list[Tensor]:
    """One finished texture ``[size, size, 3]`` in [0, 1] for every part, gutters filled, on the CPU; ``supersample`` as
    of :func:`bake`, ``grow`` as of :func:`dilate`."""
    textures = []
    for part in range(len(surface.uv_source)):
        chosen = surface.part == part
        albedo, mask = bake(
            field,
            surface.points,
            surface.triangles[chosen],
            surface.uv[chosen],
            size,
            supersample=supersample,
            faces=chosen.nonzero()[:, 0],
        )
        textures.append(dilate(albedo, mask, grow=grow).clamp(0, 1))
    return textures


def write_results(
    field: Field,
    surface: Surface,
    job: JobSpec,
    folder: JobFolder,
    reporter: Reporter,
    stats: dict,
    model: DiffusionModel,
    of_object: dict | None = None,
    complete: bool = True,
) -> dict[str, str]:
    """Bake and write ``result/``; returns the files by role, as paths within the job folder.

    ``of_object`` has the fields of :class:`Result` that only an object has. ``complete``: the job was not stopped
    before its end.
    """
    textures = bake_parts(field, surface, job.texture_size)
    if not all(torch.isfinite(texture).all() for texture in textures):
        raise JobError("diverged")
    files = {}
    for part, texture in enumerate(textures):
        name = map_file("albedo", part, len(textures))
        folder.write_bytes(name, png_bytes(to_bytes(texture)))
        files[map_role("albedo", part, len(textures))] = name
    names = list(files.values())
    files["uv"] = RESULT_UV

    pictures = turntable_pictures(surface, textures, TURNTABLE_VIEWS, TURNTABLE_SIZE, background=1.0, lit=True)
    folder.write_bytes(RESULT_TURNTABLE, png_bytes(contact_sheet(pictures)))
    files["turntable"] = RESULT_TURNTABLE

    save_glb(folder.path / RESULT_GLB, surface.mesh, surface.uv.cpu().numpy(), [folder.path / n for n in names])
    files["mesh"] = RESULT_GLB

    parts = zip(surface.mesh.part_names, names, surface.uv_source, strict=True)
    made = tuple(Part(str(part_name), {"albedo": name}, source) for part_name, name, source in parts)
    write_record(folder, job, made, files, stats, model, reporter, of_object, complete)
    return files


def write_record(
    folder: JobFolder,
    job: JobSpec,
    parts: tuple[Part, ...],
    files: dict[str, str],
    stats: dict,
    model: DiffusionModel,
    reporter: Reporter,
    of_object: dict | None = None,
    complete: bool = True,
) -> None:
    """Write ``result.json``, the last file of a result, and add it to ``files``. Arguments as of
    :func:`write_results`."""
    record = Result(
        settings=job.to_json(),
        parts=parts,
        complete=complete,
        kind=job.kind,
        seed=job.seed,
        versions=versions(),
        licences=licences(job, model),
        timings=stats,
        warnings=tuple(reporter.warnings),
        **(of_object or {}),
    )
    folder.write_bytes(RESULT_RECORD, json.dumps(record.to_json(), indent=1).encode())
    files["result"] = RESULT_RECORD


def load_albedo(folder: JobFolder, surface: Surface) -> list[Tensor]:
    """The baked textures of a finished job, ``[S, S, 3]`` in [0, 1] each."""
    parts = len(surface.uv_source)
    names = [map_file("albedo", part, parts) for part in range(parts)]
    return [torch.from_numpy(np.asarray(Image.open(folder.path / n).convert("RGB")).copy()) / 255 for n in names]


def versions() -> dict[str, str]:
    """Versions of everything the result depends on."""
    packages = ("torch", "diffusers", "transformers", "warp-lang", "xatlas", "numpy")
    return {"csd_blender": __version__, "python": platform.python_version()} | {p: version(p) for p in packages}


def licences(job: JobSpec, model: DiffusionModel) -> dict[str, str]:
    """Licences of the code and of all models that made the result, as far as they are known: of each stage, and what
    was added to them. ``model``: the last stage's, which has its ControlNets and its small encoder."""
    stages = (job.model, getattr(job, "coarse_model", ""))
    found = {"csd_blender": "GPL-3.0-or-later"} | {f"model {name}": licence_of(name) for name in stages if name}
    for of, name in (("LoRA", getattr(job, "lora", "")), ("language model", getattr(job, "debias_prompt", ""))):
        if name:
            found[f"{of} {name}"] = licence_of(name)
    nets = () if model.control is None else model.control.nets
    controls = {f"ControlNet {net.name}": control.licence_of(net.name) for net in nets}
    small = model.small_encoder
    encoder = {} if small is None else {f"encoder {small.name}": licence_of(small.name)}
    return found | encoder | controls
