"""The two threads at a child's pipes: one reads its messages and pictures, one writes to it. Neither ever blocks us."""

from __future__ import annotations

import logging
import queue
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

from .messages import TERMINAL, Message, decode

INBOX_LIMIT = 2000
MERGED = ("preview", "progress", "heartbeat")  # only the newest of these matters

log = logging.getLogger(__name__)


class Link:
    """The ends of the pipes of one process, which was started with stdin and stdout as pipes.

    Attributes:
        folder: the running job's; pictures are read from nowhere else.
        finished: nothing more will come.
        heard_at: monotonic time of the last proper message.
    """

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
        """Queue a line for the child."""
        self._outbox.put(line)

    def take(self) -> Message | None:
        """The oldest waiting message."""
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
                self.file(message)
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

    def file(self, message: Message) -> None:
        """Put a message in line for :meth:`take`; a newer picture or progress replaces a waiting one."""
        with self._lock:
            if message.type in MERGED:
                key = (message.type, message.job, message.get("kind"), message.get("part"))
                for i, old in enumerate(self._inbox):
                    if (old.type, old.job, old.get("kind"), old.get("part")) == key:
                        del self._inbox[i]
                        break
            elif len(self._inbox) >= INBOX_LIMIT:
                self._drop_oldest()
            self._inbox.append(message)

    def _drop_oldest(self) -> None:
        for i, old in enumerate(self._inbox):
            if old.type not in (*TERMINAL, "hello"):
                log.warning("the backend talks too much; a %s message was dropped", old.type)
                del self._inbox[i]
                return

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
