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

from ...job.errors import JobError, quoted
from ...job.process.messages import Message, decode, encode, read_lines

if TYPE_CHECKING:
    from .run_job import ModelCache

PROTOCOL = 1
LEAVE_SECONDS = 10.0  # time to save a checkpoint after stdin closed
LONGEST_ID = 200  # characters of a job's name
LONGEST_PATH = 4096
LONGEST_PREVIEW_INTERVAL = 600.0  # seconds
EXIT_TERMINATED = 143  # as a shell counts: 128 + SIGTERM

log = logging.getLogger(__name__)


@dataclass
class Channel:
    """The protocol's outgoing half; any thread may send."""

    stream: BinaryIO
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seq: int = 0

    def send(self, kind: str, job: str = "", /, **body) -> None:
        """Write one message; never raises. What cannot be written whole is sent without what is too much."""
        with self._lock:
            self._seq += 1
            try:
                line = encode(Message(type=kind, job=job, seq=self._seq, body=body))
            except (ValueError, TypeError, RecursionError):
                log.exception("a %s message could not be written whole", kind)
                short = {k: v[:500] if isinstance(v, str) else v for k, v in body.items() if _is_plain(v)}
                line = encode(Message(type=kind, job=job[:LONGEST_ID], seq=self._seq, body=short))
            try:
                self.stream.write(line)
                self.stream.flush()
            except (OSError, ValueError):
                log.warning("the other side is gone; %s was not delivered", kind)


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
        inbox: what the main thread is to do, in order: a submission, ``unload``, or None to look whether to leave.
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
    preview_interval: float | None = None

    def stop_reason(self) -> str | None:
        if self.running is not None and self.running.cancelled.is_set():
            return "cancel"
        return "leave" if self.leaving.is_set() else None

    def beat(self) -> None:
        job = self.running.job if self.running is not None else ""
        self.channel.send("heartbeat", job, phase=self.phase, time=time.time())

    def complain(self, text: str) -> None:
        """Answer what cannot be done; the other side goes on as if it had not asked."""
        log.warning("%s", text)
        self.channel.send("warning", "", code="bad_message", text=text)


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
    worker.channel.send("bye")
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
        worker.channel.send("bye")  # it is still starting
    os._exit(worker.status)  # a job that is stuck must not outlive its owner


def hear(worker: Worker, line: bytes | None) -> bool:
    """Take in one line of the owner's, None for one that was too long. False ends the conversation.

    Jobs are handed to the main thread; what must not wait for it (cancel, ping, set) is done here.
    """
    message = None if line is None else decode(line)
    if message is None:
        worker.complain("A line that is no message was passed over.")
    elif message.type == "submit":
        _submit(worker, message)
    elif message.type == "cancel":
        meant = [s for s in list(worker.open) if s.job == message.job]
        for submission in meant:
            submission.cancelled.set()
        if not meant:
            log.info("a cancel of %s came too late", quoted(message.job))
    elif message.type == "ping":
        worker.beat()
    elif message.type == "set":
        _set(worker, message.body)
    elif message.type == "unload":
        worker.inbox.put("unload")
    elif message.type == "shutdown":
        return False
    elif message.type != "hello":
        worker.complain(f"The message type {quoted(message.type)} is unknown.")
    return True


def _submit(worker: Worker, message: Message) -> None:
    """Put a job in line, or answer why it cannot be."""
    folder, resume = message.get("folder"), message.get("resume", False)
    wrong = ""
    if not 0 < len(message.job) <= LONGEST_ID:
        wrong = f"the job's name is {quoted(message.job)}, allowed are 1 to {LONGEST_ID} characters"
    elif not isinstance(folder, str) or not 0 < len(folder) <= LONGEST_PATH:
        wrong = f"the job's folder is {quoted(folder)}, which is no path"
    elif not isinstance(resume, bool):
        wrong = f"resume is {quoted(resume)}, allowed is true or false"
    if wrong:
        error = JobError("bad_job_folder", wrong)
        log.warning("%s", error)
        job = message.job if len(message.job) <= LONGEST_ID else message.job[:80]
        body = {"code": error.code, "text": error.text, "fix": error.fix, "retryable": False, "detail": wrong}
        worker.channel.send("error", job, **body)
        return
    submission = Submission(message.job, folder, resume)
    worker.open.append(submission)
    worker.inbox.put(submission)


def _set(worker: Worker, body: dict) -> None:
    for name, value in body.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name != "preview_interval":
            worker.complain(f"There is no setting {quoted(name)} to be changed.")
        elif not number or not 0 <= value <= LONGEST_PREVIEW_INTERVAL:
            worker.complain(f"preview_interval is {quoted(value)}, allowed is 0 to {LONGEST_PREVIEW_INTERVAL:g}.")
        else:
            worker.preview_interval = float(value)


def _main_loop(worker: Worker) -> None:
    from .run_job import ModelCache, warm_up

    worker.channel.send("hello", **describe())
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
        elif task == "unload":
            models.unload()


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

    def emit(kind: str, body: dict) -> None:
        if worker.preview_interval is not None:
            reporter.preview_interval = worker.preview_interval
        if kind == "stage":
            worker.phase = body["label"]
        channel.send(kind, job, **body)

    reporter = Reporter(emit=emit, stop_reason=worker.stop_reason)
    channel.send("accepted", job)
    outcome = run_job(submission.folder, reporter, models, resume=submission.resume)
    channel.send(outcome.type, job, **outcome.body)


def describe() -> dict:
    """What ``hello`` tells: versions, devices with their memory in MiB, and what this backend can do."""
    import torch

    from .run_job import backend_version

    devices = [{"id": "cpu", "name": platform.processor() or platform.machine(), "memory_mb": _system_memory_mb()}]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        devices.append({"id": f"cuda:{i}", "name": properties.name, "memory_mb": properties.total_memory // 2**20})
    if torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": "Apple GPU", "memory_mb": _system_memory_mb()})
    from ..diffusion.loading import select_device

    return {
        "protocol": PROTOCOL,
        "version": backend_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "devices": devices,
        "default_device": str(select_device("auto")),
        "features": ["texture", "text-to-3d"],
        "pid": os.getpid(),
    }


def _system_memory_mb() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, AttributeError, OSError):
        return 0
