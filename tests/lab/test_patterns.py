"""Patterns on meshes of many parts: what is asked, what is compared, and the judge's word for the material itself."""

from __future__ import annotations

import json

from tools.lab.compare.on_parts import patterns
from tools.lab.compare.on_parts.patterns import (
    PAINTED,
    PAIRS,
    ROWS,
    SEEDS,
    judged,
    painted_pictures,
    pattern_tasks,
    run_patterns,
)
from tools.lab.mini.readers.judge import HEADS


def test_eight_pairs_ask_for_what_the_judge_can_name():
    assert len(PAIRS) == 8 and len({pair.mesh for pair in PAIRS}) == 8
    for pair in PAIRS:
        assert pair.material in HEADS["material"] and pair.color in HEADS["color"]
        assert pair.prompt == f"a {pair.color} {pair.material} {pair.mesh}"


def test_every_row_makes_the_same_pairs_with_its_own_settings(tmp_path):
    tasks = pattern_tasks(tmp_path, "draft")
    assert len(tasks) == len(ROWS) * len(PAIRS) * len(SEEDS) == len({task.key for task in tasks})
    assert len({task.fingerprint for task in tasks}) == len({task.folder for task in tasks}) == len(tasks)
    cold, begun, usual = (next(task for task in tasks if task.label == label).job for label in ROWS)
    assert cold.warm_start == 0 and cold.steps > usual.steps > begun.steps and begun.warm_start == usual.warm_start > 0


def test_the_material_itself_is_named_and_another_pattern_is_not():
    row = judged(0, PAINTED, painted_pictures(0))
    assert row["material_right"] and row["color_right"] and row["belief"] > 0.5
    assert row["said"] == "blue striped" and row["prompt"] == PAIRS[0].prompt
    other = judged(0, PAINTED, painted_pictures(3))
    assert not other["material_right"] and not other["color_right"] and other["belief"] < 0.05


def test_a_table_is_made_and_shown_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(patterns, "ROWS", {"as the preset": {}})
    assert run_patterns(tmp_path, rehearse=True) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "patterns.jsonl").read_text().splitlines()]
    assert row["key"] == "as the preset draft 0 0" and 0 <= row["belief"] <= 1
    made = capsys.readouterr().out
    assert run_patterns(tmp_path, rehearse=True, show=True) == 0
    there, table = capsys.readouterr().out.split("\n", 1)
    assert there.startswith("1 of 1 rows is there") and table.strip() in made and PAINTED not in table


def test_the_table_counts_patterns_and_lists_what_was_said_instead():
    row = {"color_right": True, "belief": 0.5, "seconds": 2.0, "prompt": "a blue dotted mug"}
    rows = [
        {**row, "label": "a", "material_right": True, "said": "blue dotted"},
        {**row, "label": "a", "material_right": False, "said": "blue scales"},
    ]
    lines = patterns.format_table(rows).splitlines()
    assert "50%" in lines[1] and "100%" in lines[1] and lines[2].strip() == "a blue dotted mug: blue scales"
    assert len(lines) == 3
