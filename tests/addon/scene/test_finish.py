"""An edit changes the color: metal stays metal, and what cannot be kept is said."""

import pytest

from tests.support.blender import bpy, cube, module, start_job
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


def test_an_edit_keeps_what_nobody_asked_to_change(accepted):
    old = metal()
    old.use_backface_culling = True
    material, message = accepted(old)
    assert material != old and values(material, "Metallic", "Roughness", "Alpha") == [1.0, 0.05, 0.5]
    assert material.use_backface_culling and not message
    assert principled(material).inputs["Base Color"].is_linked
    assert values(old, "Metallic", "Roughness") == [1.0, 0.05] and old.use_fake_user


def test_a_new_texture_is_a_new_surface(accepted):
    material, message = accepted(metal(), job=HandJob)
    assert values(material, "Metallic", "Roughness", "Alpha") == [0.0, 0.6, 1.0] and not message


def test_of_several_materials_stays_what_they_have_alike(accepted):
    material, message = accepted(metal(), metal("Rough", Roughness=0.9))
    assert values(material, "Metallic", "Roughness", "Alpha") == [1.0, 0.6, 0.5]
    assert "Roughness" in message and "Metallic" not in message and "which is kept" in message


def test_what_nodes_make_is_named(accepted):
    old = metal()
    noise = old.node_tree.nodes.new("ShaderNodeTexNoise")
    old.node_tree.links.new(noise.outputs[0], principled(old).inputs["Roughness"])
    bump = old.node_tree.nodes.new("ShaderNodeBump")
    old.node_tree.links.new(bump.outputs["Normal"], principled(old).inputs["Normal"])
    material, message = accepted(old)
    assert values(material, "Metallic", "Roughness") == [1.0, 0.6]
    assert "Roughness, Normal" in message


def test_glass_stays_glass_and_displacement_by_nodes_is_named(accepted):
    old = metal(**{"Transmission Weight": 1.0, "IOR": 1.33, "Base Color": (0.2, 0.9, 0.2, 1.0)})
    principled(old).distribution = "GGX"
    tree = old.node_tree
    output = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    tree.links.new(tree.nodes.new("ShaderNodeDisplacement").outputs[0], output.inputs["Displacement"])
    material, message = accepted(old)
    assert values(material, "Transmission Weight", "IOR") == [1.0, 1.33]
    assert principled(material).distribution == "GGX" and "Displacement" in message


def test_a_glow_whose_color_cannot_be_kept_does_not_become_a_white_one(accepted):
    material = bpy.data.materials.new("New")
    old = metal(**{"Emission Strength": 3.0})
    noise = old.node_tree.nodes.new("ShaderNodeTexNoise")
    old.node_tree.links.new(noise.outputs["Color"], principled(old).inputs["Emission Color"])
    module("addon.scene.materials").build_material(material, None, "")
    assert "Emission Color" in module("addon.scene.finish").keep_finish(material, [old])
    assert values(material, "Emission Strength") == [0.0]


def test_a_material_without_a_shader_of_that_kind_leaves_the_usual_values(accepted):
    plain = bpy.data.materials.new("Plain")
    if bpy.app.version < (5, 0, 0):
        plain.use_nodes = False
    material, message = accepted(plain)
    assert values(material, "Metallic") == [0.0] and not message


def test_neither_of_two_things_to_say_takes_the_others_place(monkeypatch):
    cube().data.materials.clear()
    for material in (metal(), metal("Rough", Roughness=0.9)):
        cube().data.materials.append(material)
    job = EditHandJob(monkeypatch)
    job.write_uv(["user"])
    job.finish(["user"])
    bpy.data.collections.remove(bpy.data.collections["Collection"])
    [done] = job.jobs.accept()
    assert "Roughness" in done.message and "is in no scene" in done.message
