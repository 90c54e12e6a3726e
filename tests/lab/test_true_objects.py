"""What the judge calls the things of the mini model's world themselves."""

from __future__ import annotations

import pytest

from tools.lab.judged import true_objects
from tools.lab.judged.true_objects import TrueVerdict, format_true, true_verdicts
from tools.lab.mini.readers.judge import load_judge


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setattr(true_objects, "EXAMPLES", 2)


def test_plain_things_are_named_and_a_red_barrel_is_not_without_light():
    found = true_verdicts([("mushroom", "dotted", "red"), ("barrel", "plain", "red")], load_judge())
    assert [one.shape_right for one in found] == [True, True, False, False]
    assert {one.said_material for one in found} == {"dotted", "plain"}
    assert found == true_verdicts([("mushroom", "dotted", "red"), ("barrel", "plain", "red")], load_judge())


def test_what_is_named_is_counted_and_the_rest_is_listed():
    found = [
        TrueVerdict("mug", "gold", None, "mug", "gold"),
        TrueVerdict("mug", "striped", "blue", "cube", "striped"),
        TrueVerdict("mug", "striped", "blue", "barrel", "dotted"),
    ]
    assert format_true(found).splitlines() == [
        "the true shapes themselves: 1 of 3 are named (33%)",
        "  blue striped mug: cube, barrel",
    ]
