"""What cannot be textured is said before anything is computed, in a sentence with what to do."""

import bmesh
import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import HandJob

scene_export = module("addon.scene.export")
SceneError = scene_export.SceneError


def export(*objects, modifiers="keep", uv="auto"):
    return scene_export.export_objects(objects, bpy.context.evaluated_depsgraph_get(), modifiers, uv)


def refused(*objects, **choices) -> str:
    with pytest.raises(SceneError) as caught:
        export(*objects, **choices)
    assert caught.value.text.endswith(".") and caught.value.fix.endswith(".")
    return str(caught.value)


def fill_maps(obj, count=8):
    while len(obj.data.uv_layers) < count:
        obj.data.uv_layers.new(name="More")


def test_a_new_map_for_a_mesh_with_eight_is_refused_and_for_one_with_seven_is_not():
    fill_maps(cube())
    assert "eight UV maps" in refused(cube(), uv="new")
    assert export(cube(), uv="auto").uv == "keep", "the backend must not choose a new one"
    cube().data.uv_layers.remove(cube().data.uv_layers[-1])
    assert export(cube(), uv="new").uv == "new" and export(cube(), uv="auto").uv == "auto"


def test_the_eight_maps_are_counted_on_the_mesh_that_modifiers_will_leave():
    bpy.ops.mesh.primitive_cube_add()
    obj = bpy.context.object
    fill_maps(obj)
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    assert "eight UV maps" in refused(obj, uv="new", modifiers="apply")
    assert "eight UV maps" in refused(obj, uv="new", modifiers="ignore")


def rigged():
    obj = cube()
    rig = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    bpy.context.collection.objects.link(rig)
    obj.modifiers.new("Bones", "ARMATURE").object = rig
    return obj


@pytest.mark.parametrize("case,word", [("keys", "its shape keys"), ("rig", "the modifier “Bones”"), ("both", " and ")])
def test_applying_what_would_drop_shape_keys_or_a_rig_is_refused_by_name(case, word):
    obj = cube()
    if case != "keys":
        rigged()
    if case != "rig":
        obj.shape_key_add(name="Basis")
        obj.shape_key_add(name="Smile")
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    assert word in refused(obj, modifiers="apply")
    assert not export(obj, modifiers="keep").targets[0].maps_back
    assert export(obj, modifiers="ignore").targets[0].maps_back


def test_applying_modifiers_that_keep_the_faces_applies_nothing_and_is_fine():
    assert export(rigged(), modifiers="apply").targets[0].modifiers == "keep"


def with_instances(keep_mesh: bool):
    obj = cube()
    tree = bpy.data.node_groups.new("Many", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    given, made = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    line, many = tree.nodes.new("GeometryNodeMeshLine"), tree.nodes.new("GeometryNodeInstanceOnPoints")
    join = tree.nodes.new("GeometryNodeJoinGeometry")
    tree.links.new(line.outputs[0], many.inputs["Points"])
    tree.links.new(given.outputs[0], many.inputs["Instance"])
    tree.links.new(many.outputs[0], join.inputs[0])
    if keep_mesh:
        tree.links.new(given.outputs[0], join.inputs[0])
    tree.links.new(join.outputs[0], made.inputs[0])
    obj.modifiers.new("Many", "NODES").node_group = tree
    return obj


def test_instances_alone_are_named_with_the_node_that_makes_them_real():
    said = refused(with_instances(keep_mesh=False))
    assert "instances" in said and "Realize Instances" in said and "Ignore" in said
    assert len(export(cube(), modifiers="ignore").arrays["triangles"]) == 12


def test_instances_beside_a_mesh_are_left_out_with_a_warning():
    result = export(with_instances(keep_mesh=True))
    assert len(result.arrays["triangles"]) == 12 and "instances" in result.warnings[0]
    assert export(cube(), modifiers="ignore").warnings == []


def test_a_modifier_that_removes_all_faces_is_not_blamed_on_the_mesh():
    obj = cube()
    group = obj.vertex_groups.new(name="Nothing")
    mask = obj.modifiers.new("Mask", "MASK")
    mask.vertex_group = group.name
    assert "behind its modifiers" in refused(obj)


def test_with_no_mesh_selected_what_is_selected_gets_a_hint():
    bpy.ops.object.text_add()
    assert "Convert “Text” to a mesh" in refused()
    empty = bpy.data.objects.new("Crowd", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", bpy.data.collections.new("People")
    bpy.context.collection.objects.link(empty)
    select(empty)
    assert "Make Instances Real" in refused()


def test_a_script_in_edit_mode_is_refused_before_a_folder_is_written():
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        with pytest.raises(RuntimeError, match="is in Edit Mode"):
            bpy.ops.csd.texture(prompt="red brick")
        assert not module("addon.preferences").jobs_folder().exists()
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")


@pytest.fixture
def multires():
    select(cube())
    cube().modifiers.new("Multires", "MULTIRES")
    for _ in range(2):
        bpy.ops.object.multires_subdivide(modifier="Multires")
    yield cube()
    bpy.ops.object.mode_set(mode="OBJECT")


def test_what_multires_makes_is_not_taken_for_its_base_in_sculpt_mode(multires):
    bpy.ops.object.mode_set(mode="SCULPT")
    for modifiers in ("keep", "apply"):
        assert "Leave Sculpt Mode first" in refused(cube(), modifiers=modifiers)
    assert len(export(cube(), modifiers="ignore").arrays["triangles"]) == 12


def test_multires_is_not_applied_from_sculpt_mode_and_the_result_waits(multires, monkeypatch):
    job = HandJob(monkeypatch, modifiers="apply", uv="new")
    job.write_uv(["new"])
    bpy.ops.object.mode_set(mode="SCULPT")
    job.finish(["new"])
    with pytest.raises(RuntimeError, match="Leave Sculpt Mode first"):
        bpy.ops.csd.accept()
    assert module("addon.session").session.job is job.job and not bpy.data.images.get("Red brick")
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.csd.accept()
    assert len(multires.data.polygons) == 96 and multires.data.uv_layers["CSD"].active


def test_a_script_that_gives_something_else_than_a_mesh_is_told_so():
    with pytest.raises(module("addon.errors").SceneError, match="is not a mesh"):
        module("addon.api").texture(bpy.data.objects["Light"], "red brick")


def test_a_twin_in_edit_mode_is_exported_as_it_is_seen():
    twin = bpy.data.objects.new("Twin", cube().data)
    bpy.context.collection.objects.link(twin)
    bpy.ops.object.mode_set(mode="EDIT")
    edited = bmesh.from_edit_mesh(cube().data)
    for vertex in edited.verts:
        vertex.co.z += 10
    bmesh.update_edit_mesh(cube().data)
    positions = export(twin).arrays["positions"]
    bpy.ops.object.mode_set(mode="OBJECT")
    assert positions[:, 2].min() == 9


@pytest.mark.parametrize("change", ["removed", "added", "values"])
def test_what_a_script_did_to_the_maps_just_before_is_seen(change):
    mesh = cube().data
    bpy.context.view_layer.update()
    if change == "removed":
        mesh.uv_layers.remove(mesh.uv_layers[0])
        assert "uv" not in export(cube()).arrays
    elif change == "added":
        mesh.uv_layers.active = mesh.uv_layers.new(name="Second")
        assert export(cube()).targets[0].uv_layer == "Second"
    else:
        mesh.uv_layers[0].uv.foreach_set("vector", np.full(len(mesh.loops) * 2, 0.25, np.float32))
        assert np.allclose(export(cube()).arrays["uv"], 0.25)


def relative(positions):
    return positions - positions.astype(np.float64).mean(0)


@pytest.mark.parametrize("place", [(500_000, 5_500_000, 120), (-3e7, 0, 0), (0, 0, 40_000)])
def test_far_from_the_origin_the_shape_is_exact_and_near_it_positions_stay(place):
    arrays = export(cube()).arrays
    near = arrays["positions"]
    assert np.abs(near).max() == 1 and "offset" not in arrays
    cube().location = place
    arrays = export(cube()).arrays
    far = arrays["positions"]
    assert arrays["offset"].dtype == np.float64 and np.array_equal(far + arrays["offset"], near + np.float64(place))
    assert far.dtype == np.float32 and np.allclose(relative(far), relative(near), atol=1e-6)


def test_objects_far_from_the_origin_keep_their_distance():
    first = cube()
    bpy.ops.mesh.primitive_cube_add(location=(500_004, 5_500_000, 0))
    first.location = (500_000, 5_500_000, 0)
    arrays = export(first, bpy.context.object).arrays
    middles = [arrays["positions"][arrays["triangles"][arrays["part"] == i]].mean((0, 1)) for i in (0, 1)]
    assert np.allclose(middles[1] - middles[0], [4, 0, 0], atol=1e-5)


def test_corners_of_the_polygons_are_numbered_through_the_parts():
    first = cube()
    bpy.ops.mesh.primitive_plane_add()
    arrays = export(first, bpy.context.object).arrays
    corner, part = arrays["corner"], arrays["part"]
    assert sorted(set(corner[part == 0].ravel())) == list(range(24))
    assert sorted(set(corner[part == 1].ravel())) == list(range(24, 28))


def animate(obj, way):
    modifier = obj.modifiers.new("Push", "WAVE" if way == "time" else "DISPLACE")
    if way == "keyframes":
        modifier.keyframe_insert("strength", frame=1)
    elif way == "driver":
        modifier.driver_add("strength").driver.expression = "0.1"


@pytest.mark.parametrize("way", ["keyframes", "driver", "time"])
def test_applying_what_would_end_a_movement_of_modifiers_is_refused_by_name(way):
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    obj.keyframe_insert("location", frame=1)
    assert export(obj, modifiers="apply").targets[0].replaces_mesh
    animate(obj, way)
    assert "would drop the animation of the modifier “Push”. Set Output" in refused(obj, modifiers="apply")
    assert not export(obj, modifiers="keep").targets[0].maps_back


def test_a_movement_that_was_pushed_down_into_the_nla_counts_as_well():
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    obj.modifiers["Subdivision"].keyframe_insert("levels", frame=1)
    data = obj.animation_data
    data.nla_tracks.new().strips.new("Pushed", 1, data.action)
    data.action = None
    assert "the animation of the modifier “Subdivision”" in refused(obj, modifiers="apply")


@pytest.mark.skipif(bpy.app.version < (4, 4, 0), reason="actions have no slots")
def test_of_an_action_that_objects_share_only_the_own_slot_counts():
    bpy.ops.mesh.primitive_cube_add()
    moving, other = cube(), bpy.context.object
    action = bpy.data.actions.new("Shared")
    for obj in (other, moving):
        obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
        obj.animation_data_create().action = action
        obj.animation_data.action_slot = action.slots.new("OBJECT", obj.name)
    other.keyframe_insert("location", frame=1)
    moving.modifiers["Subdivision"].keyframe_insert("levels", frame=1)
    assert "the animation of the modifier “Subdivision”" in refused(moving, modifiers="apply")
    assert export(other, modifiers="apply").targets[0].replaces_mesh


def with_set_material(obj, selection: bool):
    """Geometry nodes that give faces another material: all, or those that look up."""
    group = bpy.data.node_groups.new("Set", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    begin, end = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    node = group.nodes.new("GeometryNodeSetMaterial")
    node.inputs["Material"].default_value = bpy.data.materials.new("Of Nodes")
    if not selection:
        node.inputs["Selection"].default_value = False
    group.links.new(begin.outputs[0], node.inputs["Geometry"])
    group.links.new(node.outputs[0], end.inputs[0])
    obj.modifiers.new("Set", "NODES").node_group = group
    bpy.context.view_layer.update()


@pytest.mark.parametrize("modifiers", ["keep", "ignore"])
def test_faces_that_nodes_give_a_material_are_told_of(modifiers):
    assert export(cube(), modifiers=modifiers).warnings == []
    with_set_material(cube(), selection=True)
    [said] = export(cube(), modifiers=modifiers).warnings
    assert "Modifiers of “Cube” bring other materials" in said


@pytest.mark.parametrize("transfer", [True, False])
@pytest.mark.parametrize("modifiers", ["keep", "apply", "ignore"])
def test_materials_that_boolean_takes_over_are_told_of(transfer, modifiers):
    bpy.ops.mesh.primitive_cube_add(location=(0.5, 0.5, 0.5))
    other = bpy.context.object
    other.data.materials.append(bpy.data.materials.new("Of the Cut"))
    boolean = cube().modifiers.new("Boolean", "BOOLEAN")
    boolean.object, boolean.operation, boolean.solver = other, "DIFFERENCE", "EXACT"
    boolean.material_mode = "TRANSFER" if transfer else "INDEX"
    bpy.context.view_layer.update()
    said = export(cube(), modifiers=modifiers).warnings
    assert bool(said) == (transfer and modifiers != "apply")
    assert all("Modifiers of “Cube” bring other materials" in text for text in said)


def test_a_material_of_the_mesh_that_the_objects_own_hides_is_none_that_modifiers_bring():
    cube().material_slots[0].link = "OBJECT"
    cube().material_slots[0].material = bpy.data.materials.new("Own")
    cube().modifiers.new("Subdivision", "SUBSURF")
    bpy.context.view_layer.update()
    assert export(cube()).warnings == []


def test_nodes_that_set_no_material_are_not():
    with_set_material(cube(), selection=False)
    assert export(cube()).warnings == []


def hide(obj, way):
    if way == "disabled in viewports":
        obj.hide_viewport = True
    elif way == "collection excluded":
        bpy.context.view_layer.layer_collection.children[0].exclude = True
    else:
        bpy.context.scene.collection.children.unlink(bpy.data.collections["Collection"])
    bpy.context.view_layer.update()


WAYS = ["disabled in viewports", "collection excluded", "not in the scene"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("modifiers", ["keep", "apply"])
def test_modifiers_that_blender_does_not_compute_are_not_silently_left_out(way, modifiers):
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    hide(obj, way)
    assert "its modifiers have no effect. Enable it" in refused(obj, modifiers=modifiers)
    assert len(export(obj, modifiers="ignore").arrays["triangles"]) == 12
    obj.modifiers.clear()
    assert len(export(obj, modifiers=modifiers).arrays["triangles"]) == 12


def test_an_object_that_was_hidden_during_the_job_is_asked_for_before_its_modifiers_are_applied(monkeypatch):
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    job = HandJob(monkeypatch, modifiers="apply", uv="new")
    job.write_uv(["new"])
    job.finish(["new"])
    hide(obj, "disabled in viewports")
    with pytest.raises(RuntimeError, match="cannot be applied while it is disabled.*Enable it, then accept again"):
        bpy.ops.csd.accept()
    obj.hide_viewport = False
    bpy.context.view_layer.update()
    assert bpy.ops.csd.accept() == {"FINISHED"} and len(obj.data.polygons) == 24


def test_objects_too_far_from_each_other_to_keep_their_shape_are_refused():
    bpy.ops.mesh.primitive_monkey_add(location=(1e6, 0, 0))
    far = bpy.context.object
    assert "“Suzanne” is too far from the other objects. Texture them one after" in refused(far, cube())
    assert export(far).targets and export(cube()).targets
    far.location.x = 1e3
    bpy.context.view_layer.update()
    assert len(export(far, cube()).targets) == 2


def test_a_free_edit_outside_of_object_mode_is_refused_before_a_folder_is_written(tmp_path):
    bpy.ops.object.mode_set(mode="SCULPT")
    with pytest.raises(RuntimeError, match="not in Object Mode"):
        bpy.ops.csd.edit(source="gray", prompt="red", shape="free")
    bpy.context.scene.csd.shape = "free"
    with pytest.raises(RuntimeError, match="not in Object Mode"):
        bpy.ops.csd.edit(source="gray", prompt="red")
    assert not list(tmp_path.rglob("job.json"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o: setattr(o, "scale", (0, 0, 0)), "The scale leaves the faces of “Cube” no area"),
        (lambda o: setattr(o, "scale", (1, 0, 0)), "The scale leaves the faces of “Cube” no area"),
        (lambda o: setattr(o, "location", (float("nan"), 0, 0)), "“Cube” is no number"),
    ],
)
def test_a_transform_that_leaves_nothing_is_named(change, said):
    change(cube())
    bpy.context.view_layer.update()
    assert said in refused(cube())
    cube().location, cube().scale = (0, 0, 0), (1, 1, 0)
    bpy.context.view_layer.update()
    assert export(cube()).targets  # flat, but there
