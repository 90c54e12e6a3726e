"""The kinds of jobs: the one tuple that command line, panel and job folder go by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Union

from .errors import JobError, quoted
from .presets.edit import edit_job
from .presets.picture import picture_job
from .presets.text_to_3d import text_to_3d_job
from .presets.texture import texture_job
from .spec.edit import EditJob
from .spec.picture import PictureJob
from .spec.text_to_3d import TextTo3DJob
from .spec.texture import TextureJob

JobSpec = Union[TextureJob, TextTo3DJob, EditJob, PictureJob]
SpecClass = Union[type[TextureJob], type[TextTo3DJob], type[EditJob], type[PictureJob]]


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    Attributes:
        spec: the class of its specification.
        make: the function that makes a specification from settings by name: a preset's values, and what is given.
        command: what its command in a shell does, in a few words.
    """

    spec: SpecClass
    make: Callable[..., JobSpec]
    command: str


KINDS = (
    Kind(TextureJob, texture_job, "texture a mesh file from a prompt"),
    Kind(TextTo3DJob, text_to_3d_job, "make a textured object from a prompt"),
    Kind(EditJob, edit_job, "change a mesh file's texture from what it is to what a prompt says"),
    Kind(PictureJob, picture_job, "make pictures from a prompt, by one method or by all of them side by side"),
)


def find_kind(name: object) -> Kind:
    """The kind that a job's JSON names. Raises ``JobError('bad_setting')`` when there is none of that name."""
    for kind in KINDS:
        if kind.spec.kind == name:
            return kind
    raise JobError("bad_setting", f"there is no kind of job {quoted(name)}")


def noun(spec: JobSpec | SpecClass) -> str:
    """What a job makes, within a sentence: "a texture"."""
    word = spec.label.lower()
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def load(data: object) -> JobSpec:
    """The job that ``to_json`` wrote. Raises ``JobError('bad_setting')`` as :func:`find_kind` and its spec do."""
    return find_kind(data.get("kind") if isinstance(data, dict) else None).spec.from_json(data)
