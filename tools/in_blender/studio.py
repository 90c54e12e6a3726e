"""A small photo studio inside Blender: backdrop, lights, camera, a turntable, and the films made there.

Runs in Blender's Python (4.2 and later). It belongs to the demo, not to the extension, which never touches a scene's
render settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

BACKDROP = (0.20, 0.205, 0.215)  # scene linear
# name, azimuth (0 = front), elevation in degrees, size and strength; everything in units of the object's radius
LIGHTS = (
    ("Key", -42.0, 48.0, 2.6, 150.0, (1.0, 0.96, 0.90)),
    ("Fill", 55.0, 22.0, 3.2, 48.0, (0.88, 0.94, 1.0)),
    ("Rim", 160.0, 50.0, 2.0, 110.0, (1.0, 1.0, 1.0)),
)
LIGHT_DISTANCE = 4.6
CAMERA_ELEVATION = 16.0
CAMERA_FOV = 30.0


def direction(azimuth: float, elevation: float) -> Vector:
    """Unit vector from the object; azimuth 0 looks from -Y, where an object's front is, 90 from +X."""
    a, e = math.radians(azimuth), math.radians(elevation)
    return Vector((math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)))


def bounds(objects: list[bpy.types.Object]) -> tuple[Vector, float, float]:
    """Middle of the turning axis, radius of what turns (never 0), and the height of the lowest point."""
    corners = np.array([o.matrix_world @ Vector(c) for o in objects for c in o.bound_box])
    low, high = corners.min(0), corners.max(0)
    middle = Vector(((low + high) / 2).tolist())
    flat = np.linalg.norm(corners[:, :2] - np.array(middle)[:2], axis=1).max()
    half = (high[2] - low[2]) / 2
    radius = max(float(np.hypot(flat, half)) * 0.85, half * 1.08, 1e-4)  # tall things need all of their height
    return middle, radius, float(low[2])


def build(objects: list[bpy.types.Object], frames: int) -> None:
    """Set the scene up around ``objects``: they turn once in ``frames`` frames, everything else stands still."""
    scene = bpy.context.scene
    middle, radius, floor = bounds(objects)
    collection = bpy.data.collections.new("Studio")
    scene.collection.children.link(collection)

    def add(name: str, data, location: Vector) -> bpy.types.Object:
        made = bpy.data.objects.new(name, data)
        made.location = location
        collection.objects.link(made)
        return made

    def aim(obj: bpy.types.Object) -> None:
        obj.rotation_euler = (middle - obj.location).to_track_quat("-Z", "Y").to_euler()

    backdrop = add("Backdrop", backdrop_mesh(radius), Vector((middle.x, middle.y, floor)))
    backdrop.data.materials.append(plain_material("Backdrop", BACKDROP))
    for name, azimuth, elevation, size, strength, color in LIGHTS:
        light = bpy.data.lights.new(name, "AREA")
        light.shape, light.size = "DISK", size * radius
        light.energy, light.color = strength * radius**2, color
        aim(add(name, light, middle + direction(azimuth, elevation) * LIGHT_DISTANCE * radius))
    camera = bpy.data.cameras.new("Camera")
    camera.angle = math.radians(CAMERA_FOV)
    camera.clip_start, camera.clip_end = radius * 0.01, radius * 100
    distance = 1.12 * radius / math.sin(math.radians(CAMERA_FOV / 2))
    scene.camera = add("Camera", camera, middle + direction(0, CAMERA_ELEVATION) * distance)
    aim(scene.camera)

    turntable = add("Turntable", None, middle)
    turntable.empty_display_size = radius * 0.3
    bpy.context.view_layer.update()
    for obj in objects:
        if obj.parent not in objects:
            obj.parent = turntable
            obj.matrix_parent_inverse = turntable.matrix_world.inverted()
    turn(turntable, frames)

    world = bpy.data.worlds.new("Studio")
    world.use_nodes = True
    background = next(n for n in world.node_tree.nodes if n.type == "BACKGROUND")
    background.inputs["Color"].default_value = (*BACKDROP, 1.0)
    background.inputs["Strength"].default_value = 0.8
    scene.world = world
    scene.view_settings.view_transform = "Standard"  # what is painted is what is seen


def turn(turntable: bpy.types.Object, frames: int) -> None:
    """Keyframes of one full turn; the frame after the last would be the first again."""
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, frames
    for frame, angle in ((1, 0.0), (frames + 1, 2 * math.pi)):
        turntable.rotation_euler.z = angle
        turntable.keyframe_insert("rotation_euler", index=2, frame=frame)
    action = turntable.animation_data.action
    if hasattr(action, "layers") and action.layers:  # Blender 4.4 and later
        curves = action.layers[0].strips[0].channelbags[0].fcurves
    else:
        curves = action.fcurves
    for point in curves[0].keyframe_points:
        point.interpolation = "LINEAR"  # else it would start and stop softly
    scene.frame_set(1)


def backdrop_mesh(radius: float) -> bpy.types.Mesh:
    """A floor that bends up into a wall behind the object, without an edge."""
    half, bend, back, steps = 14 * radius, 4 * radius, 7 * radius, 16
    profile = [(-14 * radius, 0.0), (back - bend, 0.0)]
    for step in range(1, steps + 1):
        angle = math.pi / 2 * step / steps
        profile.append((back - bend + bend * math.sin(angle), bend - bend * math.cos(angle)))
    profile.append((back, 14 * radius))
    vertices = [(x, y, z) for y, z in profile for x in (-half, half)]
    faces = [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(len(profile) - 1)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(vertices, [], faces)
    mesh.polygons.foreach_set("use_smooth", [True] * len(faces))
    return mesh


def plain_material(name: str, color: tuple[float, float, float]) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    shader = next(n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    shader.inputs["Roughness"].default_value = 0.9
    return material


def shoot(folder: Path, size: int, samples: int, report: Callable[[int, int], None]) -> list[Path]:
    """Render every frame of the scene with Cycles on the processor; returns the pictures in order."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.max_bounces = 3
    if can_denoise():
        scene.cycles.use_denoising = True
        scene.cycles.denoising_prefilter = "FAST"
        scene.cycles.denoising_quality = "FAST"
    else:
        scene.cycles.samples = 2 * samples
    scene.render.use_persistent_data = True  # the scene is sent to Cycles once, not for each frame
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    total = scene.frame_end - scene.frame_start + 1
    for index in range(total):
        report(index, total)
        scene.frame_set(scene.frame_start + index)
        pictures.append(folder / f"{index:04}.png")
        scene.render.filepath = str(pictures[-1])
        bpy.ops.render.render(write_still=True)
    report(total, total)
    scene.frame_set(scene.frame_start)
    return pictures


def can_denoise() -> bool:
    """Whether this Blender was built with Open Image Denoise; some Linux distributions leave it out."""
    try:
        import _cycles
    except ImportError:
        return True
    return bool(getattr(_cycles, "with_openimagedenoise", True))


def read_pixels(path: Path) -> np.ndarray:
    """A picture as float32 [H, W, 4], bottom row first, as Blender keeps it; sRGB values as they stand in the file."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)


def contact_sheet(pictures: list[Path], path: Path, columns: int) -> None:
    """Several pictures of one size on one sheet, row by row from the top left."""
    tiles = [read_pixels(p) for p in pictures]
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    sheet = np.concatenate(rows[::-1], axis=0)
    image = bpy.data.images.new("Contact sheet", sheet.shape[1], sheet.shape[0])
    image.colorspace_settings.name = "Non-Color"
    image.pixels.foreach_set(np.ascontiguousarray(sheet, np.float32).ravel())
    image.file_format = "PNG"
    image.save(filepath=str(path))
    bpy.data.images.remove(image)


def film(pictures: list[Path], path: Path, size: int, frames_per_second: int, rounds: int) -> bool:
    """An MP4 of the pictures, shown ``rounds`` times over; False where this Blender was built without FFmpeg."""
    scene = bpy.data.scenes.new("Film")
    settings = scene.render.image_settings
    try:
        if hasattr(settings, "media_type"):  # Blender 5
            settings.media_type = "VIDEO"
        settings.file_format = "FFMPEG"
    except TypeError:
        bpy.data.scenes.remove(scene)
        return False
    scene.view_settings.view_transform = "Standard"
    scene.render.ffmpeg.format = "MPEG4"
    scene.render.ffmpeg.codec = "H264"
    scene.render.ffmpeg.constant_rate_factor = "HIGH"
    scene.render.ffmpeg.gopsize = frames_per_second
    scene.render.fps = frames_per_second
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    for turn_number in range(rounds):
        start = 1 + turn_number * len(pictures)
        strip = strips.new_image("Turntable", str(pictures[0]), channel=1, frame_start=start)
        for picture in pictures[1:]:
            strip.elements.append(picture.name)
    scene.frame_start, scene.frame_end = 1, rounds * len(pictures)
    scene.render.filepath = str(path)
    scene.render.use_file_extension = False
    bpy.ops.render.render(animation=True, scene=scene.name)
    bpy.data.scenes.remove(scene)
    return path.is_file() and path.stat().st_size > 0
