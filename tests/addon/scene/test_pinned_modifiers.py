"""A new UV map becomes the active one, and modifiers that go by the active map must not notice."""

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module
from tests.support.by_hand import HandJob


def displaced():
    """A cube whose corners are moved by a picture on its map, tiled, which no texture can use."""
    image = bpy.data.images.new("Heights", 16, 16)
    image.pixels = np.random.default_rng(1).random(16 * 16 * 4, np.float32)
    texture = bpy.data.textures.new("Heights", "IMAGE")
    texture.image = image
    for uv in cube().data.uv_layers[0].uv:
        uv.vector = uv.vector * 3.7
    modifier = cube().modifiers.new("Displace", "DISPLACE")
    modifier.texture, modifier.texture_coords, modifier.strength = texture, "UV", 0.8
    return modifier


def warped():
    modifier = cube().modifiers.new("Warp", "UV_WARP")
    modifier.offset = (0.3, 0.2)
    return modifier


def masked():
    cube().vertex_groups.new(name="Group").add(range(8), 0.5, "REPLACE")
    modifier = cube().modifiers.new("Weights", "VERTEX_WEIGHT_EDIT")
    modifier.vertex_group, modifier.mask_tex_mapping = "Group", "UV"
    return modifier


def shape():
    evaluated = cube().evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    corners = np.array([tuple(v.co) for v in mesh.vertices])
    maps = {u.name: np.array([tuple(c.vector) for c in u.uv]) for u in mesh.uv_layers}
    evaluated.to_mesh_clear()
    return corners, maps


@pytest.fixture
def by_hand(monkeypatch):
    def make(source="new"):
        job = HandJob(monkeypatch, uv="new")
        job.write_uv([source])
        return job

    return make


def settings_of(modifier):
    return {p.identifier: str(getattr(modifier, p.identifier)) for p in modifier.bl_rna.properties}


@pytest.mark.parametrize("make", [displaced, warped])
def test_preview_and_texture_leave_the_shape_and_its_maps_as_they_were(by_hand, make):
    modifier = make()
    before, settings = shape(), settings_of(modifier)
    job = by_hand()
    job.preview()
    assert cube().data.uv_layers.active.name == "CSD Preview"  # else this test would see nothing
    assert np.allclose(shape()[0], before[0], atol=1e-6)
    assert np.allclose(shape()[1]["UVMap"], before[1]["UVMap"], atol=1e-6)
    job.finish(["new"])
    job.jobs.accept()
    after = shape()
    assert cube().data.uv_layers.active.name == "CSD"
    assert np.allclose(after[0], before[0], atol=1e-6) and np.allclose(after[1]["UVMap"], before[1]["UVMap"], atol=1e-6)
    own = np.array([tuple(c.vector) for c in cube().data.uv_layers["CSD"].uv])
    assert np.allclose(after[1]["CSD"], own, atol=1e-6)  # nor does a modifier move the new map
    assert settings_of(modifier) == settings | {"uv_layer": "UVMap"}


@pytest.mark.parametrize("make", [displaced, warped, masked])
def test_discard_leaves_the_modifiers_as_they_were(by_hand, make):
    modifier = make()
    before, settings = shape(), settings_of(modifier)
    job = by_hand()
    job.preview()
    assert settings_of(modifier) != settings
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert settings_of(modifier) == settings and np.allclose(shape()[0], before[0], atol=1e-6)


@pytest.mark.parametrize("make", [displaced, warped])
def test_modifiers_that_had_no_map_do_not_begin_to_go_by_the_new_one(by_hand, make):
    modifier = make()
    cube().data.uv_layers.remove(cube().data.uv_layers[0])
    before, settings = shape(), settings_of(modifier)
    job = by_hand()
    job.preview()
    assert np.allclose(shape()[0], before[0], atol=1e-6)
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert settings_of(modifier) == settings
    job = by_hand()
    job.finish(["new"])
    [done] = job.jobs.accept()
    assert f"The modifiers {modifier.name} of “Cube” had no UV map to go by" in done.message
    assert np.allclose(shape()[0], before[0], atol=1e-6)
    own = np.array([tuple(c.vector) for c in cube().data.uv_layers["CSD"].uv])
    assert np.allclose(shape()[1]["CSD"], own, atol=1e-6)


def test_a_modifier_that_names_its_map_or_uses_none_is_left_alone(by_hand):
    named, local = displaced(), displaced()
    named.uv_layer, local.texture_coords = "UVMap", "LOCAL"
    settings = settings_of(named), settings_of(local)
    job = by_hand()
    job.preview()
    job.finish(["new"])
    job.jobs.accept()
    assert (settings_of(named), settings_of(local)) == settings


def test_what_the_artist_set_meanwhile_stays():
    pinned = module("addon.scene.pinned_modifiers")
    modifier = displaced()
    cube().data.uv_layers.new(name="Other")
    pinned.pin(cube().data, "UVMap", for_a_time=True)
    assert modifier.uv_layer == "UVMap"
    modifier.uv_layer = "Other"
    pinned.unpin(cube())
    assert modifier.uv_layer == "Other"
    modifier.uv_layer = ""
    pinned.pin(cube().data, "UVMap", for_a_time=True)
    pinned.unpin(cube())
    assert modifier.uv_layer == "" and not list(cube().keys())


@pytest.mark.parametrize("make", [displaced, warped, masked])
@pytest.mark.parametrize("mapless", [False, True])
def test_names_do_not_matter_for_what_comes_back(by_hand, make, mapless):
    modifier = make()
    if mapless:
        cube().data.uv_layers.remove(cube().data.uv_layers[0])
    other = bpy.data.objects.new("Other", cube().data.copy())
    bpy.context.scene.collection.objects.link(other)
    theirs = other.modifiers.new(modifier.name, modifier.type)
    if not mapless:
        setattr(theirs, "mask_tex_uv_layer" if modifier.type == "VERTEX_WEIGHT_EDIT" else "uv_layer", "UVMap")
    obj, settings, innocent = cube(), settings_of(modifier), settings_of(theirs)
    job = by_hand()
    job.preview()
    obj.name, other.name = "Swapped", "Cube"
    modifier.name = "Renamed"
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert settings_of(modifier) == settings | {"name": "Renamed"} and settings_of(theirs) == innocent


@pytest.mark.parametrize("linked", [False, True])
def test_duplicates_made_under_the_preview_come_back_too(by_hand, linked):
    modifier = warped()
    settings = settings_of(modifier)
    job = by_hand()
    job.preview()
    twin = cube().copy()
    if not linked:
        twin.data = cube().data.copy()
    bpy.context.scene.collection.objects.link(twin)
    assert twin.modifiers[0].uv_layer == "UVMap"
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert settings_of(twin.modifiers[0]) == settings_of(modifier) == settings
    assert [u.name for u in twin.data.uv_layers] == ["UVMap"] and not list(twin.keys())


def test_an_object_that_got_another_mesh_under_the_preview_comes_back_too(by_hand):
    modifier = warped()
    job = by_hand()
    job.preview()
    other = bpy.data.meshes.new("Other")
    cube().data = other
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert modifier.uv_layer == "" and not list(cube().keys())


def seen_as_made(first="UVMap"):
    """Whether the cube's second map holds something, and looks the same after its modifiers."""
    [new] = [u for u in cube().data.uv_layers if u.name != first]
    values = np.array([tuple(corner.vector) for corner in new.uv])
    return values.std() > 0.05 and np.allclose(shape()[1][new.name], values, atol=1e-6)


def transferred(*names, by="NAME"):
    """The cube takes all maps of another one."""
    other = bpy.data.objects.new("Source", cube().data.copy())
    bpy.context.scene.collection.objects.link(other)
    maps = other.data.uv_layers
    maps[0].name = names[0]
    for name in names[1:]:
        maps.new(name=name)
    for corner in [corner for layer in maps for corner in layer.uv]:
        corner.vector = (0.25, 0.75)
    modifier = cube().modifiers.new("Transfer", "DATA_TRANSFER")
    modifier.object, modifier.use_loop_data, modifier.data_types_loops = other, True, {"UV"}
    modifier.loop_mapping, modifier.layers_uv_select_src, modifier.layers_uv_select_dst = "TOPOLOGY", "ALL", by


@pytest.mark.parametrize("source", ["CSD", "CSD Preview"])
def test_a_data_transfer_does_not_write_into_the_new_map(by_hand, source):
    transferred(source)
    before = shape()[1]["UVMap"]
    job = by_hand()
    job.preview()
    assert np.allclose(shape()[1]["UVMap"], before) and seen_as_made()
    job.finish(["new"])
    [done] = job.jobs.accept()
    assert np.allclose(shape()[1]["UVMap"], before) and seen_as_made() and not done.message


def test_a_map_that_is_written_over_all_the_same_is_said(by_hand):
    transferred("First", "Second", by="INDEX")
    job = by_hand()
    job.finish(["new"])
    [done] = job.jobs.accept()
    assert "change or remove the UV map “CSD”" in done.message


def test_particles_that_go_by_the_active_map_keep_it(by_hand):
    cube().modifiers.new("Particles", "PARTICLE_SYSTEM")
    slot = cube().particle_systems[0].settings.texture_slots.add()
    slot.texture, slot.texture_coords = bpy.data.textures.new("Cloud", "CLOUDS"), "UV"
    job = by_hand()
    job.preview()
    assert cube().data.uv_layers.active.name == "UVMap"
    job.finish(["new"])
    job.jobs.accept()
    assert cube().data.uv_layers.active.name == "UVMap" and cube().data.uv_layers["CSD"].active_render


def test_a_note_that_is_none_does_no_harm(by_hand):
    job = by_hand()
    job.preview()
    cube()[module("addon.scene.pinned_modifiers").NOTE] = "{damaged"
    job.finish(["new"])
    bpy.ops.csd.discard()
    assert not list(cube().keys()) and [u.name for u in cube().data.uv_layers] == ["UVMap"]


@pytest.mark.parametrize("makes", ["CSD", "CSD.001"])
def test_a_map_that_geometry_nodes_make_is_not_taken_for_the_new_one(by_hand, makes):
    if makes == "CSD.001":
        cube().data.uv_layers[0].name = "CSD"
    first = cube().data.uv_layers[0].name
    group = bpy.data.node_groups.new("Store", "GeometryNodeTree")
    for kind in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=kind, socket_type="NodeSocketGeometry")
    nodes = group.nodes
    start, store, end = (nodes.new(n) for n in ("NodeGroupInput", "GeometryNodeStoreNamedAttribute", "NodeGroupOutput"))
    store.data_type, store.domain, store.inputs["Name"].default_value = "FLOAT2", "CORNER", makes
    group.links.new(start.outputs[0], store.inputs["Geometry"])
    group.links.new(store.outputs["Geometry"], end.inputs[0])
    cube().modifiers.new("Nodes", "NODES").node_group = group
    job = by_hand()
    job.finish(["new"])
    job.jobs.accept()
    assert seen_as_made(first)


def test_linked_duplicates_are_held_too():
    pinned = module("addon.scene.pinned_modifiers")
    twin = cube().copy()
    bpy.context.scene.collection.objects.link(twin)
    modifier = twin.modifiers.new("Warp", "UV_WARP")
    pinned.pin(cube().data, "UVMap")
    assert modifier.uv_layer == "UVMap"


def test_a_new_map_that_modifiers_remove_is_said(by_hand):
    group = bpy.data.node_groups.new("Remove", "GeometryNodeTree")
    for kind in ("INPUT", "OUTPUT"):
        group.interface.new_socket("Geometry", in_out=kind, socket_type="NodeSocketGeometry")
    nodes = ("NodeGroupInput", "GeometryNodeRemoveAttribute", "NodeGroupOutput")
    start, remove, end = (group.nodes.new(n) for n in nodes)
    remove.inputs["Name"].default_value = "CSD"
    group.links.new(start.outputs[0], remove.inputs[0])
    group.links.new(remove.outputs[0], end.inputs[0])
    cube().modifiers.new("Nodes", "NODES").node_group = group
    job = by_hand()
    job.finish(["new"])
    [done] = job.jobs.accept()
    assert "change or remove the UV map “CSD”" in done.message
