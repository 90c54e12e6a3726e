"""The kinds that can be made, by the word in their spec: the one place where a job finds its kind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from ...job.kinds import noun
from ...job.spec.edit import FREE, EditJob
from ...job.spec.picture import PictureJob
from ...job.spec.text_to_3d import TextTo3DJob
from ...job.spec.texture import TextureJob
from ..job import Job
from . import common
from .edit import job as edit_job
from .edit import settings as edit_settings
from .object import job as object_job
from .object import preview as object_preview
from .object import settings as object_settings
from .picture import job as picture_job
from .picture import preview as picture_preview
from .picture import settings as picture_settings
from .texture import job as texture_job
from .texture import preview as texture_preview
from .texture import settings as texture_settings


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        settings, job, preview: modules that have the same functions for all kinds; several kinds may share one.
        tooltip: of its operator, a sentence without its full stop. icon: Blender's name of it.
    """

    spec: type[Any]
    settings: ModuleType
    job: ModuleType
    preview: ModuleType
    tooltip: str
    icon: str

    @property
    def operator(self) -> str:
        """Its ``bl_idname``."""
        return "csd." + self.spec.kind.replace("-", "_")

    @property
    def undo_step(self) -> str:
        """What its operator is called, and the step that it leaves in the undo history."""
        return f"Generate {self.spec.label}"

    @property
    def noun(self) -> str:
        """What it makes, within a sentence: "a texture"."""
        return noun(self.spec)


KINDS = {
    kind.spec.kind: kind
    for kind in (
        Kind(
            TextureJob, texture_settings, texture_job, texture_preview,
            "Texture the selected meshes from all sides after the prompt", "TEXTURE",
        ),
        Kind(
            TextTo3DJob, object_settings, object_job, object_preview,
            "Make a new textured object from the prompt, at the 3D cursor", "MESH_DATA",
        ),
        Kind(
            EditJob, edit_settings, edit_job, texture_preview,
            "Change the selected meshes' own textures from what they are to what the target says", "BRUSH_DATA",
        ),
        Kind(
            PictureJob, picture_settings, picture_job, picture_preview,
            "Make pictures of the prompt, for the Image Editor", "IMAGE_DATA",
        ),
    )
}  # fmt: skip


#: An edit whose shape is free: its result is an object, from its first preview to its place in the scene.
FREE_EDIT = replace(KINDS[EditJob.kind], job=object_job, preview=object_preview)


def kind_of(job: Job) -> Kind:
    return FREE_EDIT if isinstance(job.spec, EditJob) and job.spec.is_free else KINDS[job.spec.kind]


def as_asked(kind: Kind, overrides: dict, csd: Any) -> Kind:
    """As :func:`kind_of`, for a job that is still to be made of ``overrides`` and, for the rest, of the scene."""
    free = kind.spec is EditJob and overrides.get("shape", csd.shape) == FREE
    return FREE_EDIT if free else kind


def begin_as_usual(csd: Any, name: str) -> None:
    """Let a setting that is taken out of the preset's hands begin with the preset's value, where one number or text
    is what the preset has; a setting's default suits no preset in particular."""
    kinds = (KINDS[csd.kind], *KINDS.values())  # a script may set one of another kind than the panel shows
    kind, setting = next((k, s) for k in kinds for s in common.shown_settings(k.spec) if s.name == name)
    value = setting.find(kind.settings.usual(csd))
    if value == setting.default and setting.get("bare") is not None:
        value = setting.get("bare")  # its usual strength; the default only says that there is none of its own
    if common.fits(setting, value):
        setattr(csd, name, str(value) if setting.get("usual") else value)


def chosen(context) -> Kind:
    """What the artist has chosen to make."""
    return KINDS[context.scene.csd.kind]


def suggested(context) -> Kind | None:
    """Another kind than the chosen one that the selection speaks for; only ever a suggestion."""
    if not chosen(context).job.why_not_start(context):
        return None
    return next((kind for kind in KINDS.values() if not kind.job.why_not_start(context)), None)
