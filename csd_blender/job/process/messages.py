"""Messages between Blender and the backend: one JSON object a line, UTF-8, at most one mebibyte."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ..errors import quoted

VERSION = 1  # of the lines themselves; apart from the next one, so that a ``hello`` of any protocol can be read
PROTOCOL = 1  # of what is said: Blender and backend must have the same one
LIMIT = 2**20
TERMINAL = ("result", "error", "cancelled")  # exactly one of these ends a job

log = logging.getLogger(__name__)


@dataclass
class Message:
    """One message. ``job`` is empty for what concerns no job; ``seq`` counts up per sender."""

    type: str
    job: str = ""
    seq: int = 0
    body: dict = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        return self.body.get(name, default)


def encode(message: Message) -> bytes:
    """One line. Raises ``ValueError`` when it would be longer than the limit or is not JSON.

    Halves of surrogate pairs, which names of files can have, become JSON's own escapes and come back as they were.
    """
    record = {"v": VERSION, "type": message.type, "job": message.job, "seq": message.seq, **message.body}
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    line = text.encode("utf-8", "backslashreplace") + b"\n"
    if len(line) > LIMIT:
        raise ValueError(f"a {message.type} message of {len(line)} bytes is too long")
    return line


def decode(line: bytes | str) -> Message | None:
    """Inverse of :func:`encode`; None, with a line in the log, for anything that is not a message. Never raises."""
    if len(line) > LIMIT:
        log.warning("a line of %d bytes was passed over", len(line))
        return None
    try:
        # json would guess at other encodings.
        text = line if isinstance(line, str) else line.decode("utf-8")
        record = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        log.warning("not a message: %s", quoted(line))
        return None
    if not isinstance(record, dict) or not isinstance(record.get("type"), str) or not _is_version(record.get("v")):
        log.warning("not a message of version %d: %s", VERSION, quoted(line))
        return None
    job, seq = record.get("job", ""), record.get("seq", 0)
    if not isinstance(job, str) or not isinstance(seq, int) or isinstance(seq, bool):
        log.warning("a message without proper job and number: %s", quoted(line))
        return None
    body = {k: v for k, v in record.items() if k not in ("v", "type", "job", "seq")}
    return Message(record["type"], job, seq, body)


def read_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Each line of ``stream`` to its end; None for one that is longer than the limit, of which nothing is kept."""
    while line := stream.readline(LIMIT + 1):
        if len(line) <= LIMIT:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(LIMIT)
        yield None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == VERSION
