"""The backend process that Blender owns: JSON lines in on stdin, JSON lines out on the real stdout.

The main thread runs the jobs, one thread reads stdin, one sends heartbeats. Everything any library prints goes to
stderr, which the other side keeps as the log. The process ends when its stdin closes, and when it is told to
(SIGTERM); a running job stores a checkpoint first. Nothing that comes in on stdin ends it otherwise: what is no
message of the protocol is answered with a warning, a job that cannot be run with its ``error``.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from ... import __version__
from ...job.errors import JobError, quoted
from ...job.kinds import KINDS
from ...job.process.bodies import (
    Accepted,
    Body,
    Bye,
    Cancel,
    Device,
    Failed,
    Greeting,
    Heartbeat,
    Hello,
    Shutdown,
    StageBegun,
    Submit,
    Warned,
)
from ...job.process.body import WrongField
from ...job.process.messages import PROTOCOL, Message, decode, encode, read_lines

if TYPE_CHECKING:
    from .run_job import ModelCache

LEAVE_SECONDS = 10.0  # time to save a checkpoint after stdin closed
LONGEST_ID = 200  # characters of a job's name
EXIT_TERMINATED = 143  # as a shell counts: 128 + SIGTERM

log = logging.getLogger(__name__)


@dataclass
class Channel:
    """The protocol's outgoing half; any thread may send."""

    stream: BinaryIO
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seq: int = 0

    def send(self, said: Body, job: str = "") -> None:
        """Write one message; never raises. What cannot be written whole is sent without what is too much."""
        with self._lock:
            self._seq += 1
            try:
                line = encode(said.message(job, self._seq))
            except (ValueError, TypeError, RecursionError):
                log.exception("a %s message could not be written whole", said.type)
                body = said.to_json().items()
                short = {k: v[:500] if isinstance(v, str) else v for k, v in body if _is_plain(v)}
                line = encode(Message(said.type, job[:LONGEST_ID], self._seq, short))
            try:
                self.stream.write(line)
                self.stream.flush()
            except (OSError, ValueError):
                log.warning("the other side is gone; %s was not delivered", said.type)


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, bool)) or (isinstance(value, int) and abs(value) < 2**63)


@dataclass
class Submission:
    """A job that was handed over and has not ended."""

    job: str
    folder: str
    resume: bool
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass
class Worker:
    """State shared by the threads.

    Attributes:
        inbox: what the main thread is to do, in order: a submission, or None to look whether to leave.
        open: submissions that have not ended, the running one included. A cancel is for these alone: one that comes
            too late must not hit the next job of the same name.
    """

    channel: Channel
    inbox: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    open: list[Submission] = field(default_factory=list)
    running: Submission | None = None
    phase: str = "starting"
    leaving: threading.Event = field(default_factory=threading.Event)
    status: int = 0

    def stop_reason(self) -> str | None:
        if self.running is not None and self.running.cancelled.is_set():
            return "cancel"
        return "leave" if self.leaving.is_set() else None

    def beat(self) -> None:
        job = self.running.job if self.running is not None else ""
        self.channel.send(Heartbeat(self.phase, time.time()), job)

    def complain(self, text: str) -> None:
        """Answer what cannot be done; the other side goes on as if it had not asked."""
        log.warning("%s", text)
        self.channel.send(Warned(text, "bad_message"))


def serve() -> int:
    """Run until stdin closes, ``shutdown`` arrives or the process is terminated; returns the exit status.

    The caller must leave by ``os._exit``: the thread that waits for stdin would make an orderly end abort.
    """
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # from here on nothing but the channel reaches the pipe
    logging.raiseExceptions = False  # a full disk must not fill stderr with tracebacks about the log
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Who starts Blender in the background of a script hands down an ignored one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, signal.default_int_handler)
    worker = Worker(Channel(stream))

    def terminate(signum: int, frame: object) -> None:
        worker.status = EXIT_TERMINATED
        worker.leaving.set()

    signal.signal(signal.SIGTERM, terminate)
    for work, name in ((_heartbeat, "heartbeat"), (_read_stdin, "stdin"), (_see_out, "leave")):
        threading.Thread(target=work, args=(worker,), daemon=True, name=name).start()
    try:
        _main_loop(worker)
    except KeyboardInterrupt:
        log.info("interrupted while idle")
    worker.channel.send(Bye())
    logging.shutdown()
    return worker.status


def _heartbeat(worker: Worker) -> None:
    while True:
        worker.beat()
        time.sleep(1.0)


def _read_stdin(worker: Worker) -> None:
    try:
        with open(0, "rb", closefd=False) as stdin:
            for line in read_lines(stdin):
                if not hear(worker, line):
                    break
    except Exception:  # a stdin that cannot be read is a closed one
        log.exception("stdin cannot be read")
    worker.leaving.set()


def _see_out(worker: Worker) -> None:
    """Once it is time to leave: wake the main thread, and end what does not come to its next step."""
    worker.leaving.wait()
    worker.inbox.put(None)
    time.sleep(LEAVE_SECONDS)
    if worker.running is None:
        worker.channel.send(Bye())  # it is still starting
    os._exit(worker.status)  # a job that is stuck must not outlive its owner


def hear(worker: Worker, line: bytes | None) -> bool:
    """Take in one line of the owner's, None for one that was too long. False ends the conversation.

    Jobs are handed to the main thread; what must not wait for it is done here.
    """
    message = None if line is None else decode(line)
    if message is None:
        worker.complain("A line that is no message was passed over.")
    elif message.type == Submit.type:
        _submit(worker, message)
    elif message.type == Cancel.type:
        meant = [s for s in list(worker.open) if s.job == message.job]
        for submission in meant:
            submission.cancelled.set()
        if not meant:
            log.info("a cancel of %s came too late", quoted(message.job))
    elif message.type == Shutdown.type:
        return False
    elif message.type != Greeting.type:
        worker.complain(f"The message type {quoted(message.type)} is unknown.")
    return True


def _submit(worker: Worker, message: Message) -> None:
    """Put a job in line, or answer why it cannot be."""
    try:
        if not 0 < len(message.job) <= LONGEST_ID:
            raise WrongField("the job's name", message.job, f"1 to {LONGEST_ID} characters")
        said = Submit.from_json(message.body)
    except WrongField as wrong:
        error = JobError("bad_job_folder", str(wrong))
        log.warning("%s", error)
        job = message.job if len(message.job) <= LONGEST_ID else message.job[:80]
        worker.channel.send(Failed.of(error), job)
        return
    submission = Submission(message.job, said.folder, said.resume)
    worker.open.append(submission)
    worker.inbox.put(submission)


def _main_loop(worker: Worker) -> None:
    from .run_job import ModelCache, warm_up

    worker.channel.send(describe())
    models = ModelCache()
    worker.phase = "warming up"
    try:
        if not worker.leaving.is_set():
            warm_up()
    except Exception:  # the first job will tell what is wrong
        log.exception("warming up failed")
    worker.phase = "idle"
    while not worker.leaving.is_set():
        task = worker.inbox.get()
        if isinstance(task, Submission):
            run(worker, task, models)


def run(worker: Worker, submission: Submission, models: ModelCache) -> None:
    """One job from ``accepted`` to exactly one terminal event."""
    worker.running, worker.phase = submission, "working"
    try:
        _run(worker, submission, models)
    finally:
        worker.running, worker.phase = None, "idle"
        worker.open.remove(submission)


def _run(worker: Worker, submission: Submission, models: ModelCache) -> None:
    from ..support.reporting import Reporter
    from .run_job import run_job

    channel, job = worker.channel, submission.job

    def emit(said: Body) -> None:
        if isinstance(said, StageBegun):
            worker.phase = said.label
        channel.send(said, job)

    reporter = Reporter(emit=emit, stop_reason=worker.stop_reason)
    channel.send(Accepted(), job)
    channel.send(run_job(submission.folder, reporter, models, resume=submission.resume), job)


def describe() -> Hello:
    """What ``hello`` tells: versions, devices with their memory in MiB, and what this backend can do."""
    import torch

    devices = [Device("cpu", platform.processor() or platform.machine(), _system_memory_mb())]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        devices.append(Device(f"cuda:{i}", properties.name, properties.total_memory // 2**20))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU", _system_memory_mb()))
    from ..diffusion.loading import select_device

    return Hello(
        protocol=PROTOCOL,
        version=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        default_device=str(select_device("auto")),
        devices=tuple(devices),
        features=tuple(kind.spec.kind for kind in KINDS),
        pid=os.getpid(),
    )


def _system_memory_mb() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, AttributeError, OSError):
        return 0
