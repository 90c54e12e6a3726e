"""Networks by ``torch.compile``: the first steps take minutes, all others less time; where there is no compiler they
run as they are written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ...support.reporting import Reporter

log = logging.getLogger(__name__)


def use_compiler(network: nn.Module, wanted: bool, reporter: Reporter) -> None:
    """Let the network that predicts be compiled at its next call, or run as it is written.

    A compiler that is not there costs one warning: its first words are tried on a handful of numbers.
    """
    if not wanted:
        if is_compiled(network):
            network._compiled_call_impl = None  # (torch has no word of its own for it)
        return
    if is_compiled(network):
        return
    try:
        works = torch.compile(lambda x: torch.nn.functional.silu(x) * 2)
        works(torch.ones(8, device=next(network.parameters()).device))
        torch._dynamo.config.suppress_errors = True  # what it cannot compile later on runs as it is written, too
        network.compile()
    except Exception as error:  # there are many kinds: no Triton, no C++ compiler, a Python that is too new
        log.warning("torch.compile: %s", error)
        reporter.warn("no_compiler", "The network could not be compiled on this computer, and runs as it is.")


def is_compiled(network: nn.Module) -> bool:
    return getattr(network, "_compiled_call_impl", None) is not None


@contextmanager
def as_written(network: nn.Module) -> Iterator[None]:
    """Within, a compiled network runs as it is written: a compiled one does not see hooks that came later."""
    with torch.compiler.set_stance("force_eager") if is_compiled(network) else nullcontext():
        yield
