"""What the comparisons of methods are made of: intervals, distances, rows that stay, charts and sheets."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from tools.lab import chart as charts
from tools.lab.chart import Point, chart, label_places, ticks
from tools.lab.compare.rows import RowFile, make_rows
from tools.lab.compare.sheet import LABEL, MARGIN, SIDE, TITLE, draw_sheet
from tools.lab.compare.statistics import (
    all_right,
    between,
    distances,
    diversity,
    mean,
    paired_difference,
    share,
    wilson,
)

# ---- intervals


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (15, 50, 0.1910, 0.4375)],
)
def test_wilsons_interval_has_the_published_values(hits, count, low, high):
    assert wilson(hits, count) == pytest.approx((low, high), abs=2e-4)


@pytest.mark.parametrize("trial", [(0, 0), (3, 2), (-1, 4)])
def test_what_is_no_rate_is_refused(trial):
    with pytest.raises(ValueError, match="is no rate"):
        wilson(*trial)


def test_wilsons_interval_covers_the_truth_as_often_as_it_says():
    """Over all outcomes of 16 trials with a chance of 0.3, weighted by how likely they are."""
    truth, count = 0.3, 16
    chances = [math.comb(count, k) * truth**k * (1 - truth) ** (count - k) for k in range(count + 1)]
    covered = sum(c for k, c in enumerate(chances) if wilson(k, count)[0] <= truth <= wilson(k, count)[1])
    assert 0.92 < covered < 0.98


def test_the_difference_is_taken_pair_by_pair():
    base = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert paired_difference(base, base) == (0.0, (0.0, 0.0))
    assert paired_difference([b - 1 for b in base], base) == (-1.0, (-1.0, -1.0))
    found, (low, high) = paired_difference([0.0] * 8, base)
    assert found == -0.5 and low < -0.5 < high
    # by the normal distribution: 0.5 +- 1.96 * 0.5 / sqrt(8)
    assert low == pytest.approx(-0.846, abs=0.06) and high == pytest.approx(-0.154, abs=0.06)
    for wrong in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="pairs"):
            paired_difference(*wrong)


def test_a_share_tells_how_sure_it_is():
    assert share([True] * 5 + [False] * 5) == "50% (24–76%)"
    assert share([]) == "–"
    assert mean([1.0, None, 3.0]) == 2.0 and mean([None]) is None


def test_all_is_right_only_when_everything_that_was_asked_is():
    assert all_right({"material_right": True})
    assert all_right({"material_right": True, "color_right": None, "shape_right": True})
    for wrong in ({"material_right": False}, {"material_right": True, "color_right": False},
                  {"material_right": True, "shape_right": False}):  # fmt: skip
        assert not all_right(wrong)


# ---- distances


def test_distance_is_one_minus_the_cosine():
    rows = np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert distances(rows) == pytest.approx(np.array([[0, 0, 1, 2], [0, 0, 1, 2], [1, 1, 0, 1], [2, 2, 1, 0]]))


def test_diversity_is_the_mean_over_pairs_of_different_results():
    angles = np.radians([0.0, 30.0, 90.0])
    group = np.stack([np.cos(angles), np.sin(angles)], 1)
    wanted = np.mean([1 - math.cos(math.radians(d)) for d in (30, 60, 90)])
    found, (low, high) = diversity([group])
    assert found == pytest.approx(wanted)
    assert low < wanted < high
    alike = np.tile([1.0, 2.0], (3, 1))
    assert diversity([group, alike])[0] == pytest.approx(wanted / 2)
    assert diversity([alike])[0] == pytest.approx(0, abs=1e-12)
    for wrong in ([], [group, group[:1]]):
        with pytest.raises(ValueError, match="two results"):
            diversity(wrong)


def test_a_result_drawn_twice_is_not_compared_with_itself():
    """Two results at a right angle: any two different ones are 1 apart, so that nothing is left to chance."""
    assert diversity([np.eye(2)]) == (1.0, (1.0, 1.0))


def test_distance_between_prompts():
    one, other = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert between([one, other]) == pytest.approx(1.0)
    assert math.isnan(between([one]))


# ---- rows


@dataclass(frozen=True)
class Job:
    """A row whose worth is its number; those in ``broken`` fail."""

    number: int
    fingerprint: str = "one"
    broken: bool = False

    @property
    def key(self) -> str:
        return f"row {self.number}"


def square(job: Job) -> dict:
    if job.broken:
        raise RuntimeError(f"no row {job.number}")
    return {"square": job.number**2}


def test_a_repeated_run_makes_only_what_is_missing(tmp_path, capsys):
    file, made = RowFile(tmp_path / "new" / "rows.jsonl"), []

    def make(job):
        made.append(job.number)
        return square(job)

    assert make_rows([Job(1), Job(2, broken=True), Job(3)], make, file) == 1
    assert "failed: no row 2" in capsys.readouterr().out
    assert make_rows([Job(1), Job(2), Job(3)], make, file) == 0
    assert made == [1, 2, 3, 2]
    rows = file.of([Job(3), Job(1), Job(2)])
    assert [row["square"] for row in rows.values()] == [9, 1, 4]  # in the order of the tasks


def test_each_row_is_on_the_disk_before_the_next_one_is_made(tmp_path):
    file = RowFile(tmp_path / "rows.jsonl")

    def make(job):
        assert len(file.read()) == job.number
        return square(job)

    assert make_rows([Job(0), Job(1), Job(2)], make, file) == 0


def test_a_row_made_with_other_settings_is_made_again_and_the_newer_one_counts(tmp_path):
    file = RowFile(tmp_path / "rows.jsonl")
    make_rows([Job(5)], square, file)
    assert file.of([Job(5, "two")]) == {}
    make_rows([Job(5, "two")], lambda job: {"square": -1}, file)
    assert file.of([Job(5, "two")])["row 5"]["square"] == -1
    assert file.of([Job(5)]) == {}


def test_a_line_that_was_cut_off_harms_neither_its_neighbours_nor_the_next_one(tmp_path):
    file = RowFile(tmp_path / "rows.jsonl")
    make_rows([Job(1)], square, file)
    with file.path.open("a") as cut:
        cut.write('{"key": "row 2", "fingerpr')
    assert list(file.read()) == ["row 1"]
    make_rows([Job(1), Job(2)], square, file)
    assert [row["square"] for row in file.of([Job(1), Job(2)]).values()] == [1, 4]
    with file.path.open("a") as strange:
        strange.write('[1]\n{"key": 3}\n"text"\n\n')
    assert len(file.read()) == 2


def test_what_is_there_and_what_does_not_fit_any_more_is_counted(tmp_path, capsys):
    file = RowFile(tmp_path / "rows.jsonl")
    assert make_rows([Job(1)], square, file, show=True) == 0
    assert capsys.readouterr().out == f"None of 1 rows is there: {file.path}\n" and not file.path.exists()
    make_rows([Job(1), Job(2), Job(3)], square, file)
    capsys.readouterr()
    changed = [Job(1), Job(2, "two"), Job(3, "two"), Job(4)]
    make_rows(changed, square, file, show=True)
    there, left_out = capsys.readouterr().out.splitlines()
    assert (
        there.startswith("1 of 4 rows is there") and left_out == "2 more are of other settings than now, and left out"
    )
    assert len(file.read()) == 3
    make_rows(changed, square, file)
    assert "2 more are of other settings than now, and made again" in capsys.readouterr().out
    assert len(file.of(changed)) == 4


def test_rows_of_several_processes(tmp_path):
    file = RowFile(tmp_path / "rows.jsonl")
    assert make_rows([Job(1), Job(2, broken=True), Job(3)], square, file, processes=2) == 1
    assert {row["square"] for row in file.read().values()} == {1, 9}


# ---- charts and sheets


POINTS = [
    Point("csd", 25.0, 0.9, (0.6, 0.98)),
    Point("sds <old>", 25.0, 0.9, (0.6, 0.98)),
    Point("vsd", 71.0, 0.2, (0.06, 0.51)),
]


def test_a_chart_is_a_picture_with_a_dot_and_a_name_for_each_point():
    tree = ElementTree.fromstring(chart(POINTS, "a & b"))
    space = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in tree.iter(space + "text")]
    assert {"csd", "sds <old>", "vsd", "a & b", "100%", "80"} <= set(words)
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in tree.iter(space + "circle")]
    assert len(dots) == 3 and dots[0] == dots[1]
    assert dots[2][0] > dots[0][0] and dots[2][1] > dots[0][1]  # slower is to the right, worse is further down
    width, height = (float(v) for v in tree.get("viewBox").split()[2:])
    assert all(0 < x < width and 0 < y < height for x, y in dots)
    with pytest.raises(ValueError, match="nothing to draw"):
        chart([], "empty")


def test_an_axis_may_end_below_one_and_what_lies_beyond_is_at_its_end():
    tree = ElementTree.fromstring(
        chart([Point("a", 5.0, 0.1, (0.05, 0.3)), Point("b", 5.0, -0.1, (-0.2, 0.2))], "", "", 0.2)
    )
    words = [text.text for text in tree.findall("{*}text")]
    assert "20%" in words and "100%" not in words
    middle, lowest = (float(c.get("cy")) for c in tree.findall("{*}circle"))
    assert middle == pytest.approx(charts.down(0.5), abs=0.1) and lowest == pytest.approx(charts.down(0.0), abs=0.1)
    bar = next(line for line in tree.findall("{*}line") if line.get("stroke-opacity") == "0.45")
    assert sorted(float(bar.get(end)) for end in ("y1", "y2")) == pytest.approx(
        [charts.down(1), charts.down(0.25)], abs=0.1
    )


def test_names_lie_on_no_other_name_and_on_no_dot():
    crowd = [Point(f"method {i}", 30.0 + 0.1 * i, 0.8, (0.5, 0.9)) for i in range(8)]
    places = label_places(crowd, 40.0)
    boxes = [(x, y - 11, x + charts.LETTER * len(p.name), y + 3) for p, (x, y) in zip(crowd, places, strict=True)]
    for i, one in enumerate(boxes):
        assert one[0] >= charts.LEFT and one[2] <= charts.WIDTH
        for other in boxes[:i]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize(
    ("largest", "step", "end"), [(25, 5, 25), (31.7, 10, 40), (0.9, 0.2, 1.0), (610, 200, 800), (60, 10, 60)]
)
def test_ticks_are_round_and_hold_the_largest(largest, step, end):
    assert ticks(largest) == pytest.approx((step, end))


def test_a_sheet_has_a_row_a_method_and_gray_where_nothing_is():
    red, blue = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    sheet = draw_sheet([("csd", [red, None]), ("sds", [blue, red])], ["one", "two"])
    step = SIDE + MARGIN
    assert sheet.size == (LABEL + 2 * step, TITLE + 2 * step)
    colors = [sheet.getpixel((LABEL + 20 + i * step, TITLE + 20 + j * step)) for j in (0, 1) for i in (0, 1)]
    assert colors == [(255, 0, 0), (229, 231, 235), (0, 0, 255), (255, 0, 0)]
    written = np.asarray(sheet)[TITLE : TITLE + SIDE, :LABEL]
    assert written.min() < 100  # the method's name
