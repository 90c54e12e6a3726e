"""Materials whose color alone is edited: copies of those before them, with another picture for Base Color."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from ..movement import strips_of
from .base_color import nodes_of, shown_shaders, source_of
from .build import add_picture, build_material

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


def has_color(material: bpy.types.Material | None) -> bool:
    """Whether ``material`` has a color that :func:`edited_materials` can replace; else it would make a new surface."""
    tree = nodes_of(material) if material is not None else None
    return tree is None or bool(shown_shaders(tree))


def _edited(old: bpy.types.Material | None, image: bpy.types.Image, uv_layer: str, name: str) -> bpy.types.Material:
    if old is None:
        material = bpy.data.materials.new(name)
        build_material(material, image, uv_layer)
        return material
    material = old.copy()
    if material.override_library is not None:  # it would be as the library has it when the file is opened again
        material = material.make_local(clear_liboverride=True)
    material.name, material.use_fake_user = name, False
    for owner in (material, material.node_tree):
        _own_actions(owner)
    tree = nodes_of(material)
    shaders = shown_shaders(tree) if tree is not None else []
    if not shaders:
        build_material(material, image, uv_layer, old.roughness, old.metallic)
    for shader in shaders:
        _show(tree, shader, image, uv_layer)
    return material


def _own_actions(owner: bpy.types.ID | None) -> None:
    """Keys of its own, also in strips of the NLA, where a copy shares those of what it is a copy of."""
    data = owner.animation_data if owner is not None else None
    if data is None:
        return
    if data.use_tweak_mode:  # a strip's action is being edited, and none can be put in another's place
        data.use_tweak_mode = False
    copies: dict[bpy.types.Action, bpy.types.Action] = {}
    for player in (data, *strips_of(data)):
        if player.action is None:
            continue
        slot = getattr(player, "action_slot", None)
        if player.action not in copies:
            copies[player.action] = player.action.copy()
        player.action = copies[player.action]
        if slot is not None:
            player.action_slot = next(s for s in player.action.slots if s.identifier == slot.identifier)


def _show(tree: bpy.types.NodeTree, shader: bpy.types.Node, image: bpy.types.Image, uv_layer: str) -> None:
    """Let ``shader`` have ``image`` as its color, and what only led to its color before go."""
    was = source_of(shader.inputs[COLOR])
    before = [link.from_node.name for link in shader.inputs[COLOR].links]
    texture = add_picture(tree, image, uv_layer, (shader.location.x - 300, shader.location.y + 300))
    for socket in (shader.inputs[COLOR], shader.inputs.get(GLOW)):
        # What glows in the color's own picture glows in the new one.
        if socket is not None and (socket.name == COLOR or (was is not None and source_of(socket) == was)):
            tree.links.new(texture.outputs["Color"], socket)
    while before:
        node = tree.nodes.get(before.pop())  # by name: it may be gone already, by another way
        if node is not None and node.outputs and not any(output.is_linked for output in node.outputs):
            before += [link.from_node.name for socket in node.inputs for link in socket.links]
            tree.nodes.remove(node)
