"""How arguments are read: numbers, tables of settings, and a parser that answers mistakes in one line."""

from __future__ import annotations

import argparse
import json
from typing import NoReturn

from ...job.errors import quoted


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


def json_object(text: str) -> dict:
    """Further fields of a job, as a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:100]
        raise argparse.ArgumentTypeError(f"{quoted(text)} cannot be read: {reason}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('a JSON object is wanted, such as {"seed": 3}')
    return value
