"""Whether a job that is resumed finds the models that it began with: the same steps by others make another result.

What is written down is a sum over each file's name, its size and three samples of it, which takes no time and is not
misled by a file's date.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from ...job.errors import JobError
from ...job.files import MODEL_RECORD
from ...job.folder import JobFolder
from ...job.kinds import JobSpec
from ...job.models.contents import model_files, read_json
from ...job.models.lora import find_lora
from ..diffusion.loading import find_model
from ..support.reporting import Reporter

SAMPLE = 64 * 1024  # bytes at a file's beginning, in its middle and at its end


def note_models(folder: JobFolder, reporter: Reporter, resume: bool) -> None:
    """Write down which models the job begins with; where it goes on, warn of those that are others now.

    A model that cannot be found is left to the job, which says so.
    """
    now = sums_of(folder.spec)
    if resume:
        with suppress(JobError):  # of a version that wrote none, or damaged: nothing can be said
            before = read_json(folder.path / MODEL_RECORD)
            changed = [name for name in now if name in before and before[name] != now[name]]
            if changed:
                reporter.warn(
                    "model_changed",
                    f"Since this job began, the files of its {' and '.join(changed)} have changed; the steps that are "
                    "left go by the new ones. Begin it anew for a result of one kind.",
                )
            return
    folder.write_bytes(MODEL_RECORD, json.dumps(now, indent=1).encode())


def sums_of(job: JobSpec) -> dict[str, str]:
    """The sums of the job's models by what they are to it."""
    tells, found = getattr(job, "tells", {}), {}
    for field, said in (("model", "model"), ("coarse_model", "coarse model")):
        name = getattr(job, field, "")
        if name:
            with suppress(JobError):
                found[said] = sum_of(find_model(name, tells.get(field, "prompt")))
    if getattr(job, "lora", ""):
        with suppress(JobError):
            found["LoRA"] = sum_of(find_lora(job.lora, job.lora_weight).file)
    return found


def sum_of(place: Path) -> str:
    """Of a model's folder, or a single file; 64 hexadecimal digits. Raises ``JobError`` as jobs do for what cannot be
    read."""
    total = hashlib.sha256()
    for file in model_files(place):
        with suppress(OSError), file.open("rb") as opened:  # the job itself says which cannot be read
            size = file.stat().st_size
            total.update(f"{file.name}\0{size}\0".encode())
            for at in (0, size // 2, max(0, size - SAMPLE)):
                opened.seek(at)
                total.update(opened.read(SAMPLE))
    return total.hexdigest()
