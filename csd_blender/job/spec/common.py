"""What all kinds of jobs have in common."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ..errors import JobError
from .fields import bad, to_json

QUALITIES = ("draft", "normal", "best")
RASTERIZERS = ("auto", "warp", "torch", "nvdiffrast")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,2}))?")


def check_job(job: Any) -> None:
    """What all kinds of jobs have in common. Raises ``JobError('bad_setting')``."""
    if not job.prompt.strip():
        raise JobError("bad_setting", "the prompt is empty")
    if not _DEVICE.fullmatch(job.device):
        raise bad("device", job.device, "auto, cpu, cuda, cuda:N or mps")
    if not job.model:
        raise bad("model", job.model, "mini, the name of a model or a folder")


def fingerprint(kind: str, job: Any) -> str:
    """Hash, 16 hexadecimal digits, of a job's JSON without what its result does not depend on, and without settings
    that came later and are not used."""
    passing = ("preview_interval", "checkpoint_interval", "device")
    settings = {"kind": kind, **to_json(job, for_fingerprint=True)}
    relevant = {name: value for name, value in settings.items() if name not in passing}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
