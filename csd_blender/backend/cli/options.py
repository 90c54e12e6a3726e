"""How arguments are read: options made from a kind's settings, and a parser that answers mistakes in one line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NoReturn

from ...job.errors import quoted
from ...job.models.language import BUNDLED
from ...job.presets.effects import absent, without_effect
from ...job.spec.settings import Setting, scripted_settings, shown_settings


class Parser(argparse.ArgumentParser):
    """Answers wrong arguments in one line of ordinary length, whatever they hold."""

    def error(self, message: str) -> NoReturn:
        short = message if len(message) <= 400 else message[:400] + "..."
        super().error(short.encode("utf-8", "backslashreplace").decode())


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:  # also for thousands of digits
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no whole number of ordinary size") from None


def named(text: str) -> str:
    """The name of something. An empty one, as of a variable of the shell that is not set, would be taken for none."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def named_path(text: str) -> Path:
    """A file or folder by its name; an empty one would be the current folder."""
    return Path(named(text))


def json_object(text: str) -> dict:
    """Further fields of a job, as a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        # What is no JSON has its place told; the other errors are Python's own, of whole numbers that are too long.
        reason = "it is nested too deep" if isinstance(error, RecursionError) else "a number in it has too many digits"
        if isinstance(error, json.JSONDecodeError):
            reason = str(error)[:100]
        raise argparse.ArgumentTypeError(f"{quoted(text)} cannot be read: {reason}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('a JSON object is wanted, such as {"seed": 3}')
    return value


def add_settings(parser: argparse.ArgumentParser, spec: type) -> None:
    """An option for each setting of a kind. Without it the preset decides, or the spec's default. Those of other kinds
    that somebody may try are refused with the reason."""
    for setting in settings_of(spec):
        flags = ["--" + setting.name.replace("_", "-"), *setting.get("flags", ())]
        said = setting.help.replace("%", "%%")
        if setting.sort == "switch":
            parser.add_argument(*flags, dest=setting.name, action=switch_action(setting), default=None, help=said)
        elif setting.sort == "choice":
            words = [option.id for option in setting.options]
            parser.add_argument(*flags, dest=setting.name, choices=words, help=said)
        else:
            is_named = setting.get("names") or setting.get("path") == "file"
            read = {"text": named if is_named else str, "whole": whole, "number": number}[setting.sort]
            option = parser.add_argument(*flags, dest=setting.name, type=read, metavar=metavar(setting), help=said)
            if setting.get("bare") is not None:  # it may stand alone, and then means its usual strength
                option.nargs, option.const = "?", setting.get("bare")
    for setting, reason in absent(spec):
        flags = ["--" + setting.name.replace("_", "-"), *setting.get("flags", ())]
        if setting.sort == "switch":
            flags.append(flags[0].replace("--", "--no-"))
        hidden = argparse.SUPPRESS
        parser.add_argument(*flags, action=Refused, nargs="?", const=reason, default=hidden, help=hidden)


class Refused(argparse.Action):
    """An option that other kinds have; ``const`` is why this one has none."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        parser.error(f"{parser.prog} has no {option_string}. {self.const}.")


def idle_notes(spec: type, given: dict) -> list[str]:
    """A sentence for each of the given settings that has no effect with the others, but for those that ask for nothing:
    ``--warm-start 0`` where there is no warm start anyway."""
    settings = settings_of(spec)
    flags = {name: "--" + name for name in given} | {s.name: usual_flag(s) for s in settings}
    usual = {s.name: s.default for s in settings}
    idle = without_effect(spec, given)
    told = [name for name in idle if name in given and given[name] != usual.get(name)]
    return [f"{flags[name]} has no effect. {idle[name]}." for name in told]


def settings_of(spec: type) -> list[Setting]:
    """What the command line of a kind has; its input has arguments of its own."""
    return [s for s in (*shown_settings(spec), *scripted_settings(spec)) if s.path]


def usual_flag(setting: Setting) -> str:
    """The option's name that people are told."""
    return (*setting.get("flags", ()), "--" + setting.name.replace("_", "-"))[0]


def given_settings(arguments: argparse.Namespace, spec: type) -> dict:
    """Those that were given, by name."""
    values = {s.name: getattr(arguments, s.name) for s in settings_of(spec)}
    return {name: value for name, value in values.items() if value is not None}


def switch_action(setting: Setting) -> type[argparse.Action] | str:
    """``--name`` for what is off by itself; ``--name`` and ``--no-name`` for what is on."""
    return argparse.BooleanOptionalAction if setting.default else "store_true"


def metavar(setting: Setting) -> str:
    """What stands for the value in the help: its range or its sort."""
    names = setting.get("names")
    if names is True or BUNDLED in (names or ()):
        return "mini|PATH|NAME"
    if setting.sort == "text":
        return "FILE[:STRENGTH]" if setting.get("path") == "file" else "TEXT"
    low, high = setting.limits
    return f"{low:g}..{high:g}" if high < 1e6 else "N"


def number(text: str) -> float:
    """A number of ordinary form."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no number") from None
