"""Checkpoints: tensors as safetensors, the rest as JSON, never half a file, the last two kept.

A checkpoint is complete when its JSON exists; the tensors are written first. It holds everything the next step
depends on, so that a resumed job takes the very steps an undisturbed one would have taken.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from ...job.errors import JobError
from ...job.folder import JobFolder

KEEP = 2
log = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """What :func:`load_checkpoint` found: the number of finished steps and the tensors by name."""

    step: int
    tensors: dict[str, Tensor]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts, flat by name."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{i}.{key}": value if torch.is_tensor(value) else torch.tensor(float(value))
        for i, entries in state.items()
        for key, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of :func:`optimizer_tensors`; the groups' settings stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    whole = optimizer.state_dict()
    whole["state"] = state
    optimizer.load_state_dict(whole)


def save_checkpoint(folder: JobFolder, step: int, tensors: dict[str, Tensor], spec_hash: str) -> str:
    """Write the state after ``step`` steps; returns the path within the job folder."""
    name = f"checkpoint/step_{step:06d}"
    # Clones: safetensors refuses tensors that share memory, and the moments must not change while being written.
    folder.write_bytes(f"{name}.safetensors", save({k: v.detach().cpu().clone() for k, v in tensors.items()}))
    record = {"step": step, "spec_hash": spec_hash}
    folder.write_bytes(f"{name}.json", json.dumps(record).encode())
    for old in _complete(folder)[:-KEEP]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return f"{name}.json"


def load_checkpoint(folder: JobFolder, spec_hash: str) -> Checkpoint | None:
    """The newest readable checkpoint of this very job, or None.

    Raises:
        JobError: ``bad_job_folder`` when checkpoints exist but belong to other settings.
    """
    foreign = False
    for record_path in reversed(_complete(folder)):
        try:
            record = json.loads(record_path.read_text(encoding="utf-8"))
            if record["spec_hash"] != spec_hash:
                foreign = True
                continue
            return Checkpoint(int(record["step"]), load(record_path.with_suffix(".safetensors").read_bytes()))
        except Exception as error:  # a damaged file: the one before it will do
            log.warning("checkpoint %s cannot be read (%s)", record_path.name, error)
    if foreign:
        raise JobError("bad_job_folder", "its checkpoint was made with other settings")
    return None


def _complete(folder: JobFolder) -> list[Path]:
    return sorted((Path(folder.path) / "checkpoint").glob("step_*.json"))
