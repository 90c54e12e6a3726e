"""Which .blend a job belongs to: through Save As, in a later session, and when files were moved."""

import os

import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob

belonging, targets, scene_export, open_file = (
    module("addon.run.belonging"),
    module("addon.scene.targets"),
    module("addon.scene.export"),
    module("addon.scene.open_file"),
)

session = module("addon.session").session


def save(path):
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


def taken_up_again(job):
    """The job as a later session reads it from its folder."""
    found, blend_file = scene_export.read_targets(job.folder)
    again = module("addon.job").Job(job.id, job.folder, job.spec, found, blend_file)
    belonging.resume_here(again)
    return again


@pytest.fixture
def job(monkeypatch):
    return lambda: HandJob(monkeypatch).job


def test_saving_under_another_name_takes_the_job_along(job, tmp_path):
    save(tmp_path / "a.blend")
    started = job()
    cube().name = "Box"
    save(tmp_path / "b.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert "b.blend" in belonging.accept_problem(taken_up_again(started))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "b.blend"))
    again = taken_up_again(started)
    assert belonging.accept_problem(again) == "" and targets.find_object(again.targets[0]).name == "Box"


def test_a_second_copy_that_is_saved_from_the_older_file_has_its_results_too(job, tmp_path):
    save(tmp_path / "a.blend")
    started = job()
    module("addon.run.lifecycle").end_without_result(started, "failed")
    session.job = None
    save(tmp_path / "b.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    save(tmp_path / "c.blend")
    for name in "abc":
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / f"{name}.blend"))
        assert belonging.accept_problem(module("addon.run.lifecycle").read_job(started.folder)) == "", name
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    save(tmp_path / "other.blend")
    assert belonging.accept_problem(module("addon.run.lifecycle").read_job(started.folder)) != ""


def test_saving_another_file_meanwhile_does_not_take_the_job(job, tmp_path):
    save(tmp_path / "a.blend")
    started = job()
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    save(tmp_path / "other.blend")
    assert started.blend_file.endswith("a.blend") and "a.blend" in belonging.accept_problem(started)


def test_a_job_of_a_file_that_exists_elsewhere_does_not_take_the_cube_of_this_one(job, tmp_path):
    save(tmp_path / "a.blend")
    started = job()
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    again = taken_up_again(started)
    assert "a.blend" in belonging.accept_problem(again) and targets.find_object(again.targets[0]) is None


def test_a_file_that_was_moved_is_known_by_its_objects(job, tmp_path):
    save(tmp_path / "a.blend")
    started = job()
    os.rename(tmp_path / "a.blend", tmp_path / "moved.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "moved.blend"))
    assert belonging.accept_problem(taken_up_again(started)) == ""
    cube().data.uv_layers[0].uv[0].vector = (0.9, 0.1)
    assert belonging.accept_problem(taken_up_again(started)) != ""


def test_in_an_unsaved_file_that_is_still_open_a_changed_map_does_not_hide_the_objects(job):
    started = job()
    cube().data.uv_layers[0].uv[0].vector = (0.9, 0.1)
    again = taken_up_again(started)
    assert belonging.accept_problem(again) == "" and targets.find_object(again.targets[0]) == cube()


def test_one_file_is_the_same_by_any_of_its_paths(tmp_path):
    (tmp_path / "a.blend").write_bytes(b"x")
    os.symlink(tmp_path / "a.blend", tmp_path / "link.blend")
    assert open_file.is_same(str(tmp_path / "a.blend"), f"{tmp_path}/../{tmp_path.name}/a.blend")
    assert open_file.is_same(str(tmp_path / "a.blend"), str(tmp_path / "link.blend"))
    assert not open_file.is_same("", "") and not open_file.is_same(str(tmp_path / "a.blend"), str(tmp_path / "b.blend"))


def test_an_object_that_is_linked_from_another_file_is_not_taken_for_the_job_s(job, tmp_path):
    job, library = job(), tmp_path / "library.blend"
    save(library)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    link_cube(library)
    assert not taken_up_again(job).in_file
    assert not targets.suits(bpy.data.objects["Cube"], job.targets[0])


def test_a_linked_object_with_a_preview_that_a_crash_left_in_its_file_keeps_nobody_from_working(monkeypatch, tmp_path):
    hand, library = HandJob(monkeypatch), tmp_path / "recovery.blend"
    hand.write_uv(["new"])
    hand.preview()
    saving = module("addon.run.handlers").before_save
    bpy.app.handlers.save_pre.remove(saving)  # autosave and the recovery file do not call it
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(library), copy=True)
    finally:
        bpy.app.handlers.save_pre.append(saving)
    module("addon.session").session.job = None
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    link_cube(library)
    bpy.ops.mesh.primitive_monkey_add()
    again = HandJob(monkeypatch)
    again.preview()
    again.finish()
    assert bpy.ops.csd.accept() == {"FINISHED"}
    assert bpy.context.object.material_slots[0].material.name == "Red brick"


def link_cube(library):
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.objects = ["Cube"]
    bpy.context.scene.collection.objects.link(bpy.data.objects["Cube"])


def test_an_object_that_was_there_all_along_does_not_get_the_texture_of_one_that_is_gone(monkeypatch, tmp_path):
    """Revert, and the duplicate that the job is for was never saved: the original is the same but for its name."""
    save(tmp_path / "a.blend")
    select(cube())
    bpy.ops.object.duplicate()
    bpy.context.object.name = "Statue"
    job = HandJob(monkeypatch)
    job.finish()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    select(cube())
    assert cube().material_slots[0].material.name == "Material"
    assert bpy.ops.csd.accept() == {"FINISHED"}
    assert "“Statue” is gone" in session.notice and cube().material_slots[0].material.name == "Material"


def test_an_object_whose_new_name_was_never_saved_is_found_by_its_shape(job, tmp_path):
    bpy.ops.mesh.primitive_cube_add(location=(4, 0, 0))  # of the same faces and UVs, and of this name all along
    select(cube())
    cube().data.vertices[0].co.x += 0.5
    save(tmp_path / "a.blend")
    started = job()
    cube().name = "Box"
    targets.find_object(started.targets[0])  # by which the job goes by the new name
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert targets.find_object(started.targets[0]) == cube()


def test_results_of_earlier_sessions_go_along_when_the_file_is_saved_under_another_name(monkeypatch, tmp_path):
    save(tmp_path / "v1.blend")
    job = HandJob(monkeypatch)
    job.finish()
    module("addon.run.lifecycle").put_aside()
    session.of_file.clear()  # as after Blender was closed
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "v1.blend"))
    save(tmp_path / "v2.blend")
    for name in ("v2", "v1"):  # the older one has the object still
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / f"{name}.blend"))
        again = module("addon.run.lifecycle").resume(job.job.folder, show=True)
        assert belonging.accept_problem(again) == "" and cube().material_slots[0].material.name != "Material"
        module("addon.run.lifecycle").put_aside()
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    save(tmp_path / "other.blend")
    assert "v2.blend" in belonging.accept_problem(module("addon.run.lifecycle").resume(job.job.folder, show=True))


@pytest.mark.parametrize("saved", [False, True])
def test_equal_objects_that_swap_names_are_told_apart_after_a_revert(job, tmp_path, saved):
    """What they were called before the file was loaded anew counts only where it was saved."""
    other = cube().copy()
    other.data, other.name = cube().data.copy(), "Other"
    bpy.context.collection.objects.link(other)
    save(tmp_path / "a.blend")
    select(cube())
    started = job()
    [target] = started.targets
    mine = cube()
    mine["mine"] = True
    mine.name, other.name = "Between", "Cube"
    assert targets.find_object(target) == mine
    mine.name = "Other"
    assert targets.find_object(target) == mine and target.name == "Other"
    if saved:
        save(tmp_path / "a.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert started.in_file
    found = targets.find_object(target)
    assert found.name == target.name == ("Other" if saved else "Cube") and ("mine" in found) == saved
