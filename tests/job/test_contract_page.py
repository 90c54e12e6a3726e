"""``docs/contract.md`` tells what the code does: its tables are held against it."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from csd_blender.job import files
from csd_blender.job.process.bodies import FROM_BACKEND, TO_BACKEND, Device
from csd_blender.job.process.body import is_needed, wire_fields
from csd_blender.job.process.messages import PROTOCOL, Message, encode
from csd_blender.job.result import MAPS, Result
from csd_blender.job.spec import stages

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text("utf-8")


def section(title: str, within: str = PAGE) -> str:
    """The text below a heading, to the next one of its rank or above."""
    rank = title.split(" ")[0]
    _, found, rest = within.partition(f"\n{title}\n")
    assert found, f"the page has no {title}"
    return re.split(rf"\n#{{1,{len(rank)}}} ", rest)[0]


def rows(text: str) -> list[str]:
    """The first cells of a section's tables, as they are written."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.split("|")[1].strip() for line in lines if "`" in line.split("|")[1]]


def table_of(cls) -> list[str]:
    return [f"**`{entry.name}`**" if is_needed(entry) else f"`{entry.name}`" for entry in wire_fields(cls)]


@pytest.mark.parametrize("kind", TO_BACKEND, ids=lambda kind: kind.type)
def test_messages_to_the_backend_have_the_fields_of_the_page(kind):
    assert rows(section(f"### `{kind.type}`", section("## Messages to the backend"))) == table_of(kind)


@pytest.mark.parametrize("kind", FROM_BACKEND, ids=lambda kind: kind.type)
def test_messages_from_the_backend_have_the_fields_of_the_page(kind):
    assert rows(section(f"### `{kind.type}`", section("## Messages from the backend"))) == table_of(kind)


def test_devices_have_the_fields_of_the_page():
    assert rows(section("### `devices`", section("## Messages from the backend"))) == table_of(Device)


def test_the_page_has_no_other_messages():
    told = {
        heading: re.findall(r"^### `(\w+)`$", section(heading), re.M)
        for heading in ("## Messages to the backend", "## Messages from the backend")
    }
    assert told["## Messages to the backend"] == [kind.type for kind in TO_BACKEND]
    assert set(told["## Messages from the backend"]) == {kind.type for kind in FROM_BACKEND} | {"devices"}


def test_an_envelope_has_the_fields_of_the_page():
    names = re.findall(rb'"(\w+)":', encode(Message("bye")))
    assert rows(section("## Lines")) == [f"`{name.decode()}`" for name in names]


def test_the_stages_are_those_of_the_page():
    made = {stage.name for stage in vars(stages).values() if isinstance(stage, stages.Stage)}
    line = next(line for line in PAGE.splitlines() if "**`name`**" in line)
    assert set(re.findall(r"`(\w+)`", line)) - {"name"} == made


def test_the_files_of_the_folder_are_those_of_the_page():
    constants = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
    folders = {files.PREVIEW, files.CHECKPOINT, files.STAGES, files.RESULT}
    named = {files.preview_texture(0), files.map_file("albedo", 0, 1), *files.checkpoint_files(90)}
    named |= {files.film_frame(90), files.picture_file(1)}
    told = {row.strip("`") for row in rows(section("## The job folder"))}
    assert told == constants - folders | named
    assert files.map_file("albedo", 0, 2) in PAGE and files.picture_file(1, "csd") in PAGE


def test_a_result_has_the_fields_and_maps_of_the_page():
    needed = [entry.default is MISSING and entry.default_factory is MISSING for entry in fields(Result)]
    names = [entry.name for entry in fields(Result)]
    wanted = [f"**`{name}`**" if must else f"`{name}`" for name, must in zip(names, needed)]  # noqa: B905
    assert rows(section("## `result.json`")) == [*wanted, *(f"`{name}`" for name in MAPS)]


def test_the_protocol_is_that_of_the_page():
    assert f"`PROTOCOL` (`job/process/messages.py`) is {PROTOCOL}." in PAGE
