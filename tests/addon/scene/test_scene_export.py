"""What leaves the scene: world space, triangles, parts, and the way back to the mesh's own corners."""

import bmesh
import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select

scene_export = module("addon.scene.export")
SceneError = scene_export.SceneError


def export(*objects, modifiers="keep", uv="auto"):
    return scene_export.export_objects(objects, bpy.context.evaluated_depsgraph_get(), modifiers, uv)


def outward(arrays) -> bool:
    corners = arrays["positions"][arrays["triangles"]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return bool(((corners.mean(1) - arrays["positions"].mean(0)) * normals).sum(1).min() > 0)


def test_positions_are_in_world_space_and_faces_look_outward():
    obj = cube()
    obj.location, obj.rotation_euler, obj.scale = (1, 2, 3), (0, 0, np.pi / 2), (2, 1, 1)
    arrays = export(obj).arrays
    assert arrays["positions"].dtype == np.float32 and arrays["triangles"].dtype == np.int32
    assert np.allclose(arrays["positions"].min(0), [0, 0, 2], atol=1e-5)
    assert np.allclose(arrays["positions"].max(0), [2, 4, 4])
    assert outward(arrays)


def test_a_negative_scale_keeps_the_outside_outside():
    obj = cube()
    obj.scale = (-1, 1, 1)
    assert outward(export(obj).arrays)


@pytest.fixture
def excluded():
    """The cube below a parent, both moved, in a collection that is excluded, as a file has it when it was opened."""

    def make(path):
        parent = bpy.data.objects.new("Parent", None)
        bpy.context.collection.objects.link(parent)
        parent.location, parent.scale = (5, 0, 0), (1, 1, 3)
        obj = cube()
        obj.parent, obj.rotation_euler, obj.location = parent, (0, 0, np.pi / 4), (0, 1, 0)
        bpy.context.view_layer.update()
        expected = export(obj).arrays["positions"]
        bpy.context.view_layer.layer_collection.children[0].exclude = True
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        bpy.ops.wm.open_mainfile(filepath=str(path))
        return expected

    return make


def test_an_object_that_blender_does_not_work_out_stands_where_its_transforms_say(excluded, tmp_path):
    expected = excluded(tmp_path / "a.blend")
    assert np.allclose(export(cube()).arrays["positions"], expected, atol=1e-5)
    assert np.allclose(np.ptp(expected, axis=0), [8**0.5, 8**0.5, 6], atol=1e-5)
    cube().constraints.new("LIMIT_LOCATION")
    with pytest.raises(SceneError, match="nobody knows where it stands"):
        export(cube())


def test_triangle_corners_lead_back_to_mesh_corners_with_their_uv():
    obj = cube()
    result = export(obj)
    own = np.array([u.vector[:] for u in obj.data.uv_layers.active.uv])
    assert np.allclose(result.arrays["uv"], own[result.targets[0].corners])


def test_n_gons_become_triangles_that_cover_every_corner():
    bpy.ops.mesh.primitive_cylinder_add(vertices=12, end_fill_type="NGON")
    obj = bpy.context.object
    [target] = export(obj).targets
    assert target.maps_back and set(target.corners.ravel()) == set(range(len(obj.data.loops)))


def test_the_active_uv_map_is_taken_and_named():
    obj = cube()
    other = obj.data.uv_layers.new(name="Other")
    other.uv.foreach_set("vector", np.full(len(obj.data.loops) * 2, 0.25, np.float32))
    obj.data.uv_layers.active = other
    result = export(obj)
    assert result.targets[0].uv_layer == "Other" and np.allclose(result.arrays["uv"], 0.25)


def test_a_mesh_without_uv_has_no_uv_array():
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    result = export(bpy.context.object)
    assert "uv" not in result.arrays and result.targets[0].uv_layer == ""


def test_a_deforming_modifier_moves_the_shape_and_maps_back():
    obj = cube()
    obj.modifiers.new("Displace", "DISPLACE").strength = 1.0
    result = export(obj)
    assert result.targets[0].maps_back
    assert not np.allclose(np.abs(result.arrays["positions"]), 1.0)


def test_shape_keys_are_seen():
    obj = cube()
    obj.shape_key_add(name="Basis")
    key = obj.shape_key_add(name="Tall")
    for point in key.data:
        point.co.z *= 3
    key.value = 1.0
    assert export(obj).arrays["positions"][:, 2].max() == 3


def test_a_subdivided_shape_is_exported_and_keeps_the_mesh_s_own_uv_map():
    obj = cube()
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 2
    result = export(obj)
    assert len(result.arrays["triangles"]) == 6 * 16 * 2
    assert not result.targets[0].maps_back and result.uv == "keep" and "uv" in result.arrays


def test_modifiers_that_change_faces_of_a_mesh_without_uv_are_a_clear_choice():
    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    obj = bpy.context.object
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    with pytest.raises(SceneError, match="modifiers change its faces.*Apply or Ignore"):
        export(obj)
    assert len(export(obj, modifiers="ignore").arrays["triangles"]) == 12
    [target] = export(obj, modifiers="apply").targets
    assert target.modifiers == "apply" and not target.maps_back


def test_ignoring_modifiers_also_ignores_deforming_ones():
    obj = cube()
    obj.modifiers.new("Displace", "DISPLACE").strength = 1.0
    assert np.allclose(np.abs(export(obj, modifiers="ignore").arrays["positions"]), 1.0)


def test_several_objects_are_parts_of_one_mesh():
    first = cube()
    bpy.ops.mesh.primitive_plane_add(location=(0, 0, 5))
    second = bpy.context.object
    result = export(first, second)
    assert list(result.arrays["part_names"]) == ["Cube", "Plane"]
    assert [int((result.arrays["part"] == i).sum()) for i in (0, 1)] == [12, 2]
    assert result.arrays["positions"][result.arrays["triangles"][-2:], 2].min() == 5


def test_edit_mode_is_exported_as_it_is_seen():
    obj = cube()
    bpy.ops.object.mode_set(mode="EDIT")
    edited = bmesh.from_edit_mesh(obj.data)
    for vertex in edited.verts:
        vertex.co.z += 10
    bmesh.update_edit_mesh(obj.data)
    positions = export(obj).arrays["positions"]
    bpy.ops.object.mode_set(mode="OBJECT")
    assert positions[:, 2].min() == 9


def test_material_indices_of_the_triangles_are_kept():
    obj = cube()
    obj.data.materials.append(bpy.data.materials.new("Second"))
    obj.data.polygons[0].material_index = 1
    assert sorted(set(export(obj).arrays["material"])) == [0, 1]


def test_loose_parts_and_zero_area_faces_are_passed_on():
    mesh = bpy.data.meshes.new("Odd")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0), (5, 5, 5), (6, 6, 6)], [(3, 4)], [(0, 1, 2), (0, 1, 1 + 0)][:1])
    obj = bpy.data.objects.new("Odd", mesh)
    bpy.context.collection.objects.link(obj)
    bpy.context.view_layer.update()
    assert len(export(obj).arrays["triangles"]) == 1


@pytest.mark.parametrize("case", ["nothing", "no faces", "shared mesh"])
def test_what_cannot_be_textured_is_named_with_what_to_do(case):
    objects = [cube()]
    if case == "nothing":
        objects = []
    elif case == "no faces":
        objects = [bpy.data.objects.new("Empty Mesh", bpy.data.meshes.new("Empty"))]
        bpy.context.collection.objects.link(objects[0])
        bpy.context.view_layer.update()
    else:
        objects.append(bpy.data.objects.new("Twin", cube().data))
        bpy.context.collection.objects.link(objects[1])
        bpy.context.view_layer.update()
    with pytest.raises(SceneError) as caught:
        export(*objects)
    assert caught.value.text.endswith(".") and caught.value.fix.endswith(".")


def test_an_object_linked_from_another_file_is_refused_with_a_sentence(tmp_path):
    path = str(tmp_path / "library.blend")
    bpy.data.libraries.write(path, {cube()})
    with bpy.data.libraries.load(path, link=True) as (source, target):
        target.objects = source.objects
    linked = target.objects[0]
    bpy.context.collection.objects.link(linked)
    with pytest.raises(SceneError, match="linked from another file"):
        export(linked)


def test_a_job_on_a_subdivided_object_without_uv_applies_the_modifiers_on_accept(monkeypatch):
    from tests.support.by_hand import HandJob

    bpy.ops.mesh.primitive_cube_add(calc_uvs=False)
    obj = bpy.context.object
    select(obj)
    obj.modifiers.new("Subdivision", "SUBSURF").levels = 1
    bpy.context.view_layer.update()
    old_mesh = obj.data
    job = HandJob(monkeypatch, modifiers="apply")
    job.write_uv(["new"])
    job.say(
        "preview", path="preview/texture_0.rgba", kind="texture", part=0, width=2, height=2, step=1, pixels=bytes(16)
    )
    job.finish(["new"])
    bpy.ops.csd.accept()
    assert not obj.modifiers and len(obj.data.polygons) == 24 and obj.data.uv_layers.active.name == "CSD"
    assert old_mesh.use_fake_user and len(old_mesh.polygons) == 6


def test_targets_can_be_read_back_in_another_session(tmp_path):
    targets = export(cube()).targets
    for name, data in scene_export.targets_bytes(targets, "/x.blend").items():
        (tmp_path / name).write_bytes(data)
    [again], blend_file = scene_export.read_targets(tmp_path)
    assert blend_file == "/x.blend" and again.uid == 0 and again.topology == targets[0].topology
    assert np.array_equal(again.corners, targets[0].corners)
