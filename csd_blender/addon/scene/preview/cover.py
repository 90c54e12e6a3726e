"""Previews on and off: the whole of what an object and its linked duplicates show, and taking all of them away."""

from __future__ import annotations

import bpy

from .. import checks, uv_maps
from ..pinned_modifiers import unpin
from ..uv_maps import ADDED, PREVIEW_NAME, added_uv
from .added_map import added, clear_mesh, copied_to, find_again, remove_copy
from .slots import cover_slots, preview_of, uncover, users_of
from .temporary import HIDES, KEY


def mark(obj: bpy.types.Object, key: str) -> None:
    """Note on ``obj`` whose preview it carries; another one's is taken away first."""
    if preview_of(obj) not in ("", key):
        for user in users_of(obj.data):
            uncover(user)
        clear_mesh(obj.data)
    obj.csd.preview_job = key


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
            copies, record = copied_to(mesh), mesh[ADDED].to_dict()
            clear_mesh(mesh)
            for copy in copies:
                remove_copy(copy, record)
    for obj in bpy.data.objects:
        if obj.is_editable and (obj.data is None or ADDED not in obj.data):
            unpin(obj)  # one that got another mesh meanwhile
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
        if name in mesh.uv_layers and ADDED not in mesh and mesh.is_editable and came_by_joining(mesh, name, material):
            mesh.uv_layers.remove(mesh.uv_layers[name])
    hidden = material.get(HIDES)
    if hidden is not None and material.users:
        del material[HIDES]
        material.user_remap(hidden)


def came_by_joining(mesh: bpy.types.Mesh, name: str, material: bpy.types.Material) -> bool:
    """Whether the map came to ``mesh`` with faces of a covered object, and is none of its own that has that name: the
    material came, too, or the name is no other's; and on the faces that were there before it is empty."""
    shown = any(slot.material == material for o in bpy.data.objects if o.data == mesh for slot in o.material_slots)
    return (shown or name.startswith(PREVIEW_NAME)) and uv_maps.has_empty_faces(mesh, name)
