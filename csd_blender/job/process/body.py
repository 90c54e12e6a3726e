"""What a message's body is made of: fields that are checked when they come in, and written as plain JSON values."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any, ClassVar, TypeVar

from ..errors import quoted
from .messages import Message

LARGEST_COUNT = 10**9
LONGEST_TEXT = 20_000
LONGEST_PATH = 4096

log = logging.getLogger(__name__)

#: From what was sent to the value to go on with; raises ``ValueError``, which says what is allowed.
Check = Callable[[object], Any]
B = TypeVar("B", bound="Body")


class WrongField(ValueError):
    """A field of a body that is not of its type, or, without ``allowed``, needed and not there."""

    def __init__(self, name: str, value: object = None, allowed: str = ""):
        super().__init__(f"{name} is {quoted(value)}, allowed is {allowed}" if allowed else f"{name} is missing")


def sent(check: Check, default: Any = MISSING, *, factory: Any = MISSING, sparse: bool = False) -> Any:
    """A field of a body. One without a default must be there.

    Args:
        check: what it may be.
        sparse: left out of the message while it has its default.
    """
    about = {"check": check, "sparse": sparse}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=about)
    return field(metadata=about) if default is MISSING else field(default=default, metadata=about)


@dataclass(frozen=True)
class Body:
    """The body of one type of message; its subclasses have nothing but fields made by :func:`sent`."""

    type: ClassVar[str] = ""
    #: Whether a message must arrive whatever it holds: only what is wrong in it is left out then.
    must_arrive: ClassVar[bool] = False

    @classmethod
    def from_json(cls: type[B], data: dict, lenient: bool = False) -> B:
        """The body in a message's fields; those that this version does not know are passed over.

        Args:
            lenient: take the default in place of a value that is not of its type.

        Raises:
            WrongField: for such a value otherwise, and for a field that is needed and not there.
        """
        values = {}
        for entry in wire_fields(cls):
            if entry.name not in data:
                if is_needed(entry):
                    raise WrongField(entry.name)
                continue
            try:
                values[entry.name] = entry.metadata["check"](data[entry.name])
            except (ValueError, OverflowError) as error:
                wrong = WrongField(entry.name, data[entry.name], str(error))
                if not lenient:
                    raise wrong from None
                log.warning("in a %s message %s", cls.type, wrong)
        return cls(**values)

    def to_json(self) -> dict:
        """Inverse of :meth:`from_json`."""
        values = {}
        for entry in wire_fields(type(self)):
            value = getattr(self, entry.name)
            if not (entry.metadata["sparse"] and value == usual(entry)):
                values[entry.name] = plain(value)
        return values

    def message(self, job: str = "", seq: int = 0) -> Message:
        """The message with this body."""
        return Message(self.type, job, seq, self.to_json())


def wire_fields(cls: type[Body]) -> list[Field]:
    """The fields of a body that are sent."""
    return [entry for entry in fields(cls) if "check" in entry.metadata]


def is_needed(entry: Field) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def usual(entry: Field) -> object:
    """A field's default, or MISSING."""
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def plain(value: object) -> object:
    if isinstance(value, Body):
        return value.to_json()
    return [plain(v) for v in value] if isinstance(value, tuple) else value


# ---- checks ----------------------------------------------------------------------------------------------------------


def a_text(value: object) -> str:
    """At most ``LONGEST_TEXT`` characters, all of them such as Blender can draw."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError("a text")
    return value.encode("utf-8", "replace").decode()


def a_path(value: object) -> str:
    """A file or folder of this computer, as the system has it: its name need not be text."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_PATH:
        raise ValueError("a path")
    return value


def a_switch(value: object) -> bool:
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


def a_number(value: object) -> float:
    """Finite, at least 0 and of ordinary size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
        raise ValueError("a number, 0 or more")
    return value


def any_number(value: object) -> float:
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
    """At most 1,000 values, as a tuple."""

    def check(value: object) -> tuple:
        if not isinstance(value, list) or len(value) > 1000:
            raise ValueError("a list")
        return tuple(inner(v) for v in value)

    return check


def table_of(inner: Check) -> Check:
    """At most 10,000 values by name."""

    def check(value: object) -> dict:
        if not isinstance(value, dict) or len(value) > 10_000:
            raise ValueError("a table")
        return {a_text(k): inner(v) for k, v in value.items()}

    return check


def a_place(value: object) -> str:
    """A file below the job folder, ``/`` between its parts; neither another drive nor a way up, on any system."""
    name = a_text(value)
    parts = PurePosixPath(name).parts
    strange = not parts or ".." in parts or any(c in name for c in "\\:\0") or len(name) > 1000
    if strange or name.startswith("/"):
        raise ValueError("a file in the job folder")
    return name


def anything(value: object) -> object:
    return value
