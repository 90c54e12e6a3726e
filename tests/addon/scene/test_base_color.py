"""What an edit begins with: the base color of materials, as pictures and plain colors, and nothing of them changed."""

import json

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module, select, start_job
from tests.support.by_hand import ObjectHandJob, growing, look
from tests.support.painted import paint, picture, scene_export, start

SceneError = module("addon.errors").SceneError
RED, LINEAR_HALF = [255, 0, 0], 188  # sRGB of linear 0.5


def test_a_plain_color_is_one_texel_in_srgb():
    paint(cube(), color=(1, 0.5, 0, 1))
    arrays = start(cube())
    assert arrays["picture_0"].tolist() == [[[255, LINEAR_HALF, 0]]] and not arrays["picture"].any()
    assert arrays["uv"].shape == (12, 3, 2) and "picture_1" not in arrays


def test_an_image_comes_with_its_top_row_first_and_the_uv_map_that_its_material_names():
    obj, image = cube(), picture()
    other = obj.data.uv_layers.new(name="Other")
    other.uv.foreach_set("vector", np.full(len(obj.data.loops) * 2, 0.25, np.float32))
    paint(obj, image, uv_map="Other")
    arrays = start(obj)
    assert arrays["picture_0"].shape == (2, 4, 3) and arrays["picture_0"].dtype == np.uint8
    assert arrays["picture_0"][0, 0].tolist() == [0, 255, 0] and arrays["picture_0"][1, 0].tolist() == RED
    assert arrays["picture_0"][0, 3].tolist() == [0, 0, 128]
    assert np.allclose(arrays["uv"], 0.25)


def test_without_a_uv_node_it_is_the_map_that_is_rendered():
    obj = cube()
    first = np.array([u.vector[:] for u in obj.data.uv_layers[0].uv])
    obj.data.uv_layers.new(name="Other")
    obj.data.uv_layers.active = obj.data.uv_layers["Other"]
    obj.data.uv_layers[0].active_render = True
    paint(obj, picture())
    exported = scene_export.export_objects([obj], bpy.context.evaluated_depsgraph_get(), "keep", "auto")
    assert np.allclose(start(obj)["uv"], first[exported.targets[0].corners])


@pytest.mark.parametrize(("space", "is_float"), [("Non-Color", False), ("sRGB", True)])
def test_linear_pictures_become_srgb(space, is_float):
    paint(cube(), picture(space=space, is_float=is_float))
    assert start(cube())["picture_0"][0, 3].tolist() in ([0, 0, LINEAR_HALF], [0, 0, LINEAR_HALF - 1])


def test_a_picture_seen_through_in_part_has_its_color_and_not_less_of_it():
    """Blender keeps float pictures multiplied by alpha."""
    image = bpy.data.images.new("Thin", 2, 2, alpha=True, float_buffer=True)
    image.pixels.foreach_set(np.tile(np.float32([0.25, 0.125, 0.0, 0.25]), 4))
    paint(cube(), image)
    assert start(cube())["picture_0"][0, 0].tolist() == [255, 188, 0]
    image.alpha_mode = "CHANNEL_PACKED"  # alpha is something else then
    assert start(cube())["picture_0"][0, 0].tolist() == [137, 99, 0]


@pytest.mark.parametrize("mixed, first", [("ShaderNodeMixShader", 1), ("ShaderNodeAddShader", 0)])
def test_a_shader_mixed_with_what_has_no_color_is_still_read(mixed, first):
    tree = paint(cube(), color=(0, 0, 1, 1)).node_tree
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    mix, clear = tree.nodes.new(mixed), tree.nodes.new("ShaderNodeBsdfTransparent")
    output = shader.outputs[0].links[0].to_socket
    tree.links.new(shader.outputs[0], mix.inputs[first])
    tree.links.new(clear.outputs[0], mix.inputs[first + 1])
    tree.links.new(mix.outputs[0], output)
    assert start(cube())["picture_0"][0, 0].tolist() == [0, 0, 255]


def test_packed_and_saved_pictures_are_read_too(tmp_path):
    image = picture()
    image.filepath_raw, image.file_format = str(tmp_path / "paint.png"), "PNG"
    image.save()
    for chosen in (bpy.data.images.load(str(tmp_path / "paint.png")), image):
        paint(cube(), chosen)
        assert start(cube())["picture_0"][1, 0].tolist() == RED
    image.pack()
    (tmp_path / "paint.png").unlink()
    assert start(cube())["picture_0"][1, 0].tolist() == RED


def test_each_face_has_the_picture_of_its_material_and_several_objects_share_them():
    obj, image = cube(), picture()
    paint(obj, image)
    obj.data.materials.append(None)
    obj.data.polygons[0].material_index = 1
    bpy.ops.mesh.primitive_cube_add(location=(4, 0, 0))
    second = bpy.context.object
    paint(second, image)
    arrays = start(obj, second)
    assert len(arrays["uv"]) == 24 and (arrays["picture"] == 0).sum() in (2, 22)
    assert {name for name in arrays if name.startswith("picture_")} == {"picture_0", "picture_1"}
    bare = int(arrays["picture"][0])
    assert arrays[f"picture_{bare}"].tolist() == [[[231, 231, 231]]], "Blender's own gray"
    assert set(arrays["picture"][12:]) == {1 - bare}


def test_a_mapping_node_is_taken_into_the_uvs():
    obj = cube()
    material = paint(obj, picture(), uv_map=obj.data.uv_layers[0].name)
    before = start(obj)["uv"]
    tree = material.node_tree
    node = next(n for n in tree.nodes if n.type == "TEX_IMAGE")
    source = node.inputs["Vector"].links[0].from_socket
    mapping = tree.nodes.new("ShaderNodeMapping")
    mapping.inputs["Scale"].default_value = (2, 3, 1)
    mapping.inputs["Location"].default_value = (0.5, 0, 0)
    tree.links.new(source, mapping.inputs["Vector"])
    tree.links.new(mapping.outputs["Vector"], node.inputs["Vector"])
    assert np.allclose(start(obj)["uv"], before * [2, 3] + [0.5, 0], atol=1e-6)


def test_what_comes_by_a_muted_link_is_not_seen_and_a_picture_within_its_edges_needs_no_repeating():
    node, tree = image_node(cube())
    node.extension = "EXTEND"
    assert start(cube())["picture_0"].shape != (1, 1, 3)
    link = node.outputs["Color"].links[0]
    link.to_socket.default_value = (1, 0, 0, 1)
    link.is_muted = True
    assert start(cube())["picture_0"].tolist() == [[[255, 0, 0]]]


def test_nothing_of_the_users_is_changed():
    obj, image = cube(), picture()
    material = paint(obj, image)

    def state():
        counts = (len(bpy.data.images), len(bpy.data.materials), len(bpy.data.meshes), len(obj.data.uv_layers))
        return counts, image.is_dirty, list(image.pixels), [n.name for n in material.node_tree.nodes]

    before = state()
    start(obj)
    assert state() == before


def procedural(obj):
    tree = paint(obj).node_tree
    noise = tree.nodes.new("ShaderNodeTexNoise")
    tree.links.new(noise.outputs[0], next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED").inputs["Base Color"])


def lost(obj):
    image = bpy.data.images.new("Lost", 4, 4)
    image.source, image.filepath = "FILE", "/nowhere/lost.png"
    paint(obj, image)


def unknown_map(obj):
    paint(obj, picture(), uv_map="Gone")


def tiled(obj):
    paint(obj, bpy.data.images.new("Tiles", 4, 4, tiled=True))


def image_node(obj):
    tree = paint(obj, picture(), uv_map=obj.data.uv_layers[0].name).node_tree
    return next(n for n in tree.nodes if n.type == "TEX_IMAGE"), tree


def muted(obj):
    image_node(obj)[0].mute = True


def its_alpha(obj):
    node, tree = image_node(obj)
    tree.links.new(node.outputs["Alpha"], node.outputs["Color"].links[0].to_socket)


def turned_out_of_its_plane(obj):
    node, tree = image_node(obj)
    mapping = tree.nodes.new("ShaderNodeMapping")
    mapping.inputs["Rotation"].default_value = (1, 0, 0)
    tree.links.new(node.inputs["Vector"].links[0].from_socket, mapping.inputs["Vector"])
    tree.links.new(mapping.outputs["Vector"], node.inputs["Vector"])


def adjusted(obj):
    image_node(obj)[0].color_mapping.brightness = 2


def glowing_beside_an_unused_shader(obj):
    node, tree = image_node(obj)
    shader = node.outputs["Color"].links[0].to_node
    glow = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(glow.outputs[0], shader.outputs[0].links[0].to_socket)


def mixed_with_another_color(obj):
    _, tree = image_node(obj)
    mix, other = tree.nodes.new("ShaderNodeMixShader"), tree.nodes.new("ShaderNodeBsdfDiffuse")
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    output = shader.outputs[0].links[0].to_socket
    tree.links.new(shader.outputs[0], mix.inputs[1])
    tree.links.new(other.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], output)


def picture_in_its_glow(obj):
    tree = paint(obj).node_tree
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = picture()
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    tree.links.new(node.outputs["Color"], shader.inputs["Emission Color"])
    shader.inputs["Emission Strength"].default_value = 1


def not_repeated(obj):
    image_node(obj)[0].extension = "CLIP"
    obj.data.uv_layers[0].uv[0].vector = (1.5, 0.5)


REFUSED = [
    (muted, "no image and no plain color", "Bake"),
    (its_alpha, "no image and no plain color", "Bake"),
    (turned_out_of_its_plane, "no image and no plain color", "Bake"),
    (adjusted, "no image and no plain color", "Bake"),
    (glowing_beside_an_unused_shader, "no image and no plain color", "Bake"),
    (mixed_with_another_color, "no image and no plain color", "Bake"),
    (picture_in_its_glow, "no image and no plain color", "Bake"),
    (not_repeated, "beyond the edges", "Repeat"),
    (procedural, "“Painted”", "Bake"),
    (lambda obj: obj.data.materials.clear(), "has no material", "Generate a texture"),
    (lost, "“Lost” cannot be read", "pack"),
    (unknown_map, "no UV map “Gone”", "UV Map node"),
    (tiled, "not a single picture", "Bake"),
]


@pytest.mark.parametrize(("spoil", "text", "fix"), REFUSED)
def test_what_only_rendering_would_tell_is_refused_with_what_to_do(spoil, text, fix):
    spoil(cube())
    with pytest.raises(SceneError) as caught:
        start(cube())
    assert text in caught.value.text and fix in caught.value.fix


def test_a_job_of_the_operator_begins_with_the_colors_and_its_texture_is_accepted():
    paint(cube(), picture())
    csd = bpy.context.scene.csd
    csd.kind = "edit"
    poll = module("addon.ui.poll")
    assert poll.why_not_press(bpy.context) == "Write a source"
    csd.source = "a red cube"
    assert poll.why_not_press(bpy.context) == "Write a target"
    assert bpy.ops.csd.edit(prompt="a blue cube", alignment=0.25) == {"FINISHED"}
    material = cube().material_slots[0].material
    settings = module("job.kinds").load(json.loads(cube()["csd_settings"]))
    assert material.name == "A blue cube" and bpy.data.materials["Painted"].use_fake_user
    assert (settings.source, settings.prompt, settings.alignment) == ("a red cube", "a blue cube", 0.25)


def test_an_edit_without_a_source_is_refused_before_anything_is_written(tmp_path):
    paint(cube())
    with pytest.raises(SceneError, match="The source is empty"):
        module("addon.api").edit(cube(), target="a blue cube")
    assert not list((tmp_path / "data").rglob("job.json"))
    with pytest.raises(SceneError, match="procedural|no image"):
        procedural(cube())
        module("addon.api").edit(cube(), "a red cube", "a blue cube")
    assert not list((tmp_path / "data").rglob("job.json"))


@pytest.fixture
def shape_job(monkeypatch):
    """An edit of the cube with a free shape; the test plays the backend, with what that sends of objects."""

    class ShapeHandJob(ObjectHandJob):
        def start(self, settings):
            return start_job({"prompt": "a blue ball", "source": "a red cube", "shape": "free"} | settings, kind="edit")

    return lambda **settings: ShapeHandJob(monkeypatch, **settings)


def test_an_edit_with_a_free_shape_is_a_new_object_beside_the_old_one(shape_job):
    paint(cube(), picture())
    cube().location = (1, 2, 3)
    cube().scale.x = 2
    select(cube())
    before = look(cube())
    job = shape_job(alignment=0.25)
    assert job.job.spec.is_free and not job.job.targets
    with np.load(job.job.folder / "start.npz") as arrays:
        assert len(arrays["uv"]) == 12 and arrays["picture_0"].shape == (2, 4, 3)
    with np.load(job.job.folder / "mesh.npz") as arrays:
        assert arrays["positions"].min(axis=0) == pytest.approx([-1, 1, 2])
    job.preview()
    assert growing().location[:] == pytest.approx((1 + 1.25 * 4, 2, 2)), "on the same floor, to the right"
    job.finish()
    module("addon.run.lifecycle").accept()
    made = bpy.context.view_layer.objects.active
    assert made.name.startswith("A blue ball") and made.location[:] == pytest.approx((6, 2, 2)) and not growing()
    assert look(cube()) == before and cube().name in bpy.context.scene.objects
    assert json.loads(made["csd_settings"])["shape"] == "free"


def test_it_is_found_again_in_a_later_session_and_begun_without_a_way_back_to_the_mesh(shape_job):
    paint(cube())
    cube().data.uv_layers.remove(cube().data.uv_layers[0])
    cube().modifiers.new("Subdivision", "SUBSURF").levels = 1  # no texture could be put on it as it is
    select(cube())
    job = shape_job()
    job.write_result()
    lifecycle = module("addon.run.lifecycle")
    lifecycle.end_without_result(job.job, "cancelled")
    again = lifecycle.resume(job.job.folder)
    assert again.phase == "finished" and again.place == job.job.place
    assert len(lifecycle.accept()) == 1


def test_a_free_shape_needs_a_mesh_and_its_colors(shape_job, tmp_path):
    cube().select_set(False)
    with pytest.raises(SceneError, match="No mesh object is selected"):
        shape_job()
    select(cube())
    cube().data.materials.clear()
    with pytest.raises(SceneError, match="has no material"):
        shape_job()
    assert not list((tmp_path / "data").rglob("job.json"))


def test_the_panel_has_no_use_for_the_uv_map_and_tells_no_time_of_a_free_shape():
    csd, settings = bpy.context.scene.csd, module("addon.kinds.edit.settings")
    unused = module("addon.kinds.common").unused
    csd.kind = "edit"
    assert "uv" not in unused(settings.SPEC, csd) and settings.expected_seconds(csd) is not None
    csd.shape = "free"
    assert "uv" in unused(settings.SPEC, csd) and settings.expected_seconds(csd) is None
