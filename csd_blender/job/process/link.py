"""The two threads at a child's pipes: one reads its messages and pictures, one writes to it. Neither ever blocks us."""

from __future__ import annotations

import logging
import queue
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from ..folder import read_ordinary
from .bodies import PICTURE_SIDE, PICTURES, Heartbeat, Hello, Preview, Progress, read, typed
from .messages import TERMINAL, Message, decode, read_lines

INBOX_LIMIT = 2000
MERGED = (Preview.type, Progress.type, Heartbeat.type)  # only the newest of these matters

log = logging.getLogger(__name__)


class Link:
    """The ends of the pipes of one process, which was started with stdin and stdout as pipes.

    Attributes:
        folder: the running job's; pictures are read from nowhere else.
        finished: nothing more will come.
        heard_at: monotonic time of the last proper message.
    """

    def __init__(self, process: subprocess.Popen, folder: Path | None = None) -> None:
        self.process = process
        self.folder = folder
        self.finished = False
        self.heard_at = 0.0
        self._inbox: deque[Message] = deque()
        self._lock = threading.Lock()
        self._outbox: queue.Queue = queue.Queue()
        self.reader = threading.Thread(target=self._read, name="csd-reader", daemon=True)
        self.reader.start()
        threading.Thread(target=self._write, name="csd-writer", daemon=True).start()

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
        stdout: Any = self.process.stdout  # a pipe, see the class
        try:
            for line in read_lines(stdout):
                if line is None:
                    log.warning("a line of the backend that is too long was passed over")
                    continue
                try:
                    self._hear(line)
                except Exception:  # nothing that it says may end this thread
                    log.exception("a message of the backend was passed over")
        except (OSError, ValueError):
            log.warning("the backend's messages cannot be read any more")
        finally:
            stdout.close()
            self.finished = True

    def _hear(self, line: bytes) -> None:
        """Put what a line says in line for :meth:`take`; what is not as the contract has it is passed over."""
        message = decode(line)
        if message is None:
            return
        self.heard_at = time.monotonic()
        message = typed(message)
        if message is None:
            return
        preview = read(message) if message.type == Preview.type else None
        if isinstance(preview, Preview):
            try:
                message.body["pixels"] = self._pixels(preview)
            except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
                log.warning("a preview was passed over: %s", error)
                return
        self.file(message)

    def _pixels(self, preview: Preview) -> bytes | None:
        """The bytes of a preview picture, None for a mesh, whose file is read where it is needed.

        Raises ``OSError``, ``ValueError`` or ``RuntimeError`` unless the file is an ordinary one, lies in the job
        folder, links followed, and has the announced size.
        """
        if self.folder is None:
            raise ValueError("there is no job")
        path = (self.folder / preview.path).resolve()
        if self.folder.resolve() not in path.parents:
            raise ValueError(f"{path} is outside the job folder")
        if preview.kind not in PICTURES:
            if not path.is_file():
                raise ValueError(f"{path} is no ordinary file")
            return None
        data = read_ordinary(path, PICTURE_SIDE * PICTURE_SIDE * 4)
        if len(data) != preview.width * preview.height * 4:
            raise ValueError(f"{path} has not the announced size")
        return data

    def file(self, message: Message) -> None:
        """Put a message in line for :meth:`take`; a newer picture or progress replaces a waiting one."""
        with self._lock:
            if message.type in MERGED:
                key = (message.type, message.job, message.get("kind"), message.get("part"))
                for i, old in enumerate(self._inbox):
                    if (old.type, old.job, old.get("kind"), old.get("part")) == key:
                        del self._inbox[i]
                        break
            if len(self._inbox) >= INBOX_LIMIT:
                self._drop_oldest()
            self._inbox.append(message)

    def _drop_oldest(self) -> None:
        for i, old in enumerate(self._inbox):
            if old.type not in (*TERMINAL, Hello.type):
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
