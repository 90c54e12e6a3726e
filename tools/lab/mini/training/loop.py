# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of a training that can be cut and resumed, in one process or in several.

Every step draws from a generator seeded by (seed, stream, step), whatever the number of processes, each of which takes
a part of the batch; with the optimizer's state in the checkpoint, a resumed run takes the same steps as one that was
never interrupted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..train import Ema, Reporter, generators, learning_factor, save_state

Log = Callable[[str], None]
#: The loss of one step from its number and its random numbers.
LossOf = Callable[[int, np.random.Generator, torch.Generator], Tensor]


@dataclass(frozen=True)
class Course:
    """How a network is trained.

    Attributes:
        out: folder of the checkpoint, ``STAGE.pt``, and of progress.jsonl. stage: its name.
        seed, stream: of the steps' random numbers.
        rate: highest; it rises over ``warmup`` steps and falls after the share ``hold`` of all.
        decay: of weights. ema: of the averaged network, which is the result.
        rank, processes: this one of so many.
    """

    out: Path
    stage: str
    seed: int
    stream: int
    steps: int
    rate: float
    hold: float
    decay: float
    ema: float
    warmup: int = 60
    device: str = "cpu"
    rank: int = 0
    processes: int = 1
    save_seconds: float = 180.0

    @property
    def path(self) -> Path:
        """Of the checkpoint."""
        return self.out / f"{self.stage}.pt"

    def part_of(self, batch: int) -> slice:
        """This process's rows of a batch."""
        return slice(self.rank * batch // self.processes, (self.rank + 1) * batch // self.processes)


def train_network(net: nn.Module, groups: list[dict[str, Any]], course: Course, loss_of: LossOf, log: Log) -> Ema:
    """Take the steps that are missing; goes on from the checkpoint where there is one. Returns the averaged network.

    Args:
        groups: the net's parameters for AdamW, each with the ``factor`` of its rate.
    """
    ema = Ema(net, course.ema)
    optimizer = torch.optim.AdamW(groups, lr=course.rate, weight_decay=course.decay, betas=(0.9, 0.99))
    first, before = 0, 0.0
    if course.path.exists():
        state = torch.load(course.path, weights_only=True, map_location=course.device)
        net.load_state_dict(state["net"])
        ema.average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, before = state["step"], state["elapsed"]
    start = saved = time.monotonic()
    reporter = Reporter(course.out / "progress.jsonl", course.stage, log) if course.rank == 0 else None

    def save(step: int) -> None:
        if course.rank == 0:
            networks = {"net": net.state_dict(), "average": ema.average.state_dict()}
            elapsed = before + time.monotonic() - start
            save_state(course.path, networks | {"optimizer": optimizer.state_dict(), "step": step, "elapsed": elapsed})

    for step in range(first, course.steps):
        loss = loss_of(step, *generators(course.seed, course.stream, step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if course.processes > 1:
            loss = _mean_over_processes(net, loss.detach())
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        rate = course.rate * learning_factor(step, step / course.steps, warmup=course.warmup, hold=course.hold)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.step()
        ema.update(net, step)
        if reporter is not None:
            reporter.add(step, loss, rate, before + time.monotonic() - start)
        if time.monotonic() - saved > course.save_seconds:
            saved = time.monotonic()
            save(step + 1)
    save(max(first, course.steps))
    return ema


def groups(net: nn.Module, new: str, factor: float) -> list[dict[str, Any]]:
    """The net's parameters for :func:`train_network`: those that another network gave it, and its new layers, whose
    names begin with ``new`` and whose rate is ``factor`` times as high."""
    layers: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, value in net.named_parameters():
        layers[name.startswith(new)].append(value)
    return [{"params": layers[False], "factor": 1.0}, {"params": layers[True], "factor": factor}]


def in_processes(work: Callable[..., None], processes: int, log: Log, *given: Any) -> None:
    """Run ``work(rank, log, *given)`` in so many processes, one thread each; a single one is this process itself."""
    if processes == 1:
        work(0, log, *given)
        return
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    torch.multiprocessing.spawn(_in_one, (processes, work, given), processes)


def _in_one(rank: int, processes: int, work: Callable[..., None], given: tuple) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    work(rank, lambda text: print(text, flush=True) if rank == 0 else None, *given)
    dist.destroy_process_group()


def _mean_over_processes(net: nn.Module, loss: Tensor) -> Tensor:
    """Average all gradients, and the loss, which is returned."""
    gradients = [value.grad for value in net.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients] + [loss.view(1)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return flat[-1]
