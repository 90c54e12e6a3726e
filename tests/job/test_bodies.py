"""Bodies of messages: what must be there, what is passed over, what is written."""

from __future__ import annotations

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.process.bodies import (
    FROM_BACKEND,
    TO_BACKEND,
    Device,
    Failed,
    Finished,
    Hello,
    Preview,
    Progress,
    Submit,
    read,
    typed,
)
from csd_blender.job.process.body import WrongField, is_needed, wire_fields
from csd_blender.job.process.messages import Message

VIEW = {"path": "preview/view.rgba", "kind": "view", "width": 2, "height": 2}
LEAST = {
    "stage": {"name": "paint", "label": "Painting"},
    "progress": {"step": 1, "total": 2},
    "preview": VIEW,
    "warning": {"text": "It has holes."},
    "submit": {"folder": "/x"},
}


@pytest.mark.parametrize("kind", (*FROM_BACKEND, *TO_BACKEND), ids=lambda kind: kind.__name__)
def test_a_message_needs_the_fields_without_a_default_and_no_others(kind):
    kinds = FROM_BACKEND if kind in FROM_BACKEND else TO_BACKEND
    least = LEAST.get(kind.type, {})
    assert isinstance(read(Message(kind.type, body=least), kinds), kind)
    for entry in wire_fields(kind):
        if is_needed(entry):
            rest = {name: value for name, value in least.items() if name != entry.name}
            assert read(Message(kind.type, body=rest), kinds) is None


def test_a_picture_needs_its_size_and_a_mesh_has_none():
    for name in ("width", "height"):
        assert read(Message("preview", body={k: v for k, v in VIEW.items() if k != name})) is None
    mesh = {"path": "preview/mesh.npz", "kind": "mesh"}
    assert read(Message("preview", body=mesh)).to_json() == mesh | {"part": 0, "step": 0}


def test_pixels_are_never_written_and_are_read_only_as_bytes():
    assert read(Message("preview", body=VIEW | {"pixels": bytes(16)})).pixels == bytes(16)
    assert read(Message("preview", body=VIEW | {"pixels": "AAAA"})).pixels is None
    assert "pixels" not in Preview(**VIEW, pixels=bytes(16)).to_json()


def test_of_what_must_arrive_only_the_wrong_fields_are_left_out():
    hello = {"protocol": 1, "version": 7, "devices": [{"id": "cpu"}], "features": [3]}
    assert read(Message("hello", body=hello)) == Hello(protocol=1, devices=(Device("cpu"),))
    assert read(Message("result", body={"files": 3, "stats": {"steps": 2}})) == Finished(stats={"steps": 2})
    error = typed(Message("error", "a", 4, {"code": "oom", "kept": "yes", "files": [1], "later": 5}))
    assert error == Message("error", "a", 4, {"later": 5, **Failed("oom").to_json()})


def test_anything_else_with_a_wrong_field_is_passed_over_and_its_fault_is_named():
    assert read(Message("progress", body={"step": 1, "total": 2, "memory_mb": "much"})) is None
    with pytest.raises(WrongField, match="memory_mb is 'much', allowed is a number"):
        Progress.from_json({"step": 1, "total": 2, "memory_mb": "much"})
    with pytest.raises(WrongField, match="^folder is missing$"):
        Submit.from_json({})


def test_an_error_is_told_with_the_sentences_of_its_code():
    error = JobError("no_space", "/data")
    assert Failed.of(error) == Failed("no_space", error.text, error.fix, True, "/data")
    assert Failed.of(error, {}).kept and not Failed.of(error).kept
