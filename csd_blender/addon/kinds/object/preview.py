"""The object that is being made, in the scene: one temporary object, outside undo, never saved, never rendered."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

import bpy

from ....job.files import RESULT_ARRAYS
from ....job.process.bodies import MESH, Preview
from ...errors import SceneError
from ...job import Job
from ...scene import apply_texture
from ...scene.add_object import UV_NAME, build_mesh, join_local_views, takes_objects
from ...scene.materials.build import build_color_material
from ...scene.preview import temporary
from ...scene.preview.temporary import KEY, MATERIAL_NAME
from ...scene.stored_arrays import MeshArrays

NAME = "CSD Preview"
COLORS = "Color"


def is_of(job: Job, picture: object) -> bool:
    """Whether ``picture`` can be shown for ``job``; the finished object comes as a picture, too."""
    return isinstance(picture, MeshArrays) and job.in_scene


def is_seen(job: Job, picture: MeshArrays, shown: Container[int], textures_are_seen: Callable[[], bool]) -> bool:
    """Whether anything on the screen would change: a shape is seen in every 3D view."""
    return True


def is_shown_in(space: bpy.types.SpaceView3D) -> bool:
    """Whether a 3D view shows a growing object in color: first its vertices' colors, in the end a texture."""
    return space.shading.type in ("MATERIAL", "RENDERED")


def show_in(space: bpy.types.SpaceView3D) -> None:
    """Have a 3D view show the object's colors."""
    space.shading.type = "MATERIAL"


def prepare(job: Job, picture: MeshArrays) -> bool:
    """Make the material when it is not there; returns whether it had to, which takes some milliseconds."""
    key = temporary.preview_key(job.id, 0)
    before = len(bpy.data.materials)
    material_for(job, picture, key)
    return len(bpy.data.materials) != before


def show(job: Job, picture: MeshArrays) -> None:
    """Let the job's preview object have the mesh of ``picture``; the mesh before it is removed."""
    key = temporary.preview_key(job.id, 0)
    obj = find(key)
    if obj is not None and obj.mode != "OBJECT":
        return  # its mesh cannot be exchanged now; the next picture comes soon
    mesh = build_mesh(MATERIAL_NAME, picture)
    mesh[KEY] = key
    material = material_for(job, picture, key)
    if material is not None:
        mesh.materials.append(material)
    if picture.colors is not None:
        add_colors(mesh, picture)
    if obj is None:
        obj = new_object(key, mesh)
    old, obj.data = obj.data, mesh
    if old is not mesh and KEY in old and not old.users:
        bpy.data.meshes.remove(old)
    obj.location = job.place
    if not obj.users_scene and takes_objects(bpy.context.scene.collection):
        bpy.context.scene.collection.objects.link(obj)
        bpy.context.view_layer.update()
        join_local_views(obj)


def refresh(job: Job, shown: Mapping[int, MeshArrays]) -> Preview | None:
    """Show the newest picture again. Returns what is still to be read on a thread, as the body of a preview message:
    the finished object, once there is one and it was not shown yet."""
    picture = shown.get(0)
    if picture is not None:
        show(job, picture)
    return Preview(RESULT_ARRAYS, MESH) if job.phase == "finished" and (picture is None or not picture.final) else None


def find(key: str) -> bpy.types.Object | None:
    """The preview object; by its mark, as somebody may have renamed it."""
    usual = bpy.data.objects.get(NAME)
    return usual if usual is not None and usual.get(KEY) == key else temporary.find_marked(bpy.data.objects, key)


def new_object(key: str, mesh: bpy.types.Mesh) -> bpy.types.Object:
    obj = bpy.data.objects.new(NAME, mesh)
    obj[KEY] = key
    obj.hide_render = obj.hide_select = True
    return obj


def add_colors(mesh: bpy.types.Mesh, picture: MeshArrays) -> None:
    layer = mesh.color_attributes.new(COLORS, "FLOAT_COLOR", "POINT")
    layer.data.foreach_set("color", picture.colors.ravel())
    mesh.color_attributes.active_color = mesh.color_attributes[0]
    mesh.color_attributes.render_color_index = 0


def material_for(job: Job, picture: MeshArrays, key: str) -> bpy.types.Material | None:
    return final_material(job, key) if picture.uv is not None else color_material(key)


def color_material(key: str) -> bpy.types.Material:
    """The temporary material that shows the colors of the vertices."""
    key += "/colors"
    material = temporary.find_marked(bpy.data.materials, key)
    if material is None:
        material = bpy.data.materials.new(MATERIAL_NAME)
        material[KEY] = key
        build_color_material(material, COLORS)
    return material


def final_material(job: Job, key: str) -> bpy.types.Material | None:
    """The temporary material with the finished texture."""
    try:
        albedo = apply_texture.read_result(job.folder).albedo[0]
    except (SceneError, IndexError):
        return None
    image = temporary.find_marked(bpy.data.images, key)
    if image is None or image.source != "FILE":
        image = temporary.load_final(key, str(albedo))
    material = temporary.preview_material(key, UV_NAME)
    temporary.set_image(material, image)
    return material
