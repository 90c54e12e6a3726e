"""The mesh of a texture job, made ready: cleaned, moved into the unit ball, with a usable UV map for every part."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...job.errors import JobError
from ...job.files import RESULT_UV
from ...job.folder import JobFolder
from ...job.kinds import JobSpec
from ...job.models.lora import Lora, find_lora
from ...job.result import UV_SOURCES
from ...job.spec.texture import TextureJob
from ..diffusion.additions.load_encoder import use_encoder
from ..diffusion.cost.compiling import use_compiler
from ..diffusion.model import DiffusionModel
from ..geometry.files.npz import UV_ARRAYS, read_arrays
from ..geometry.gather import gather_parts
from ..geometry.mesh import Mesh, clean_mesh, normalize
from ..geometry.mesh_io import load_npz
from ..render.rasterizer.choose import get_rasterizer
from ..render.rasterizer.interface import Rasterizer
from ..render.surface import Surface
from ..support.reporting import Reporter, Stopped
from ..texture.unwrap import choose_uv
from ..texture.unwrapping import Unwrapping

#: From a model's name, a device's name, what is added to the model, and what it is told.
LoadModel = Callable[[str, str, "Lora | None", str], DiffusionModel]


def prepare_surface(job: TextureJob, folder: JobFolder, reporter: Reporter) -> Surface:
    """Read, clean and unwrap the job's mesh.

    Raises:
        JobError: for a mesh without faces, with too many, with broken coordinates, or whose UV map must be kept and
            cannot be.
        Stopped: the other side went away meanwhile.
    """
    with begin_surface(job, folder, reporter) as prepared:
        prepared.settle(prepared.surface)
        return prepared.surface


def begin_surface(job: TextureJob, folder: JobFolder, reporter: Reporter) -> Prepared:
    """Read and clean the job's mesh, and begin to unwrap it. Raises ``JobError`` as :func:`prepare_surface`."""
    mesh, notes = clean_mesh(load_npz(folder.mesh_path))
    for note in notes:
        reporter.warn("mesh", note)
    points, _, _ = normalize(gather_parts(mesh))
    stored = _stored_uv(folder, mesh)
    uv, sources = stored or (np.zeros((len(mesh.triangles), 3, 2), np.float32), ())
    surface = Surface(
        mesh=mesh,
        points=torch.as_tensor(points, dtype=torch.float32),
        triangles=torch.as_tensor(mesh.triangles, dtype=torch.int32),
        uv=torch.as_tensor(uv, dtype=torch.float32),
        part=torch.as_tensor(mesh.part, dtype=torch.int64),
        uv_source=tuple(sources),
        rasterizer=choose_rasterizer(job),
    )
    unwrapping = None if stored else Unwrapping(mesh, job.uv, job.texture_size, reporter.warn)
    return Prepared(surface, folder, reporter, unwrapping)


@dataclass
class Prepared:
    """A job's surface, whose UV map may still be on its way; use it in a ``with`` statement.

    Attributes:
        surface: without a UV map until :meth:`settle`, see there.
    """

    surface: Surface
    folder: JobFolder
    reporter: Reporter
    _unwrapping: Unwrapping | None

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._unwrapping is not None:
            self._unwrapping.__exit__(*exception)

    def settle(self, surface: Surface) -> None:
        """Give ``surface``, which is this one wherever it is now, its UV map, and write ``result/uv.npz`` so that
        previews can be shown. Who cancels wants what there is so far, and that needs a map, if only a simple one
        that is soon made: the other side's leaving alone ends the wait for it.

        Raises:
            JobError: when the mesh cannot be unwrapped. Stopped: the other side went away.
        """
        if surface.uv_source or self._unwrapping is None:
            return
        try:
            stop = self.reporter.stop_reason
            uv, sources = self._unwrapping.result(lambda: stop() == "leave", lambda: stop() == "cancel")
        except JobError as error:
            raise _as_stopped(error, self.reporter) from None
        write_uv(self.folder, uv, sources)
        surface.uv, surface.uv_source = torch.from_numpy(uv).to(surface.uv), sources

    def settle_soon(self, surface: Surface) -> None:
        """The same where nothing has to be waited for; else nothing."""
        if self._unwrapping is not None and self._unwrapping.ready:
            self.settle(surface)


def choose_rasterizer(job: JobSpec) -> Rasterizer:
    """The rasterizer that the job asks for. Raises ``JobError`` ``licence_not_accepted`` or ``bad_setting``."""
    try:
        return get_rasterizer(job.rasterizer, allow_noncommercial=job.allow_noncommercial)
    except ValueError as error:
        forbidden = job.rasterizer == "nvdiffrast" and not job.allow_noncommercial
        raise JobError("licence_not_accepted" if forbidden else "bad_setting", str(error).rstrip(".")) from None


def load_for(
    job: JobSpec,
    name: str,
    load_model: LoadModel,
    reporter: Reporter,
    encoder: str | None = None,
    told: str = "prompt",
) -> DiffusionModel:
    """A model on the job's device, with the job's LoRA where it is the job's own model, compiled where it is to be,
    and with the job's encoder.

    Args:
        encoder: another one than the job says.
        told: what the model draws after, as in :func:`~..diffusion.loading.load_model`.

    Raises:
        JobError: ``bad_setting`` when the rasterizer does not work there; as
            :func:`~csd_blender.job.models.lora.find_lora` and
            :func:`~..diffusion.additions.load_encoder.use_encoder` do.
    """
    model = load_model(name, job.device, lora_for(job, name), told)
    if getattr(job, "rasterizer", "") == "nvdiffrast" and model.device.type != "cuda":
        raise JobError("bad_setting", "nvdiffrast needs an NVIDIA GPU; choose warp")
    model.thrift.reset()  # the job before may have left it on a lower rung
    use_compiler(model.unet, getattr(job, "compile", False), reporter)
    use_encoder(job.encoder if encoder is None else encoder, model)
    return model


def lora_for(job: JobSpec, name: str) -> Lora | None:
    """What the job adds to the model of that name. Raises as :func:`~csd_blender.job.models.lora.find_lora` does."""
    return find_lora(job.lora, job.lora_weight) if job.lora and name == job.model else None


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
        raise _as_stopped(error, reporter) from None
    write_uv(folder, uv, sources)
    return uv, sources


def write_uv(folder: JobFolder, uv: np.ndarray, sources: Sequence[str]) -> None:
    """``result/uv.npz``, of a map ``[F, 3, 2]`` and where each part's comes from."""
    buffer = io.BytesIO()
    np.savez(buffer, uv=uv, source=np.array(sources, dtype=np.str_))
    folder.write_bytes(RESULT_UV, buffer.getvalue())


def _as_stopped(error: JobError, reporter: Reporter) -> Exception:
    """A cancelled unwrapping in the pipelines' own words; other errors as they are."""
    return Stopped(reporter.stop_reason() or "cancel") if error.code == "cancelled" else error


def _stored_uv(folder: JobFolder, mesh: Mesh) -> tuple[np.ndarray, list[str]] | None:
    """The map of an earlier run of this job: a resumed texture must fit the one it began with."""
    try:
        arrays = read_arrays(folder.path / RESULT_UV, UV_ARRAYS)
        uv, sources = arrays["uv"], arrays["source"].tolist()
    except Exception:  # missing or damaged, the unwrapping decides anew
        return None
    fits = uv.shape == (len(mesh.triangles), 3, 2) and len(sources) == mesh.part_count
    known = set(sources) <= set(UV_SOURCES) and (mesh.uv is not None or "user" not in sources)
    return (uv, sources) if fits and known and np.isfinite(uv).all() and np.any(uv) else None
