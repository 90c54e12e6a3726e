"""An edit from the selected meshes to its place on them: a texture's job that begins with their own colors.

With a free shape its result is an object of its own, which stands beside them; it is shown and accepted as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import bpy
import numpy as np

from ....job.files import INPUT_COLORS, INPUT_MESH
from ....job.spec.edit import FREE
from ...errors import SceneError
from ...job import Job
from ...scene import checks, export
from ...scene.apply_texture import Applied
from ...scene.materials import base_color
from ...scene.preview import cover
from ...scene.targets import selected_meshes
from .. import common
from ..texture import job as texture_job
from ..texture.job import (
    BELONGS_TO_FILE,
    check_mode,
    check_result,
    follow_up,
    restore,
    why_not_accept,
    why_not_start,
)

__all__ = [
    "BELONGS_TO_FILE",
    "accept",
    "check_mode",
    "check_result",
    "follow_up",
    "restore",
    "why_not_accept",
    "why_not_start",
    "write",
]


STEP_ASIDE = 1.25  # widths of what is edited, from its foot to that of the new object


def accept(job: Job, new_map: bool) -> list[Applied]:
    """As a texture's; of the materials only the color is another one then."""
    return texture_job.accept(job, new_map, keeps_finish=True)


def write(settings: ModuleType, context, overrides: dict, objects: Sequence[bpy.types.Object] | None = None) -> Job:
    """As a texture's, with the base color of the objects beside their meshes.

    Raises:
        SceneError: also when an object has no base color, or one that only rendering would tell.
    """

    if overrides.get("shape", context.scene.csd.shape) == FREE:
        return write_free(settings, context, overrides, objects)

    def colors(chosen: Sequence[bpy.types.Object], exported: export.Export) -> dict[str, bytes]:
        return {INPUT_COLORS: base_color.start_bytes(chosen, exported, context.evaluated_depsgraph_get())}

    return texture_job.write(settings, context, overrides, objects, colors)


def write_free(
    settings: ModuleType, context, overrides: dict, objects: Sequence[bpy.types.Object] | None = None
) -> Job:
    """The same where the shape is free: nothing leads back to the objects, which stay as they are.

    Raises:
        SceneError: also when nothing is selected, or an object has no base color as above.
    """
    objects = selected_meshes(context) if objects is None else objects
    checks.check_no_previews(objects)
    chosen = common.asked(settings, context, overrides)
    if not objects:
        raise SceneError("No mesh object is selected.", checks.selection_hint())
    spec = settings.make_spec(chosen)
    cover.uncover_all()  # the export must not see a preview's UV map or material
    depsgraph = context.evaluated_depsgraph_get()
    exported = export.export_shape(objects, depsgraph, chosen["modifiers"])
    colors = base_color.start_bytes(objects, exported, depsgraph)
    place = beside(exported)
    job = common.write_job(spec, {INPUT_MESH: exported.mesh_bytes(), INPUT_COLORS: colors}, [], place)
    job.place = place
    return job


def beside(exported: export.Export) -> tuple[float, float, float]:
    """Where the foot of the new object stands: on the same floor as what is edited, to the right of it."""
    arrays = exported.arrays
    used = arrays["positions"][np.unique(arrays["triangles"])] + arrays.get("offset", np.zeros(3))
    low, high = used.min(axis=0), used.max(axis=0)
    foot = [(low[0] + high[0]) / 2 + STEP_ASIDE * (high[0] - low[0]), (low[1] + high[1]) / 2, low[2]]
    return float(foot[0]), float(foot[1]), float(foot[2])
