"""Modifiers that a job is to apply, and that the artist applies first: what is seen is what the texture is for."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob, look, temporary

SceneError = module("addon.errors").SceneError


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
    with pytest.raises(SceneError, match="would drop its shape keys"):
        made.jobs.accept()
    assert [k.name for k in cube().data.shape_keys.key_blocks] == ["Basis", "Smile"] and cube().modifiers


def armature():
    cube().modifiers.new("Rig", "ARMATURE")


def particles():
    bpy.ops.object.particle_system_add()


def keyed():
    cube().modifiers.new("Pushed", "DISPLACE").keyframe_insert("strength", frame=1)


def switched_on():
    cube().modifiers["Off"].show_viewport = True


@pytest.mark.parametrize("come", [armature, particles, keyed, switched_on])
def test_what_came_meanwhile_and_would_be_dropped_keeps_the_result_waiting(job, come):
    off = cube().modifiers.new("Off", "HOOK")
    off.show_viewport = False
    made = job("new")
    before = {m.name for m in cube().modifiers}
    come()
    made.finish(["new"])
    there = [m.name for m in cube().modifiers]
    with pytest.raises(SceneError, match="would drop .*came since the job began"):
        made.jobs.accept()
    assert [m.name for m in cube().modifiers] == there and "CSD" not in cube().data.uv_layers
    for modifier in cube().modifiers:
        modifier.show_viewport = modifier.show_viewport and modifier.name in before and modifier.name != "Off"
    [done] = made.jobs.accept()
    assert done.object == cube() and not any(m.show_viewport for m in cube().modifiers)


def levels_of(mesh):
    """How many levels a Multiresolution modifier finds in ``mesh``."""
    probe = bpy.data.objects.new("Probe", mesh)
    bpy.context.scene.collection.objects.link(probe)
    found = probe.modifiers.new("Multires", "MULTIRES").total_levels
    bpy.data.objects.remove(probe)
    return found


@pytest.fixture
def sculpted():
    """A cube with two levels of Multires, both shown."""
    multires = cube().modifiers.new("Multires", "MULTIRES")
    for _ in range(2):
        bpy.ops.object.multires_subdivide(modifier="Multires")
    bpy.context.view_layer.update()
    copy = cube().data.copy()
    assert multires.levels == 2 and levels_of(copy) == 2
    return multires


def test_the_old_mesh_keeps_what_was_sculpted(by_hand, sculpted):
    old = cube().data
    made = by_hand(modifiers="apply", uv="new")
    made.write_uv(["new"])
    made.finish(["new"])
    made.jobs.accept()
    assert not cube().modifiers and len(cube().data.polygons) == 96
    assert old.use_fake_user and levels_of(old) == 2


def test_levels_that_are_not_shown_are_not_dropped(by_hand, sculpted):
    sculpted.levels = 1
    with pytest.raises(SceneError, match="would drop the finer levels of the modifier “Multires”"):
        by_hand(modifiers="apply", uv="new")
    assert cube().modifiers


def test_strips_of_the_mesh_in_the_nla_are_not_dropped(by_hand):
    cube().modifiers.new("Parts", "SUBSURF")
    cube().data["mine"] = 1.0
    cube().data.keyframe_insert('["mine"]', frame=1)
    data = cube().data.animation_data
    data.nla_tracks.new().strips.new("Mine", 1, data.action)
    with pytest.raises(SceneError, match="would drop the strips of its mesh in the NLA"):
        by_hand(modifiers="apply", uv="new")


def other(name, moves):
    made = bpy.data.objects.new(name, cube().data.copy())
    bpy.context.scene.collection.objects.link(made)
    made.location = (0.5, 0.5, 0.5)
    if moves:
        for frame in (1, 50):
            made.location.x = frame / 10 + 0.4
            made.keyframe_insert("location", frame=frame)
    bpy.context.view_layer.update()
    return made


def boolean(moves):
    cube().modifiers.new("Cut", "BOOLEAN").object = other("Cutter", moves)


def child(moves):
    cutter = other("Cutter", False)
    cutter.parent = other("Arm", moves)
    cube().modifiers.new("Cut", "BOOLEAN").object = cutter


def collection(moves):
    cutters = bpy.data.collections.new("Cutters")
    cutters.objects.link(other("Cutter", moves))
    cut = cube().modifiers.new("Cut", "BOOLEAN")
    cut.operand_type, cut.collection = "COLLECTION", cutters


def mirror_that_moves_itself(moves):
    cube().modifiers.new("Cut", "MIRROR").mirror_object = other("Middle", False)
    if moves:
        cube().keyframe_insert("location", frame=1)


def nodes(moves):
    tree = bpy.data.node_groups.new("Nodes", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    start, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    divide = tree.nodes.new("GeometryNodeSubdivideMesh")
    tree.links.new(start.outputs[0], divide.inputs[0])
    tree.links.new(divide.outputs[0], end.inputs[0])
    if moves:
        tree.nodes.new("GeometryNodeInputSceneTime")
    cube().modifiers.new("Cut", "NODES").node_group = tree


def said_of(text):
    depsgraph = bpy.context.evaluated_depsgraph_get()
    exported = module("addon.scene.export").export_objects([cube()], depsgraph, "apply", "new")
    return [w for w in exported.warnings if text in w]


def test_levels_that_simplify_holds_back_are_named():
    cube().modifiers.new("Smooth", "SUBSURF").levels = 3
    bpy.context.scene.render.use_simplify = True
    bpy.context.scene.render.simplify_subdivision = 1
    assert ["“Smooth”" in sentence for sentence in said_of("Simplify")] == [True]
    bpy.context.scene.render.simplify_subdivision = 3
    assert not said_of("Simplify")


def carried_by(kind):
    bpy.ops.object.armature_add() if kind == "ARMATURE" else bpy.ops.object.add(type="LATTICE")
    cube().parent, cube().parent_type = bpy.context.object, kind
    cube().modifiers.new("Parts", "SUBSURF")


@pytest.mark.parametrize("kind", ["ARMATURE", "LATTICE"])
def test_what_a_parent_deforms_is_not_deformed_twice(kind):
    carried_by(kind)
    assert not said_of("parent"), "at rest it deforms nothing"
    if kind == "LATTICE":
        cube().parent.data.points[0].co_deform.x += 1
    else:
        cube().parent.pose.bones[0].location.x = 1
    bpy.context.view_layer.update()
    with pytest.raises(SceneError, match="the pose of its parent"):
        said_of("")
    cube().parent_type = "OBJECT"
    assert not said_of("parent")


def test_what_is_off_and_holds_to_the_mesh_is_not_dropped(sculpted):
    sculpted.show_viewport = False
    cube().modifiers.new("Parts", "SUBSURF")
    with pytest.raises(SceneError, match="finer levels of the modifier “Multires”"):
        said_of("")
    cube().modifiers.remove(sculpted)
    target = other("Target", False)
    bound = cube().modifiers.new("Bound", "SURFACE_DEFORM")
    cube().modifiers.move(len(cube().modifiers) - 1, 0)
    bound.target = target
    bpy.context.view_layer.update()
    with bpy.context.temp_override(object=cube(), active_object=cube()):
        bpy.ops.object.surfacedeform_bind(modifier="Bound")
    bpy.context.view_layer.update()
    assert bound.is_bound
    bound.show_viewport = False
    with pytest.raises(SceneError, match="“Bound”, which is off, is bound to"):
        said_of("")


def nodes_that_are_given(moves):
    nodes(False)
    modifier = cube().modifiers["Cut"]
    socket = modifier.node_group.interface.new_socket("Other", in_out="INPUT", socket_type="NodeSocketObject")
    given = other("Given", moves)
    if bpy.app.version < (5, 2, 0):
        modifier[socket.identifier] = given
    else:
        getattr(modifier.properties.inputs, socket.identifier).value = given


def textured(moves):
    texture = bpy.data.textures.new("Waves", "CLOUDS")
    cube().modifiers.new("Cut", "DISPLACE").texture = texture
    if moves:
        texture.keyframe_insert("noise_scale", frame=1)


def cutter_of_nodes(moves):
    boolean(False)
    nodes(moves)
    tree = cube().modifiers["Cut.001"].node_group
    cube().modifiers.remove(cube().modifiers["Cut.001"])
    cube().modifiers["Cut"].object.modifiers.new("Nodes", "NODES").node_group = tree


@pytest.mark.parametrize(
    "way",
    [boolean, child, collection, mirror_that_moves_itself, nodes, nodes_that_are_given, textured, cutter_of_nodes],
)
def test_it_is_said_what_will_no_longer_move(way):
    cube().modifiers.new("Parts", "SUBSURF")
    way(False)
    assert not said_of("ends how it changes")
    cube().modifiers.clear()
    cube().modifiers.new("Parts", "SUBSURF")
    way(True)
    assert said_of("ends how it changes by “Cut”")
