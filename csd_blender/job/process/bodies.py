"""What the backend may say: the fields of each message, their types and ranges.

Whoever shows a message can then rely on it. A body that is not of its type is passed over; of the messages that must
arrive, ``hello`` and a job's end, only the fields that are wrong are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import PurePosixPath

from ..errors import quoted
from .messages import TERMINAL, Message

PICTURE_SIDE = 4096  # pixels, of a preview
LARGEST_COUNT = 10**9
LONGEST_TEXT = 20_000
PICTURES = ("texture", "view")

log = logging.getLogger(__name__)

#: From what was sent to the value to go on with; raises ``ValueError`` for what is not of the type.
Check = Callable[[object], object]


def text(value: object) -> str:
    """At most ``LONGEST_TEXT`` characters, all of them such as Blender can draw."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError("a text")
    return value.encode("utf-8", "replace").decode()


def switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def whole(low: int = 0, high: int = LARGEST_COUNT) -> Check:
    """A whole number from ``low`` to ``high``."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"a whole number, {low} to {high}")
        return value

    return check


def number(value: object) -> float:
    """Finite, at least 0 and of ordinary size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
        raise ValueError("a number")
    return value


def finite(value: object) -> float:
    """A number of either sign."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 <= value <= 1e300:
        raise ValueError("a number")
    return value


def one_of(*options: str) -> Check:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in options:
            raise ValueError("one of " + ", ".join(options))
        return value

    return check


def or_none(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def list_of(inner: Check) -> Check:
    def check(value: object) -> list:
        if not isinstance(value, list) or len(value) > 1000:
            raise ValueError("a list")
        return [inner(v) for v in value]

    return check


def table_of(inner: Check) -> Check:
    def check(value: object) -> dict:
        if not isinstance(value, dict) or len(value) > 10_000:
            raise ValueError("a table")
        return {text(k): inner(v) for k, v in value.items()}

    return check


def device(value: object) -> dict:
    """An entry of ``hello``'s devices."""
    if not isinstance(value, dict):
        raise ValueError("a table")
    memory = value.get("memory_mb", 0)
    return {"id": text(value.get("id")), "name": text(value.get("name", "")), "memory_mb": number(memory)}


def place(value: object) -> str:
    """A file below the job folder, ``/`` between its parts; neither another drive nor a way up, on any system."""
    name = text(value)
    parts = PurePosixPath(name).parts
    strange = not parts or ".." in parts or any(c in name for c in "\\:\0") or len(name) > 1000
    if strange or name.startswith("/"):
        raise ValueError("a file in the job folder")
    return name


def anything(value: object) -> object:
    return value


_FILES: dict[str, Check] = {"files": table_of(text)}

FIELDS: dict[str, dict[str, Check]] = {
    "hello": {
        "protocol": whole(),
        "version": text,
        "python": text,
        "torch": text,
        "default_device": text,
        "devices": list_of(device),
        "features": list_of(text),
        "pid": whole(0, 2**40),
    },
    "heartbeat": {"phase": text, "time": finite},
    "accepted": {},
    "stage": {"name": text, "label": text, "index": whole(), "count": whole()},
    "progress": {
        "stage": text,
        "step": whole(),
        "total": whole(),
        "steps_per_second": number,
        "seconds_left": or_none(number),
        "memory_mb": number,
        "device_memory_mb": number,
        "metrics": table_of(finite),
    },
    "preview": {
        "path": place,
        "kind": one_of("texture", "view", "mesh"),
        "width": whole(1, PICTURE_SIDE),
        "height": whole(1, PICTURE_SIDE),
        "part": whole(0, 100_000),
        "step": whole(),
    },
    "checkpoint": {"path": text, "step": whole()},
    "warning": {"code": text, "text": text},
    "result": {**_FILES, "stats": table_of(anything)},
    "cancelled": {**_FILES, "kept": switch},
    "error": {"code": text, "text": text, "fix": text, "retryable": switch, "detail": text},
    "bye": {},
}

NEEDED: dict[str, tuple[str, ...]] = {
    "stage": ("name", "label"),
    "progress": ("step", "total"),
    "preview": ("path", "kind"),
    "warning": ("text",),
}


def typed(message: Message) -> Message | None:
    """The message with a body that is what its type says, or None, with a word in the log. Never raises."""
    fields = FIELDS.get(message.type)
    if fields is None:
        log.warning("a message of the unknown type %s was passed over", quoted(message.type))
        return None
    must_arrive = message.type in (*TERMINAL, "hello")
    body = dict(message.body)
    for name, check in fields.items():
        if name not in body:
            continue
        try:
            body[name] = check(body[name])
        except (ValueError, OverflowError) as error:
            log.warning("%s of a %s message is %s, not %s", name, message.type, quoted(body[name]), error)
            if not must_arrive:
                return None
            del body[name]
    needed = NEEDED.get(message.type, ())
    if body.get("kind") in PICTURES:
        needed += ("width", "height")
    missing = [name for name in needed if name not in body]
    if missing:
        log.warning("a %s message without %s was passed over", message.type, ", ".join(missing))
        return None
    return Message(message.type, message.job, message.seq, body)
