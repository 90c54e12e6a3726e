"""The growing texture on the mesh: a temporary material over the slots, outside undo, taken away without a trace.

What a preview hides is written where it hides it: covered slots on the object (``Object.csd``), an added UV map or slot
on the mesh. So it always belongs to the same state of the file as what it is about: after an undo, a load or a crash,
and when one of several objects that share the mesh is deleted, :func:`uncover_all` still finds what to bring back.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from . import checks, uv_maps
from .materials import build_material, shown_map
from .uv_maps import ADDED, added_uv
from .working_space import from_rec709

KEY = checks.PREVIEW
HIDES = "csd_preview_hides"  # custom property of a temporary material: one that it covers; ``ADDED``: the map added
NUMBER = "csd_preview_number"  # of a temporary material: that of the slots' records (``CSDHiddenSlot``) which it covers
MATERIAL_NAME = ".CSD Preview"  # a leading dot keeps it out of the menus
LATE = 1.0  # seconds between two looks at what could not be taken away yet

#: By mesh (``session_uid``) and by what they held: records (:func:`added`) of the maps that were taken away in this
#: session. The steps of Edit Mode's undo have the map in them, and not its mark: where one brings the map back alone,
#: it is known by this.
_taken: dict[int, dict[str, dict]] = {}


def preview_key(job_id: str, part: int) -> str:
    return f"{job_id}/{part}"


def find_marked(collection, key: str):
    return next((block for block in collection if block.get(KEY) == key), None)


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


def preview_of(obj: bpy.types.Object) -> str:
    """Whose preview ``obj`` carries. To read it of an object that never had one would leave settings there for good."""
    return obj.csd.preview_job if obj.is_property_set("csd") else ""


def mark(obj: bpy.types.Object, key: str) -> None:
    """Note on ``obj`` whose preview it carries; another one's is taken away first."""
    if preview_of(obj) not in ("", key):
        for user in users_of(obj.data):
            uncover(user)
        clear_mesh(obj.data)
    obj.csd.preview_job = key


def users_of(mesh: bpy.types.Mesh) -> list[bpy.types.Object]:
    """The objects that show ``mesh`` and can be covered: one, or linked duplicates."""
    return [o for o in bpy.data.objects if o.data == mesh and can_be_covered(o)]


def can_be_covered(obj: bpy.types.Object) -> bool:
    """Not what is linked from another file, nor a library override, which has no place for what is hidden."""
    return obj.is_editable and obj.override_library is None


def cover(obj: bpy.types.Object, key: str, material: bpy.types.Material, twins: bool = True) -> None:
    """Show ``material`` in every slot of ``obj``; covered slots stay as they are, new ones are covered as well.

    Args:
        twins: also in the slots of linked duplicates that take their material from the shared mesh, since the finished
            material, which goes into the mesh, will be seen there too.
    """
    mark(obj, key)
    if added_uv(obj.data):
        material[ADDED] = added_uv(obj.data)
    if not obj.material_slots:
        obj.data.materials.append(None)
        added(obj.data)["slot"] = True
    cover_slots(obj, material, every=True)
    if twins and obj.data.users > 1:
        for twin in users_of(obj.data):
            if twin != obj:
                mark(twin, key)
                cover_slots(twin, material, every=False)


def cover_slots(obj: bpy.types.Object, material: bpy.types.Material, every: bool) -> None:
    """Cover the slots of ``obj`` with ``material``, or with what looks like it: each slot gets one of its own, by which
    its record is found again wherever the slot is moved to."""
    changed, first = False, not obj.csd.slots
    for i, slot in enumerate(obj.material_slots):
        hidden = record_of(obj, i, slot)
        if hidden is None and slot.link == "OBJECT" and not every:
            if first:
                obj.csd.slots.add().number = i
            continue  # a material of the twin's own, which stays
        if hidden is None or not (is_temporary(slot.material) or is_empty(slot)):
            hidden = note(obj, i, slot, hidden)
        own = numbered(material, hidden.number)
        covered = hidden.own_material if hidden.link == "OBJECT" else hidden.data_material
        if HIDES not in own and covered is not None and not is_temporary(covered):
            own[HIDES] = covered
        if slot.material != own:
            slot.material, changed = own, True
    if changed:
        obj.update_tag()


def record_of(obj: bpy.types.Object, i: int, slot: bpy.types.MaterialSlot) -> Any | None:
    """What the slot of ``obj`` at ``i`` was before it was covered; None for one that is not.

    Where the artist put something else into it since, or nothing, its place tells which it was, as long as no slot was
    moved, added or removed.
    """
    if slot.link != "OBJECT":
        return None
    records = {hidden.number: hidden for hidden in obj.csd.slots}
    if is_temporary(slot.material):
        return records.get(slot.material.get(NUMBER, -1))
    seen = [s.material.get(NUMBER, -1) if is_temporary(s.material) else k for k, s in enumerate(obj.material_slots)]
    found = records.get(i) if seen == list(range(len(records))) else None
    return found if found is not None and found.link else None


def note(obj: bpy.types.Object, i: int, slot: bpy.types.MaterialSlot, before: Any) -> Any:
    """Record the slot of ``obj`` at ``i`` as it is, and have it show what the object holds itself. What the artist put
    into a covered slot counts as put there where its material was ``before``: mostly the mesh."""
    if before is not None:
        hidden = before
        if hidden.link == "DATA":
            put_into_mesh(slot, hidden)
    else:
        numbers = {h.number for h in obj.csd.slots}
        hidden = obj.csd.slots.add()
        hidden.number = i if i not in numbers else max(numbers) + 1
        # A covered slot that got to a new place had its material from the mesh, as nearly all have.
        hidden.link = "DATA" if is_temporary(slot.material) else slot.link
    slot.link = "OBJECT"  # the mesh itself is left as it is
    hidden.own_material = None if is_temporary(slot.material) else slot.material
    hidden.data_material = obj.data.materials[i]
    return hidden


def put_into_mesh(slot: bpy.types.MaterialSlot, hidden: Any) -> None:
    """Put what the artist chose for a covered slot whose material is the mesh's into the mesh."""
    chosen = slot.material
    slot.material = hidden.own_material
    slot.link = "DATA"
    slot.material = chosen


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


def is_temporary(block) -> bool:
    return block is not None and KEY in block


def is_empty(slot: bpy.types.MaterialSlot) -> bool:
    """Whether the material that covered ``slot`` was deleted, or taken out of it."""
    return slot.link == "OBJECT" and slot.material is None


def uncover(obj: bpy.types.Object) -> None:
    """Give ``obj`` back every slot that :func:`cover` covered."""
    if not preview_of(obj):
        return
    for i, slot in enumerate(obj.material_slots):
        hidden = record_of(obj, i, slot)
        if hidden is None:
            continue
        if is_temporary(slot.material) or is_empty(slot):
            slot.material = hidden.own_material
            slot.link = hidden.link
        elif hidden.link == "DATA":
            put_into_mesh(slot, hidden)  # the artist assigned something else meanwhile; that stays
    obj.property_unset("csd")
    obj.update_tag()


def added(mesh: bpy.types.Mesh):
    """What the preview added to ``mesh``: ``slot`` (whether one), ``uv``, the ``sum`` of what that holds, the ``job``
    (:func:`preview_key`) that it is of and, to come back, ``active``, ``render`` and their places among the maps."""
    if ADDED not in mesh:
        mesh[ADDED] = {}
    return mesh[ADDED]


def added_for(mesh: bpy.types.Mesh, key: str) -> str:
    """Name of the UV map that the preview ``key`` added to ``mesh``; empty when there is none."""
    return added_uv(mesh) if added_uv(mesh) and mesh[ADDED].get("job", "") == key else ""


def add_uv(obj: bpy.types.Object, values: np.ndarray, key: str) -> str:
    """Add the backend's new UV map for the preview ``key``; returns its name, empty when it cannot be added now.

    Args:
        values: float32 ``[corners, 2]``.
    """
    mesh = obj.data
    if added_uv(mesh) and not added_for(mesh, key):
        clear_mesh(mesh)  # an earlier job's
    if added_uv(mesh):
        return added_for(mesh, key)
    active, render = uv_maps.chosen(mesh)
    names = [u.name for u in mesh.uv_layers]
    name = uv_maps.new_map(mesh, values, uv_maps.PREVIEW_NAME)
    if name:
        record = added(mesh)
        record["uv"], record["job"], record["active"], record["render"] = name, key, active, render
        record["places"] = [names.index(n) if n else 0 for n in (active, render)]
        record["sum"] = uv_maps.sum_of(mesh, name)
        before = _taken.get(mesh.session_uid, {}).get(record["sum"], {})
        seen, rendered = before.get("left", (True, True)) if before.get("job") == key else (True, True)
        uv_maps.select(mesh, name if seen else "", name if rendered and not checks.twins_have_materials(obj) else "")
    return name


def clear_mesh(mesh: bpy.types.Mesh) -> None:
    """Take away what the preview added to ``mesh``; its objects must have been uncovered before.

    The added map is the active one, so that an artist who unwraps meanwhile does so on it: then it is theirs. What they
    chose themselves meanwhile, to be edited or rendered, stays chosen.
    """
    if ADDED not in mesh:
        return
    if checks.is_sculpted_freely(mesh):
        clear_later()  # at the end of that the map would come back
        return
    record, name = mesh[ADDED].to_dict(), added_uv(mesh)
    if name:
        active, render = uv_maps.chosen(mesh)
        record["left"] = (active == name, render == name)  # as the artist left it, should it be added again
        _taken.setdefault(mesh.session_uid, {})[record.get("sum", "")] = record
        edited = uv_maps.was_edited(mesh, name, record.get("sum", ""))
        if edited:
            mesh.uv_layers[name].name = uv_maps.USUAL_NAME
        else:
            mesh.uv_layers.remove(mesh.uv_layers[name])
        if active == name:
            active = "" if edited else chosen_before(mesh, record, "active")
        uv_maps.select(mesh, active, chosen_before(mesh, record, "render") if render == name else render)
    if record.get("slot") and len(mesh.materials) == 1 and mesh.materials[0] is None:
        mesh.materials.clear()
    del mesh[ADDED]


def clear_later() -> None:
    """Look from time to time whether what could not be taken away can be now."""
    if not bpy.app.background and not bpy.app.timers.is_registered(clear_late):
        bpy.app.timers.register(clear_late, first_interval=LATE)


def stop() -> None:
    if bpy.app.timers.is_registered(clear_late):
        bpy.app.timers.unregister(clear_late)


def clear_late() -> float | None:
    """Take away what previews that are over left on meshes, see :func:`clear_later`; when to look again, if at all."""
    covered = {o.data for o in bpy.data.objects if preview_of(o)}
    left = [m for m in bpy.data.meshes if ADDED in m and m.is_editable and m not in covered]
    for mesh in left:
        clear_mesh(mesh)
    return LATE if any(ADDED in m for m in left) else None


def chosen_before(mesh: bpy.types.Mesh, record: dict, which: str) -> str:
    """The map that was chosen when the preview added its own: ``active`` or ``render``; one that has another name now
    is taken by its place."""
    name, places = record.get(which, ""), record.get("places")
    if not name or name in mesh.uv_layers or places is None:
        return name
    place = places[0 if which == "active" else 1]
    return mesh.uv_layers[place].name if place < len(mesh.uv_layers) else ""


def find_again(mesh: bpy.types.Mesh) -> None:
    """Mark the preview's UV map again where an undo in Edit Mode brought it back without its mark."""
    records = _taken.get(mesh.session_uid, {})
    names = [r["uv"] for r in records.values() if r["uv"] in mesh.uv_layers]
    if names and not added_uv(mesh):
        record = added(mesh)
        record.update(records.get(uv_maps.sum_of(mesh, names[-1])) or list(records.values())[-1])


def uncover_all(keep_job: str = "", meshes: bool = True) -> None:
    """Take away every preview and temporary data-block, but not those of the job ``keep_job``.

    What is linked from another file, such as one that was saved in a crash, is left alone: it cannot be changed.

    Args:
        meshes: also what was added to the meshes; else a later call takes that away.
    """
    prefix = f"{keep_job}/"

    def goes(key: str) -> bool:
        return bool(key) and not (keep_job and key.startswith(prefix))

    for obj in bpy.data.objects:
        if obj.is_editable and goes(preview_of(obj)):
            uncover(obj)
    covered = {o.data for o in bpy.data.objects if preview_of(o)}
    for mesh in [m for m in bpy.data.meshes if meshes and m.is_editable and m not in covered]:
        find_again(mesh)
        # Where a mode has the mesh to itself, a map that is needed on could not be added again.
        if ADDED in mesh and (goes(mesh[ADDED].get("job", "") or "?") or not checks.is_away(mesh)):
            clear_mesh(mesh)
    for material in bpy.data.materials:
        if material.is_editable and goes(material.get(KEY, "")):
            give_back(material)
    # Objects first: what they use has no users then, and goes without being taken out of them one by one.
    for collection in (bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.images):
        for block in [b for b in collection if b.is_editable and goes(b.get(KEY, ""))]:
            collection.remove(block)


def give_back(material: bpy.types.Material) -> None:
    """Take ``material``, and the UV map that came with it, out of where they got to without a note, as by joining a
    covered object to another one; what it covers comes back."""
    name = material.get(ADDED, "")
    for mesh in bpy.data.meshes:
        if name in mesh.uv_layers and ADDED not in mesh and mesh.is_editable:
            mesh.uv_layers.remove(mesh.uv_layers[name])
    hidden = material.get(HIDES)
    if hidden is not None and material.users:
        del material[HIDES]
        material.user_remap(hidden)
