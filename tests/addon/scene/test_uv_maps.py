"""A texture fits the UVs it was made for: a map that changed meanwhile is noticed, and a new one always works."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select, start_job
from tests.support.by_hand import HandJob, look, temporary

targets, belonging = module("addon.scene.targets"), module("addon.run.belonging")


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return HandJob(monkeypatch, **settings)

    return make


def values(layer) -> np.ndarray:
    found = np.empty(len(layer.uv) * 2, np.float32)
    layer.uv.foreach_get("vector", found)
    return found.reshape(-1, 2)


def write_own_uv(job) -> None:
    """What the backend leaves when it takes the mesh's own map."""
    with np.load(job.job.folder / "mesh.npz") as file:
        uv = file["uv"]
    np.savez(job.job.folder / "result" / "uv.npz", uv=uv, source=np.array(["user"] * len(job.job.targets)))


def shown_map(obj) -> str:
    return next(n.uv_map for n in obj.material_slots[0].material.node_tree.nodes if n.type == "UVMAP")


def unwrap():
    """As an artist does, on whatever map is active."""
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.uv.cube_project(cube_size=3.0)


def unwrap_in_edit_mode():
    bpy.ops.object.mode_set(mode="EDIT")
    unwrap()
    bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("end", ["save", "save in Edit Mode", "discard"])
def test_a_map_that_the_artist_makes_under_a_preview_stays_theirs(by_hand, tmp_path, end):
    mesh = cube().data
    mesh.uv_layers.remove(mesh.uv_layers[0])
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    unwrap_in_edit_mode()
    drawn = values(mesh.uv_layers.active)
    if end == "save in Edit Mode":
        bpy.ops.object.mode_set(mode="EDIT")
    if end.startswith("save"):
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.object.mode_set(mode="OBJECT")
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert np.array_equal(values(mesh.uv_layers["UVMap"]), drawn)
    assert [u.name for u in mesh.uv_layers] == ["UVMap"]


def test_a_map_that_was_edited_under_a_preview_stays_and_what_was_rendered_is_rendered_again(by_hand):
    mesh = cube().data
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    unwrap_in_edit_mode()
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert look(cube())[1] == [("UVMap", False, True), ("UVMap.001", True, False)]
    assert len(mesh.uv_layers) == 2


@pytest.mark.parametrize("which", ["active", "render", "both"])
@pytest.mark.parametrize("end", ["discard", "save", "save, discard"])
def test_the_map_that_the_artist_chooses_under_a_preview_stays_chosen(by_hand, tmp_path, which, end):
    mesh = cube().data
    mesh.uv_layers.new(name="Other", do_init=False)
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    active, render = which in ("active", "both"), which in ("render", "both")
    if active:
        mesh.uv_layers.active = mesh.uv_layers["Other"]
    if render:
        mesh.uv_layers["Other"].active_render = True
    if "save" in end:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
        assert mesh.uv_layers["Other"].active == active and mesh.uv_layers["Other"].active_render == render
    if "discard" in end:
        job.finish(["new"])
        bpy.ops.csd.discard()
    else:
        module("addon.session").session.job = None
        bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert look(cube())[1] == [("UVMap", not active, not render), ("Other", active, render)]


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_previews_own_map_is_known_under_another_name(by_hand, pictures):
    before = look(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    cube().data.uv_layers["CSD Preview"].name = "Renamed"
    if pictures == 2:
        job.preview()
        assert shown_map(cube()) == "Renamed" and len(cube().data.uv_layers) == 2
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert look(cube()) == before


def test_a_map_that_was_renamed_under_a_preview_is_chosen_again(by_hand):
    mesh = cube().data
    mesh.uv_layers.new(name="Other", do_init=False)
    before = look(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    mesh.uv_layers["UVMap"].name = "Unwrapped"
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert look(cube())[1] == [("Unwrapped", *before[1][0][1:]), before[1][1]]


def test_a_result_that_comes_in_edit_mode_is_shown_after_it(by_hand):
    """UV maps cannot be read there: none is called changed, and the timer waits with a new one."""
    job = by_hand()
    job.write_uv(["user"])
    bpy.ops.object.mode_set(mode="EDIT")
    job.finish()
    pump = module("addon.run.pump")
    pump.work(float("inf"))
    assert job.job.changed_maps == [] and not job.job.final_shown and pump.next_interval() is not None
    bpy.ops.object.mode_set(mode="OBJECT")
    pump.work(float("inf"))
    assert job.job.final_shown and job.job.changed_maps == [] and look(cube())[2]


def scramble(mesh) -> None:
    layer = mesh.uv_layers["UVMap"]
    layer.uv.foreach_set("vector", values(layer)[::-1].copy().ravel())


def replace(mesh) -> None:
    mesh.uv_layers.remove(mesh.uv_layers["UVMap"])
    mesh.uv_layers.new(name="UVMap", do_init=False)


CHANGES = {
    "moved": (scramble, "changed"),
    "one corner moved": (lambda m: setattr(m.uv_layers["UVMap"].uv[3], "vector", (0.123, 0.4)), "changed"),
    "removed": (lambda m: m.uv_layers.remove(m.uv_layers["UVMap"]), "missing"),
    "made anew under the same name": (replace, "changed"),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("before_finish", [True, False])
def test_a_map_that_changed_during_the_job_is_said_and_the_texture_goes_on_a_new_one(by_hand, case, before_finish):
    change, state = CHANGES[case]
    job = by_hand()
    write_own_uv(job)
    own = values(cube().data.uv_layers["UVMap"])
    job.preview()
    if not before_finish:
        job.finish()
    change(cube().data)
    if before_finish:
        job.finish()
    [target] = job.job.targets
    assert targets.uv_state(target) == state and belonging.changed_maps(job.job) == ["Cube"]
    with pytest.raises(module("addon.scene.export").SceneError, match="since the job began.*new map"):
        job.jobs.accept()
    session = module("addon.session").session
    assert session.job is job.job and look(cube())[2].startswith(job.job.id), "the result still waits"
    job.jobs.accept(new_map=True)
    layer = cube().data.uv_layers[shown_map(cube())]
    assert layer.name == "CSD" and layer.active_render and np.array_equal(values(layer), own)
    assert cube().material_slots[0].material.name == "Red brick" and temporary() == []


def test_the_finished_preview_of_a_changed_map_shows_the_texture_in_its_place(by_hand):
    job = by_hand()
    write_own_uv(job)
    own = values(cube().data.uv_layers["UVMap"])
    job.preview()
    scramble(cube().data)
    changed = values(cube().data.uv_layers["UVMap"])
    job.finish()
    assert np.array_equal(values(cube().data.uv_layers[shown_map(cube())]), own)
    bpy.ops.csd.discard()
    assert [u.name for u in cube().data.uv_layers] == ["UVMap"]
    assert np.array_equal(values(cube().data.uv_layers["UVMap"]), changed)


def test_a_map_that_was_renamed_is_found_by_what_it_holds(by_hand):
    job = by_hand()
    write_own_uv(job)
    cube().data.uv_layers["UVMap"].name = "Unwrapped"
    cube().data.uv_layers.new(name="UVMap", do_init=False)
    job.finish()
    assert belonging.changed_maps(job.job) == []
    job.jobs.accept()
    assert shown_map(cube()) == "Unwrapped" and len(cube().data.uv_layers) == 2


@pytest.mark.parametrize("case", ["vertices moved", "another map active", "a deforming modifier", "own mesh"])
def test_what_does_not_touch_the_map_needs_no_choice(by_hand, case):
    obj = cube()
    job = by_hand()
    write_own_uv(job)
    if case == "vertices moved":
        obj.data.vertices[0].co.x += 3
    elif case == "another map active":
        obj.data.uv_layers.active = obj.data.uv_layers.new(name="Other")
    elif case == "a deforming modifier":
        obj.modifiers.new("Displace", "DISPLACE")
    else:
        obj.name = "Box"
        obj.data = obj.data.copy()
    job.finish()
    assert belonging.changed_maps(job.job) == []
    job.jobs.accept()
    assert shown_map(obj) == "UVMap" and obj.material_slots[0].material.name == "Red brick"


def test_a_new_map_of_the_job_does_not_care_about_the_old_one(by_hand):
    job = by_hand()
    job.write_uv(["new"])
    scramble(cube().data)
    job.finish(["new"])
    assert belonging.changed_maps(job.job) == []
    job.jobs.accept()
    assert shown_map(cube()) == "CSD"


def test_behind_modifiers_that_change_faces_the_own_map_comes_back_as_a_new_one(by_hand):
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    own = values(obj.data.uv_layers["UVMap"])
    job = by_hand()
    write_own_uv(job)
    scramble(obj.data)
    job.finish()
    job.jobs.accept(new_map=True)
    assert np.array_equal(values(obj.data.uv_layers[shown_map(obj)]), own)


def test_faces_that_changed_behind_kept_modifiers_are_noticed_too(by_hand):
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    job = by_hand()
    write_own_uv(job)
    job.finish()
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.select_all(action="SELECT")
    bpy.ops.mesh.subdivide()
    bpy.ops.object.mode_set(mode="OBJECT")
    [applied] = job.jobs.accept()
    assert "changed since the job began" in applied.message and obj.material_slots[0].material.name == "Material"


def test_only_the_object_whose_map_changed_gets_a_new_one(by_hand):
    first = cube()
    bpy.ops.mesh.primitive_uv_sphere_add(location=(3, 0, 0), segments=8, ring_count=6)
    second = bpy.context.object
    select(first, second)
    job = by_hand()
    write_own_uv(job)
    scramble(first.data)
    job.finish(["user", "user"])
    assert belonging.changed_maps(job.job) == ["Cube"]
    job.jobs.accept(new_map=True)
    assert (shown_map(first), shown_map(second)) == ("CSD", "UVMap")


def test_a_full_mesh_is_named_at_accept_and_the_result_waits(by_hand):
    job = by_hand()
    job.write_uv(["new"])
    job.finish(["new"])
    bpy.ops.csd.discard.poll()
    module("addon.scene.preview.cover").uncover_all()
    mesh = cube().data
    while len(mesh.uv_layers) < 8:
        mesh.uv_layers.new(name="More")
    with pytest.raises(module("addon.scene.export").SceneError, match="eight UV maps"):
        job.jobs.accept()
    assert module("addon.session").session.job is job.job and "Red brick" not in bpy.data.images
    mesh.uv_layers.remove(mesh.uv_layers[-1])
    job.jobs.accept()
    assert shown_map(cube()) == "CSD"


def test_a_map_with_a_longer_name_than_the_node_takes_is_found_by_another_node(by_hand):
    cube().data.uv_layers["UVMap"].name = "ж" * 33
    [layer] = cube().data.uv_layers
    assert len(layer.name.encode()) > 63
    job = by_hand()
    write_own_uv(job)
    job.preview()
    material = cube().material_slots[0].material
    assert module("addon.scene.materials.build").shown_map(material) == layer.name
    nodes = material.node_tree.nodes[:]
    job.preview()
    assert material.node_tree.nodes[:] == nodes, "the preview is not built anew with each picture"
    job.finish()
    job.jobs.accept()
    assert module("addon.scene.materials.build").shown_map(cube().material_slots[0].material) == layer.name


@pytest.fixture
def dynamic_topology():
    """Switches it on and off; it sculpts a copy of the mesh, which then takes the mesh's place."""

    def switch(on: bool):
        if on:
            bpy.ops.object.mode_set(mode="SCULPT")
        bpy.ops.sculpt.dynamic_topology_toggle()
        assert cube().use_dynamic_topology_sculpting == on
        if not on:
            bpy.ops.object.mode_set(mode="OBJECT")

    select(cube())
    yield switch
    if cube().use_dynamic_topology_sculpting:
        switch(False)


@pytest.mark.parametrize("saved", [False, True])
def test_a_preview_that_ends_under_dynamic_topology_leaves_no_map_behind(by_hand, dynamic_topology, saved, tmp_path):
    before = look(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    dynamic_topology(True)
    if saved:
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert look(cube())[0] == before[0] and temporary() == []
    added_map = module("addon.scene.preview.added_map")
    assert added_map.clear_late(), "it looks again"
    dynamic_topology(False)
    assert added_map.clear_late() is None
    assert look(cube()) == before


def test_under_dynamic_topology_a_new_map_waits_and_accepting_is_refused(by_hand, dynamic_topology):
    job = by_hand()
    job.write_uv(["new"])
    dynamic_topology(True)
    job.preview()
    assert [u.name for u in cube().data.uv_layers] == ["UVMap"]
    job.finish(["new"])
    assert not job.job.final_shown
    with pytest.raises(RuntimeError, match="Leave Sculpt Mode first"):
        bpy.ops.csd.accept()
    with pytest.raises(module("addon.errors").SceneError, match="dynamic topology"):
        job.jobs.accept()
    dynamic_topology(False)
    job.pump.work(float("inf"))
    assert job.job.final_shown
    [applied] = job.jobs.accept()
    # It makes triangles of the faces, so that the texture has nothing to lie on.
    assert "changed since the job began" in applied.message


@pytest.mark.parametrize("kind", ["texture", "edit"])
def test_no_job_begins_with_faces_that_are_still_to_be_ordered(dynamic_topology, kind):
    """Dynamic topology tells their order at its end, so that no result would find its place."""
    dynamic_topology(True)
    with pytest.raises(module("addon.errors").SceneError, match="Leave Sculpt Mode first"):
        start_job({"prompt": "red brick"} | ({"source": "gray"} if kind == "edit" else {}), kind=kind)
