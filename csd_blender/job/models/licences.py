"""Whether a job may use its models: the artist's wish to use only what is cleared for commercial work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import JobError, shortened
from .catalogue import find_entry
from .control import OFF, listed_names
from .encoder import FULL, named_encoder
from .places import entry_behind, existing
from .store import own_folder, read_record


def models_of(job: Any) -> list[str]:
    """The names of all models that a job of any kind loads, and of what else it names: ControlNets, a small encoder, a
    LoRA, a language model."""
    names = [getattr(job, field, "") for field in ("model", "coarse_model", "lora", "debias_prompt")]
    if getattr(job, "control", OFF) != OFF:
        names += [name for _, name in listed_names(job.control_model)]
    names.append(named_encoder(getattr(job, "encoder", FULL)))
    return list(dict.fromkeys(name for name in names if name))


def check_job(job: Any) -> None:
    """Raise ``JobError('licence_not_accepted')`` for the first of a job's models that it may not use."""
    for name in models_of(job):
        check_cleared(name, job.allow_noncommercial)


def check_cleared(name: str, allow_noncommercial: bool) -> None:
    """Raise ``JobError('licence_not_accepted')`` for a model that is not for commercial use, unless that is allowed."""
    entry = entry_behind(name)
    if entry is not None and entry.commercial == "unknown" and not allow_noncommercial and excludes_work(name):
        raise JobError("licence_not_accepted", f"{entry.label} is under {licence_of(name)}, which permits no such use")
    if entry is not None and entry.commercial == "no" and not allow_noncommercial:
        raise JobError("licence_not_accepted", f"the licence of {entry.label} ({entry.licence}) permits no such use")


def licence_of(name: str) -> str:
    """The licence of a model, or of what is added to one, for the record of a result: as the catalogue, or the
    publisher's page, has it."""
    entry = entry_behind(name)
    if entry is None:
        return "unknown: it was given as a file or folder"
    record = None if find_entry(name) is not None else read_record(own_folder(entry.id))
    return record.licence if record is not None else entry.licence


def excludes_work(name: str) -> bool:
    """Whether the licence that a model's page names says itself that it is for no commercial work."""
    words = re.findall("[a-z0-9]+", licence_of(name).lower())
    said = " ".join(words)
    pairs = ("non commercial", "research only", "intel research")
    return bool({"nc", "noncommercial", "amlr"} & set(words)) or any(pair in said for pair in pairs)


def unknown_terms(name: str) -> str:
    """A sentence about a model of which nobody here knows the terms; empty for all others."""
    entry = entry_behind(name)
    if entry is not None and entry.commercial != "unknown":
        return ""
    shown = Path(name).name if existing(name) is not None else shortened(name)
    licence = licence_of(name)
    if licence and not licence.startswith("unknown"):
        return f"“{shown}” is under the licence “{shortened(licence)}”; see whether it permits what you plan."
    return f"The licence of “{shown}” is not known here; see whether it permits what you plan."
