"""Messages between Blender and the backend: one JSON object a line, UTF-8, at most one mebibyte."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
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
    """One line. Raises ``ValueError`` when it would be longer than the limit or is not JSON."""
    record = {"v": VERSION, "type": message.type, "job": message.job, "seq": message.seq, **message.body}
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(line) > LIMIT:
        raise ValueError(f"a {message.type} message of {len(line)} bytes is too long")
    return line


def decode(line: bytes | str) -> Message | None:
    """Inverse of :func:`encode`; None, with a line in the log, for anything that is not a message."""
    if len(line) > LIMIT:
        log.warning("a line of %d bytes was passed over", len(line))
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        log.warning("not a message: %.200r", line)
        return None
    if not isinstance(record, dict) or not isinstance(record.get("type"), str) or record.get("v") != VERSION:
        log.warning("not a message of version %d: %.200r", VERSION, line)
        return None
    job, seq = record.get("job", ""), record.get("seq", 0)
    if not isinstance(job, str) or not isinstance(seq, int):
        log.warning("a message without proper job and number: %.200r", line)
        return None
    body = {k: v for k, v in record.items() if k not in ("v", "type", "job", "seq")}
    return Message(record["type"], job, seq, body)
