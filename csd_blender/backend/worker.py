"""The backend process that Blender owns: JSON lines in on stdin, JSON lines out on the real stdout.

The main thread runs the jobs, one thread reads stdin, one sends heartbeats. Everything any library prints goes to
stderr, which the other side keeps as the log. The process ends when its stdin closes.
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
from typing import BinaryIO

from ..job.messages import Message, decode, encode

PROTOCOL = 1
LEAVE_SECONDS = 10.0  # time to save a checkpoint after stdin closed

log = logging.getLogger(__name__)


@dataclass
class Channel:
    """The protocol's outgoing half; any thread may send."""

    stream: BinaryIO
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seq: int = 0

    def send(self, kind: str, job: str = "", /, **body) -> None:
        with self._lock:
            self._seq += 1
            line = encode(Message(type=kind, job=job, seq=self._seq, body=body))
            try:
                self.stream.write(line)
                self.stream.flush()
            except (BrokenPipeError, OSError):
                log.warning("the other side is gone; %s was not delivered", kind)


@dataclass
class Worker:
    """State shared by the three threads."""

    channel: Channel
    inbox: queue.Queue = field(default_factory=queue.Queue)
    job: str = ""
    phase: str = "starting"
    cancel_requested: set = field(default_factory=set)
    leaving: threading.Event = field(default_factory=threading.Event)
    preview_interval: float | None = None

    def stop_reason(self) -> str | None:
        if self.job in self.cancel_requested:
            return "cancel"
        return "leave" if self.leaving.is_set() else None


def serve() -> int:
    """Run until stdin closes or ``shutdown`` arrives; the return value is the exit status."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # from here on nothing but the channel reaches the pipe
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Who starts Blender in the background of a script hands down an ignored one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGBREAK"):
        signal.signal(signal.SIGBREAK, signal.default_int_handler)
    worker = Worker(Channel(stream))
    threading.Thread(target=_heartbeat, args=(worker,), daemon=True, name="heartbeat").start()
    threading.Thread(target=_read_stdin, args=(worker,), daemon=True, name="stdin").start()
    interrupted = False
    try:
        _main_loop(worker)
    except KeyboardInterrupt:
        log.info("interrupted while idle")
        interrupted = True
    worker.channel.send("bye")
    if interrupted:
        os._exit(0)  # an orderly end would abort: a thread still waits for stdin
    return 0


def _heartbeat(worker: Worker) -> None:
    while True:
        worker.channel.send("heartbeat", worker.job, phase=worker.phase, time=time.time())
        time.sleep(1.0)


def _read_stdin(worker: Worker) -> None:
    """Hand messages to the main thread; what must not wait for it (cancel, ping, set) is done here."""
    for line in sys.stdin.buffer:
        message = decode(line)
        if message is None:
            log.warning("a line that is no message was passed over")
        elif message.type == "cancel":
            worker.cancel_requested.add(message.job)
        elif message.type == "ping":
            worker.channel.send("heartbeat", worker.job, phase=worker.phase, time=time.time())
        elif message.type == "set":
            worker.preview_interval = message.body.get("preview_interval", worker.preview_interval)
        elif message.type == "shutdown":
            break
        else:
            if message.type == "submit":  # a cancel that came too late was meant for the time before
                worker.cancel_requested.discard(message.job)
            worker.inbox.put(message)
    worker.leaving.set()
    worker.inbox.put(None)
    time.sleep(LEAVE_SECONDS)
    os._exit(0)  # a job that does not come to its next step must not outlive its owner


def _main_loop(worker: Worker) -> None:
    from .jobs import ModelCache, warm_up

    worker.channel.send("hello", **describe())
    models = ModelCache()
    worker.phase = "warming up"
    warm_up()
    worker.phase = "idle"
    while not worker.leaving.is_set():
        message = worker.inbox.get()
        if message is None:
            return
        if message.type == "submit":
            _run(worker, message, models)
        elif message.type == "unload":
            models.unload()
        elif message.type != "hello":
            log.warning("unknown message type %r was passed over", message.type)


def _run(worker: Worker, message: Message, models) -> None:
    """One job from ``accepted`` to exactly one terminal event."""
    from .jobs import run_job
    from .reporting import Reporter

    worker.job, worker.phase = message.job, "working"
    channel, job = worker.channel, message.job

    def emit(kind: str, body: dict) -> None:
        if worker.preview_interval is not None:
            reporter.preview_interval = worker.preview_interval
        if kind == "stage":
            worker.phase = body["label"]
        channel.send(kind, job, **body)

    reporter = Reporter(emit=emit, stop_reason=worker.stop_reason)
    channel.send("accepted", job)
    outcome = run_job(message.body.get("folder", ""), reporter, models, resume=bool(message.body.get("resume")))
    channel.send(outcome.type, job, **outcome.body)
    worker.job, worker.phase = "", "idle"
    worker.cancel_requested.discard(job)


def describe() -> dict:
    """What ``hello`` tells: versions, devices with their memory in MiB, and what this backend can do."""
    import torch

    from .jobs import backend_version

    devices = [{"id": "cpu", "name": platform.processor() or platform.machine(), "memory_mb": _system_memory_mb()}]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        devices.append({"id": f"cuda:{i}", "name": properties.name, "memory_mb": properties.total_memory // 2**20})
    if torch.backends.mps.is_available():
        devices.append({"id": "mps", "name": "Apple GPU", "memory_mb": _system_memory_mb()})
    from .diffusion.loading import select_device

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
