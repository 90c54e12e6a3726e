"""Text-guided editing of a mesh's own texture by classifier scores (Yu et al. 2023, arXiv 2310.19415, section 4.3).

A texture job in all but two things; where the shape is free as well, see :mod:`edit_shape`. The field begins as the
mesh's own colors, so what nobody asks to change stays. And the negative prompt is the source, what it looks like now,
seen from the same sides as the target::

    w1 (eps_target - eps_null) - w2 (eps_source - eps_null)

With ``w1 = w2`` it is the difference of the two prompts on the same noisy picture alone.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ...job.errors import JobError
from ...job.files import INPUT_COLORS
from ...job.folder import JobFolder
from ...job.spec.edit import EditJob
from ...job.spec.methods import find_method
from ..diffusion.model import DiffusionModel
from ..diffusion.words import GuidanceWords
from ..distillation.prompt_debiasing import Debiased
from ..distillation.view_prompts import EncodedPrompts, job_prompts
from ..fields.painted_field import PaintedField
from ..geometry.files.colors import Colors, load_colors
from ..render.surface import Surface
from ..support.reporting import Reporter
from .prepare import LoadModel
from .texture import JobResult, make_field, texture_mesh


def edit_texture(
    job: EditJob,
    folder: JobFolder,
    reporter: Reporter,
    load_model: LoadModel,
    resume: bool = False,
) -> JobResult:
    """Edit the texture of the mesh in ``folder`` and write ``result/``. Arguments and errors are those of
    :func:`texture_mesh`."""
    colors = load_colors(folder.path / INPUT_COLORS)
    return texture_mesh(job, folder, reporter, load_model, resume, partial(painted_field, colors), edit_prompts)


def painted_field(colors: Colors, surface: Surface, size: int) -> PaintedField:
    """The mesh's own colors as a field, for pictures of ``size`` pixels.

    Raises:
        JobError: ``bad_job_folder`` when the colors are not those of this mesh.
    """
    return paint(colors, surface.points.cpu()[surface.triangles.cpu().long()], size)


def paint(colors: Colors, corners: Tensor, size: int) -> PaintedField:
    """As :func:`painted_field`, for faces with their corners at ``[F, 3, 3]``."""
    if len(colors.uv) != len(corners):
        raise JobError("bad_job_folder", f"{INPUT_COLORS} is not of a mesh with {len(corners)} faces")
    return PaintedField(
        make_field(size),
        corners=corners,
        uv=torch.as_tensor(colors.uv),
        picture=torch.as_tensor(colors.picture),
        pictures=[_unit(picture) for picture in colors.pictures],
        tint=None if colors.corner is None else _unit(colors.corner),
        tint_linear=colors.linear,
        pixel=1.0 / size,
    )


def _unit(values) -> Tensor:
    """Bytes as float32 in [0, 1]."""
    return torch.as_tensor(values).float() / 255


def edit_prompts(
    job: EditJob, model: DiffusionModel, words: GuidanceWords, reporter: Reporter, spoken: Debiased | None = None
) -> EncodedPrompts:
    """Target and source, both with the words for the side that is seen; ``spoken``: the target's own for some."""
    for warning in words.warnings(job.source, "", words.unlit):
        reporter.warn("unknown_words", warning)
    return job_prompts(
        model,
        job.prompt,
        job.source,
        job.view_prompts,
        words,
        reporter,
        negative_views=True,
        per_view=spoken.prompts if spoken else None,
        wordings=find_method(job.method).compares_wordings,
    )
