"""From a text-to-3D job's result folder to a new object in the scene."""

from __future__ import annotations

import json
import math
from pathlib import Path

import bpy
import numpy as np

from ...job.files import RESULT_ARRAYS
from ...job.result import result_file
from ..errors import SceneError
from . import apply_texture
from .apply_texture import Applied, Result, unreadable
from .materials.build import ROUGHNESS, build_material
from .stored_arrays import UNREADABLE, MeshArrays, read_mesh

UV_NAME = "UVMap"
SHARP_ANGLE = math.radians(30.0)  # edges with a larger angle between their faces are shaded sharp


def build_mesh(name: str, arrays: MeshArrays) -> bpy.types.Mesh:
    """A mesh of triangles, with the UV map ``UVMap`` when ``arrays`` has UVs; smooth shaded.

    The attributes take whole arrays; ``vertices`` and ``loops`` would take one number after the other.
    """
    mesh = bpy.data.meshes.new(name)
    count = len(arrays.triangles)
    mesh.vertices.add(len(arrays.positions))
    mesh.loops.add(count * 3)
    mesh.polygons.add(count)
    mesh.attributes["position"].data.foreach_set("vector", arrays.positions.ravel())
    mesh.attributes[".corner_vert"].data.foreach_set("value", arrays.triangles.ravel())
    mesh.polygons.foreach_set("loop_start", np.arange(0, count * 3, 3, dtype=np.int32))
    if arrays.uv is not None:
        layer = mesh.uv_layers.new(name=UV_NAME, do_init=False)
        layer.uv.foreach_set("vector", arrays.uv.ravel())
    mesh.update(calc_edges=True)
    return mesh


def check_result(folder: Path) -> Result:
    """The result without its mesh, which takes long to read. Raises :class:`SceneError` when a file is missing."""
    result = apply_texture.read_result(folder)
    try:
        result_file(folder, RESULT_ARRAYS)
    except OSError as error:
        raise unreadable(folder, "object") from error
    return result


def read_result(folder: Path) -> tuple[Result, MeshArrays]:
    """Raises :class:`SceneError` when the result is not complete."""
    result = check_result(folder)
    try:
        mesh = read_mesh(folder, RESULT_ARRAYS)
        if mesh.uv is None or not result.albedo:
            raise ValueError("there is no texture")
    except UNREADABLE as error:
        raise unreadable(folder, "object") from error
    return result, mesh


def add_object(context, result: Result, arrays: MeshArrays, place: tuple[float, float, float]) -> Applied:
    """Make the result an ordinary object of the file, selected and active, its foot at ``place``.

    Raises :class:`SceneError` where there is no collection for it; nothing was made then.
    """
    collection = collection_for(context)
    record = result.record
    name = apply_texture.short_name(record.prompt or "CSD Object")
    image = apply_texture.load_albedo(result.albedo[0], name, record)
    mesh = build_mesh(name, arrays)
    mesh.validate()
    mesh.set_sharp_from_angle(angle=SHARP_ANGLE)
    material = bpy.data.materials.new(name)
    roughness = ROUGHNESS if record.roughness is None else record.roughness
    build_material(material, image, UV_NAME, roughness, record.metallic or 0.0)
    mesh.materials.append(material)
    obj = bpy.data.objects.new(name, mesh)
    obj.location = place
    obj["csd_settings"] = json.dumps(dict(record.settings))
    collection.objects.link(obj)
    for other in context.view_layer.objects.selected[:]:
        other.select_set(False)
    obj.select_set(True)
    context.view_layer.objects.active = obj
    join_local_views(obj)
    return Applied(obj, image, material)


def join_local_views(obj: bpy.types.Object) -> None:
    """Have the new object ``obj`` seen in 3D views that are in Local View, as one that is added by hand is."""
    areas = [area for window in bpy.context.window_manager.windows for area in window.screen.areas]
    for space in [area.spaces.active for area in areas if area.type == "VIEW_3D"]:
        if space.local_view is not None:
            try:
                obj.local_view_set(space, True)
            except RuntimeError:
                pass  # a window that shows another scene


def collection_for(context) -> bpy.types.Collection:
    """Where a new object goes: the active collection, or the scene's own where that is linked, an override, or switched
    off. Raises :class:`SceneError` where neither can take one."""
    active, whole = context.view_layer.active_layer_collection, context.scene.collection
    if not active.exclude and takes_objects(active.collection):
        return active.collection
    if takes_objects(whole):
        return whole
    raise SceneError("The scene is linked from another file.", "Switch to a scene of this file, then accept again.")


def takes_objects(collection: bpy.types.Collection) -> bool:
    """Whether objects can be put into it; not into what is linked, or overrides what is."""
    return collection.is_editable and collection.override_library is None
