"""Typed settings: how a field of a specification states its range, and how whole specifications are checked and turned
into JSON and back.

``added`` marks a field that came after the first version. Its default means what jobs did before it, and a job that
keeps it has the fingerprint it always had, so that folders and checkpoints of older versions go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import JobError, quoted
from .schedule import FORMS, Schedule, constant

LONGEST_TEXT = 2000  # characters


@dataclass(frozen=True)
class Option:
    """One of a setting's choices: its word in JSON and in a shell, its label, and a sentence for its tooltip."""

    id: str
    label: str
    help: str


def number(low: float, high: float, default: Any, added: bool = False, **shown: Any) -> Any:
    """A number between two others; a whole one when ``default`` is. ``shown`` as in :func:`_field`."""
    return _field(default, added, shown, low=low, high=high)


def choice(options: Sequence[Any], default: str, added: bool = False, **shown: Any) -> Any:
    """One word of ``options``, which are words, or have an ``id``, a ``label`` and a ``help`` as :class:`Option`."""
    items = tuple(Option(o, o, "") if isinstance(o, str) else o for o in options)
    return _field(default, added, shown, options=tuple(o.id for o in items), items=items)


def switch(default: bool, added: bool = False, **shown: Any) -> Any:
    """True or false."""
    return _field(default, added, shown)


def text(default: str = "", added: bool = False, **shown: Any) -> Any:
    """A text of at most 2000 characters."""
    return _field(default, added, shown)


def schedule(low: float, high: float, default: float | None, added: bool = False, **shown: Any) -> Any:
    """A value over the steps (:class:`Schedule`); None, where that is the default, switches it off."""
    value = None if default is None else constant(default)
    return _field(value, added, shown, schedule=True, low=low, high=high)


def interval(low: float, high: float, default: tuple, added: bool = False) -> Any:
    """Two numbers, the lower one first."""
    return _field(default, added, {}, range=True, low=low, high=high)


def _field(default: Any, added: bool, shown: dict[str, Any], **rules: Any) -> Any:
    """A dataclass field with its rules, and how people meet it.

    ``shown``, all of it optional: ``label``; ``help``, a sentence without its full stop; ``unit``, as ``px`` or ``m``;
    ``soft_high``, where a slider ends; ``usual``, the numbers that a menu offers; ``flags``, more names of the option
    on the command line; ``example``, for an empty text field; ``unset``, what an empty one means, or a number's
    default; ``bare``, what the option means that stands without a value; ``path`` and ``names``, what sort of text it
    is (``path``: True for a folder, ``file`` for a file; ``names``: True for the catalogue's models, or those to
    offer); ``needed``, of a text that must not be empty; ``held_as``, its name in the scene, where other kinds have
    another setting of the same name; ``place``, the part of the panel: ``top``, ``guidance`` (where it is left out),
    ``output``, or ``hidden`` for what only the operator has.
    """
    return field(default=default, metadata={**rules, **shown, "added": added})


def check(spec: Any, where: str = "") -> None:
    """Raise ``JobError('bad_setting')`` for the first field that is out of range, or does not go with another of its
    table (``complaint``)."""
    for f in dataclasses.fields(spec):
        _check_field(where + f.name, getattr(spec, f.name), f)
    complaint = getattr(spec, "complaint", None)
    if complaint and (said := complaint(where)):
        raise JobError("bad_setting", said)


def _check_field(name: str, value: Any, f: dataclasses.Field) -> None:
    meta = f.metadata
    if dataclasses.is_dataclass(value) and not isinstance(value, Schedule):
        check(value, name + ".")
    elif meta.get("schedule"):
        if value is None and f.default is None:
            return
        if not isinstance(value, Schedule):
            raise bad(name, value, FORMS)
        for v in (value.start_value, value.end_value):
            _check_between(name, v, meta)
    elif meta.get("range"):
        if not isinstance(value, tuple) or len(value) != 2 or not all(_is_number(v) for v in value):
            raise bad(name, value, "two numbers, the lower one first")
        for v in value:
            _check_between(name, v, meta)
        if value[0] > value[1]:
            raise bad(name, list(value), "two numbers, the lower one first")
    elif "options" in meta:
        if value not in meta["options"]:
            raise bad(name, value, "one of " + ", ".join(meta["options"]))
    elif "low" in meta:
        whole = isinstance(f.default, int) and not isinstance(f.default, bool)
        if not _is_number(value) or (whole and not isinstance(value, int)):
            raise bad(name, value, "a whole number" if whole else "a number")
        _check_between(name, value, meta)
    elif isinstance(f.default, bool):
        if not isinstance(value, bool):
            raise bad(name, value, "true or false")
    elif not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise bad(name, value, f"a text of at most {LONGEST_TEXT} characters")
    elif not is_text(value):
        raise bad(name, value, "a text in UTF-8 without null characters")


def _check_between(name: str, value: float, meta: Any) -> None:
    if not meta["low"] <= value <= meta["high"]:
        raise bad(name, value, f"{_plain(meta['low'])} to {_plain(meta['high'])}")


def _plain(limit: float) -> str:
    """A limit as people write it: ``2147483647``, not ``2.14748e+09``."""
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_text(value: str) -> bool:
    """Whether files, folders and tokenizers can do with it: a command line may bring bytes that are no characters."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def bad(name: str, value: Any, allowed: str) -> JobError:
    """The error for a field out of range, to be raised; quotes at most 80 characters of the value."""
    return JobError("bad_setting", f"{name} is {quoted(value)}, allowed is {allowed}")


def to_json(spec: Any, for_fingerprint: bool = False) -> dict:
    """Plain JSON values of a specification and the tables within it.

    ``for_fingerprint`` leaves out the added fields that have their default.
    """
    plain = {}
    for f in dataclasses.fields(spec):
        value = getattr(spec, f.name)
        if for_fingerprint and f.metadata.get("added") and value == f.default:
            continue
        if isinstance(value, Schedule):
            value = value.to_json()
        elif dataclasses.is_dataclass(value):
            value = to_json(value, for_fingerprint)
        elif isinstance(value, tuple):
            value = [float(v) for v in value]
        elif isinstance(f.default, float):
            value = float(value)  # 1 and 1.0 are one number, and must have one fingerprint
        plain[f.name] = value
    return plain


def from_json(cls: type[Any], data: object, where: str = "") -> Any:
    """Inverse of :func:`to_json`. Raises ``JobError('bad_setting')`` naming field, value and what is allowed."""
    if not isinstance(data, dict):
        raise bad(where.rstrip(".") or cls.__name__, data, "a table of settings")
    known = {f.name: f for f in dataclasses.fields(cls)}
    values = {}
    for name, value in data.items():
        if name not in known:
            raise JobError("bad_setting", f"there is no setting {quoted(where + str(name))}")
        values[name] = _field_from_json(where + name, value, known[name])
    return cls(**values)


def _field_from_json(name: str, value: Any, f: dataclasses.Field) -> Any:
    if f.metadata.get("schedule"):
        try:
            return None if value is None and f.default is None else Schedule.from_json(value)
        except ValueError as error:
            raise bad(name, value, str(error)) from None
    if f.metadata.get("range") and isinstance(value, (list, tuple)):
        return tuple(value)
    inner: Any = f.default_factory
    if dataclasses.is_dataclass(inner):
        return value if dataclasses.is_dataclass(value) else from_json(inner, value, name + ".")
    return value
