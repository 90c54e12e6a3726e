"""The base color of meshes in the scene, as their materials' Principled shaders have it: pictures and plain colors.

Nothing of the user's is changed; what only rendering would tell is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ...errors import SceneError
from ..export import Export, npz_bytes, read
from ..working_space import to_rec709

MOST_PICTURES = 64
#: Shaders that may stand beside the Principled one: what they mix it with has no color of its own.
_WITHOUT_COLOR = ("MIX_SHADER", "ADD_SHADER", "BSDF_TRANSPARENT", "HOLDOUT", "REROUTE")
LARGEST_SIDE = 4096  # pixels that a picture is brought down to
MOST_PIXELS = 2**26  # of a picture, 8192 x 8192: Blender hands them out as 16 bytes each
BEYOND = 1e-3  # of a picture's side, which counts as its edge
EMPTY = (0.8, 0.8, 0.8)  # linear, what Blender shows where a slot has no material


@dataclass(frozen=True)
class BaseColor:
    """A material's base color: linear RGB, or an image with its UV map (empty: the one that is rendered)."""

    plain: tuple[float, float, float] = EMPTY
    image: bpy.types.Image | None = None
    uv_map: str = ""
    matrix: tuple[tuple[float, ...], ...] | None = None  # 2 x 3, what is done to the UVs
    repeats: bool = True  # whether the image goes on beyond its edges


def start_bytes(objects: Sequence[bpy.types.Object], exported: Export, depsgraph) -> bytes:
    """What ``start.npz`` holds: ``uv [F, 3, 2]``, ``picture [F]``, and ``picture_0`` and so on, ``[H, W, 3]`` sRGB
    bytes, the top row first.

    Args:
        objects: those that were exported, in their order.

    Raises:
        SceneError: an object has no material, or one whose base color is not an image or a plain color.
    """
    pictures: dict[tuple, np.ndarray] = {}
    uvs, numbers = [], []
    part = exported.arrays["part"]
    for i, (obj, target) in enumerate(zip(objects, exported.targets, strict=True)):
        slots = exported.arrays["material"][part == i]
        materials = _materials(obj, depsgraph, target.modifiers)
        number, uv = np.zeros(len(slots), np.int32), np.zeros((len(slots), 3, 2), np.float32)
        for slot, material in enumerate(materials):
            # A number beyond the slots shows the last one, as Blender does.
            chosen = (slots == slot) | ((slots >= len(materials)) & (slot == len(materials) - 1))
            if not chosen.any():
                continue
            color = base_color(obj, material)
            key = color.plain if color.image is None else (color.image.name_full,)
            if key not in pictures:
                pictures[key] = _picture(color)
            number[chosen] = list(pictures).index(key)
            if color.image is not None:
                uv[chosen] = _uv(obj, color, depsgraph, target, chosen)
        uvs.append(uv)
        numbers.append(number)
    if len(pictures) > MOST_PICTURES:
        raise SceneError(f"The objects have more than {MOST_PICTURES} textures.", "Edit them one after the other.")
    arrays = {"uv": np.concatenate(uvs), "picture": np.concatenate(numbers)}
    return npz_bytes(arrays | {f"picture_{i}": picture for i, picture in enumerate(pictures.values())})


def _materials(obj: bpy.types.Object, depsgraph, modifiers: str) -> list[bpy.types.Material | None]:
    """Those of the object's slots. Raises :class:`SceneError` when there are none."""
    owner = obj if modifiers == "ignore" else obj.evaluated_get(depsgraph)
    found = [slot.material for slot in owner.material_slots]
    if not any(material is not None for material in found):
        raise SceneError(f"“{obj.name}” has no material that could be edited.", "Generate a texture for it first.")
    return found


def base_color(obj: bpy.types.Object, material: bpy.types.Material | None) -> BaseColor:
    """A material's base color. Raises :class:`SceneError` when it is neither an image nor a plain color."""
    if material is None:
        return BaseColor()
    tree = nodes_of(material)
    if tree is None:
        return BaseColor(tuple(material.diffuse_color[:3]))
    shader = shown_shader(tree)
    if shader is None:
        raise _unclear(obj, material)
    socket = shader.inputs["Base Color"]
    node = _before(socket)
    if node is None and _shows_its_glow(shader):
        raise _unclear(obj, material)
    if node is None:
        return BaseColor(tuple(socket.default_value[:3]))
    if node.mute or not _is_from(socket, "Color"):
        raise _unclear(obj, material)
    if node.type == "RGB":
        return BaseColor(tuple(node.outputs[0].default_value[:3]))
    if node.type != "TEX_IMAGE" or node.image is None or node.projection != "FLAT" or _is_adjusted(node):
        raise _unclear(obj, material)
    _check_image(node.image)
    uv_map, matrix = _coordinates(obj, material, node)
    return BaseColor(image=node.image, uv_map=uv_map, matrix=matrix, repeats=node.extension == "REPEAT")


def _unclear(obj: bpy.types.Object, material: bpy.types.Material) -> SceneError:
    return SceneError(
        f"The color of the material “{material.name}” of “{obj.name}” is no image and no plain color.",
        "Bake it to an image first (Render Properties > Bake, in Cycles), and link that to Base Color.",
    )


def nodes_of(material: bpy.types.Material) -> bpy.types.NodeTree | None:
    """What a material is made of; None where it goes without nodes, as it may before Blender 5."""
    without = bpy.app.version < (5, 0, 0) and not material.use_nodes  # always on from 5.0
    return None if without else material.node_tree


def shown_shader(tree: bpy.types.NodeTree) -> bpy.types.Node | None:
    """The Principled shader that is seen: the one at the output, else the only one that leads anywhere."""
    engines = ("EEVEE", "CYCLES")  # each has its own output, else the one that is for all
    if bpy.context.scene.render.engine == "CYCLES":
        engines = engines[::-1]
    node = _at(tree.get_output_node(engines[0]) or tree.get_output_node(engines[1]))
    if node is not None and node.type == "BSDF_PRINCIPLED":
        return None if node.mute else node
    found = [n for n in tree.nodes if any(o.type == "SHADER" and o.is_linked for o in n.outputs) and not n.mute]
    colored = [n for n in found if n.type not in _WITHOUT_COLOR]
    return colored[0] if [n.type for n in colored] == ["BSDF_PRINCIPLED"] else None


def shown_shaders(tree: bpy.types.NodeTree) -> list[bpy.types.Node]:
    """:func:`shown_shader`, and those of outputs that are for one of the engines alone."""
    found = [shown_shader(tree)]
    for engine in ("EEVEE", "CYCLES"):
        node = _at(tree.get_output_node(engine))
        if node is not None and node.type == "BSDF_PRINCIPLED" and not node.mute and node not in found:
            found.append(node)
    return [shader for shader in found if shader is not None]


def _at(output: bpy.types.Node | None) -> bpy.types.Node | None:
    """The node at an output's surface."""
    return _before(output.inputs["Surface"]) if output is not None else None


def _shows_its_glow(shader: bpy.types.Node) -> bool:
    """Whether a Principled shader has its picture in Emission, as materials without lighting have."""
    color, strength = shader.inputs.get("Emission Color"), shader.inputs.get("Emission Strength")
    if color is None or strength is None or _before(color) is None:
        return False
    return strength.is_linked or strength.default_value > 0


def _before(socket: bpy.types.NodeSocket) -> bpy.types.Node | None:
    """The node that feeds a socket, behind any reroutes; None where nothing does."""
    source = source_of(socket)
    return source.node if source is not None else None


def source_of(socket: bpy.types.NodeSocket) -> bpy.types.NodeSocket | None:
    """The output that feeds a socket, as :func:`_before`; what comes by a muted link counts as nothing."""
    for _ in range(100):
        links = [link for link in socket.links if not link.is_muted]
        if not links:
            return None
        source = links[0].from_socket
        if source.node.type != "REROUTE":
            return source
        socket = source.node.inputs[0]
    return None


def _is_from(socket: bpy.types.NodeSocket, output: str) -> bool:
    """Whether it is the output of that name which feeds the socket."""
    source = source_of(socket)
    return source is not None and source.identifier == output


def _is_adjusted(node: bpy.types.Node) -> bool:
    """Whether an image node has adjustments of its own, which no panel of Blender shows any more."""
    mapping, color = node.texture_mapping, node.color_mapping
    moved = any(mapping.translation) or any(mapping.rotation) or tuple(mapping.scale) != (1.0, 1.0, 1.0)
    return moved or color.use_color_ramp or (color.brightness, color.contrast, color.saturation) != (1.0, 1.0, 1.0)


def _coordinates(obj: bpy.types.Object, material: bpy.types.Material, node: bpy.types.Node) -> tuple[str, tuple | None]:
    """An image node's UV map, and what a Mapping node does to it."""
    output, matrix = source_of(node.inputs["Vector"]), None
    source = output.node if output is not None else None
    if source is not None and source.type == "MAPPING":
        if source.vector_type != "POINT" or any(source.inputs[n].is_linked for n in ("Location", "Rotation", "Scale")):
            raise _unclear(obj, material)
        if source.mute or any(source.inputs["Rotation"].default_value[:2]):
            raise _unclear(obj, material)  # turned out of the plane
        matrix = _mapping(source)
        output = source_of(source.inputs["Vector"])
        source = output.node if output is not None else None
        if source is None:
            raise _unclear(obj, material)
    if output is None or source is None:
        return "", matrix
    if source.mute:
        raise _unclear(obj, material)
    if source.type == "UVMAP":
        return source.uv_map, matrix
    if source.type == "ATTRIBUTE" and source.attribute_type == "GEOMETRY" and output.identifier in ("Vector", "Color"):
        return source.attribute_name, matrix
    if source.type == "TEX_COORD" and output.identifier == "UV":
        return "", matrix
    raise _unclear(obj, material)


def _mapping(node: bpy.types.Node) -> tuple[tuple[float, ...], ...]:
    """2 x 3: scaled, turned and moved within the plane, as a Mapping node of type Point does."""
    x, y, _ = node.inputs["Scale"].default_value
    location, angle = node.inputs["Location"].default_value, node.inputs["Rotation"].default_value[2]
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return (c * x, -s * y, location[0]), (s * x, c * y, location[1])


def _check_image(image: bpy.types.Image) -> None:
    if image.source not in ("FILE", "GENERATED"):
        raise SceneError(f"“{image.name}” is not a single picture.", "Bake the color to one image first.")
    width, height = image.size
    if not width or not height:
        raise SceneError(f"The picture of “{image.name}” cannot be read.", "Find its file, or pack it into the file.")
    if not image.is_float and is_linear(image.colorspace_settings.name) is None:
        raise SceneError(
            f"“{image.name}” is in the color space “{image.colorspace_settings.name}”, which an edit cannot read.",
            "Save it as an image in sRGB first, or bake the color to one.",
        )
    if width * height > MOST_PIXELS:
        raise SceneError(f"“{image.name}” is larger than 8192 x 8192 pixels.", "Scale it down first.")


def is_linear(space: str) -> bool | None:
    """Whether the numbers of 8-bit pictures in this color space of Blender are linear Rec.709, or, False, sRGB; None
    where they are neither. Blender tells the spaces' names alone."""
    words = space.lower()
    if words in ("non-color", "raw", "data", "linear"):
        return True
    if "linear" in words:
        return True if "709" in words or "srgb" in words else None
    others = ("aces", "ap0", "ap1", "filmic", "agx", "khronos", "log", "p3", "2020", "2100")
    return False if "srgb" in words and not any(word in words for word in others) else None


def _picture(color: BaseColor) -> np.ndarray:
    """``[H, W, 3]`` sRGB bytes, the top row first."""
    image = color.image
    if image is None:
        plain = to_rec709(np.array(color.plain, np.float32))
        return _bytes(_encoded(np.clip(plain, 0, 1)))[None, None]
    width, height = image.size
    channels = image.channels
    values = np.empty(width * height * channels, np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(height, width, channels)
    if image.is_float and channels == 4 and image.alpha_mode in ("STRAIGHT", "PREMUL"):
        # Blender keeps these multiplied by alpha, and 8-bit pictures not.
        values[..., :3] /= np.where(values[..., 3:] > 0, values[..., 3:], 1)
    values = np.repeat(values[..., :1], 3, axis=2) if channels < 3 else values[..., :3]
    step = -(-max(width, height) // LARGEST_SIDE)
    if step > 1:
        values = values[: height // step * step, : width // step * step]
        values = values.reshape(height // step, step, width // step, step, 3).mean((1, 3))
    if image.is_float:
        values = to_rec709(values)
    linear = image.is_float or is_linear(image.colorspace_settings.name)
    return np.ascontiguousarray(_bytes(_encoded(np.clip(values, 0, 1)) if linear else values)[::-1])


def _encoded(values: np.ndarray) -> np.ndarray:
    """Linear light to sRGB (IEC 61966-2-1)."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.uint8(np.round(np.clip(np.nan_to_num(values), 0, 1) * 255))


def _uv(obj: bpy.types.Object, color: BaseColor, depsgraph, target, chosen: np.ndarray) -> np.ndarray:
    """``[F, 3, 2]`` of the object's ``chosen`` triangles in the map that an image is seen with."""
    ignore = target.modifiers == "ignore"
    evaluated = obj.evaluated_get(depsgraph)
    mesh = obj.data if ignore else evaluated.to_mesh()
    try:
        layers = mesh.uv_layers
        layer = (
            layers.get(color.uv_map) if color.uv_map else next((u for u in layers if u.active_render), layers.active)
        )
        if layer is None or not len(layer.uv):
            name, todo = (
                (f" “{color.uv_map}”", "Choose another one in its UV Map node.")
                if color.uv_map
                else ("", "Unwrap it first.")
            )
            raise SceneError(f"“{obj.name}” has no UV map{name}, by which its texture is seen.", todo)
        uv = read(layer.uv, "vector", 2, np.float32)[target.corners[chosen]]
    finally:
        if not ignore:
            evaluated.to_mesh_clear()
    if color.matrix is not None:
        matrix = np.array(color.matrix, np.float32)
        uv = uv @ matrix[:, :2].T + matrix[:, 2]
    uv = np.nan_to_num(uv)
    if not color.repeats and (uv.min() < -BEYOND or uv.max() > 1 + BEYOND):
        raise SceneError(
            f"The UV map of “{obj.name}” goes beyond the edges of “{color.image.name}”, which is not repeated there.",
            "Set the image node to Repeat, or bake the color to an image of its own first.",
        )
    return np.ascontiguousarray(uv, np.float32)
