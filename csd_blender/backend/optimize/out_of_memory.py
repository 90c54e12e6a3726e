"""The ladder for memory: a stage begins on the rung that fits, and when memory runs out in a step it goes one down.

First comes what changes nothing but time, since a result must not depend on the card; fewer views, which another result
follows from, come last, and never on an estimate's word alone.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from ...job.errors import JobError
from ...job.models.catalogue import CATALOGUE, find_entry
from ..diffusion.cost.thrift import Turns
from ..diffusion.model import DiffusionModel
from ..support.memory import GIB, Load, Saving, needed
from ..support.reporting import Reporter
from .free_memory import free_memory, networks_of

log = logging.getLogger(__name__)

# How CUDA, its libraries, Warp, MPS and the CPU allocator say it.
SAID = ("out of memory", "failed to allocate", "alloc_failed", "can't allocate memory", "not enough memory")


@dataclass
class Attempt:
    """One try of a step with ``views`` views; ``failed`` asks for another."""

    views: int
    failed: bool = False


@dataclass(frozen=True)
class Rung:
    """One way to need less memory.

    Attributes:
        said: what is done from now on, behind "Memory ran out:".
        saves: what was saved before, with this besides.
        helps: whether the model has anything of the kind.
    """

    said: str
    saves: Callable[[Saving], Saving]
    helps: Callable[[DiffusionModel], bool]


def has_encoder(model: DiffusionModel) -> bool:
    return not model.on_pixels


def has_own_memory(model: DiffusionModel) -> bool:
    """Whether the device has memory of its own, so that something can wait elsewhere; Apple's shares the computer's."""
    return model.device.type not in ("cpu", "mps")


#: In this order. None of them changes a number.
RUNGS: tuple[Rung, ...] = (
    Rung("pictures are now encoded one at a time", lambda saving: replace(saving, pictures=True), has_encoder),
    Rung("the encoder's layers are now made again one at a time", lambda saving: replace(saving, layers=True),
         has_encoder),
    Rung("prompts now go through the network one at a time", lambda saving: replace(saving, rows=True),
         lambda model: True),
    Rung("networks now wait in the computer's memory until they are used, which is slow",
         lambda saving: replace(saving, turns=True), has_own_memory),
)  # fmt: skip


@dataclass
class StepDown:
    """The ladder of one stage: :data:`RUNGS`, then half of the views, down to one, or to those that the model sees at
    once, then the job's error."""

    views: int

    def begin(self, model: DiffusionModel, load: Load | None, reporter: Reporter) -> None:
        """Take the rungs without which the stage would not fit, and say so; all of it fits: nothing, but in the log.

        Args:
            load: what a step asks of the model; None where that is not known, so that memory must run out first.
        """
        free = None if load is None else free_memory(model.device)
        if load is None or free is None:
            return
        there, whole = free + load.weights, needed(load)  # the weights are loaded already
        told = f"needs about {whole / GIB:.1f} GB, {there / GIB:.1f} free"
        log.info("a step %s on %s", told, model.device)
        taken = []
        for rung in RUNGS:
            if needed(load, model.thrift.saving) <= there:
                break
            if rung.helps(model):
                take(rung, model)
                taken.append(rung.said)
        if needed(load, model.thrift.saving) > there:
            reporter.warn("memory", f"Memory may run out: a step {told}.")
        elif taken:
            reporter.warn("memory", f"A step {told}: {', '.join(taken)}.")

    @contextmanager
    def guard(self, model: DiffusionModel, reporter: Reporter) -> Iterator[Attempt]:
        """Catch an out-of-memory error of the body and step down. Raises ``JobError('oom')`` below the last rung."""
        attempt = Attempt(self.views)
        try:
            yield attempt
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            attempt.failed = True
        if attempt.failed:
            self._down(model, reporter)

    def _down(self, model: DiffusionModel, reporter: Reporter) -> None:
        make_free()
        rung = next((rung for rung in RUNGS if rung.helps(model) and not _is_taken(rung, model)), None)
        if rung is not None:
            take(rung, model)
            said = rung.said
        elif self.views > model.thrift.least_rows:
            least = model.thrift.least_rows
            self.views = max(self.views // 2 // least, 1) * least  # whole things, where the model sees several views
            said = f"going on with {self.views} views in each step"
        else:
            raise JobError("oom", fix=alternative(model))
        reporter.warn("oom_step_down", f"Memory ran out: {said}.")


def take(rung: Rung, model: DiffusionModel) -> None:
    """Save so from now on."""
    thrift = model.thrift
    thrift.saving = rung.saves(thrift.saving)
    if thrift.saving.turns and thrift.turns is None:
        thrift.turns = Turns(networks_of(model), model.device)
        make_free()


def _is_taken(rung: Rung, model: DiffusionModel) -> bool:
    return rung.saves(model.thrift.saving) == model.thrift.saving


def make_free() -> None:
    """Give back what no tensor needs any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def alternative(model: DiffusionModel) -> str:
    """What would need less than this model on the lowest rung; a sentence."""
    if model.control is not None:
        return "Set Control to off, or close other programs that use the device."
    own = find_entry(model.name)
    smaller = [e for e in CATALOGUE if e.role == "model" and e.can_be_used and e.commercial != "no"
               and own is not None and e.memory_mb < own.memory_mb]  # fmt: skip
    if smaller:
        best = max(smaller, key=lambda entry: entry.memory_mb)
        return f"Close other programs that use the device, or choose {best.label}, which needs less."
    if model.device.type != "cpu":
        return "Close other programs that use the device, or set the device to the CPU."
    return "Close other programs, or use a smaller model."


def is_out_of_memory(error: BaseException) -> bool:
    """True for all ways of saying so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAID)
