"""A preview's own data-blocks: its material, the likes of it for further slots, and its image; found by their mark."""

from __future__ import annotations

import bpy
import numpy as np

from .. import checks
from ..materials.build import build_material, shown_map
from ..working_space import from_rec709

KEY = checks.PREVIEW
HIDES = "csd_preview_hides"  # custom property of a temporary material: one that it covers; ``ADDED``: the map added
NUMBER = "csd_preview_number"  # of a temporary material: that of the slots' records (``CSDHiddenSlot``) which it covers
MATERIAL_NAME = ".CSD Preview"  # a leading dot keeps it out of the menus


def preview_key(job_id: str, part: int) -> str:
    return f"{job_id}/{part}"


def find_marked(collection, key: str):
    return next((block for block in collection if block.get(KEY) == key), None)


def is_temporary(block) -> bool:
    return block is not None and KEY in block


def preview_material(key: str, uv_layer: str) -> bpy.types.Material:
    """The job part's temporary material, made when it is not there (any more), or shows another UV map."""
    material = find_marked(bpy.data.materials, key)
    if material is None:
        material = bpy.data.materials.new(MATERIAL_NAME)
        material[KEY], material[NUMBER] = key, 0
        build_material(material, None, uv_layer)
    elif uv_layer != shown_map(material):
        build_material(material, None, uv_layer)
    return material


def numbered(material: bpy.types.Material, number: int) -> bpy.types.Material:
    """``material`` itself as number 0, or its like for another slot."""
    if number == 0:
        return material
    key = f"{material[KEY]}/{number}"
    own = find_marked(bpy.data.materials, key)
    if own is None:
        own = material.copy()
        own[KEY], own[NUMBER] = key, number
        own.pop(HIDES, None)
    elif shown_map(own) != shown_map(material):
        build_material(own, None, shown_map(material))
    image = next(n.image for n in material.node_tree.nodes if n.type == "TEX_IMAGE")
    if image is not None:
        set_image(own, image)
    return own


def set_image(material: bpy.types.Material, image: bpy.types.Image) -> None:
    node = next(n for n in material.node_tree.nodes if n.type == "TEX_IMAGE")
    if node.image != image:
        node.image = image


def ensure_image(key: str, width: int, height: int) -> bool:
    """Make the part's temporary image when there is none of that size; returns whether it had to."""
    image = find_marked(bpy.data.images, key)
    if image is not None and tuple(image.size) == (width, height) and image.is_float:
        return False
    if image is not None:
        bpy.data.images.remove(image)
    # A float image takes a picture five times faster than a byte image does.
    image = bpy.data.images.new(MATERIAL_NAME, width, height, float_buffer=True)
    image[KEY] = key
    return True


def set_pixels(key: str, width: int, height: int, pixels: np.ndarray) -> bpy.types.Image:
    """Put linear float32 RGBA ``[height * width * 4]``, bottom row first, into the part's temporary image."""
    ensure_image(key, width, height)
    image = find_marked(bpy.data.images, key)
    colors = pixels.reshape(-1, 4)[:, :3]
    shown = from_rec709(colors)
    if shown is not colors:
        pixels = np.concatenate([shown, pixels.reshape(-1, 4)[:, 3:]], axis=1).ravel()
    image.pixels.foreach_set(pixels)
    image.update()
    return image


def load_final(key: str, path: str) -> bpy.types.Image:
    """Let the part's temporary image be the finished texture file."""
    old = find_marked(bpy.data.images, key)
    if old is not None:
        old[KEY] = f"{key}/old"  # removing it takes long in a window; uncover_all does so when nobody waits
    # Not images.load(): its first call in a session takes a tenth of a second. The file is read when it is drawn.
    image = bpy.data.images.new(MATERIAL_NAME, 1, 1)
    image.source = "FILE"
    image.filepath_raw = path
    image.reload()
    image[KEY] = key
    return image
