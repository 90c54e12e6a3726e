"""Library overrides take a texture that the file can keep, and say what they cannot show; linked materials stay."""

import json

import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob, look, temporary


@pytest.fixture
def overridden(tmp_path):
    """A cube of another file with a library override of object and mesh, in a file that has nothing else."""
    library = str(tmp_path / "library.blend")
    cube().modifiers.new("Smooth", "SUBSURF")
    bpy.ops.wm.save_as_mainfile(filepath=library)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with bpy.data.libraries.load(library, link=True) as (_, wanted):
        wanted.objects = ["Cube"]
    obj = bpy.data.objects["Cube"].override_create()
    obj.data = obj.data.override_create()
    bpy.context.scene.collection.objects.link(obj)
    select(obj)
    return obj


def test_what_a_library_override_would_lose_with_the_next_opening_is_refused(overridden, tmp_path):
    with pytest.raises(RuntimeError, match="library override, which gets its modifiers back"):
        bpy.ops.csd.texture(prompt="red brick", modifiers="apply", uv="new")
    overridden.modifiers["Smooth"].show_viewport = False
    with pytest.raises(RuntimeError, match="library override, which loses new UV maps"):
        bpy.ops.csd.texture(prompt="red brick", uv="new")
    assert not list(tmp_path.rglob("job.json"))
    assert bpy.ops.csd.texture(prompt="red brick") == {"FINISHED"}
    record = json.loads(next(tmp_path.rglob("job.json")).read_text("utf-8"))
    assert record["uv"] == "keep", "not left to the backend, which might choose a new one"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mine.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "mine.blend"))
    mine = next(o for o in bpy.data.objects if o.override_library)
    assert mine.material_slots[0].material.name == "Red brick"


@pytest.mark.parametrize("saved", [False, True])
def test_an_override_shows_no_preview_says_so_and_is_accepted(overridden, monkeypatch, tmp_path, saved):
    before = look(overridden)
    job = HandJob(monkeypatch)
    [said] = job.job.warnings
    assert "not seen on it before it is accepted" in said
    job.write_uv(["user"])
    job.preview()
    assert look(overridden) == before
    job.finish()
    assert look(overridden) == before and job.job.final_shown and module("addon.session").session.problem is None
    if saved:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mine.blend"))
        assert look(overridden) == before
    bpy.ops.csd.accept()
    assert overridden.material_slots[0].material.name == "Red brick" and temporary() == []


def test_a_result_is_shown_again_and_another_one_made_where_an_override_shows_none(overridden, monkeypatch):
    before = look(overridden)
    job = HandJob(monkeypatch)
    job.write_uv(["user"])
    job.finish()
    bpy.ops.csd.discard()
    job.jobs.resume(job.job.folder, show=True)
    again = HandJob(monkeypatch)
    again.preview()
    again.finish()
    bpy.ops.csd.discard()
    assert look(overridden) == before and temporary() == []


@pytest.mark.parametrize("source", ["user", "new"])
def test_an_override_that_shares_the_mesh_is_left_alone(overridden, monkeypatch, source):
    mine = bpy.data.objects.new("Mine", overridden.data.copy())
    bpy.context.scene.collection.objects.link(mine)
    overridden.data = mine.data
    bpy.context.view_layer.update()
    before = look(mine), look(overridden)
    select(mine)
    job = HandJob(monkeypatch)
    job.write_uv([source])
    job.preview()
    assert mine.material_slots[0].material.name.startswith(".CSD Preview")
    assert overridden.material_slots[0].material.name == "Material"
    job.finish([source])
    bpy.ops.csd.discard()
    assert (look(mine), look(overridden)) == before and temporary() == []


def test_a_linked_material_that_a_texture_replaces_stays_in_the_file(monkeypatch, tmp_path):
    """A fake user keeps nothing that is linked: Blender leaves it out of the next save."""
    library = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=library)
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    with bpy.data.libraries.load(library, link=True) as (_, wanted):
        wanted.materials = ["Material"]
    [linked] = wanted.materials
    cube().data.materials.append(linked)
    job = HandJob(monkeypatch)
    job.finish()
    bpy.ops.csd.accept()
    del linked
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "mine.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "mine.blend"))
    assert {m.name: bool(m.library) for m in bpy.data.materials if m.name == "Material" and m.library} == {
        "Material": True
    }
    assert bpy.data.materials["Material", None].use_fake_user
