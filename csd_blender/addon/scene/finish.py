"""What a material has beside its color, kept where only the color is edited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

from .base_color import shown_shader

COLOR = "Base Color"
#: Of a material itself: how its back is seen, and how what is behind it.
SETTINGS = ("use_backface_culling", "surface_render_method", "displacement_method")
METHODS = ("distribution", "subsurface_method")  # of the shader's node


def keep_finish(material: bpy.types.Material, before: Sequence[bpy.types.Material]) -> list[str]:
    """Give ``material``, as :func:`.materials.build_material` makes one, the values that all materials ``before`` have
    alike.

    Returns:
        Names of the inputs that it could not take over: those that nodes lead to, or that differ.
    """
    old = [shown_shader(m.node_tree) if m.node_tree is not None else None for m in before]
    if not before or any(shader is None for shader in old):
        return []
    shader = shown_shader(material.node_tree)
    for owners, names, new in ((before, SETTINGS, material), (old, METHODS, shader)):
        for name in names:
            values = {getattr(owner, name, None) for owner in owners}
            if len(values) == 1 and None not in values:
                setattr(new, name, values.pop())
    outputs = [node for m in before for node in m.node_tree.nodes if node.type == "OUTPUT_MATERIAL"]
    left = [name for name in ("Volume", "Displacement") if any(node.inputs[name].is_linked for node in outputs)]
    for socket in shader.inputs:
        same = [s.inputs.get(socket.name) for s in old]
        if socket.name == COLOR or any(s is None for s in same):
            continue
        if any(s.is_linked for s in same):
            left.append(socket.name)
        elif hasattr(socket, "default_value"):
            values = {_plain(s.default_value) for s in same}
            if len(values) == 1:
                socket.default_value = values.pop()
            elif socket.name not in left:
                left.append(socket.name)
    if "Emission Color" in left:  # it would glow in another one
        shader.inputs["Emission Strength"].default_value = 0.0
    return left


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, float, int, str)) else tuple(value)
