"""Painted objects, and what an edit of them begins with."""

import io

import numpy as np

from tests.support.blender import bpy, module

base_color, scene_export = module("addon.scene.materials.base_color"), module("addon.scene.export")


def start(*objects, modifiers="keep") -> dict:
    depsgraph = bpy.context.evaluated_depsgraph_get()
    exported = scene_export.export_objects(objects, depsgraph, modifiers, "auto")
    with np.load(io.BytesIO(base_color.start_bytes(objects, exported, depsgraph))) as arrays:
        return dict(arrays)


def picture(name="Paint", size=(4, 2), space="sRGB", is_float=False):
    """Red below, green above on the left; blue on the right."""
    image = bpy.data.images.new(name, *size, float_buffer=is_float)
    image.colorspace_settings.name = space
    values = np.zeros((size[1], size[0], 4), np.float32)
    values[..., 3] = 1
    values[: size[1] // 2, : size[0] // 2, 0] = values[size[1] // 2 :, : size[0] // 2, 1] = 1
    values[:, size[0] // 2 :, 2] = 0.5
    image.pixels.foreach_set(values.ravel())
    return image


def paint(obj, image=None, color=(1, 0, 0, 1), uv_map=None):
    material = bpy.data.materials.new("Painted")
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    tree = material.node_tree
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = color
    if image is not None:
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        reroute = tree.nodes.new("NodeReroute")
        tree.links.new(node.outputs["Color"], reroute.inputs[0])
        tree.links.new(reroute.outputs[0], shader.inputs["Base Color"])
        if uv_map is not None:
            coordinates = tree.nodes.new("ShaderNodeUVMap")
            coordinates.uv_map = uv_map
            tree.links.new(coordinates.outputs["UV"], node.inputs["Vector"])
    obj.data.materials.clear()
    obj.data.materials.append(material)
    return material
