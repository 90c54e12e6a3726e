"""Whether a job that is resumed finds the models that it began with: the same steps by others make another result.

What is written down is a sum over each file's name, its size and three samples of it, which takes no time and is not
misled by a file's date.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ...job.errors import JobError
from ...job.files import CHECKPOINT, MODEL_RECORD
from ...job.folder import JobFolder
from ...job.kinds import JobSpec
from ...job.models.contents import model_files, read_json
from ...job.models.control import OFF, find_control, listed_names, wanted_kinds
from ...job.models.encoder import find_encoder, named_encoder
from ...job.models.language import find_language_model
from ...job.models.lora import ADAPTER_CONFIG, find_lora
from ..diffusion.loading import find_model
from ..support.reporting import Reporter

SAMPLE = 64 * 1024  # bytes at a file's beginning, in its middle and at its end


def note_models(folder: JobFolder, reporter: Reporter, resume: bool) -> None:
    """Write down which models the job begins with; where it goes on, warn of those that are others now.

    A model that cannot be found is left to the job, which says so; it is written down once it is there.
    """
    now, before = sums_of(folder.spec), {}
    if resume and any((folder.path / CHECKPOINT).glob("step_*")):  # else no step is kept of other models
        with suppress(JobError):  # of a version that wrote none, or damaged: nothing can be said
            before = read_json(folder.path / MODEL_RECORD)
        changed = [name for name in now if name in before and before[name] != now[name]]
        if changed:
            reporter.warn(
                "model_changed",
                f"Since this job began, the files of its {' and '.join(changed)} have changed; the steps that are "
                "left go by the new ones. Begin it anew for a result of one kind.",
            )
    if now | before != before or not before:
        folder.write_bytes(MODEL_RECORD, json.dumps(now | before, indent=1).encode())


def sums_of(job: JobSpec) -> dict[str, str]:
    """The sums of the job's models, and of what is added to them by name, by what they are to it."""
    tells, found = getattr(job, "tells", {}), {}

    def note(said: str, name: str, sum_found: Callable[[str], str]) -> None:
        if name:
            with suppress(JobError):
                found[said] = sum_found(name)

    for field, said in (("model", "model"), ("coarse_model", "coarse model")):
        told = tells.get(field, "prompt")
        note(said, getattr(job, field, ""), lambda name, told=told: sum_of_model(find_model(name, told)))
    note("LoRA", getattr(job, "lora", ""), sum_of_lora)
    note("encoder", named_encoder(job.encoder), lambda name: sum_of(model_files(find_encoder(name))))
    language = getattr(job, "debias_prompt", "")
    note("language model", language, lambda name: sum_of(model_files(find_language_model(name))))
    controls = "" if wanted_kinds(getattr(job, "control", OFF)) == {} else job.control_model
    note("ControlNets", controls, sum_of_controls)
    return found


def sum_of_model(place: Path) -> str:
    """Of a folder; or of a single file and the settings that may be beside it, whatever else is."""
    return sum_of(model_files(place) if place.is_dir() else (place, place.with_suffix(".yaml")))


def sum_of_lora(name: str) -> str:
    """Of its file and of the one beside it with what its weights count. Raises as :func:`find_lora`."""
    file = find_lora(name).file
    return sum_of((file, file.with_name(ADAPTER_CONFIG)))


def sum_of_controls(names: str) -> str:
    """Of all that the setting ``control_model`` names. Raises as :func:`find_control`."""
    return sum_of([file for _, name in listed_names(names) for file in model_files(find_control(name))])


def sum_of(files: Iterable[Path]) -> str:
    """64 hexadecimal digits."""
    total = hashlib.sha256()
    for file in filter(Path.is_file, files):
        with suppress(OSError), file.open("rb") as opened:  # the job itself says which cannot be read
            size = file.stat().st_size
            total.update(f"{file.name}\0{size}\0".encode("utf-8", "surrogateescape"))
            for at in (0, size // 2, max(0, size - SAMPLE)):
                opened.seek(at)
                total.update(opened.read(SAMPLE))
    return total.hexdigest()
