"""A texture job's previews and its finished texture on the meshes that it is made for."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

import bpy
import numpy as np

from ...errors import SceneError
from ...job import Job
from ...scene import apply_texture, uv_maps
from ...scene.preview import added_map, cover, slots, temporary
from ...scene.preview.pictures import Picture
from ...scene.targets import find_object


def is_of(job: Job, picture: object) -> bool:
    """Whether ``picture`` can be shown for ``job``; not when it came too late."""
    return isinstance(picture, Picture) and job.active and picture.part < len(job.targets)


def is_seen(job: Job, picture: Picture, shown: Container[int], textures_are_seen: Callable[[], bool]) -> bool:
    """Whether anything on the screen would change; the first picture of a part always goes into its place."""
    return job.in_file and (picture.part not in shown or textures_are_seen())


def is_shown_in(space: bpy.types.SpaceView3D) -> bool:
    """Whether a 3D view shows the textures of materials."""
    shading = space.shading
    return shading.type in ("MATERIAL", "RENDERED") or (shading.type == "SOLID" and shading.color_type == "TEXTURE")


def show_in(space: bpy.types.SpaceView3D) -> None:
    """Have a 3D view show textures."""
    space.shading.type, space.shading.color_type = "SOLID", "TEXTURE"


def prepare(job: Job, picture: Picture) -> bool:
    """Do one of the things that only a part's first picture needs; False when nothing is left to do.

    Each takes some milliseconds on a large mesh or picture, so the pump does one a tick.
    """
    obj, key = find_object(job.targets[picture.part]), temporary.preview_key(job.id, picture.part)
    covered = obj is not None and slots.can_be_covered(obj)
    if covered and picture.uv is not None and not added_map.added_for(obj.data, key):
        cover.mark(obj, key)
        return bool(added_map.add_uv(obj, picture.uv, key))
    return temporary.ensure_image(key, picture.width, picture.height)


def show(job: Job, picture: Picture) -> None:
    """Put a texture preview on the mesh."""
    key = temporary.preview_key(job.id, picture.part)
    image = temporary.set_pixels(key, picture.width, picture.height, picture.pixels)
    show_on_mesh(job, picture.part, image, picture)


def show_on_mesh(job: Job, part: int, image: bpy.types.Image, picture: Picture | None = None) -> None:
    obj = find_object(job.targets[part])
    if obj is None or not slots.can_be_covered(obj):
        return
    key = temporary.preview_key(job.id, part)
    cover.mark(obj, key)
    layer = preview_layer(job, part, obj, picture)
    if layer is None:
        return
    material = temporary.preview_material(key, layer)
    temporary.set_image(material, image)
    cover.cover(obj, key, material, twins=not job.targets[part].replaces_mesh)


def preview_layer(job: Job, part: int, obj: bpy.types.Object, picture: Picture | None) -> str | None:
    """Name of the UV map for the preview; None when it needs a new one that cannot be added now.

    Where the object's own map is no longer what the job was made for, that is an added one, too. What the own map
    holds is looked at only for the finished texture (without ``picture``), since it takes long on a large mesh.
    """
    key = temporary.preview_key(job.id, part)
    added = added_map.added_for(obj.data, key)
    if added:
        return added
    target = job.targets[part]
    uv, uv_is_new = (picture.uv, picture.uv_is_new) if picture is not None else new_uv_of(job, part)
    if uv_is_new:
        return added_map.add_uv(obj, uv, key) or None if uv is not None else None
    if not target.uv_layer or (picture is not None and target.uv_layer in obj.data.uv_layers):
        return target.uv_layer
    own = uv_maps.find_map(obj.data, target)
    if own or uv_maps.own_faces_changed(obj.data, target):
        return own or target.uv_layer
    values = apply_texture.job_uv(job.folder, part, target)
    return (added_map.add_uv(obj, values, key) if values is not None else "") or target.uv_layer


def new_uv_of(job: Job, part: int) -> tuple[np.ndarray | None, bool]:
    """The UVs of a new map, where there is a way back, and whether the part has a new map."""
    sources = apply_texture.uv_sources(job.folder)
    new = part < len(sources) and sources[part] == "new"
    target = job.targets[part]
    return (apply_texture.corner_uv(job.folder, part, target) if new and target.maps_back else None), new


def refresh(job: Job, shown: Mapping[int, Picture]) -> None:
    """Cover the meshes again with the pictures ``shown``, or with the finished textures once they are there.

    Returns what is still to be read on a thread, as for objects: nothing.

    A finished result that cannot be read any more is not shown; accepting it says why.
    """
    try:
        result = apply_texture.read_result(job.folder) if job.phase == "finished" else None
    except SceneError:
        return None
    if result is not None and len(result.albedo) != len(job.targets):
        return None
    for part in range(len(job.targets)):
        if result is None:
            if part in shown:
                show(job, shown[part])
            continue
        key = temporary.preview_key(job.id, part)
        image = temporary.find_marked(bpy.data.images, key)
        if image is None or image.source != "FILE":
            image = temporary.load_final(key, str(result.albedo[part]))
        show_on_mesh(job, part, image)
    return None
