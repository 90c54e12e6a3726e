"""An edit changes the color: metal stays metal, and what cannot be kept is said."""

import pytest

from tests.support.blender import bpy, cube, start_job
from tests.support.by_hand import HandJob


class EditHandJob(HandJob):
    def start(self, settings):
        return start_job({"source": "a gray cube", "prompt": "a red cube"} | settings, kind="edit")


def principled(material):
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    return next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")


def metal(name="Metal", **values):
    material = bpy.data.materials.new(name)
    shader = principled(material)
    for key, value in ({"Metallic": 1.0, "Roughness": 0.05, "Alpha": 0.5} | values).items():
        shader.inputs[key].default_value = value
    return material


@pytest.fixture
def accepted(monkeypatch):
    """From the cube's materials to the one that accepting an edit, or a texture, leaves, and what it said."""

    def make(*materials, job=EditHandJob):
        cube().data.materials.clear()
        for material in materials:
            cube().data.materials.append(material)
        made = job(monkeypatch)
        made.write_uv(["user"])
        made.finish(["user"])
        [done] = made.jobs.accept()
        assert done.object == cube()
        return done.material, done.message

    return make


def values(material, *names):
    inputs = principled(material).inputs
    return [round(inputs[name].default_value, 3) for name in names]


def shown_picture(material):
    """The image at the base color, and the map that it is looked up by."""
    node = principled(material).inputs["Base Color"].links[0].from_node
    return node.image, node.inputs["Vector"].links[0].from_node.uv_map


def test_an_edit_keeps_what_nobody_asked_to_change(accepted):
    old = metal()
    old.use_backface_culling, old.pass_index, old["mine"] = True, 7, 3
    old.use_fake_user = True
    material, message = accepted(old)
    assert material != old and values(material, "Metallic", "Roughness", "Alpha") == [1.0, 0.05, 0.5]
    assert material.use_backface_culling and material.pass_index == 7 and material["mine"] == 3 and not message
    assert material.name == "A red cube" and not material.use_fake_user
    assert shown_picture(material)[0].name == "A red cube" and shown_picture(material)[1] == "UVMap"
    assert values(old, "Metallic", "Roughness") == [1.0, 0.05] and old.use_fake_user
    assert not principled(old).inputs["Base Color"].is_linked


def test_a_new_texture_is_a_new_surface(accepted):
    material, message = accepted(metal(), job=HandJob)
    assert values(material, "Metallic", "Roughness", "Alpha") == [0.0, 0.6, 1.0] and not message


def test_each_slot_keeps_its_own_finish(accepted):
    shiny, rough = metal(), metal("Rough", Roughness=0.9)
    first, message = accepted(shiny, rough, shiny, None)
    found = [slot.material for slot in cube().material_slots]
    assert found[0] == first == found[2] and len(set(found)) == 3 and not message
    assert [values(m, "Metallic", "Roughness") for m in found[:2]] == [[1.0, 0.05], [1.0, 0.9]]
    assert values(found[3], "Metallic", "Roughness") == [0.0, 0.6]
    assert len({shown_picture(m)[0] for m in found}) == 1


def test_what_nodes_make_stays(accepted):
    old = metal()
    tree, shader = old.node_tree, principled(old)
    noise, bump = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeBump")
    tree.links.new(noise.outputs[0], shader.inputs["Roughness"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    output = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    tree.links.new(tree.nodes.new("ShaderNodeDisplacement").outputs[0], output.inputs["Displacement"])
    shader.inputs["Metallic"].driver_add("default_value").driver.expression = "0.25"
    material, message = accepted(old)
    inputs = principled(material).inputs
    assert inputs["Roughness"].links[0].from_node.type == "TEX_NOISE"
    assert inputs["Normal"].links[0].from_node.type == "BUMP" and not message
    assert next(n for n in material.node_tree.nodes if n.type == "OUTPUT_MATERIAL").inputs["Displacement"].is_linked
    [driver] = material.node_tree.animation_data.drivers
    assert driver.driver.expression == "0.25"
    assert len(tree.nodes) == 6 - 1  # the old one has what it had


def test_keys_of_the_copy_are_its_own(accepted):
    old = metal()
    socket = principled(old).inputs["Roughness"]
    socket.keyframe_insert("default_value", frame=1)
    material, _ = accepted(old)
    new = material.node_tree.animation_data
    assert new.action != old.node_tree.animation_data.action
    principled(material).inputs["Roughness"].default_value = 0.9
    bpy.context.scene.frame_set(2)
    bpy.context.scene.frame_set(1)
    assert values(material, "Roughness") == [0.05]  # they do move it


def curves(action):
    """The paths of its curves."""
    if hasattr(action, "layers") and action.layers:
        bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
        return [curve.data_path for bag in bags for curve in bag.fcurves]
    return [curve.data_path for curve in action.fcurves]


@pytest.mark.parametrize("meta", [False, True])
def test_keys_in_strips_of_the_nla_stay_with_the_old_one(accepted, meta):
    old = metal()
    tree, shader = old.node_tree, principled(old)
    picture, moved = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeMapping")
    picture.image = bpy.data.images.new("Belt", 8, 8)
    tree.links.new(moved.outputs[0], picture.inputs[0])
    tree.links.new(tree.nodes.new("ShaderNodeUVMap").outputs[0], moved.inputs[0])
    tree.links.new(picture.outputs[0], shader.inputs["Base Color"])
    for frame, place in ((1, 0.0), (50, 1.0)):
        moved.inputs["Location"].default_value[0] = place
        moved.inputs["Location"].keyframe_insert("default_value", index=0, frame=frame)
    shader.inputs["Roughness"].default_value = 0.25
    shader.inputs["Roughness"].keyframe_insert("default_value", frame=1)
    data = tree.animation_data
    action = data.action
    data.nla_tracks.new().strips.new("Moving", 1, action)
    data.action = None
    there = curves(action)
    assert len(there) == 2
    material, message = accepted(old)
    assert curves(action) == there and not message
    [strip] = material.node_tree.animation_data.nla_tracks[0].strips
    assert strip.action != action
    principled(material).inputs["Roughness"].default_value = 0.9
    bpy.context.scene.frame_set(1)
    assert values(material, "Roughness") == [0.25]  # its own copy moves it


def noise(name="Noise"):
    material = metal(name)
    tree = material.node_tree
    tree.links.new(tree.nodes.new("ShaderNodeTexNoise").outputs[0], principled(material).inputs["Base Color"])
    return material


def fur(name="Fur"):
    material = metal(name)
    tree = material.node_tree
    shader, end = tree.nodes.new("ShaderNodeBsdfHairPrincipled"), tree.get_output_node("ALL")
    tree.links.new(shader.outputs[0], end.inputs["Surface"])
    tree.nodes.remove(principled(material))
    return material


def grow_hair(slot):
    bpy.ops.object.particle_system_add()
    settings = cube().particle_systems[0].settings
    settings.type, settings.material = "HAIR", slot + 1


@pytest.mark.parametrize("job", [HandJob, EditHandJob])
def test_what_only_hair_shows_stays_its_own(accepted, job):
    grow_hair(1)
    skin, hair = metal("Skin"), fur()
    material, message = accepted(skin, hair, job=job)
    found = [slot.material for slot in cube().material_slots]
    assert found == [material, hair] and material != skin and not message
    assert "csd_before" not in hair and not hair.use_fake_user


def test_hair_that_shows_the_skins_material_shows_the_texture(accepted):
    grow_hair(0)
    material, _ = accepted(metal("Skin"), metal("Other"), job=HandJob)
    assert [slot.material for slot in cube().material_slots] == [material, material]


def test_a_slot_that_no_face_has_is_not_asked_for_its_color(accepted):
    hair = fur()
    material, message = accepted(metal(), noise(), hair)
    assert cube().material_slots[0].material == material and cube().material_slots[2].material == hair and not message


def test_a_leaf_stays_cut_out_by_its_picture(accepted):
    old = metal()
    tree, shader = old.node_tree, principled(old)
    picture, mix, clear = (tree.nodes.new(f"ShaderNode{n}") for n in ("TexImage", "MixShader", "BsdfTransparent"))
    picture.image = bpy.data.images.new("Leaf", 8, 8, alpha=True)
    output = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    tree.links.new(picture.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(picture.outputs["Alpha"], mix.inputs["Fac" if "Fac" in mix.inputs else "Factor"])
    tree.links.new(clear.outputs[0], mix.inputs[1])
    tree.links.new(shader.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], output.inputs["Surface"])
    material, _ = accepted(old)
    new = material.node_tree
    mixed = next(n for n in new.nodes if n.type == "MIX_SHADER")
    assert mixed.inputs[0].links[0].from_node.image == picture.image
    assert mixed.inputs[1].links[0].from_node.type == "BSDF_TRANSPARENT"
    assert shown_picture(material)[0].name == "A red cube"


def test_the_picture_before_goes_from_the_copy_and_what_glowed_in_it_glows_in_the_new_one(accepted):
    old = metal(**{"Emission Strength": 3.0})
    tree, shader = old.node_tree, principled(old)
    picture, place = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeUVMap")
    picture.image = bpy.data.images.new("Old", 8, 8)
    tree.links.new(place.outputs[0], picture.inputs["Vector"])
    for name in ("Base Color", "Emission Color"):
        tree.links.new(picture.outputs["Color"], shader.inputs[name])
    material, _ = accepted(old)
    [left] = [n for n in material.node_tree.nodes if n.type == "TEX_IMAGE"]
    assert left.image.name == "A red cube" and sum(n.type == "UVMAP" for n in material.node_tree.nodes) == 1
    assert principled(material).inputs["Emission Color"].links[0].from_node == left
    assert material.node_tree.nodes.active == left and values(material, "Emission Strength") == [3.0]


def test_a_picture_that_goes_by_the_rendered_map_keeps_that(monkeypatch):
    old = metal()
    bumps = old.node_tree.nodes.new("ShaderNodeTexImage")
    bumps.image = bpy.data.images.new("Bumps", 8, 8)
    old.node_tree.links.new(bumps.outputs[0], principled(old).inputs["Roughness"])
    cube().data.materials.clear()
    cube().data.materials.append(old)
    job = EditHandJob(monkeypatch, uv="new")
    job.write_uv(["new"])
    job.preview()
    assert next(u.name for u in cube().data.uv_layers if u.active_render)
    job.finish(["new"])
    [done] = job.jobs.accept()
    assert next(u.name for u in cube().data.uv_layers if u.active_render) == "UVMap"
    assert shown_picture(done.material)[1] == "CSD"


def test_a_material_without_nodes_keeps_its_two_values(accepted):
    plain = bpy.data.materials.new("Plain")
    if bpy.app.version < (5, 0, 0):
        plain.use_nodes = False
    plain.metallic, plain.roughness, plain.pass_index = 0.9, 0.2, 4
    material, message = accepted(plain)
    assert not message
    if bpy.app.version < (5, 0, 0):
        assert values(material, "Metallic", "Roughness") == [0.9, 0.2] and material.pass_index == 4
        assert not plain.use_nodes


def test_a_linked_material_is_named_by_its_copy(accepted, tmp_path):
    bpy.data.libraries.write(str(tmp_path / "library.blend"), {metal("Theirs")})
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, to):
        to.materials = ["Theirs"]
    material, _ = accepted(to.materials[0], metal())
    assert material["csd_before"].to_dict() == {"0": to.materials[0]} and material.library is None
    assert "csd_before" not in cube().material_slots[1].material
    assert values(material, "Metallic") == [1.0]


def upstream(material):
    """A picture that reaches the base color by two ways, and a reroute."""
    tree, shader = material.node_tree, principled(material)
    picture, hue, mix, reroute = (
        tree.nodes.new(n) for n in ("ShaderNodeTexImage", "ShaderNodeHueSaturation", "ShaderNodeMixRGB", "NodeReroute")
    )
    picture.image = bpy.data.images.new("Old", 8, 8)
    tree.links.new(picture.outputs["Color"], hue.inputs["Color"])
    tree.links.new(picture.outputs["Color"], mix.inputs[1])
    tree.links.new(hue.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], reroute.inputs[0])
    tree.links.new(reroute.outputs[0], shader.inputs["Base Color"])


def test_all_that_led_to_the_color_alone_goes_by_whatever_ways(monkeypatch):
    old = metal()
    cube().data.materials.clear()
    cube().data.materials.append(old)
    job = EditHandJob(monkeypatch)
    upstream(old)  # while the job runs: before, it would have been refused
    job.write_uv(["user"])
    job.finish(["user"])
    [done] = job.jobs.accept()
    kinds = sorted(n.type for n in done.material.node_tree.nodes)
    assert kinds == ["BSDF_PRINCIPLED", "OUTPUT_MATERIAL", "TEX_IMAGE", "UVMAP"]
    assert len(old.node_tree.nodes) == 6


def test_an_output_for_one_engine_shows_the_new_color_too(accepted):
    old = metal()
    tree = old.node_tree
    output, other = tree.nodes.new("ShaderNodeOutputMaterial"), tree.nodes.new("ShaderNodeBsdfPrincipled")
    next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL").target = "EEVEE"
    output.target = "CYCLES"
    tree.links.new(other.outputs[0], output.inputs["Surface"])
    material, _ = accepted(old)
    shaders = [n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED"]
    assert len(shaders) == 2
    assert {n.inputs["Base Color"].links[0].from_node.image.name for n in shaders} == {"A red cube"}


def test_the_copy_of_an_overridden_material_is_local(accepted, tmp_path):
    bpy.data.libraries.write(str(tmp_path / "library.blend"), {metal("Theirs")})
    bpy.data.materials.remove(bpy.data.materials["Theirs"])
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, to):
        to.materials = ["Theirs"]
    material, _ = accepted(to.materials[0].override_create())
    assert material.override_library is None and material.library is None
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "file.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "file.blend"))
    again = bpy.data.objects["Cube"].material_slots[0].material
    assert shown_picture(again)[0].name == "A red cube" and values(again, "Metallic") == [1.0]


def test_an_action_that_is_being_edited_in_the_nla_is_no_hindrance(accepted):
    old = metal()
    socket = principled(old).inputs["Roughness"]
    socket.keyframe_insert("default_value", frame=1)
    data = old.node_tree.animation_data
    action, track = data.action, data.nla_tracks.new()
    strip = track.strips.new("Edited", 1, action)
    data.action = None
    track.is_solo, strip.select, track.select = False, True, True
    data.nla_tracks.active = track
    data.use_tweak_mode = True
    assert data.use_tweak_mode
    images = len(bpy.data.images)
    material, message = accepted(old)
    assert material != old and not message and len(bpy.data.images) == images + 1
    assert data.use_tweak_mode and data.nla_tracks[0].strips[0].action == action
    assert material.node_tree.animation_data.nla_tracks[0].strips[0].action != action


@pytest.mark.parametrize("job", [HandJob, EditHandJob])
def test_hair_keeps_its_material_where_a_modifier_brings_another_one(accepted, job):
    grow_hair(1)
    brought = metal("Brought")
    tree = bpy.data.node_groups.new("Paint", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    start, end, paint = (tree.nodes.new(n) for n in ("NodeGroupInput", "NodeGroupOutput", "GeometryNodeSetMaterial"))
    paint.inputs["Material"].default_value = brought
    tree.links.new(start.outputs[0], paint.inputs["Geometry"])
    tree.links.new(paint.outputs[0], end.inputs[0])
    skin, hair = metal("Skin"), fur()
    if job is HandJob:
        cube().modifiers.new("Paint", "NODES").node_group = tree
    material, _ = accepted(skin, hair, job=job)
    assert [slot.material for slot in cube().material_slots] == [material, hair]
