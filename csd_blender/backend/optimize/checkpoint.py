"""Checkpoints: tensors as safetensors, the rest as JSON, never half a file, the last two kept.

A checkpoint is complete when its JSON exists; the tensors are written first. It holds everything the next step
depends on, so that a resumed job takes the very steps an undisturbed one would have taken. Before anything of it is
loaded it is held against the state that it is for; one that does not fit is passed over for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from safetensors.torch import load, save
from torch import Tensor

from ...job.errors import JobError, quoted
from ...job.files import CHECKPOINT, checkpoint_files, checkpoint_step
from ...job.folder import JobFolder
from ...job.ordinary import read_ordinary
from ..support.reporting import Reporter
from .free_memory import free_memory

KEEP = 2
LARGEST_RECORD = 2**16  # bytes
LARGEST_FILE, LARGEST_HEADER = 2**36, 2**22
SMALLEST = 1e-15  # of a gradient whose square is a number
LARGEST_VALUE = 1e18  # of a parameter; squared it is still a number
ADAM = ("step", "exp_avg", "exp_avg_sq")  # what Adam and AdamW keep for each parameter

log = logging.getLogger(__name__)
T = TypeVar("T")


class State(Protocol):
    """What a checkpoint holds.

    ``tensors()`` names every part of it: parameters and buffers themselves, not copies; what
    :func:`optimizer_tensors` gives; and ``generator``, the random numbers' state.
    """

    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int

    def tensors(self) -> dict[str, Tensor]: ...


@dataclass
class Checkpoint:
    """The number of finished steps of a job, and the tensors by name."""

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
    """Write the state after ``step`` steps; returns the path within the job folder.

    Older ones than the last two go, and later ones: a job that wrote this one had no use for them.
    """
    record_name, tensors_name = checkpoint_files(step)
    # Clones: safetensors refuses tensors that share memory, and the moments must not change while being written.
    data = save({k: v.detach().cpu().clone() for k, v in tensors.items()})
    folder.write_bytes(tensors_name, data)
    record = {"step": step, "spec_hash": spec_hash, "sha256": hashlib.sha256(data).hexdigest()}
    folder.write_bytes(record_name, json.dumps(record).encode())
    kept = [path.stem for number, path in _complete(folder) if number <= step][-KEEP:]
    for old in (folder.path / CHECKPOINT).glob("step_*"):
        if old.stem not in kept and old.suffix in (".json", ".safetensors"):
            old.unlink(missing_ok=True)
    return record_name


@dataclass
class Saved:
    """The checkpoints that a job of ``steps`` steps finds when it is resumed.

    Raises:
        JobError: ``bad_job_folder`` when there are some, but all belong to other settings.
    """

    folder: JobFolder
    spec_hash: str
    steps: int
    found: bool = False
    used: bool = False
    _records: list[tuple[int, Path, dict]] = field(default_factory=list)  # the newest last

    def __post_init__(self) -> None:
        foreign = False
        for number, path in _complete(self.folder):
            self.found = True
            try:
                record = _read_record(path, number, self.steps)
            except (OSError, ValueError, RecursionError) as error:
                _pass_over(path, error)
                continue
            foreign |= record["spec_hash"] != self.spec_hash
            self._records.append((number, path, record))
        self._records = [entry for entry in self._records if entry[2]["spec_hash"] == self.spec_hash]
        if foreign and not self._records:
            raise JobError("bad_job_folder", "its checkpoint was made with other settings")

    def has(self, low: int, high: int) -> bool:
        """Whether there is one after ``low`` to ``high`` steps of the job."""
        return any(low <= number <= high for number, _, _ in self._records)

    def newest(self, make: Callable[[Checkpoint], T], low: int, high: int) -> T | None:
        """What ``make`` makes of the newest one after ``low`` to ``high`` steps that fits, or None.

        Args:
            make: a new state from a checkpoint, see :func:`restore`. ``ValueError`` says that it does not fit; the
                one before it is tried then.
        """
        for checkpoint, path in self._readable(low, high):
            try:
                made = make(checkpoint)
            except ValueError as error:
                _pass_over(path, error)
                continue
            self.used = True
            return made
        return None

    def explain(self, reporter: Reporter) -> None:
        """Tell the user when there are checkpoints, but none of any use."""
        if self.found and not self.used:
            reporter.warn("checkpoint_unusable", "What was stored of this job cannot be used: it starts anew.")

    def _readable(self, low: int, high: int) -> Iterator[tuple[Checkpoint, Path]]:
        for number, path, record in reversed(self._records):
            if not low <= number <= high:
                continue
            try:
                data = read_whole(path.with_suffix(".safetensors"))
                # Earlier versions wrote no sum.
                if record.get("sha256", "") not in ("", hashlib.sha256(data).hexdigest()):
                    raise ValueError("it was changed or damaged after it was written")
                tensors = load(data)
            except Exception as error:  # the library has exceptions of its own for every kind of damage
                _pass_over(path, error)
                continue
            yield Checkpoint(number, tensors), path


def read_whole(path: Path) -> bytes:
    """A file of tensors, whose header says that it is as long as it is, and which memory has room for. Raises
    ``OSError`` or ``ValueError`` before anything but the header is read otherwise."""
    size = os.path.getsize(path)
    length = int.from_bytes(read_ordinary(path, LARGEST_FILE, 8), "little")
    if not 2 <= length <= LARGEST_HEADER:
        raise ValueError("it holds no tensors")
    table = json.loads(read_ordinary(path, LARGEST_FILE, 8 + length)[8:])
    if not isinstance(table, dict):
        raise ValueError("it holds no tensors")
    last = [entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"]
    if 8 + length + max(last, default=0) != size:
        raise ValueError(f"it has {size} bytes, and its header asks for others")
    free = free_memory(torch.device("cpu"))
    if free is not None and size > free:
        raise ValueError(f"it has {size} bytes, {free} are free")
    return read_ordinary(path, LARGEST_FILE)


def _read_record(path: Path, number: int, steps: int) -> dict:
    record = json.loads(read_ordinary(path, LARGEST_RECORD))
    if not isinstance(record, dict) or not isinstance(record.get("spec_hash"), str):
        raise ValueError("its record is none")
    step = record.get("step")
    if isinstance(step, bool) or not isinstance(step, int) or step != number:
        raise ValueError(f"its step is {quoted(step)}")
    if step > steps:
        raise ValueError(f"it was made after {step} steps of {steps}")
    return record


def _pass_over(path: Path, error: Exception) -> None:
    log.warning("checkpoint %s was passed over: %s %s", path.name, type(error).__name__, str(error)[:300])


def _complete(folder: JobFolder) -> list[tuple[int, Path]]:
    """Steps and records of all checkpoints that were written whole, the newest last."""
    names = ((checkpoint_step(path.stem), path) for path in (folder.path / CHECKPOINT).glob("step_*.json"))
    return sorted((step, path) for step, path in names if step is not None)


# ---- holding it against the state ----------------------------------------------------------------------------------


def restore(state: State, tensors: dict[str, Tensor], step: int) -> None:
    """Bring a fresh ``state`` to where a checkpoint was made, all of it or, with an exception, nothing.

    Args:
        step: of the state's own stage.

    Raises:
        ValueError: when a name is missing or too many, a shape or a kind of number is another one, a value is not
            finite, or a count of steps cannot be.
    """
    wanted = {name: value for name, value in state.tensors().items() if not name.startswith("optimizer.")}
    moments = {name: value for name, value in tensors.items() if name.startswith("optimizer.")}
    others = {name: value for name, value in tensors.items() if not name.startswith("optimizer.")}
    check_tensors(wanted, others)
    _check_moments(moments, state.optimizer, step)
    try:
        torch.Generator().set_state(tensors["generator"])
    except RuntimeError as error:
        raise ValueError(f"generator: {str(error).splitlines()[0]}") from None
    with torch.no_grad():
        for name, value in others.items():
            if name != "generator":
                wanted[name].copy_(value)
    restore_optimizer(state.optimizer, moments)
    state.generator.set_state(tensors["generator"])
    state.step = step


def check_tensors(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Raise ``ValueError`` unless ``given`` has the names, shapes and kinds of numbers of ``wanted``, all finite."""
    if wanted.keys() != given.keys():
        odd = sorted(wanted.keys() ^ given.keys())
        raise ValueError(f"{quoted(odd[0])} is {'missing' if odd[0] in wanted else 'unknown'}")
    for name, value in given.items():
        _check_like(name, value, wanted[name])
        if value.is_floating_point() and bool((value.abs() > LARGEST_VALUE).any()):
            raise ValueError(f"{quoted(name)} holds values beyond all measure")


def _check_like(name: str, value: Tensor, wanted: Tensor) -> None:
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        has = f"{tuple(value.shape)} {value.dtype}"
        raise ValueError(f"{quoted(name)} is {has}, not {tuple(wanted.shape)} {wanted.dtype}")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ValueError(f"{quoted(name)} holds values that are not finite")


def _check_moments(moments: dict[str, Tensor], optimizer: torch.optim.Optimizer, step: int) -> None:
    """Raise ``ValueError`` unless the moments fit the optimizer's parameters and ``step`` finished steps.

    A parameter that had no gradient yet has none.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {f"optimizer.{i}.{key}": (p, key) for i, p in enumerate(parameters) for key in ADAM}
    begun = {name.split(".")[1] for name in moments}
    if (step > 0) != bool(moments):
        raise ValueError(f"{len(moments)} moments after {step} steps")
    if moments.keys() != {name for name in names if name.split(".")[1] in begun}:
        odd = sorted(moments.keys() ^ {name for name in names if name.split(".")[1] in begun})
        raise ValueError(f"{quoted(odd[0])} is missing or unknown")
    for name, value in moments.items():
        parameter, key = names[name]
        if key == "step":
            _check_like(name, value, torch.zeros((), dtype=torch.float32))
            if not 1 <= float(value) <= step or float(value) % 1:
                raise ValueError(f"{name} is {float(value):g} after {step} steps")
            continue
        _check_like(name, value, parameter)
    check_averages(moments, optimizer)


def check_averages(moments: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Raise ``ValueError`` unless there are gradients of which these are the moments, each parameter's all or none."""
    groups = [group for group in optimizer.param_groups for _ in group["params"]]
    for number, group in enumerate(groups):
        names = [f"optimizer.{number}.{key}" for key in ADAM[1:]]
        if names[0] not in moments:
            continue
        average, square = (moments[name] for name in names)
        if bool((square < 0).any()):
            raise ValueError(f"{names[1]} holds negative squares")
        if not _is_average(average, square, *group["betas"]):
            raise ValueError(f"{names[0]} holds averages that no gradients have")


def _is_average(average: Tensor, square: Tensor, first: float, second: float) -> bool:
    """Whether there are gradients with these two running means, the plain one and that of their squares.

    By Cauchy and Schwarz the first is never above a multiple of the second's root. One that is would throw the
    parameters so far in the next step that the job ends, each time that it is resumed.
    """
    ratio = first**2 / second
    if ratio >= 1:
        return True  # old gradients count longer in the first than in the second: there is no such multiple
    most = (1 - first) / math.sqrt((1 - second) * (1 - ratio))
    # Twice, for what rounding does; and squares of the smallest gradients are no numbers any more.
    return not bool((average.abs() > 2 * most * square.sqrt() + SMALLEST).any())
