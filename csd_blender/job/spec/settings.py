"""The settings of a kind of job as people meet them, made from the fields of its spec.

A setting is written once, in that field: label, help, unit, range and default. Blender's properties, the operators'
arguments, the options of the command line, *Reuse Settings* and the table in the documentation all come from here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from .fields import Option
from .schedule import Schedule

Sort = Literal["text", "choice", "switch", "whole", "number"]


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: of the property, the operator's argument and the preset function's.
        path: names that lead to it in the spec; empty for one of the job's input.
        field: that states it.
        preset: a quality preset decides it unless somebody does.
    """

    name: str
    path: tuple[str, ...]
    field: dataclasses.Field
    preset: bool = False

    @property
    def sort(self) -> Sort:
        """What its values are. A schedule is set as a number, which then holds for all steps."""
        if "options" in self.field.metadata:
            return "choice"
        if isinstance(self.default, bool):
            return "switch"
        if isinstance(self.default, str):
            return "text"
        return "whole" if isinstance(self.default, int) else "number"

    @property
    def default(self) -> Any:
        value = self.field.default
        return value.start_value if isinstance(value, Schedule) else value

    @property
    def label(self) -> str:
        return self.field.metadata["label"]

    @property
    def help(self) -> str:
        """A sentence without its full stop."""
        return self.field.metadata["help"]

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value of a number."""
        return self.field.metadata["low"], self.field.metadata["high"]

    @property
    def options(self) -> tuple[Option, ...]:
        """Those of a choice that can be chosen; ``custom`` only says of a finished job that it was not."""
        return tuple(option for option in self.field.metadata["items"] if option.id != "custom")

    @property
    def held_as(self) -> str:
        """Its name in the scene: a kind whose choices are others than those of the rest keeps a setting of its own."""
        return self.get("held_as") or self.name

    def get(self, key: str, default: Any = None) -> Any:
        """Another fact about how it is shown, see ``fields._field``."""
        return self.field.metadata.get(key, default)

    def find(self, plain: dict) -> Any:
        """Its value in a job's JSON; None when there is none."""
        value: Any = plain
        for part in self.path:
            value = value.get(part) if isinstance(value, dict) else None
        return value


@cache
def shown_settings(kind: type[Any]) -> tuple[Setting, ...]:
    """What the panel and the operator of a kind have, its input last."""
    own = tuple(_setting(kind, path) for path in kind.shown)
    return own + tuple(Setting(f.name, (), f) for f in dataclasses.fields(kind.inputs))


@cache
def scripted_settings(kind: type[Any]) -> tuple[Setting, ...]:
    """What only scripts and the command line have, besides."""
    return tuple(_setting(kind, path) for path in kind.scripted)


def _setting(kind: type[Any], path: str) -> Setting:
    parts = tuple(path.split("."))
    owner: Any = kind
    for part in parts[:-1]:
        made: Any = _field_of(owner, part).default_factory
        owner = made
    # What all methods share is known by its own name; a stage's settings by the stage's, too.
    name = parts[-1] if parts[0] == "guidance" else "_".join(parts)
    return Setting(name, parts, _field_of(owner, parts[-1]), name in kind.preset)


def _field_of(owner: type[Any], name: str) -> dataclasses.Field:
    return next(f for f in dataclasses.fields(owner) if f.name == name)


def nested(kind: type[Any], values: dict) -> dict:
    """``values`` by name with those of the guidance put into a table of their own, as the preset functions take it."""
    inside = {s.name: s for s in shown_settings(kind) if s.path[:1] == ("guidance",)}
    found = {name: values[name] for name in values if name in inside}
    if not found:
        return values
    given = values.get("guidance", {})
    rest = {name: value for name, value in values.items() if name not in inside}
    return rest | {"guidance": {**found, **given} if isinstance(given, dict) else given}
