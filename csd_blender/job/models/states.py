"""Which models are on this computer, which are half here, and which could be got: what lists show.

All of it looks at the disk, and may take as long as a slow disk does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import JobError
from .catalogue import CATALOGUE, ModelEntry, entry_of
from .places import find_copy
from .store import PART, PLAN, RECORD, downloaded, models_folder, own_folder, part_folder, read_record

BUNDLED, READY, PAUSED, ABSENT, BROKEN = "bundled", "ready", "paused", "absent", "broken"


@dataclass(frozen=True)
class ModelState:
    """One model, as a list shows it.

    Attributes:
        state: ``bundled``, ``ready``, ``paused`` (half a download is kept), ``absent``, or ``broken``.
        own: whether it lies in the folder of models, and can be removed; else it is in the hub's cache.
        detail: what is wrong with a broken one. done, total: bytes of a paused one, or the bytes of one that is ready.
    """

    entry: ModelEntry
    state: str
    own: bool = False
    detail: str = ""
    done: int = 0
    total: int = 0

    @property
    def text(self) -> str:
        """The state in a few words."""
        if self.state == PAUSED:
            return f"paused at {self.done / max(self.total, 1):.0%}"
        if self.state == READY:
            return "ready" if self.own else "ready, in the Hugging Face cache"
        return {ABSENT: "not on this computer", BROKEN: f"not ready: {self.detail}"}.get(self.state, self.state)


def look_at(entry: ModelEntry, root: Path | None = None) -> ModelState:
    """The state of one model. ``root``: the folder of models, where that is not the environment's."""
    root = models_folder() if root is None else root
    if not entry.sources:
        return ModelState(entry, BUNDLED)
    folder = own_folder(entry.id, root)
    own = os.path.isfile(folder / RECORD)
    plan = read_record(part_folder(entry.id, root), PLAN)
    try:
        find_copy(entry, root)
    except JobError as error:
        if not own and plan is not None:
            return ModelState(entry, PAUSED, True, "", downloaded(part_folder(entry.id, root), plan), plan.size)
        if error.code == "model_missing":
            return ModelState(entry, ABSENT)
        return ModelState(entry, BROKEN, own, error.detail)
    record = read_record(folder) if own else None
    size = record.size if record else 0
    return ModelState(entry, READY, own, "", size, size)


def look_at_all(root: Path | None = None, entries: Sequence[ModelEntry] = CATALOGUE) -> list[ModelState]:
    """The catalogue, then what else lies in the folder of models."""
    root = models_folder() if root is None else root
    return [look_at(entry, root) for entry in [*entries, *others(root, entries)]]


def others(root: Path, entries: Sequence[ModelEntry] = CATALOGUE) -> list[ModelEntry]:
    """The models of the folder ``root`` that are not in the catalogue, whole and half ones."""
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    known, found = {entry.id for entry in entries}, {}
    for name in names:
        record = read_record(root / name, PLAN if name.endswith(PART) else RECORD)
        if (
            record is not None
            and record.id not in known
            and own_folder(record.id, root).name == name.removesuffix(PART)
        ):
            found[record.id] = (entry_of(record.id), record.licence)
    return [replace(entry, licence=licence) for entry, licence in found.values() if entry is not None]
