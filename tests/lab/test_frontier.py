"""``bench --frontier``: which textures it makes, and what it tells of them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tools.lab.__main__ import main
from tools.lab.compare.on_parts import frontier
from tools.lab.compare.on_parts.frontier import ROWS, frontier_tasks, points
from tools.lab.compare.statistics import wilson
from tools.lab.judged.quality_prompts import quality_prompts


def judged(label: str, right: bool, seconds: float, color=None) -> dict:
    return {
        "label": label, "material_right": right, "color_right": color, "belief": 0.9 if right else 0.1, "light": 0.03,
        "saturation": 0.4, "seconds": seconds, "network_calls": 400, "said": "wood",
    }  # fmt: skip


def measured(label: str, border: float, seconds: float) -> dict:
    return {
        "label": label, "border": border, "border_chance": 0.2, "explained": 0.5, "explained_chance": 0.4,
        "seconds": seconds, "network_calls": 400,
    }  # fmt: skip


def test_rows_differ_from_the_preset_by_what_they_are_called(tmp_path):
    tasks = frontier_tasks(tmp_path)
    assert len({task.key for task in tasks}) == len({task.folder for task in tasks}) == len(tasks) == len(ROWS) * 84
    assert [task.label for task in tasks] == [*ROWS] * 84, "each texture for all rows"
    first = tasks[: 21 * len(ROWS) : len(ROWS)]  # a quarter has all meshes of both lists
    judged_meshes = {quality_prompts()[task.index].mesh for task in first if isinstance(task, frontier.JudgedTask)}
    assert judged_meshes == {asked.mesh for asked in quality_prompts()}
    assert {task.mesh for task in first if isinstance(task, frontier.AlignmentTask)} == set(frontier.PART_MESHES)
    jobs = {label: next(task for task in tasks if task.label == label).job for label in ROWS}
    draft, every = jobs["Draft"], jobs["Draft, all three"]
    assert (draft.encoder, draft.look, draft.early_end) == ("full", "anywhere", 0.0)
    assert (every.encoder, every.look, every.early_end) == ("small", "unseen", 0.5)
    assert jobs["Draft, small encoder"].encoder == "small" and jobs["Draft, small encoder"].look == draft.look
    assert jobs["Normal"].steps > draft.steps == every.steps
    gray = [jobs["Draft from gray"], jobs["Normal from gray"]]
    assert all(job.warm_start == 0 and job.control == "off" for job in gray) and draft.warm_start > 0
    assert gray[0].steps < gray[1].steps
    assert jobs["Best"].steps > jobs["Normal"].steps and jobs["Best"].warm_start > 0


def test_a_row_is_the_share_that_is_wholly_right_at_the_median_of_all_its_seconds():
    rows = [
        judged("Draft", True, 9.0), judged("Draft", False, 11.0), judged("Draft", True, 10.0, color=False),
        judged("Draft", True, 30.0, color=True), measured("Draft", 0.3, 11.0), measured("Draft", 0.5, 12.0),
    ]  # fmt: skip
    (one,), (part,) = points(rows)
    assert (one.name, one.quality, one.seconds, one.interval) == ("Draft", 0.5, 11.0, wilson(2, 4))
    assert part.quality == pytest.approx(0.2) and part.seconds == 11.0
    assert part.interval[0] == pytest.approx(0.1) and part.interval[1] == pytest.approx(0.3)
    table = frontier.format_table(rows).splitlines()
    assert "50% (15%–85%)" in table[1] and "0.200" in table[1] and "0.100" in table[1] and " 400 " in table[1]
    assert len(table) == 4


def test_textures_are_made_once_and_shown_again_with_both_charts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(frontier, "ROWS", {name: ROWS[name] for name in ("Draft, all three",)})
    given = ["--frontier", "--rehearse", "--out", str(tmp_path)]
    assert main(given) == 0
    rows = [json.loads(line) for line in (tmp_path / "frontier.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == ["Draft, all three judged 0", "Draft, all three robot 0"]
    made = capsys.readouterr().out
    (tmp_path / "frontier.svg").unlink()
    assert main([*given, "--show"]) == 0
    there, table = capsys.readouterr().out.split("\n", 1)
    assert there.startswith("2 of 2 rows are there") and "Draft, all three" in table and table.strip() in made
    for name in ("frontier", "frontier_parts"):
        drawn = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        assert len(drawn.findall("{*}circle")) == 1 and "all three" in ElementTree.tostring(drawn, "unicode")
