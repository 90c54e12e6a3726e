"""What version 0.1 wrote is read as before: recorded lines of its backend, and records of its results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csd_blender.job.process.bodies import FROM_BACKEND, TO_BACKEND, Failed, Submit, read
from csd_blender.job.process.messages import PROTOCOL, decode
from csd_blender.job.result import MAPS, Part, Result

HERE = Path(__file__).with_name("version_0_1")
LINES = (HERE / "lines.jsonl").read_text("utf-8").splitlines()
OWNERS = (
    '{"v":1,"type":"hello","job":"","seq":1,"client":"csd_blender on Python 3.11","protocol":1}',
    '{"v":1,"type":"submit","job":"a","seq":2,"folder":"/home/me/jobs/a","resume":false}',
    '{"v":1,"type":"cancel","job":"a","seq":3}',
    '{"v":1,"type":"shutdown","job":"","seq":4}',
)


def body_of(line: str) -> dict:
    return {name: value for name, value in json.loads(line).items() if name not in ("v", "type", "job", "seq")}


def test_the_recorded_lines_have_every_type_of_message():
    assert {json.loads(line)["type"] for line in LINES} == {kind.type for kind in FROM_BACKEND}
    assert {json.loads(line)["type"] for line in OWNERS} == {kind.type for kind in TO_BACKEND}


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_its_backend_says_the_same_and_would_be_written_the_same(line):
    message = decode(line)
    assert read(message).to_json() == message.body == body_of(line)
    assert read(decode(json.dumps(json.loads(line) | {"of a later version": [1]}))) == read(message)


@pytest.mark.parametrize("line", OWNERS)
def test_a_line_of_its_blender_side_says_the_same_and_would_be_written_the_same(line):
    assert read(decode(line), TO_BACKEND).to_json() == body_of(line)


def test_the_protocol_is_still_its_own():
    assert PROTOCOL == json.loads(OWNERS[0])["protocol"] == 1


@pytest.mark.parametrize("name", ["texture", "object"])
def test_a_record_of_its_results_reads_and_writes_the_same(name):
    record = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    made = Result.from_json(record)
    assert made.to_json() == {"kind": "texture"} | record
    assert Result.from_json(made.to_json()) == made
    assert made.complete and made.makes_object == (name == "object") and made.prompt == record["settings"]["prompt"]
    assert made.licences == record["licences"] and made.timings["steps"] == record["timings"]["steps"]


def test_a_record_keeps_maps_that_are_to_come_and_passes_over_what_nobody_knows():
    maps = {name: f"result/{name}.png" for name in MAPS}
    part = Part("body", maps, "new")
    record = Result({"prompt": "x"}, (part,)).to_json()
    assert record["parts"] == [{"name": "body", **maps, "uv_source": "new"}]
    record["parts"][0]["displacement"] = "result/displacement.png"
    assert Result.from_json(record | {"signature": 7}) == Result({"prompt": "x"}, (part,))


GOOD = {"parts": [{"name": "a", "albedo": "result/albedo.png"}]}
BAD_PARTS = [3, None, [], [[]], [{}], [{"albedo": 7}], [{"albedo": None}], [{"albedo": "a", "uv_source": "mine"}]]
BAD = [[], "x", None, *({"parts": parts} for parts in BAD_PARTS)]
BAD += [GOOD | {name: value} for name in ("settings", "licences", "timings", "versions") for value in ([1], "x", None)]
BAD += [GOOD | {"complete": value} for value in (1, "yes", None)]


@pytest.mark.parametrize("record", BAD, ids=lambda record: json.dumps(record)[-50:])
def test_what_is_no_record_is_refused(record):
    assert Result.from_json(GOOD).complete
    with pytest.raises(ValueError):
        Result.from_json(record)


@pytest.mark.parametrize(("value", "read_as"), [(0.3, 0.3), (7, 1.0), (-1, 0.0), ("x", None), (True, None), ([], None)])
def test_figures_that_nothing_depends_on_are_brought_into_their_range_or_left_out(value, read_as):
    made = Result.from_json(GOOD | {"roughness": value, "faces": "many", "seed": 1.5, "warnings": 3})
    assert made.roughness == read_as and made.faces is None and made.seed is None and made.warnings == ()


def test_an_error_tells_of_what_was_kept_only_when_something_was():
    assert "kept" not in Failed("oom").to_json() and "files" not in Failed("oom").to_json()
    assert Failed("oom", kept=True, files={"a": "b"}).to_json()["kept"] is True


def test_a_folder_whose_name_is_no_text_arrives_as_it_is():
    assert Submit.from_json({"folder": "/tmp/\udcff"}).folder == "/tmp/\udcff"
