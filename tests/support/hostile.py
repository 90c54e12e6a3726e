"""Data from nowhere good, for the tests that throw thousands of it at a reader. Seeds are fixed: a failure comes again.

``build.py test --fuzz N`` sets how many.
"""

from __future__ import annotations

import copy
import os
import random
from typing import Any

#: Cases of each such test.
CASES = int(os.environ.get("CSD_FUZZ", "2000"))

NUMBERS = (0, -1, 1, 2, 2**31, 2**63, -(2**64), 10**9, 10**400, -(10**400), 0.5, -0.0, 1e-320, 1e308, -1e308)
NO_NUMBERS = (float("nan"), float("inf"), float("-inf"))
TEXTS = ("", " ", "x", "auto", "mini", "csd", "0", "-1", "nan", "1e999", "٣", "cuda:٣", "cuda:" + "9" * 20, "%s%n{}")
TEXTS += ("\udcff", "\ud800x", "\0", "a\0b", "😀" * 50, "x" * 5000)
TEXTS += ("../../x", "/etc/passwd", "C:\\x", "\\\\host\\x", "CON", "~nobody/x")


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that Python's JSON can hold."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind == 3:
        return rng.choice(NO_NUMBERS)
    if kind in (4, 5):
        return rng.choice(TEXTS)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 7:
        return {rng.choice(TEXTS): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    deep: Any = []
    for _ in range(rng.choice((10, 400, 5000))):
        deep = [deep]
    return deep


def spoiled(tree: Any, rng: random.Random, changes: int = 1) -> Any:
    """A copy of a tree of dicts and lists in which some places hold other things, are missing or are too many."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, changes)):
        place = tree
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place)) if isinstance(place, list) else []
            if not keys:
                break
            key = rng.choice(list(keys))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and rng.random() < 0.7:
                place = inner
                continue
            action = rng.randrange(8)
            if action == 0 and isinstance(place, dict):
                del place[key]
            elif action == 1 and isinstance(place, dict):
                place[rng.choice(TEXTS)] = value(rng)
            else:
                place[key] = value(rng)
            break
    return tree


def garbled(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some changed, cut away, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(data) + 1)
        action = rng.randrange(5)
        if action == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif action == 1:
            del data[at : at + rng.randint(1, 40)]
        elif action == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        elif action == 3:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        else:
            del data[at:]
    return bytes(data)
