"""Previews and figures that a backend announces: only what is as the contract has it reaches the window."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from csd_blender.job.process.messages import Message, encode
from tests.support.client_kit import drain, ends, until


def hear(client, folder, **body) -> list:
    """What the client makes of a preview message about a picture of 2 by 2 pixels."""
    client.submit("job", folder.path)
    until(client, lambda seen: any(m.type == "accepted" for m in seen))
    plain = {"path": "preview/own.rgba", "kind": "view", "part": 7, "width": 2, "height": 2, "step": 1}
    line = encode(Message("preview", "job", 1, plain | body))
    client._link._hear(line)
    return [m for m in client.poll(budget=5) if m.get("part") == 7]


def spoil(path: Path, how: str, outside: Path) -> None:
    """Make something else of the picture ``path``."""
    outside.mkdir()
    (outside / "own.rgba").write_bytes(bytes(16))
    if how == "pipe":
        os.mkfifo(path)
    elif how == "folder":
        path.mkdir()
    elif how == "link out":
        path.symlink_to(outside / "own.rgba")
    elif how == "link in a circle":
        path.symlink_to(path)
    elif how == "too long":
        path.write_bytes(bytes(17))
    elif how == "huge":
        with open(path, "wb") as file:
            file.truncate(2**40)  # takes no space on the disk
    elif how == "whole":
        path.write_bytes(bytes(16))


@pytest.mark.skipif(os.name == "nt", reason="needs pipes and links in folders")
@pytest.mark.parametrize(
    "how", ["whole", "missing", "pipe", "folder", "link out", "link in a circle", "too long", "huge"]
)
def test_a_preview_is_read_only_from_an_ordinary_file_of_its_size_in_the_job_folder(start, folder, tmp_path, how):
    client = start("slow")
    spoil(folder.path / "preview" / "own.rgba", how, tmp_path / "outside")
    assert [len(m.get("pixels")) for m in hear(client, folder)] == ([16] if how == "whole" else [])
    client.cancel()
    assert ends(drain(client)) == [("cancelled", None)]  # the reader thread lives


@pytest.mark.parametrize(
    "body",
    [
        {"path": "../outside/own.rgba"},
        {"path": "/etc/hostname"},
        {"path": "\\\\host\\share"},
        {"path": "preview/own.rgba\0"},
        {"path": 5},
        {"width": -2, "height": -2},
        {"width": 2.0},
        {"width": True, "height": 4},
        {"width": 10**400},
        {"width": None},
        {"kind": "film"},
        {"part": [7]},
    ],
)
def test_a_preview_that_is_announced_wrongly_is_passed_over(start, folder, body):
    client = start("slow")
    folder.write_bytes("preview/own.rgba", bytes(16))
    assert hear(client, folder, **body) == []


def test_infinite_numbers_are_no_message(start, folder):
    client = start("slow")
    client.submit("job", folder.path)
    until(client, lambda seen: any(m.type == "accepted" for m in seen))
    for value in (b"Infinity", b"NaN", b"1e999", b'"fast"', b"[]", b"9" * 400, b"9" * 5000, b"-1"):
        line = b'{"v":1,"type":"progress","job":"job","seq":1,"step":77,"total":99,"steps_per_second":' + value + b"}\n"
        client._link._hear(line)
    assert not any(m.get("step") == 77 for m in client.poll(budget=5))
