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
    job.jobs.accept()
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
    changed = pinned.pin(cube().data, "UVMap")
    assert modifier.uv_layer == "UVMap"
    modifier.uv_layer = "Other"
    pinned.unpin(changed)
    assert modifier.uv_layer == "Other"
    modifier.uv_layer = "UVMap"
    pinned.unpin(changed)
    assert modifier.uv_layer == ""


def test_linked_duplicates_are_held_too():
    pinned = module("addon.scene.pinned_modifiers")
    twin = cube().copy()
    bpy.context.scene.collection.objects.link(twin)
    modifier = twin.modifiers.new("Warp", "UV_WARP")
    pinned.pin(cube().data, "UVMap")
    assert modifier.uv_layer == "UVMap"
