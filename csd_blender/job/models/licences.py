"""Whether a job may use its models: the artist's wish to use only what is cleared for commercial work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import JobError
from .catalogue import ModelEntry, entry_of, find_entry
from .places import existing, shortened
from .store import RECORD, own_folder, read_record


def entry_behind(name: str) -> ModelEntry | None:
    """What is known of a job's model, named as in a job: the catalogue's entry, also where the name is the path of a
    copy that was got through this program or that lies in the hub's cache; None for folders of anybody's own."""
    known = find_entry(name)
    if known is not None:
        return known
    place = existing(name)
    if place is None:
        return entry_of(name)
    for folder in (place, *place.parents):
        record = read_record(folder) if (folder / RECORD).is_file() else None
        if record is not None:
            return entry_of(record.id)
        if folder.name.startswith("models--"):
            return entry_of(folder.name.removeprefix("models--").replace("--", "/", 1))
    return None


def models_of(job: Any) -> list[str]:
    """The names of all models that a job of any kind loads."""
    names = [getattr(job, field, "") for field in ("model", "coarse_model")]
    return list(dict.fromkeys(name for name in names if name))


def check_job(job: Any) -> None:
    """Raise ``JobError('licence_not_accepted')`` for the first of a job's models that it may not use."""
    for name in models_of(job):
        check_cleared(name, job.allow_noncommercial)


def check_cleared(name: str, allow_noncommercial: bool) -> None:
    """Raise ``JobError('licence_not_accepted')`` for a model that is not for commercial use, unless that is allowed."""
    entry = entry_behind(name)
    if entry is not None and entry.commercial == "no" and not allow_noncommercial:
        raise JobError("licence_not_accepted", f"the licence of {entry.label} ({entry.licence}) permits no such use")


def licence_of(name: str) -> str:
    """The licence of a job's model, for the record of its result: as the catalogue, or the publisher's page, has it."""
    entry = entry_behind(name)
    if entry is None:
        return "unknown: the model was given as a folder"
    record = None if find_entry(name) is not None else read_record(own_folder(entry.id))
    return record.licence if record is not None else entry.licence


def unknown_terms(name: str) -> str:
    """A sentence about a model of which nobody here knows the terms; empty for all others."""
    entry = entry_behind(name)
    if entry is not None and entry.commercial != "unknown":
        return ""
    shown = Path(name).name if existing(name) is not None else shortened(name)
    return f"The licence of “{shown}” is not known here; see whether it permits what you plan."
