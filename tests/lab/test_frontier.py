"""``bench --frontier``: finished tables as points of one chart."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from tools.lab.__main__ import main
from tools.lab.compare.statistics import wilson
from tools.lab.frontier import point


def row(right: bool, seconds: float, color=None) -> dict:
    return {"material_right": right, "color_right": color, "belief": 0.9 if right else 0.1, "seconds": seconds}


@pytest.fixture
def tables(tmp_path):
    for name, rows in {
        "draft": [row(True, 9.0), row(False, 11.0), row(True, 10.0, color=False), row(True, 30.0, color=True)],
        "normal": [row(True, 17.0)] * 8 + [row(False, 0.0)],  # a bare mesh, for comparison
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "table.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_table_is_the_share_that_is_wholly_right_at_the_median_of_its_seconds(tables):
    found = point("draft", json.loads((tables / "draft" / "table.json").read_text()))
    assert (found.quality, found.seconds, found.interval) == (0.5, 10.5, wilson(2, 4))


def test_the_chart_has_a_point_for_each_table(tables, capsys):
    given = [f"Draft={tables / 'draft'}", f"Normal, warm={tables / 'normal'}"]
    assert main(["--frontier", *given, "--out", str(tables / "out")]) == 0
    said = capsys.readouterr().out
    assert "50%" in said and "100%" in said and said.index("Draft") < said.index("Normal, warm")
    drawn = ElementTree.parse(tables / "out" / "frontier.svg").getroot()
    assert len(drawn.findall("{*}circle")) == 2 and "Normal, warm" in ElementTree.tostring(drawn, "unicode")


@pytest.mark.parametrize(
    "given,words",
    [
        ("draft", "no NAME=FOLDER"),
        ("x={none}", "no table.json"),
        ("x={broken}", "no table.json"),
        ("x={empty}", "no judged"),
    ],
)
def test_what_is_no_table_is_named(tables, capsys, given, words):
    for name, text in (("broken", "[3]"), ("empty", "[]")):
        (tables / name).mkdir()
        (tables / name / "table.json").write_text(text)
    places = {name: tables / name for name in ("none", "broken", "empty")}
    assert main(["--frontier", given.format(**places), "--out", str(tables / "out")]) == 1
    assert words in capsys.readouterr().out and not (tables / "out").exists()
