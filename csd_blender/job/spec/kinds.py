"""The kinds of jobs, and how a job's JSON finds its own."""

from __future__ import annotations

from typing import Union

from ..errors import JobError, quoted
from .text_to_3d import TextTo3DJob
from .texture import TextureJob

JobSpec = Union[TextureJob, TextTo3DJob]
KINDS = (TextureJob, TextTo3DJob)


def load(data: object) -> JobSpec:
    """The job that ``to_json`` wrote. Raises ``JobError('bad_setting')`` for a kind that does not exist, too."""
    kind = data.get("kind") if isinstance(data, dict) else None
    for cls in KINDS:
        if cls.kind == kind:
            return cls.from_json(data)
    raise JobError("bad_setting", f"there is no kind of job {quoted(kind)}")
