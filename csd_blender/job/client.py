"""The owner's side of the backend process: start it, talk to it, and never be left hanging by it.

Nothing here blocks: one thread reads the child's messages (and preview files) into a queue, one writes to its stdin,
and :meth:`BackendClient.poll` does the rest in the caller's thread. Each submitted job ends in exactly one terminal
message, whatever the child does; when it cannot say so itself, the client makes the message.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import JobError
from .messages import TERMINAL, Message, decode, encode

PROTOCOL = 1
LOG_LIMIT = 4 * 2**20
INBOX_LIMIT = 2000
MERGED = ("preview", "progress", "heartbeat")  # only the newest of these matters

log = logging.getLogger(__name__)


def backend_command(python: str | Path, package: str | Path, *arguments: str) -> list[str]:
    """Command line of the backend in ``package`` (this package's folder), run by ``python``; default is ``serve``."""
    launcher = Path(package) / "job" / "launch.py"
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
        self.hello: dict = {}
        self.phase = ""
        self.job = ""
        self._folder: Path | None = None
        self._process: subprocess.Popen | None = None
        self._link: _Link | None = None
        self._seq = 0
        self._pending: Message | None = None  # a submission that waits for hello
        self._cancelled_at: float | None = None
        self._interrupted = False
        self._started_at = 0.0
        self._failure = ""  # code of the error to report once the process is gone
        self._lost = False

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
        if self._process is not None:
            return
        self._reset()
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
                os.replace(self.log_path, self.log_path.with_suffix(".old.log"))
            with open(self.log_path, "ab") as log_file:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log_file,
                    env=backend_environment() if self.env is None else self.env,
                    cwd=str(self.log_path.parent),
                    **_own_group(),
                )
        except FileNotFoundError as error:
            raise JobError("backend_missing", self.command[0]) from error
        except OSError as error:
            raise JobError("no_permission", str(error)) from error
        self._started_at = time.monotonic()
        self._link = _Link(self._process)
        self.send("hello", client=f"csd_blender on Python {sys.version_info[0]}.{sys.version_info[1]}", protocol=PROTOCOL)

    def submit(self, job_id: str, folder: str | Path, resume: bool = False) -> None:
        """Hand over a job; the process is started when needed. Raises ``JobError('busy')`` while one runs."""
        if self.job:
            raise JobError("busy", self.job)
        self.start()
        self.job, self._folder = job_id, Path(folder)
        self._link.folder = self._folder
        self._cancelled_at, self._interrupted = None, False
        message = Message("submit", job_id, 0, {"folder": str(folder), "resume": resume})
        if self.hello:
            self._send(message)
        else:
            self._pending = message

    def cancel(self, job_id: str = "") -> None:
        """Ask the running job to stop and keep its best so far; a second call interrupts it."""
        if not self.job or (job_id and job_id != self.job):
            return
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
            self.send("cancel", self.job)
        elif not self._interrupted:
            self._interrupt()

    def send(self, kind: str, job: str = "", /, **body: object) -> None:
        """Queue a message for the child; never blocks, and does nothing when there is none."""
        self._send(Message(kind, job, 0, dict(body)))

    def poll(self, budget: float = 0.004) -> list[Message]:
        """What happened since the last call, in order; spends about ``budget`` seconds at most.

        Bodies of ``preview`` messages carry the file's bytes as ``pixels``. Call it several times a second.
        """
        if self._process is None:
            return []
        deadline = time.monotonic() + budget
        messages = []
        ended = self._process.poll() is not None and self._link.finished
        while time.monotonic() < deadline:
            message = self._link.take()
            if message is None:
                if ended:
                    messages += self._bury()
                break
            messages += self._handle(message)
        if self._process is not None:
            self._watch()
        return messages

    def shutdown(self, timeout: float = 5.0) -> None:
        """Ask the child to leave and wait up to ``timeout`` seconds, then kill it. Jobs keep their checkpoints."""
        process = self._process
        if process is None:
            return
        self.send("shutdown")
        self._link.close()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        self.kill()

    def kill(self) -> None:
        """End the child and its children at once."""
        if self._process is not None:
            _kill_tree(self._process)
            self._link.close()
            self._process.wait()
        self._process, self._lost = None, False
        self._reset()

    def _reset(self) -> None:
        self.hello, self.phase, self.job, self._pending, self._failure = {}, "", "", None, ""
        self._cancelled_at, self._interrupted, self._lost = None, False, False

    def _send(self, message: Message) -> None:
        if self._link is None or self._process is None:
            return
        self._seq += 1
        message.seq = self._seq
        self._link.put(encode(message))

    def _handle(self, message: Message) -> list[Message]:
        """Follow the conversation; returns what the caller should see."""
        kind = message.type
        if kind == "hello":
            if message.get("protocol") != PROTOCOL:
                self._failure = "protocol_mismatch"
                _kill_tree(self._process)
                return []
            self.hello = message.body
            if self._pending is not None:
                self._send(self._pending)
                self._pending = None
        elif kind == "heartbeat":
            self.phase = str(message.get("phase", ""))
        elif kind in TERMINAL:
            if message.job != self.job or not self.job:
                log.warning("a second end of job %r was passed over", message.job)
                return []
            self._end_job()
        elif message.job and message.job != self.job:
            return []  # a late word about a job that has ended
        return [message]

    def _end_job(self) -> None:
        self.job, self._pending, self._cancelled_at, self._interrupted = "", None, None, False

    def _watch(self) -> None:
        """Watchdog and cancel ladder."""
        now = time.monotonic()
        if self._cancelled_at is not None and self.job:
            waited = now - self._cancelled_at
            if waited > self.patience.kill:
                _kill_tree(self._process)
            elif waited > self.patience.interrupt and not self._interrupted:
                self._interrupt()
        limit = self.patience.silence if self.hello else self.patience.hello
        if now - max(self._link.heard_at, self._started_at) > limit and self._process.poll() is None:
            self._failure = "worker_silent"
            _kill_tree(self._process)

    def _interrupt(self) -> None:
        self._interrupted = True
        try:
            self._process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)
        except (OSError, ValueError):
            pass  # it has just ended

    def _bury(self) -> list[Message]:
        """The process is gone: end its job with the one message that it can no longer send."""
        status = self._process.wait()
        job, cancelled, failure = self.job, self._cancelled_at is not None, self._failure
        orderly = status == 0 and not job
        self._link.close()
        self._process = None
        self._reset()
        self._lost = not orderly
        if not job and not failure and orderly:
            return []
        if job and cancelled:
            return [Message("cancelled", job, 0, {"kept": False, "files": {}})]
        if not job and not failure:
            return [_error("worker_died", "", _describe_exit(status))]
        return [_error(failure or "worker_died", job, "" if failure else _describe_exit(status))]


def _error(code: str, job: str, detail: str) -> Message:
    error = JobError(code, detail)
    body = {"code": code, "text": error.text, "fix": error.fix, "retryable": error.retryable, "detail": detail}
    return Message("error", job, 0, body)


def _describe_exit(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name if -status in list(signal.Signals) else str(-status)
        hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}"
    return f"exit status {status}"


class _Link:
    """The two threads at the child's pipes."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.folder: Path | None = None
        self.finished = False
        self.heard_at = 0.0
        self._inbox: deque[Message] = deque()
        self._lock = threading.Lock()
        self._outbox: queue.Queue = queue.Queue()
        for work, name in ((self._read, "csd-reader"), (self._write, "csd-writer")):
            threading.Thread(target=work, name=name, daemon=True).start()

    def put(self, line: bytes) -> None:
        self._outbox.put(line)

    def take(self) -> Message | None:
        with self._lock:
            return self._inbox.popleft() if self._inbox else None

    def close(self) -> None:
        """Close the child's stdin once all queued lines are written."""
        self._outbox.put(None)

    def _read(self) -> None:
        try:
            while True:
                line = self.process.stdout.readline(2**21)
                if not line:
                    break
                message = decode(line)
                if message is None:
                    continue
                self.heard_at = time.monotonic()
                if message.type == "preview":
                    message.body["pixels"] = self._pixels(message)
                self._file(message)
        except (OSError, ValueError):
            log.warning("the backend's messages cannot be read any more")
        finally:
            self.process.stdout.close()
            self.finished = True

    def _pixels(self, message: Message) -> bytes | None:
        """The preview's file, if it lies in the job folder and has the announced size."""
        try:
            path = (self.folder / str(message.get("path"))).resolve()
            size = int(message.get("width")) * int(message.get("height")) * 4
            if self.folder.resolve() not in path.parents:
                return None
            data = path.read_bytes()
        except (OSError, TypeError, ValueError):
            return None
        return data if len(data) == size else None

    def _file(self, message: Message) -> None:
        with self._lock:
            if message.type in MERGED:
                key = (message.type, message.job, message.get("kind"), message.get("part"))
                for i, old in enumerate(self._inbox):
                    if (old.type, old.job, old.get("kind"), old.get("part")) == key:
                        del self._inbox[i]
                        break
            elif len(self._inbox) >= INBOX_LIMIT:
                log.warning("the backend talks too much; a %s message was dropped", self._inbox.popleft().type)
            self._inbox.append(message)

    def _write(self) -> None:
        stdin = self.process.stdin
        try:
            while True:
                line = self._outbox.get()
                if line is None:
                    break
                stdin.write(line)
                stdin.flush()
        except (OSError, ValueError):
            pass  # the child is gone; poll() will notice
        finally:
            try:
                stdin.close()
            except OSError:
                pass


def _own_group() -> dict:
    """Popen arguments for a process group of its own, so that it can be ended with its children."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _kill_tree(process: subprocess.Popen) -> None:
    if process.poll() is not None:
        return
    try:
        if os.name == "nt":
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW, check=False)
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    if process.poll() is None:
        process.kill()
