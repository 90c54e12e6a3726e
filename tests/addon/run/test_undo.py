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


def edit_and_move(times=2):
    bpy.ops.object.mode_set(mode="EDIT")
    push("Edit Mode")
    bpy.ops.mesh.select_all(action="SELECT")
    for _ in range(times):
        bpy.ops.transform.translate(value=(0, 0, 1))
        push("Move")


@pytest.mark.parametrize("own_map", [True, False])
@pytest.mark.parametrize("steps", ["undo undo", "undo redo", "undo undo redo undo", "undo undo undo redo redo redo"])
@pytest.mark.parametrize("end", ["discard", "failure in Edit Mode", "accept"])
def test_several_steps_within_edit_mode_leave_no_map_of_the_preview_behind(monkeypatch, own_map, steps, end):
    """They bring the map back without the mark that it is the preview's, which is not in Edit Mode's steps."""
    if not own_map:
        cube().data.uv_layers.remove(cube().data.uv_layers[0])
        push("No map")
    before = look(cube())
    job = HandJob(monkeypatch)
    job.write_uv(["new"])
    job.preview()
    edit_and_move()
    for step in steps.split():
        getattr(bpy.ops.ed, step)()
        if cube().mode == "EDIT":
            assert [u.name for u in cube().data.uv_layers if u.name.startswith("CSD")] == ["CSD Preview"]
    if end == "failure in Edit Mode":
        job.say("error", code="internal", text="No.", fix="", retryable=False, detail="")
        bpy.ops.ed.undo()
        bpy.ops.ed.redo()
    else:
        job.finish(["new"])
    bpy.ops.object.mode_set(mode="OBJECT")
    job.pump.work(float("inf"))
    if end != "failure in Edit Mode":
        getattr(bpy.ops.csd, end)()
    after = look(cube())
    if end == "accept":
        assert after[1][-1] == ("CSD", True, True) and len(after[1]) == len(before[1]) + 1
    else:
        assert after == before
    assert temporary() == []


def test_a_file_saved_in_edit_mode_after_an_undo_that_brought_the_map_back_holds_none(monkeypatch, tmp_path):
    job = HandJob(monkeypatch)
    job.write_uv(["new"])
    job.preview()
    edit_and_move()
    for path in ("a.blend", "b.blend"):
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / path))
        bpy.ops.ed.undo()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "c.blend"))
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    for path in ("a.blend", "b.blend", "c.blend"):
        with bpy.data.libraries.load(str(tmp_path / path)) as (source, target):
            target.meshes = source.meshes
        assert [[u.name for u in mesh.uv_layers] for mesh in target.meshes] == [["UVMap"]]
