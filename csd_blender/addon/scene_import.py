"""From a job's result folder to images, materials and UV maps in the scene."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from . import preview
from .materials import build_material
from .scene_export import SceneError, Target, fingerprint

NAME_LENGTH = 48


@dataclass
class Applied:
    """What one part became. ``object`` is None when the target was gone, ``message`` then says so."""

    object: bpy.types.Object | None
    image: bpy.types.Image
    material: bpy.types.Material | None
    message: str = ""


@dataclass
class Result:
    """A job's ``result/`` as far as the scene needs it.

    Attributes:
        albedo: path of each part's texture. uv_source: per part ``user`` or ``new``. record: ``result.json``.
    """

    folder: Path
    albedo: list[Path]
    uv_source: list[str]
    record: dict


def read_result(folder: Path) -> Result:
    """Raises :class:`SceneError` when the result is not complete."""
    try:
        record = json.loads((folder / "result" / "result.json").read_text("utf-8"))
        parts = record["parts"]
        albedo = [result_file(folder, p["albedo"]) for p in parts]
        if record.get("kind") == "text-to-3d":
            result_file(folder, "result/mesh.npz")
        return Result(folder, albedo, [p.get("uv_source", "user") for p in parts], record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError("The finished result cannot be read.", "Resume the job to make it again.") from error


def result_file(folder: Path, name: str) -> Path:
    """A file named in ``result.json``, relative to the job folder or to ``result/``; must exist inside the folder."""
    for base in (folder, folder / "result"):
        path = (base / name).resolve()
        if path.is_file() and folder.resolve() in path.parents:
            return path
    raise OSError(f"{name} is missing")


def corner_uv(folder: Path, part: int, target: Target) -> np.ndarray | None:
    """The backend's UVs of one part as float32 ``[mesh corners, 2]``; None while ``uv.npz`` is not there.

    Touches no Blender data, so any thread may call it.
    """
    try:
        with np.load(folder / "result" / "uv.npz", allow_pickle=False) as file:
            uv = file["uv"]
        with np.load(folder / "mesh.npz", allow_pickle=False) as file:
            chosen = file["part"] == part
    except (OSError, ValueError, KeyError):
        return None
    if len(uv) != len(chosen) or chosen.sum() != len(target.corners):
        return None
    values = np.zeros((target.corner_count, 2), np.float32)
    values[target.corners.ravel()] = uv[chosen].reshape(-1, 2)
    return values


def uv_sources(folder: Path) -> list[str]:
    """Per part ``user`` or ``new``, from ``uv.npz``; empty while it is not there."""
    try:
        with np.load(folder / "result" / "uv.npz", allow_pickle=False) as file:
            return [str(s) for s in np.atleast_1d(file["source"])]
    except (OSError, ValueError, KeyError):
        return []


def apply_result(result: Result, targets: list[Target], objects: list[bpy.types.Object | None]) -> list[Applied]:
    """Make the result part of the file: packed images, materials, UV maps, settings as custom properties.

    A target that is gone, or whose faces changed, leaves its texture as an image with a message. Previews must have
    been taken away before.
    """
    settings = result.record.get("settings", {})
    title = short_name(settings.get("prompt", "") or "CSD Texture")
    applied = []
    for part, (target, obj) in enumerate(zip(targets, objects, strict=True)):
        name = title if len(targets) == 1 else short_name(f"{title} {target.name}")
        image = load_albedo(result.albedo[part], name, result.record)
        try:
            if obj is None:
                raise SceneError(f"“{target.name}” is gone.")
            material = apply_part(result, part, target, obj, image, name)
            obj["csd_settings"] = json.dumps(settings)
            applied.append(Applied(obj, image, material))
        except SceneError as error:
            image.use_fake_user = True
            applied.append(Applied(None, image, None, f"{error.text} Its texture is kept as the image “{image.name}”."))
    return applied


def apply_part(
    result: Result, part: int, target: Target, obj: bpy.types.Object, image: bpy.types.Image, name: str
) -> bpy.types.Material:
    """Texture one object. Raises :class:`SceneError` before anything was changed."""
    new_uv = part < len(result.uv_source) and result.uv_source[part] == "new"
    if obj.mode == "EDIT":
        raise SceneError(f"“{obj.name}” is in Edit Mode.", "Leave Edit Mode first.")
    if target.modifiers == "apply" and not target.maps_back:
        apply_modifiers(obj, target)
    elif fingerprint(obj.data) != target.topology and (new_uv or target.maps_back):
        raise SceneError(f"The faces of “{obj.name}” changed since the job began.")
    layer = target.uv_layer
    if new_uv:
        values = corner_uv(result.folder, part, target)
        layer = preview.new_uv_layer(obj.data, values) if values is not None else ""
        if not layer:
            raise SceneError(f"The new UV map could not be added to “{obj.name}”.")
    if layer in obj.data.uv_layers:
        preview.select_uv(obj.data, layer, layer if new_uv else "")
    material = bpy.data.materials.new(name)
    build_material(material, image, layer)
    assign(obj, material)
    return material


def apply_modifiers(obj: bpy.types.Object, target: Target) -> None:
    """Replace the object's mesh by its evaluated one; the old mesh is kept with a fake user."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated = obj.evaluated_get(depsgraph)
    mesh = bpy.data.meshes.new_from_object(evaluated, preserve_all_data_layers=True, depsgraph=depsgraph)
    if fingerprint(mesh) != target.topology:
        bpy.data.meshes.remove(mesh)
        raise SceneError(f"The faces of “{obj.name}” changed since the job began.")
    mesh.name = obj.data.name
    obj.data.use_fake_user = True
    for modifier in [m for m in obj.modifiers if m.show_viewport]:  # those for renders only were not applied
        obj.modifiers.remove(modifier)
    obj.data = mesh


def assign(obj: bpy.types.Object, material: bpy.types.Material) -> None:
    """Put ``material`` in every slot; what was there is kept with a fake user."""
    if not obj.material_slots:
        obj.data.materials.append(material)
    for slot in obj.material_slots:
        if slot.material is not None and slot.material != material:
            slot.material.use_fake_user = True
        slot.material = material
    obj.update_tag()


def load_albedo(path: Path, name: str, record: dict) -> bpy.types.Image:
    """The texture as an image packed into the file, with what made it as custom properties."""
    image = bpy.data.images.load(str(path))
    image.name = name
    try:
        image.colorspace_settings.name = "sRGB"
    except TypeError:
        pass  # a color configuration of one's own; Blender has chosen its space for pictures
    image.pack()
    image.filepath_raw = f"//{bpy.path.clean_name(name)}.png"  # where unpacking would put it
    settings = record.get("settings", {})
    image["csd_settings"] = json.dumps(settings)
    image["csd_prompt"] = settings.get("prompt", "")
    image["csd_licences"] = json.dumps(record.get("licences", {}))
    return image


def short_name(text: str) -> str:
    """``text`` cut at a word for use as a data-block's name (which may have 63 bytes)."""
    text = " ".join(text.split())
    while len(text.encode()) > NAME_LENGTH:
        text = text[: len(text) - 1].rsplit(" ", 1)[0] if " " in text else text[:-1]
    return text[:1].upper() + text[1:]
