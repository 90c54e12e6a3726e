"""The one kind of material this extension makes: an image texture on a Principled shader."""

import bpy

ROUGHNESS = 0.6


def build_material(material: bpy.types.Material, image: bpy.types.Image, uv_layer: str) -> None:
    """Make ``material`` show ``image`` through the UV map ``uv_layer`` (the active one when empty).

    The texture node is the active one, so that Solid shading with *Texture* color shows it too.
    """
    if bpy.app.version < (5, 0, 0):  # always on from 5.0
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    texture = tree.nodes.new("ShaderNodeTexImage")
    shader.inputs["Roughness"].default_value = ROUGHNESS
    texture.image = image
    shader.location, texture.location, output.location = (0, 0), (-300, 0), (300, 0)
    tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    if uv_layer:
        coordinates = tree.nodes.new("ShaderNodeUVMap")
        coordinates.uv_map = uv_layer
        coordinates.location = (-500, -100)
        tree.links.new(coordinates.outputs["UV"], texture.inputs["Vector"])
    for node in tree.nodes:
        node.select = node == texture
    tree.nodes.active = texture


def texture_image(material: bpy.types.Material) -> bpy.types.Image | None:
    """The image of a material made by :func:`build_material`."""
    nodes = material.node_tree.nodes if material.node_tree else ()
    return next((n.image for n in nodes if n.type == "TEX_IMAGE"), None)
