"""A job on a terminal: a progress bar, warnings as sentences, Ctrl+C keeps the best so far."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable

from tqdm import tqdm

from ...job.files import CHECKPOINT, LOG
from ...job.folder import JobFolder, friendly
from ...job.ordinary import open_ordinary
from ...job.process.bodies import Body, Failed, Finished, Progress, StageBegun, Warned
from ..support.reporting import Reporter
from ..worker.run_job import ModelCache, run_job
from .exit_codes import EXIT_CANCELLED, EXIT_FAILED, EXIT_TERMINATED

#: Failures that say more in a folder that stays: of what was computed, or of this computer.
COMPUTED = ("oom", "diverged", "model_not_finite", "empty_scene")


class LogFile(logging.FileHandler):
    """The log in a job's folder, which nobody can lead elsewhere by a link in its place."""

    def _open(self) -> io.TextIOWrapper:
        file = open_ordinary(self.baseFilename, os.O_WRONLY | os.O_APPEND)
        return io.TextIOWrapper(file, encoding=self.encoding, errors=self.errors)


def run_on_console(folder: JobFolder, resume: bool, refused: Callable[[], object] = lambda: None) -> int:
    """Run the job in ``folder`` and return the exit status.

    ``refused``: called when nothing was begun, for what the same job would be refused again. Raises ``JobError`` when
    its log cannot be written.
    """
    log_file = folder.path / LOG
    logging.raiseExceptions = False  # a disk that gets full must not fill the terminal with tracebacks about the log
    with friendly(log_file):
        handler = LogFile(log_file, encoding="utf-8", errors="backslashreplace")
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    stop: list[str] = []
    bar = tqdm(total=0, unit="step", file=sys.stderr, dynamic_ncols=True, mininterval=0.5, leave=False)

    def emit(said: Body) -> None:
        if isinstance(said, StageBegun):
            bar.set_description(said.label)
        elif isinstance(said, Progress):
            bar.total = said.total
            bar.n = said.step
            bar.refresh()
        elif isinstance(said, Warned):
            bar.write(f"Note: {said.text}", file=sys.stderr)

    def on_interrupt() -> None:
        bar.write("Stopping; the best so far will be kept. Press Ctrl+C again to stop at once.", file=sys.stderr)
        stop.append("cancel")

    def on_terminate() -> None:
        stop.insert(0, "leave")

    interrupt_once(on_interrupt, on_terminate)
    reporter = Reporter(emit=emit, stop_reason=lambda: stop[0] if stop else None)
    outcome = run_job(str(folder.path), reporter, ModelCache(), resume=resume)
    bar.close()
    if isinstance(outcome, Failed):
        print(f"Error: {outcome.text} {outcome.fix}".strip(), file=sys.stderr)
        if outcome.detail:
            print(f"  ({outcome.detail})", file=sys.stderr)
        if not (outcome.retryable or outcome.kept or outcome.code in COMPUTED or is_begun(folder)):
            logging.shutdown()  # else there are systems that keep its file
            refused()
    for name, path in outcome.files.items():
        print(f"{name:10} {folder.path / path}")
    if isinstance(outcome, Failed):
        return EXIT_TERMINATED if outcome.code == "interrupted" else EXIT_FAILED
    return 0 if isinstance(outcome, Finished) else EXIT_CANCELLED


def is_begun(folder: JobFolder) -> bool:
    """Whether there is a checkpoint of it."""
    return any((folder.path / CHECKPOINT).glob("*"))


def interrupt_once(callback: Callable[[], None], on_terminate: Callable[[], None] | None = None) -> None:
    """First Ctrl+C calls ``callback``, the second one ends the process; the same for a request to terminate."""

    def interrupted(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        callback()

    def terminated(signum: int, frame: object) -> None:
        signal.signal(signum, signal.SIG_DFL)
        if on_terminate is not None:
            on_terminate()

    signal.signal(signal.SIGINT, interrupted)
    if on_terminate is None:
        return
    signal.signal(signal.SIGTERM, terminated)
    # A terminal that was closed; who started us with nohup does not want to know.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, terminated)
