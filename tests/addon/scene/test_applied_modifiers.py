"""Modifiers that a job is to apply, and that the artist applies first: what is seen is what the texture is for."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, select
from tests.support.by_hand import HandJob, look, temporary


@pytest.fixture
def job(monkeypatch):
    """One that applies a Subdivision and a Triangulate modifier."""

    def make(source):
        cube().modifiers.new("Subdivision", "SUBSURF").levels = 1
        cube().modifiers.new("Triangulate", "TRIANGULATE")
        select(cube())
        made = HandJob(monkeypatch, modifiers="apply", uv="new" if source == "new" else "keep")
        uv = made.write_uv([source])
        if source == "user":
            with np.load(made.job.folder / "mesh.npz") as file:
                uv = file["uv"]
            np.savez(made.job.folder / "result" / "uv.npz", uv=uv, source=np.array([source]))
        return made

    return make


@pytest.mark.parametrize("source", ["user", "new"])
@pytest.mark.parametrize("applied", [[], ["Subdivision"], ["Subdivision", "Triangulate"]])
@pytest.mark.parametrize("opened_again", [False, True])
def test_modifiers_that_were_applied_by_hand_are_those_of_the_job(job, tmp_path, source, applied, opened_again):
    made = job(source)
    made.preview()
    for name in applied:
        bpy.ops.object.modifier_apply(modifier=name)
    made.preview()
    if opened_again and len(applied) != 1:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    made.finish([source])
    assert made.job.changed_maps == []
    [done] = made.jobs.accept()
    assert done.object == cube() and not done.message
    assert len(cube().data.polygons) == 48 and not cube().modifiers
    assert cube().material_slots[0].material.name == "Red brick" and temporary() == []
    assert look(cube())[1][-1] == ("CSD" if source == "new" else "UVMap", True, True)


@pytest.mark.parametrize("source", ["user", "new"])
@pytest.mark.parametrize("change", ["another modifier", "removed", "subdivided"])
def test_other_faces_than_those_are_noticed(job, source, change):
    made = job(source)
    if change == "another modifier":
        cube().modifiers.new("Mirror", "MIRROR")
    elif change == "removed":
        cube().modifiers.remove(cube().modifiers["Subdivision"])
    else:
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.mesh.subdivide()
        bpy.ops.object.mode_set(mode="OBJECT")
    before = look(cube()), len(cube().data.polygons), len(cube().modifiers)
    made.finish([source])
    [done] = made.jobs.accept(new_map=True)
    assert "changed since the job began" in done.message and done.object is None
    assert (look(cube()), len(cube().data.polygons), len(cube().modifiers)) == before


def test_modifiers_that_keep_the_faces_are_said_to_stay(monkeypatch):
    cube().modifiers.new("Smooth", "SMOOTH")
    select(cube())
    made = HandJob(monkeypatch, modifiers="apply", uv="keep")
    assert [w for w in made.job.warnings if "and stay" in w] == [
        "The modifiers of “Cube” leave its faces as they are, and stay."
    ]
    made.write_uv(["user"])
    made.finish(["user"])
    made.jobs.accept()
    assert cube().modifiers


def test_what_the_applied_mesh_takes_along_and_what_twins_keep_is_told(job):
    cube().data["mine"], cube().data["measures"], cube().data["list"] = 5, {"width": 2.5}, [1.0, 2.0]
    twin = cube().copy()
    bpy.context.scene.collection.objects.link(twin)
    made = job("new")
    assert any("gets a mesh of its own" in w for w in made.job.warnings)
    old = twin.data
    made.finish(["new"])
    made.jobs.accept()
    assert cube().data != old and twin.data == old
    assert cube().data["mine"] == 5 and cube().data["measures"]["width"] == 2.5
    assert list(cube().data["list"]) == [1.0, 2.0]


def test_nothing_is_said_of_twins_where_there_are_none(job):
    bpy.data.objects["Light"]["mesh"] = cube().data  # no object that shows it
    assert not any("mesh" in w for w in job("new").job.warnings)


def driven_by(mesh):
    """An object whose place is driven by a property of ``mesh``; the driver's target."""
    driven = bpy.data.objects.new("Driven", None)
    bpy.context.scene.collection.objects.link(driven)
    variable = driven.driver_add("location", 0).driver.variables.new()
    variable.targets[0].id_type = "MESH"
    variable.targets[0].id, variable.targets[0].data_path = mesh, '["mine"]'
    return variable.targets[0]


def test_ranges_keys_drivers_and_what_is_driven_go_over_to_the_applied_mesh(job):
    old = cube().data
    old["mine"], old["other"] = 5.0, 1.0
    old.id_properties_ui("mine").update(min=0.0, max=10.0, description="How much")
    old.keyframe_insert('["mine"]', frame=1)
    old.driver_add('["other"]').driver.expression = "2.5"
    target = driven_by(old)
    made = job("new")
    made.finish(["new"])
    made.jobs.accept()
    new = cube().data
    assert new != old and old.use_fake_user and not new.use_fake_user
    ui = new.id_properties_ui("mine").as_dict()
    assert (ui["min"], ui["max"], ui["description"]) == (0.0, 10.0, "How much")
    assert new.animation_data.action == old.animation_data.action
    assert [d.driver.expression for d in new.animation_data.drivers] == ["2.5"]
    assert target.id == new
    new["mine"] = 0.0
    bpy.context.scene.frame_set(2)
    bpy.context.scene.frame_set(1)
    assert new["mine"] == 5.0 and new["other"] == 2.5  # they do move it


def test_what_is_driven_by_a_mesh_that_twins_keep_goes_on_to_be(job):
    old = cube().data
    old["mine"] = 5.0
    twin = cube().copy()
    bpy.context.scene.collection.objects.link(twin)
    target = driven_by(old)
    made = job("new")
    made.finish(["new"])
    made.jobs.accept()
    assert cube().data != old and twin.data == old and target.id == old


def test_shape_keys_that_came_meanwhile_are_not_lost(job, tmp_path):
    made = job("new")
    cube().shape_key_add(name="Basis")
    cube().shape_key_add(name="Smile")
    made.finish(["new"])
    [done] = made.jobs.accept()
    assert "has got shape keys" in done.message and done.object is None
    assert [k.name for k in cube().data.shape_keys.key_blocks] == ["Basis", "Smile"] and cube().modifiers


def test_a_fake_user_is_not_handed_on(job):
    old = cube().data
    old.use_fake_user = True
    made = job("new")
    made.finish(["new"])
    made.jobs.accept()
    assert old.use_fake_user and not cube().data.use_fake_user
