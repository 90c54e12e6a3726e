"""The one kind of material this extension makes: an image texture on a Principled shader."""

import bpy

ROUGHNESS = 0.6


def build_material(
    material: bpy.types.Material,
    image: bpy.types.Image,
    uv_layer: str,
    roughness: float = ROUGHNESS,
    metallic: float = 0.0,
) -> None:
    """Make ``material`` show ``image`` through the UV map ``uv_layer`` (the active one when empty).

    The texture node is the active one, so that Solid shading with *Texture* color shows it too.
    """
    tree = principled(material, roughness, metallic)
    texture = add_picture(tree, image, uv_layer, (-300, 0))
    tree.links.new(texture.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])


def add_picture(
    tree: bpy.types.NodeTree, image: bpy.types.Image, uv_layer: str, place: tuple[float, float]
) -> bpy.types.Node:
    """An image node at ``place``, the active one, that shows ``image`` through the UV map ``uv_layer``."""
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = image
    texture.location = place
    if uv_layer:
        coordinates = tree.nodes.new("ShaderNodeUVMap")
        coordinates.uv_map = uv_layer
        if coordinates.uv_map != uv_layer:  # it takes 63 bytes, and the names of UV maps may be longer
            tree.nodes.remove(coordinates)
            coordinates = tree.nodes.new("ShaderNodeAttribute")
            coordinates.attribute_name = uv_layer
        coordinates.location = (place[0] - 200, place[1] - 100)
        tree.links.new(coordinates.outputs["UV" if "UV" in coordinates.outputs else "Vector"], texture.inputs["Vector"])
    for node in tree.nodes:
        node.select = node == texture
    tree.nodes.active = texture
    return texture


def shown_map(material: bpy.types.Material) -> str:
    """Name of the UV map that :func:`build_material` gave ``material``; empty for the active one."""
    for node in material.node_tree.nodes:
        if node.type in ("UVMAP", "ATTRIBUTE"):
            return node.uv_map if node.type == "UVMAP" else node.attribute_name
    return ""


def build_color_material(material: bpy.types.Material, attribute: str) -> None:
    """Make ``material`` show the mesh's color attribute ``attribute``."""
    tree = principled(material, ROUGHNESS, 0.0)
    color = tree.nodes.new("ShaderNodeVertexColor")
    color.layer_name = attribute
    color.location = (-300, 0)
    tree.links.new(color.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])


def principled(material: bpy.types.Material, roughness: float, metallic: float) -> bpy.types.NodeTree:
    """The node tree of ``material`` with nothing but a Principled shader, named ``Principled BSDF``."""
    if bpy.app.version < (5, 0, 0):  # always on from 5.0
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    shader.name = "Principled BSDF"  # a new node's name may be translated
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["Metallic"].default_value = metallic
    shader.location, output.location = (0, 0), (300, 0)
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return tree
