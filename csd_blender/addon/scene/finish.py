"""Materials whose color alone is edited: copies of those before them, with another picture for Base Color."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from .base_color import shown_shader, source_of
from .materials import add_picture, build_material

COLOR, GLOW = "Base Color", "Emission Color"


def edited_materials(
    before: Sequence[bpy.types.Material | None], image: bpy.types.Image, uv_layer: str, name: str
) -> list[bpy.types.Material]:
    """For each of the slots' materials ``before`` a copy that shows ``image`` through the map ``uv_layer`` as its
    color, and is as it was otherwise: metal, glass, bumps, what it is mixed with, drivers. Slots that had the same one
    have the same one."""
    made: dict[bpy.types.Material | None, bpy.types.Material] = {}
    for old in before:
        if old not in made:
            made[old] = _edited(old, image, uv_layer, name)
    return [made[old] for old in before]


def _edited(old: bpy.types.Material | None, image: bpy.types.Image, uv_layer: str, name: str) -> bpy.types.Material:
    has_nodes = old is not None and old.node_tree is not None and getattr(old, "use_nodes", True)
    if old is None or not has_nodes or shown_shader(old.node_tree) is None:
        material = bpy.data.materials.new(name)
        plain = {} if old is None or has_nodes else {"roughness": old.roughness, "metallic": old.metallic}
        build_material(material, image, uv_layer, **plain)
        return material
    material = old.copy()
    material.name, material.use_fake_user = name, False
    tree = material.node_tree
    shader = shown_shader(tree)
    was = source_of(shader.inputs[COLOR])
    texture = add_picture(tree, image, uv_layer, (shader.location.x - 300, shader.location.y + 300))
    for socket in (shader.inputs[COLOR], shader.inputs.get(GLOW)):
        # What glows in the color's own picture glows in the new one.
        if socket is not None and (socket.name == COLOR or (was is not None and source_of(socket) == was)):
            tree.links.new(texture.outputs["Color"], socket)
    if was is not None:
        _remove_unused(tree, was.node)
    return material


def _remove_unused(tree: bpy.types.NodeTree, node: bpy.types.Node) -> None:
    """Remove a node that leads nowhere any more, and those before it of which that is true then."""
    if any(output.is_linked for output in node.outputs) or not node.outputs:
        return
    before = {link.from_node for socket in node.inputs for link in socket.links}
    tree.nodes.remove(node)
    for other in before:
        _remove_unused(tree, other)
