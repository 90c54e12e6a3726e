"""Pictures from the prompt to the Image Editor: the job's folder, and what accepting them does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import bpy

from ...job import Job
from ...scene.apply_texture import Applied
from ...scene.images import add
from ...scene.preview import cover
from .. import common

#: They can be added to any file.
BELONGS_TO_FILE = False


def write(settings: ModuleType, context, overrides: dict, objects: Sequence[bpy.types.Object] | None = None) -> Job:
    """Write the folder of a job that makes pictures; ``objects`` are of no account.

    Raises:
        SceneError, JobError: with a sentence for the artist; nothing was written then.
    """
    return common.write_job(settings.make_spec(common.asked(settings, context, overrides)), {}, [])


def restore(job: Job) -> None:
    """Fill in what only the folder of an earlier job tells: nothing."""


def check_result(folder: Path) -> None:
    """Raise ``SceneError`` when what the job left cannot be used."""
    add.read_result(folder)


def check_mode(context, objects: Sequence[bpy.types.Object] | None = None) -> None:
    """Raise ``SceneError`` while pictures could not be added: they always can."""


def why_not_start(context) -> str:
    """Why it cannot begin, as a sentence without its full stop; empty when it can, which is always."""
    return ""


def why_not_accept(context) -> str:
    """As :func:`why_not_start`, for accepting."""
    return ""


def accept(job: Job, new_map: bool) -> list[Applied]:
    """Add the pictures to the file. Raises ``SceneError``; the preview is untouched then."""
    result = add.read_result(job.folder)
    applied = add.add_pictures(result)
    cover.uncover_all()
    return applied


def follow_up(job: Job) -> tuple[str, dict] | None:
    """Text and arguments of the operator for another job that begins with this one's result: there is none."""
    return None
