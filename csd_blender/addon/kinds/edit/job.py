"""An edit from the selected meshes to its place on them: a texture's job that begins with their own colors."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import bpy

from ....job.files import INPUT_COLORS
from ...job import Job
from ...scene import base_color, export
from ..texture import job as texture_job
from ..texture.job import (
    BELONGS_TO_FILE,
    accept,
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


def write(settings: ModuleType, context, overrides: dict, objects: Sequence[bpy.types.Object] | None = None) -> Job:
    """As a texture's, with the base color of the objects beside their meshes.

    Raises:
        SceneError: also when an object has no base color, or one that only rendering would tell.
    """

    def colors(chosen: Sequence[bpy.types.Object], exported: export.Export) -> dict[str, bytes]:
        return {INPUT_COLORS: base_color.start_bytes(chosen, exported, context.evaluated_depsgraph_get())}

    return texture_job.write(settings, context, overrides, objects, colors)
