"""Editing the shape of a mesh together with its texture: the refine stage of text to 3D, begun with what is there.

The mesh becomes signed distances on a tetrahedral grid (:class:`~..geometry.tet_geometry.TetGeometry`), its colors
those of the nearest place on it (:class:`~..fields.nearest_colors.NearestColors`). Both then move under the difference
of target and source, as in :mod:`edit`. The result is an object of its own, as large as the mesh was, with its origin
at the mesh's foot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ...job.errors import JobError
from ...job.files import INPUT_COLORS
from ...job.folder import JobFolder
from ...job.presets.edit import shape_stage
from ...job.spec.edit import EditJob
from ...job.spec.stages import LOAD, PREPARE, REFINE, UNWRAP
from ...job.spec.text_to_3d import TextTo3DJob
from ..distillation.prompt_debiasing import debias_job
from ..fields.nearest_colors import NearestColors
from ..geometry.files.colors import load_colors
from ..geometry.manifold import enclosed_volume, open_edges
from ..geometry.mesh import clean_mesh, normalize
from ..geometry.mesh_io import load_npz
from ..geometry.signed_distance import outward
from ..geometry.tet_geometry import TetGeometry
from ..optimize.checkpoint import Saved
from ..support.clock import JobClock, StepClock
from ..support.reporting import Reporter
from .control import use_controls
from .edit import paint
from .prepare import LoadModel, choose_rasterizer, load_for
from .text_to_3d.job import refine_guide, resume_refine, run_refine
from .text_to_3d.output import ObjectPreview, write_object
from .text_to_3d.refine import mesh_shape, mesh_size, start_refine
from .texture import JobResult, picture_size

THIN = 0.1  # of the volume: so much may be lost to the grid without a word


@dataclass(frozen=True)
class Given:
    """The mesh that is edited, in the scene of the refine stage.

    Attributes:
        points: ``[V, 3]`` float32 in the unit ball. triangles: ``[F, 3]`` int32.
        meter: of a length in the scene; height: of the mesh, in meters.
    """

    points: Tensor
    triangles: Tensor
    meter: float
    height: float

    def place(self, vertices: np.ndarray) -> np.ndarray:
        """From the scene to where the result stands: of the mesh's size, around an origin at the mesh's foot.

        What was not changed keeps its place there, so that the two can be laid over each other.
        """
        return np.float32(np.float64(vertices) * self.meter + [0.0, 0.0, self.height / 2])


def edit_shape(
    job: EditJob,
    folder: JobFolder,
    reporter: Reporter,
    load_model: LoadModel,
    resume: bool = False,
) -> JobResult:
    """Edit the mesh in ``folder`` with its shape and write ``result/``.

    Args:
        load_model: from (model name, device name, LoRA or None, what it is told) to a loaded model.
        resume: go on from the newest checkpoint, when there is one.

    Raises:
        JobError: with a code of the error table, ``mesh_open`` for a mesh that is not closed.
        Stopped: when the user cancelled before there was anything to keep.
    """
    whole, clock = JobClock(), StepClock()
    plan, stage = job.stages(), shape_stage(job)
    reporter.stage(PREPARE, plan)
    given = read_given(stage, folder, reporter)
    colors = load_colors(folder.path / INPUT_COLORS)
    preview = ObjectPreview(stage, folder, reporter, choose_rasterizer(job), place=given.place)
    spoken = debias_job(job, reporter)

    reporter.stage(LOAD, plan)
    model = load_for(job, job.model, load_model, reporter)
    strength = use_controls(stage, model, folder, reporter, stage.refine.steps, resume)
    guide = refine_guide(model, stage, reporter, clock, spoken, strength, negative_views=True)
    reporter.check_stop()

    def fresh_colors() -> NearestColors:
        corners = given.points[given.triangles.long()] * (mesh_size(stage) / stage.coarse.radius)
        return NearestColors(paint(colors, corners, picture_size(job, model)))

    state = None
    if resume:
        saved = Saved(folder, stage.spec_hash(), stage.steps)
        state = resume_refine(stage, saved, guide, fresh_colors)
        saved.explain(reporter)
    if state is None:
        state = start_refine(stage, model, given_shape(stage, given, reporter), None, fresh_colors())

    reporter.stage(REFINE, plan)
    cancelled = run_refine(state, stage, folder, guide, preview, reporter)

    reporter.stage(UNWRAP, plan)
    stats = whole.stats() | {"steps": state.step, "network_calls": guide.calls}
    shares = {name: round(value, 4) for name, value in clock.shares().items()}
    told = stats | {"time_shares": shares} | (spoken.stats if spoken else {})
    finished = replace(state, colors=partial(state.colors, exact=True))
    files = write_object(finished, stage, folder, reporter, told, model, given.place, not cancelled)
    return JobResult(files, stats, cancelled)


def read_given(stage: TextTo3DJob, folder: JobFolder, reporter: Reporter) -> Given:
    """The job's mesh; its parts stay where they are. Raises ``JobError`` for one that cannot be used, or is open."""
    mesh, notes = clean_mesh(load_npz(folder.mesh_path))
    for note in notes:
        reporter.warn("mesh", note)
    if opened := open_edges(mesh.positions, mesh.triangles):
        raise JobError("mesh_open", f"{opened} edges have more faces on one side than on the other")
    points, _, scale = normalize(mesh.positions)
    height = float(np.ptp(mesh.positions[:, 2].astype(np.float64)))
    meter = 1.0 / (scale * mesh_size(stage))
    return Given(torch.from_numpy(points), torch.from_numpy(mesh.triangles), meter, height)


def given_shape(stage: TextTo3DJob, given: Given, reporter: Reporter) -> TetGeometry:
    """The mesh on the grid, with a word about what is too thin for it.

    Raises:
        JobError: ``mesh_unusable`` when nothing of it is left there.
    """
    shape = mesh_shape(stage, given.points, given.triangles)
    with torch.no_grad():
        vertices, triangles = shape()
    left = enclosed_volume(vertices.numpy() / mesh_size(stage), triangles.numpy())
    whole = enclosed_volume(given.points.numpy(), outward(given.points, given.triangles).numpy())
    lost = 1 - left / max(whole, 1e-12)
    if lost > THIN:
        said = f"About {lost:.0%} of the volume is too thin for the shape's grid and is lost"
        reporter.warn("thin_parts", f"{said}; raise the shape resolution ({stage.refine.tet_resolution} now).")
    return shape
