"""Undo and redo while a preview is in the scene: what Blender does between two steps must find nothing of it."""

import pytest

from tests.support.blender import bpy, cube
from tests.support.by_hand import HandJob, ObjectHandJob, look, temporary


def push(message):
    bpy.ops.ed.undo_push(message=message)


@pytest.mark.parametrize("way", ["undo", "redo"])
@pytest.mark.parametrize("kind", [HandJob, ObjectHandJob])
@pytest.mark.parametrize("finished", [False, True])
def test_blender_finds_no_preview_while_it_changes_from_step_to_step(monkeypatch, kind, way, finished):
    """It removes what the other step lacks, and crashes on objects that still point there."""
    job = kind(monkeypatch)
    job.preview()
    cube().location.x = 1
    push("Move")
    if way == "redo":
        bpy.ops.ed.undo()
    if finished:
        job.finish()
    assert temporary()
    found = []
    watch = getattr(bpy.app.handlers, f"{way}_pre")
    watch.append(lambda *_: found.append((temporary(), look(cube())[0])))
    try:
        getattr(bpy.ops.ed, way)()
    finally:
        watch.pop()
    assert found == [([], [("DATA", "Material", "Material")])]
    assert temporary(), "and it is back"
    bpy.ops.csd.discard() if finished else job.jobs.end_without_result(job.job, "cancelled")


def test_undo_within_edit_mode_leaves_no_map_of_the_preview_behind(monkeypatch):
    before = look(cube())
    job = HandJob(monkeypatch)
    job.write_uv(["new"])
    job.preview()
    assert len(cube().data.uv_layers) == 2
    bpy.ops.object.mode_set(mode="EDIT")
    push("Edit Mode")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.transform.translate(value=(0, 0, 1))
    push("Move")
    bpy.ops.ed.undo()
    job.preview()
    bpy.ops.object.mode_set(mode="OBJECT")
    job.preview()
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert look(cube()) == before and temporary() == []
