"""The map that a preview added has a name, and other maps may have it, too: these stay."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select
from tests.support.by_hand import look, temporary

PREVIEW_MAP = module("addon.scene.uv_maps").PREVIEW_NAME


def names(obj):
    return [u.name for u in obj.data.uv_layers]


def plane_with(name):
    bpy.ops.mesh.primitive_plane_add()
    plane = bpy.context.object
    plane.data.uv_layers[0].name = name
    select(cube())
    return plane


@pytest.mark.parametrize("name", ["Paint", "UVMap", PREVIEW_MAP])
@pytest.mark.parametrize("end", ["discard", "accept", "save"])
def test_another_mesh_keeps_its_map_of_that_name(by_hand, tmp_path, name, end):
    plane = plane_with(name)
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    if name == "UVMap":
        cube().data.uv_layers["UVMap"].name = "First"
    cube().data.uv_layers[PREVIEW_MAP].name = name
    job.preview()
    if end == "save":
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
        assert names(plane) == [name]
    job.finish(["new"])
    (job.jobs.accept if end == "accept" else bpy.ops.csd.discard)()
    assert names(plane) == [name] and temporary() == []


def test_a_map_of_a_name_that_a_preview_had_is_the_artists_own_later(by_hand, tmp_path):
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    cube().data.uv_layers[PREVIEW_MAP].name = "Paint"
    job.preview()
    job.finish(["new"])
    job.jobs.accept()
    cube().data.uv_layers.new(name="Paint")  # with what the active one holds
    before = look(cube())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    assert look(cube()) == before and "Paint" in names(cube())


def test_an_own_unwrap_on_a_renamed_map_keeps_its_name(by_hand):
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    cube().data.uv_layers[PREVIEW_MAP].name = "Hands"
    job.preview()
    layer = cube().data.uv_layers["Hands"]
    layer.uv.foreach_set("vector", [0.5] * 2 * len(layer.uv))
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert names(cube()) == ["UVMap", "Hands"]


@pytest.mark.parametrize("end", ["accept", "discard", "save"])
@pytest.mark.parametrize("first", [False, True])
def test_a_copy_of_the_added_map_in_another_mesh_goes_with_it(by_hand, tmp_path, end, first):
    bpy.ops.mesh.primitive_cube_add(location=(4, 0, 0))
    other = bpy.context.object
    other.name = other.data.name = "A first" if first else "Z last"
    select(cube())
    job = by_hand()
    job.write_uv(["new"])
    job.preview()
    for obj in (cube(), other):
        obj.select_set(True)
    bpy.ops.object.data_transfer(data_type="UV", layers_select_src="ALL", layers_select_dst="NAME")
    depsgraph = bpy.context.evaluated_depsgraph_get()
    baked = bpy.data.meshes.new_from_object(
        cube().evaluated_get(depsgraph), preserve_all_data_layers=True, depsgraph=depsgraph
    )
    assert PREVIEW_MAP in names(other) and baked.uv_layers.active.name == PREVIEW_MAP
    job.preview()
    job.finish(["new"])
    if end == "save":
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    else:
        (job.jobs.accept if end == "accept" else bpy.ops.csd.discard)()
    assert names(other) == [u.name for u in baked.uv_layers] == ["UVMap"]
    assert baked.uv_layers.active.name == "UVMap" and baked.uv_layers["UVMap"].active_render
    assert other.data.uv_layers.active.name == "UVMap"


@pytest.mark.parametrize("end", ["accept", "discard", "save"])
def test_a_copy_that_was_unwrapped_since_is_the_artists(by_hand, tmp_path, end):
    before = bpy.data.meshes.new_from_object(cube())  # one that had such a map, which it shares its values with
    before.uv_layers[0].name = PREVIEW_MAP
    job = by_hand()
    uv = job.write_uv(["new"])
    job.preview()
    before.uv_layers[0].data.foreach_set("uv", np.resize(uv[0, 0], 2 * len(before.loops)))
    baked = bpy.data.meshes.new_from_object(cube(), preserve_all_data_layers=True)
    values = [0.125, 0.25] * len(baked.loops)
    baked.uv_layers[PREVIEW_MAP].data.foreach_set("uv", values)  # (by "uv" the arrays of both meshes would change)
    own = bpy.data.meshes.new_from_object(cube())
    while own.uv_layers:
        own.uv_layers.remove(own.uv_layers[0])
    own.uv_layers.new(name=PREVIEW_MAP)
    assert before.uv_layers[0].name == PREVIEW_MAP
    job.finish(["new"])
    if end == "save":
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    else:
        (job.jobs.accept if end == "accept" else bpy.ops.csd.discard)()
    assert [u.name for u in baked.uv_layers] == ["UVMap", PREVIEW_MAP]
    assert baked.uv_layers[PREVIEW_MAP].uv[0].vector[:] == (0.125, 0.25)
    assert [u.name for u in own.uv_layers] == [u.name for u in before.uv_layers] == [PREVIEW_MAP]
