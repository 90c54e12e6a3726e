"""Of several colors that a material or an object has an edit begins with the one that is seen."""

import pytest

from tests.support.blender import bpy, cube, module
from tests.support.painted import paint, picture, start

SceneError = module("addon.errors").SceneError


def two_slots(second):
    """The cube's two first faces in a second slot."""
    cube().data.materials.append(second)
    for face in cube().data.polygons[:2]:
        face.material_index = 1


def test_only_the_faces_of_a_slot_must_lie_on_its_picture():
    material = paint(cube(), picture())
    node = next(n for n in material.node_tree.nodes if n.type == "TEX_IMAGE")
    node.extension = "CLIP"
    two_slots(None)
    for corner in [c for face in cube().data.polygons[:2] for c in face.loop_indices]:
        cube().data.uv_layers[0].uv[corner].vector = (3, 3)
    assert len(set(start(cube())["picture"].tolist())) == 2
    for face in cube().data.polygons[:2]:
        face.material_index = 0
    with pytest.raises(SceneError, match="goes beyond the edges"):
        start(cube())


def test_the_output_that_leads_to_the_picture_counts():
    material = paint(cube(), picture())
    tree = material.node_tree
    node = next(n for n in tree.nodes if n.type == "TEX_IMAGE")
    coordinates, noise, bump = (tree.nodes.new(f"ShaderNode{n}") for n in ("TexCoord", "TexNoise", "Bump"))
    tree.links.new(coordinates.outputs["UV"], node.inputs["Vector"])
    tree.links.new(coordinates.outputs["Object"], noise.inputs["Vector"])
    tree.links.new(noise.outputs[0], bump.inputs["Height"])
    tree.links.new(bump.outputs["Normal"], next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED").inputs["Normal"])
    plain = start(cube())
    assert plain["uv"].any()
    tree.links.new(coordinates.outputs["Object"], node.inputs["Vector"])
    tree.links.new(coordinates.outputs["UV"], noise.inputs["Vector"])
    with pytest.raises(SceneError, match="no image and no plain color"):
        start(cube())


@pytest.mark.parametrize("also_for_all", [False, True])
def test_the_output_of_the_scenes_engine_counts(also_for_all):
    material = paint(cube(), color=(1, 0, 0, 1))
    tree = material.node_tree
    tree.get_output_node("ALL").target = "ALL" if also_for_all else "EEVEE"
    output, shader = tree.nodes.new("ShaderNodeOutputMaterial"), tree.nodes.new("ShaderNodeBsdfPrincipled")
    output.target, shader.inputs["Base Color"].default_value = "CYCLES", (0, 0, 1, 1)
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    assert start(cube())["picture_0"].tolist() == [[[255, 0, 0]]]
    bpy.context.scene.render.engine = "CYCLES"
    assert start(cube())["picture_0"].tolist() == [[[0, 0, 255]]]


def color_spaces():
    return [i.identifier for i in bpy.types.ColorManagedInputColorspaceSettings.bl_rna.properties["name"].enum_items]


def test_a_color_space_that_cannot_be_read_is_refused():
    known = {"sRGB", "Linear Rec.709", "Non-Color"}
    for space in color_spaces():
        paint(cube(), picture(space=space))
        if space in known:
            assert start(cube())["picture_0"].max() == 255
        else:
            with pytest.raises(SceneError, match="color space"):
                start(cube())
    assert known < set(color_spaces())
