"""The owner's side of the backend process: start it, talk to it, and never be left hanging by it.

Nothing here blocks: one thread reads the child's messages (and preview files) into a queue, one writes to its stdin,
and :meth:`BackendClient.poll` does the rest in the caller's thread. Each submitted job ends in exactly one terminal
message, whatever the child does; when it cannot say so itself, the client makes the message.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import JobError, quoted
from .bodies import (
    Body,
    Cancel,
    Cancelled,
    Failed,
    Greeting,
    Heartbeat,
    Hello,
    Progress,
    Shutdown,
    StageBegun,
    Submit,
    read,
)
from .link import Link
from .messages import PROTOCOL, TERMINAL, Message, encode
from .processes import behind_owner, interrupt, kill_tree, step_back

LOG_LIMIT = 4 * 2**20
DOZE = 10.0  # seconds between two polls after which silence is nobody's fault
LONGEST_STEP = 600.0  # seconds; who claims more is not waited for longer
FINISHING = 300.0  # seconds that writing the best so far may take once the backend heard the cancel
LAST_WORDS = 2.0  # seconds from the end of the process until its pipe counts as empty

log = logging.getLogger(__name__)


def backend_command(python: str | Path, package: str | Path, *arguments: str) -> list[str]:
    """Command line of the backend in ``package`` (this package's folder), run by ``python``; default is ``serve``."""
    launcher = Path(package) / "launch.py"
    return [str(python), "-I", "-u", "-X", "utf8", str(launcher), *(arguments or ("serve",))]


def backend_environment() -> dict[str, str]:
    """This process's environment without what would leak another Python into the child, and offline by default."""
    dropped = ("PYTHON", "PIP_", "VIRTUAL_ENV", "CONDA_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    return {**clean, **offline, "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Patience:
    """Seconds until the client loses it.

    Attributes:
        interrupt: after the cancel message, until the child is interrupted.
        kill: after the cancel message, until it is killed.
        silence: without any message (there is a heartbeat every second), until it counts as hung.
        hello: from the start to the first message.
    """

    interrupt: float = 5.0
    kill: float = 10.0
    silence: float = 60.0
    hello: float = 180.0


class BackendClient:
    """One backend process and at most one job at a time.

    Args:
        command: of the child, see :func:`backend_command`.
        log_path: file that gets the child's stderr; an overlong one is moved aside at the start.
        env: the child's environment, :func:`backend_environment` by default.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: str | Path,
        env: dict[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.command = [str(c) for c in command]
        self.log_path = Path(log_path)
        self.env = env
        self.patience = patience or Patience()
        self.hello: Hello | None = None
        self.phase = ""
        self.job = ""
        self._folder: Path | None = None
        self._process: subprocess.Popen | None = None
        self._link: Link | None = None
        self._seq = 0
        self._pending: Message | None = None  # a submission that waits for hello
        self._cancelled_at: float | None = None
        self._step_seconds = 0.0
        self._interrupted = False
        self._started_at = 0.0
        self._failure = ""  # code of the error to report once the process is gone
        self._lost = False
        self._killed = False
        self._ended_at = 0.0
        self._watched_at = 0.0

    @property
    def state(self) -> str:
        """``stopped``, ``starting``, ``ready``, ``busy``, or ``lost`` when the process ended by itself."""
        if self._process is None:
            return "lost" if self._lost else "stopped"
        if self.job:
            return "busy"
        return "ready" if self.hello else "starting"

    def start(self) -> None:
        """Start the process unless it runs. Raises ``JobError`` ``backend_missing`` or ``no_permission``."""
        if self._process is not None and not self.job and (self._killed or self._process.poll() is not None):
            self._bury()  # it ended while there was nothing to do: that must not cost the next job
        if self._process is not None:
            return
        self._reset()
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
                with contextlib.suppress(OSError):  # another Blender may be writing to it
                    os.replace(self.log_path, self.log_path.with_suffix(".old.log"))
            with open(self.log_path, "ab") as log_file:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log_file,
                    env=backend_environment() if self.env is None else self.env,
                    cwd=str(self.log_path.parent),
                    **behind_owner(),
                )
        except OSError as error:
            # A script whose interpreter is gone is there, but nothing starts.
            itself = error.filename == self.command[0] and error.errno == errno.ENOENT
            missing = itself or not os.access(self.command[0], os.X_OK) or error.errno == errno.ENOEXEC
            raise JobError("backend_missing" if missing else "no_permission", str(error)) from error
        step_back(self._process)
        self._started_at = time.monotonic()
        self._link = Link(self._process)
        client = f"csd_blender on Python {sys.version_info[0]}.{sys.version_info[1]}"
        self.send(Greeting(client))

    def submit(self, job_id: str, folder: str | Path, resume: bool = False) -> None:
        """Hand over a job; the process is started when needed. Raises ``JobError('busy')`` while one runs."""
        if self.job:
            raise JobError("busy", self.job)
        self.start()
        self.job, self._folder = job_id, Path(folder)
        if self._link is not None:
            self._link.folder = self._folder
        self._cancelled_at, self._interrupted = None, False
        message = Submit(str(folder), resume).message(job_id)
        if self.hello:
            self._send(message)
        else:
            self._pending = message

    def cancel(self, job_id: str = "") -> None:
        """Ask the running job to stop and keep its best so far; a second call interrupts it."""
        if not self.job or (job_id and job_id != self.job):
            return
        if self._pending is not None:  # the backend has not heard of the job yet
            self._pending = None
            self._link.file(Cancelled().message(self.job))
        elif self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self.send(Cancel(), self.job)
        elif not self._interrupted:
            self._interrupt()

    def send(self, said: Body, job: str = "") -> None:
        """Queue a message for the child; never blocks, and does nothing when there is none."""
        self._send(said.message(job))

    def poll(self, budget: float = 0.004) -> list[Message]:
        """What happened since the last call, in order; spends about ``budget`` seconds at most.

        Bodies of ``preview`` messages carry the file's bytes as ``pixels``. Call it several times a second.
        """
        if self._process is None:
            return []
        deadline = time.monotonic() + budget
        messages = []
        ended = self._process.poll() is not None and self._all_heard()
        while time.monotonic() < deadline:
            message = self._link.take()
            if message is None:
                if ended:
                    messages += self._bury()
                break
            try:
                messages += self._handle(message)
            except Exception:  # whoever calls this shows a window, which a message must not tear down
                log.exception("a %s message of the backend was passed over", message.type)
        if self._process is not None:
            self._watch()
        return messages

    def _all_heard(self) -> bool:
        """Whether nothing more can come from the ended process."""
        now = time.monotonic()
        self._ended_at = self._ended_at or now
        if not self._link.finished:
            kill_tree(self._process)  # a child of its own keeps the pipe open
        return self._link.finished or now - self._ended_at > LAST_WORDS

    def shutdown(self, timeout: float = 5.0) -> None:
        """Ask the child to leave and wait up to ``timeout`` seconds, then kill it. Jobs keep their checkpoints."""
        process = self._process
        if process is None:
            return
        self.send(Shutdown())
        self._link.close()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """End the child and its children at once."""
        if self._process is not None:
            kill_tree(self._process)
            self._link.close()
            self._process.wait()
        self._process, self._lost = None, False
        self._reset()

    def _reset(self) -> None:
        self.hello, self.phase, self.job, self._pending, self._failure = None, "", "", None, ""
        self._cancelled_at, self._interrupted, self._lost = None, False, False
        self._ended_at, self._killed = 0.0, False

    def _send(self, message: Message) -> None:
        if self._link is None or self._process is None:
            return
        self._seq += 1
        message.seq = self._seq
        self._link.put(encode(message))

    def _handle(self, message: Message) -> list[Message]:
        """Follow the conversation; returns what the caller should see."""
        said = read(message)
        if isinstance(said, Hello):
            if said.protocol != PROTOCOL:
                self._failure = "protocol_mismatch"
                self._give_up()
                return []
            self.hello = said
            if self._pending is not None:
                self._send(self._pending)
                self._pending = None
        elif isinstance(said, Progress) and message.job == self.job:
            rate = said.steps_per_second
            self._step_seconds = min(1.0 / rate, LONGEST_STEP) if rate > 0 else 0.0
        elif isinstance(said, Heartbeat):
            self.phase = said.phase
        elif isinstance(said, StageBegun) and self._waits_for_best(message.job):
            self._cancelled_at = time.monotonic() + FINISHING  # it heard us, and is writing the best so far
        elif message.type in TERMINAL:
            if message.job != self.job or not self.job:
                log.warning("a second end of job %s was passed over", quoted(message.job))
                return []
            self._end_job()
        elif message.job and message.job != self.job:
            return []  # a late word about a job that has ended
        return [message]

    def _waits_for_best(self, job: str) -> bool:
        """Whether ``job`` was cancelled and not interrupted."""
        return self._cancelled_at is not None and job == self.job and not self._interrupted

    def _end_job(self) -> None:
        self.job, self._pending, self._cancelled_at, self._interrupted = "", None, None, False
        self._step_seconds = 0.0

    def _watch(self) -> None:
        """Watchdog and cancel ladder."""
        now = time.monotonic()
        if now - self._watched_at > DOZE:
            self._started_at = now  # we slept, and perhaps the whole computer did: the child gets its time anew
        self._watched_at = now
        if self._cancelled_at is not None and self.job:
            # It looks up between two steps only, which may be long ones.
            waited = now - self._cancelled_at - (0.0 if self._interrupted else 2 * self._step_seconds)
            if waited > self.patience.kill:
                self._give_up()
            elif waited > self.patience.interrupt and not self._interrupted:
                self._interrupt()
        limit = self.patience.silence if self.hello else self.patience.hello
        if now - max(self._link.heard_at, self._started_at) > limit and self._process.poll() is None:
            self._failure = self._failure or "worker_silent"
            self._give_up()

    def _interrupt(self) -> None:
        self._interrupted = True
        interrupt(self._process)

    def _give_up(self) -> None:
        if not self._killed:
            self._killed = True
            kill_tree(self._process)

    def _bury(self) -> list[Message]:
        """The process is gone: end its job with the one message that it can no longer send."""
        status = self._process.wait()
        kill_tree(self._process)  # children that it left behind
        job, cancelled, failure = self.job, self._cancelled_at is not None, self._failure
        orderly = status == 0 and not job
        self._link.close()
        self._process = None
        self._reset()
        self._lost = not orderly
        if not job and not failure and orderly:
            return []
        if job and cancelled:
            return [Cancelled().message(job)]
        if not job and not failure:
            return [_error("worker_died", "", _describe_exit(status))]
        return [_error(failure or "worker_died", job, "" if failure else _describe_exit(status))]


def _error(code: str, job: str, detail: str) -> Message:
    return Failed.of(JobError(code, detail)).message(job)


def _describe_exit(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name if -status in list(signal.Signals) else str(-status)
        hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}"
    return f"exit status {status}"
