"""Batching of conditions, whichever of them a model reads."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from csd_blender.backend.diffusion.conditions import Conditions, cat, mix

SHAPES = {
    "text": (5, 4),
    "pooled": (6,),
    "time_ids": (6,),
    "cameras": (16,),
    "control": (3, 8, 8),
    "control_weight": (2,),
}


def rows(*values, only=tuple(SHAPES)):
    """Every part of row i is full of value i."""
    made = {name: torch.stack([torch.full(SHAPES[name], float(v)) for v in values]) for name in only}
    return Conditions(**made)


def values_of(conditions):
    """The value of each row, which must be one through all of its parts."""
    parts = [getattr(conditions, f.name) for f in dataclasses.fields(conditions)]
    found = [part.flatten(1) for part in parts if part is not None]
    assert found and all(torch.equal(part, part[:, :1].expand_as(part)) for part in found)
    columns = {tuple(part[:, 0].tolist()) for part in found}
    assert len(columns) == 1
    return list(columns.pop())


@pytest.mark.parametrize("only", [("text",), ("text", "pooled", "time_ids"), tuple(SHAPES)])
def test_all_parts_of_a_row_stay_together(only):
    conditions = rows(0, 1, 2, only=only)
    assert len(conditions) == 3
    assert values_of(conditions.select([2, 0])) == [2, 0]
    assert values_of(conditions.select(slice(1, None))) == [1, 2]
    assert values_of(conditions.repeat(2)) == [0, 0, 1, 1, 2, 2]
    assert values_of(cat([conditions, rows(7, only=only)])) == [0, 1, 2, 7]
    assert values_of(mix([0.25, 2.0], [rows(4, 8, only=only), rows(1, 3, only=only)])) == [3, 8]
    for f in dataclasses.fields(Conditions):
        assert (getattr(conditions.repeat(2), f.name) is None) == (f.name not in only)


def test_parts_that_only_some_have_are_named():
    with pytest.raises(ValueError, match="only 1 of 2 conditions have pooled"):
        cat([rows(0), rows(1, only=("text", "time_ids", "cameras", "control", "control_weight"))])
