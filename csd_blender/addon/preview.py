"""The growing texture on the mesh: a temporary material over the slots, outside undo, taken away without a trace.

What a preview hides is written on the object itself (``Object.csd``), so that it always belongs to the same state of
the file as the covered slots: after an undo, a load or a crash, :func:`uncover` still finds what to bring back.
"""

from __future__ import annotations

import bpy
import numpy as np

from .materials import build_material

KEY = "csd_preview"  # custom property that marks temporary data-blocks with the job they belong to
MATERIAL_NAME = ".CSD Preview"  # a leading dot keeps it out of the menus
UV_NAME = "CSD"


def preview_key(job_id: str, part: int) -> str:
    return f"{job_id}/{part}"


def find_marked(collection, key: str):
    return next((block for block in collection if block.get(KEY) == key), None)


def preview_material(key: str, uv_layer: str) -> bpy.types.Material:
    """The job part's temporary material, made when it is not there (any more)."""
    material = find_marked(bpy.data.materials, key)
    if material is None:
        material = bpy.data.materials.new(MATERIAL_NAME)
        material[KEY] = key
        build_material(material, None, uv_layer)
    return material


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
    """Put scene-linear float32 RGBA ``[height * width * 4]``, bottom row first, into the part's temporary image."""
    ensure_image(key, width, height)
    image = find_marked(bpy.data.images, key)
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


def mark(obj: bpy.types.Object, key: str) -> None:
    """Note on ``obj`` whose preview it carries; another one's is taken away first."""
    if obj.csd.preview_job != key:
        uncover(obj)
        obj.csd.preview_job = key


def cover(obj: bpy.types.Object, key: str, material: bpy.types.Material) -> None:
    """Show ``material`` in every slot of ``obj``; covered slots stay as they are, new ones are covered as well."""
    mark(obj, key)
    record = obj.csd
    if not obj.material_slots:
        obj.data.materials.append(None)
        record.added_slot = True
    for i, slot in enumerate(obj.material_slots):
        if slot.material == material and slot.link == "OBJECT" and i < len(record.slots):
            continue
        hidden = record.slots[i] if i < len(record.slots) else record.slots.add()
        hidden.link = slot.link
        hidden.data_material = obj.data.materials[i]
        slot.link = "OBJECT"  # only this object changes, not others that use the same mesh
        hidden.own_material = None if is_temporary(slot.material) else slot.material
        slot.material = material
    obj.update_tag()


def is_temporary(block) -> bool:
    return block is not None and KEY in block


def uncover(obj: bpy.types.Object) -> None:
    """Give ``obj`` back everything that :func:`cover` and :func:`add_uv` put aside."""
    record = obj.csd
    if not record.preview_job:
        return
    for hidden, slot in zip(record.slots, obj.material_slots, strict=False):
        if not is_temporary(slot.material):
            continue  # the artist assigned something else meanwhile; that stays
        slot.link = "OBJECT"
        slot.material = hidden.own_material
        slot.link = hidden.link
    if record.added_slot and len(obj.data.materials) == 1 and obj.data.materials[0] is None:
        obj.data.materials.clear()
    remove_uv(obj)
    record.slots.clear()
    record.added_slot = False
    record.preview_job = ""
    obj.update_tag()


def add_uv(obj: bpy.types.Object, values: np.ndarray) -> str:
    """Add the backend's new UV map for the preview; returns its name, empty when it cannot be added now.

    Args:
        values: float32 ``[corners, 2]``.
    """
    record = obj.csd
    if record.added_uv and record.added_uv in obj.data.uv_layers:
        return record.added_uv
    active = obj.data.uv_layers.active
    name = new_uv_layer(obj.data, values)
    if name:
        record.active_uv = active.name if active else ""
        record.render_uv = next((u.name for u in obj.data.uv_layers if u.active_render and u.name != name), "")
        record.added_uv = name
        select_uv(obj.data, name, name)
    return name


def remove_uv(obj: bpy.types.Object) -> None:
    record, mesh = obj.csd, obj.data
    if record.added_uv and record.added_uv in mesh.uv_layers:
        mesh.uv_layers.remove(mesh.uv_layers[record.added_uv])
        select_uv(mesh, record.active_uv, record.render_uv)
    record.added_uv = record.active_uv = record.render_uv = ""


def new_uv_layer(mesh: bpy.types.Mesh, values: np.ndarray) -> str:
    """A new UV map with ``values`` ``[corners, 2]``; its name, or empty when it cannot be (Edit Mode, eight maps)."""
    if mesh.is_editmode or len(mesh.loops) != len(values):
        return ""
    try:
        layer = mesh.uv_layers.new(name=UV_NAME, do_init=False)
    except RuntimeError:
        return ""
    if layer is None:
        return ""
    name = layer.name
    mesh.uv_layers[name].uv.foreach_set("vector", np.ascontiguousarray(values, np.float32).ravel())
    mesh.update()
    return name


def select_uv(mesh: bpy.types.Mesh, active: str, render: str) -> None:
    """Choose the map that is edited and seen in Solid shading, and the one that is rendered."""
    if active in mesh.uv_layers:
        mesh.uv_layers.active = mesh.uv_layers[active]
    if render in mesh.uv_layers:
        mesh.uv_layers[render].active_render = True


def uncover_all(keep_job: str = "") -> None:
    """Take away every preview and temporary data-block, but not those of the job ``keep_job``."""
    prefix = f"{keep_job}/"
    for obj in bpy.data.objects:
        key = obj.csd.preview_job
        if key and not (keep_job and key.startswith(prefix)):
            uncover(obj)
    # Objects first: what they use has no users then, and goes without being taken out of them one by one.
    for collection in (bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.images):
        for block in [b for b in collection if KEY in b]:
            if not (keep_job and str(block[KEY]).startswith(prefix)):
                collection.remove(block)
