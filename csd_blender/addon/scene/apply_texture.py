"""From a job's result folder to images, materials and UV maps in the scene."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from ...job import files
from ...job import result as job_result
from ..errors import SceneError
from . import pinned_modifiers, uv_maps
from .apply_modifiers import apply_modifiers
from .checks import (
    MOST_MAPS,
    check_applying,
    check_is_here,
    check_is_read,
    hides_faces,
    is_away,
    is_computed,
    twins_have_materials,
)
from .export import fingerprint
from .materials.build import build_material
from .materials.finish import edited_materials, has_color
from .slots_used import slots_for_texture, slots_of_faces
from .stored_arrays import UNREADABLE, read_npz
from .target import Target

NAME_LENGTH = 48
#: Names that no file can have on Windows, with any ending.
DEVICES = frozenset("con prn aux nul".split()) | {f"{name}{i}" for name in ("com", "lpt") for i in range(10)}


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
        albedo: path of each part's texture. record: what ``result.json`` says of it.
    """

    folder: Path
    albedo: list[Path]
    record: job_result.Result


def unreadable(folder: Path, what: str = "result", again: str = "it") -> SceneError:
    """What to say of a job's result that is not there, or damaged; ``what`` it is."""
    whole = (folder / files.JOB).is_file()
    fix = f"Resume the job to make {again} again." if whole else "The job's folder is gone; generate anew."
    return SceneError(f"The finished {what} cannot be read.", fix)


def read_result(folder: Path) -> Result:
    """Raises :class:`SceneError` when the result is not complete."""
    try:
        found = job_result.read_result(folder)
        albedo = [job_result.result_file(folder, part.albedo) for part in found.parts]
        if found.makes_object:
            job_result.result_file(folder, files.RESULT_ARRAYS)
        return Result(folder, albedo, found)
    except UNREADABLE as error:
        raise unreadable(folder) from error


def corner_uv(folder: Path, part: int, target: Target) -> np.ndarray | None:
    """The UVs that the job used for one part, as float32 ``[mesh corners, 2]``; None while ``uv.npz`` is not there.

    Touches no Blender data, so any thread may call it.
    """
    values = _at_corners(folder / files.RESULT_UV, folder, part, target)
    return values if values is not None and np.isfinite(values).all() else None


def exported_uv(folder: Path, part: int, target: Target) -> np.ndarray | None:
    """As :func:`corner_uv`, those that were seen when the job began; None where there was no map."""
    return _at_corners(folder / files.INPUT_MESH, folder, part, target)


def _at_corners(path: Path, folder: Path, part: int, target: Target) -> np.ndarray | None:
    try:
        uv = read_npz(path, ("uv",))["uv"]
        chosen = read_npz(folder / files.INPUT_MESH, ("part",))["part"] == part
        if uv.shape != (len(chosen), 3, 2) or uv.dtype.kind != "f" or chosen.sum() != len(target.corners):
            return None
        values = np.zeros((target.corner_count, 2), np.float32)
        values[target.corners.ravel()] = uv[chosen].reshape(-1, 2)
    except UNREADABLE:
        return None
    return values


def job_uv(folder: Path, part: int, target: Target) -> np.ndarray | None:
    """The UVs that the job used, for the mesh the result is put on; they do not depend on what the file has now.

    Where the object's modifiers stay and change its faces, that is the map its own mesh had.
    """
    if target.maps_back or target.replaces_mesh:
        return corner_uv(folder, part, target)
    return target.own_uv if len(target.own_uv) else None


def uv_sources(folder: Path) -> list[str]:
    """Per part ``user`` or ``new``, from ``uv.npz``; empty while it is not there."""
    try:
        return [str(s) for s in np.atleast_1d(read_npz(folder / files.RESULT_UV, ("source",))["source"])]
    except UNREADABLE:
        return []


def apply_result(
    result: Result,
    targets: Sequence[Target],
    objects: Sequence[bpy.types.Object | None],
    new_map: bool = False,
    keeps_finish: bool = False,
) -> list[Applied]:
    """Make the result part of the file: packed images, materials, UV maps, settings as custom properties.

    A target that is gone, whose faces changed, or which by now shares its mesh with one before it, leaves its texture
    as an image with a message. Previews must have been taken away before.

    Args:
        new_map: where an object's own UV map changed or went since the job began, put the texture on a new map with
            the UVs that it was made for. Maps that are still the same are used as they are.
        keeps_finish: the new materials are those before them in all but the color.

    Raises:
        SceneError: for what the artist can change, such as Edit Mode, eight UV maps, a changed UV map without
            ``new_map``, and a result that cannot be read; nothing was changed then.
    """
    if len(result.albedo) != len(targets):
        raise unreadable(result.folder)
    for part, (target, obj) in enumerate(zip(targets, objects, strict=True)):
        if obj is not None and faces_problem(obj, target, is_new(result, part)) == "":
            check_maps(result, part, target, obj, new_map)
    title = short_name(result.record.prompt or "CSD Texture")
    names = [title if len(targets) == 1 else short_name(f"{title} {t.name}") for t in targets]
    images = load_images(result, names)
    applied: list[Applied] = []
    for part, (target, obj, image) in enumerate(zip(targets, objects, images, strict=True)):
        try:
            if obj is None:
                raise SceneError(f"“{target.name}” is gone.")
            first = next((a.object for a in applied if a.object is not None and a.object.data == obj.data), None)
            if first is not None and not target.replaces_mesh:
                raise SceneError(
                    f"“{obj.name}” shares its mesh with “{first.name}” by now, and shows the texture of that."
                )
            material, notes = apply_part(result, part, target, obj, image, names[part], keeps_finish)
            obj["csd_settings"] = json.dumps(dict(result.record.settings))
            if not is_somewhere(obj):
                notes.append(f"“{obj.name}” is in no scene. {kept(image)}")
            applied.append(Applied(obj, image, material, " ".join(notes)))
        except SceneError as error:
            applied.append(Applied(None, image, None, f"{error.text} {kept(image)}"))
    return applied


def is_somewhere(obj: bpy.types.Object) -> bool:
    """Whether ``obj`` is in a scene, or in a collection that is shown by instances."""
    return bool(obj.users_scene) or any(c.users_dupli_group for c in obj.users_collection)


def kept(image: bpy.types.Image) -> str:
    """Have ``image`` saved with the file though nothing may use it; the sentence that says so."""
    image.use_fake_user = True
    return f"Its texture is kept as the image “{image.name}”."


def is_new(result: Result, part: int) -> bool:
    """Whether the job made a new UV map for the part."""
    return result.record.parts[part].uv_source == "new"


def faces_problem(obj: bpy.types.Object, target: Target, new_uv: bool) -> str:
    """A sentence when the object's faces are no longer those that the job was made for."""
    if target.replaces_mesh:  # what is seen counts: somebody may have applied some of the modifiers by hand
        changed = shows_other_faces(obj, target)
    else:
        changed = uv_maps.own_faces_changed(obj.data, target)
        if not changed and (new_uv or target.maps_back):
            changed = fingerprint(obj.data) != target.topology
    return f"The faces of “{obj.name}” changed since the job began." if changed else ""


def shows_other_faces(obj: bpy.types.Object, target: Target) -> bool:
    """Whether ``obj`` with its modifiers has other faces than when the job began; not where that cannot be told now."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    if is_away(obj.data) or hides_faces(obj) or not is_computed(obj, depsgraph):
        return False
    evaluated = obj.evaluated_get(depsgraph)
    try:
        return fingerprint(evaluated.to_mesh()) != target.topology
    finally:
        evaluated.to_mesh_clear()


def check_maps(result: Result, part: int, target: Target, obj: bpy.types.Object, new_map: bool) -> None:
    """Raise :class:`SceneError` when the part's texture would find no UV map to go on."""
    check_is_here(obj)
    if target.replaces_mesh:
        check_is_read(obj, target.modifiers)
        todo = "That came since the job began: remove it, or switch such a modifier off in viewports, and accept again."
        check_applying(obj, todo)
    if target.replaces_mesh and not is_computed(obj, bpy.context.evaluated_depsgraph_get()):
        raise SceneError(
            f"The modifiers of “{obj.name}” cannot be applied while it is disabled in viewports or not in this scene.",
            "Enable it, then accept again.",
        )
    add = is_new(result, part)
    if not add and uv_maps.state_of(obj.data, target) != "same":
        what = "changed" if target.uv_layer in obj.data.uv_layers else "is gone"
        if not new_map:
            raise SceneError(
                f"The UV map “{target.uv_layer}” of “{obj.name}” {what} since the job began.",
                "Put the texture on a new map, or bring the old one back.",
            )
        add = True
    if add and len(obj.data.uv_layers) >= MOST_MAPS:
        raise SceneError(
            f"“{obj.name}” already has eight UV maps, the most that a mesh can have.", "Remove one, then accept again."
        )
    if add and job_uv(result.folder, part, target) is None:
        raise unreadable(result.folder)


def apply_part(
    result: Result,
    part: int,
    target: Target,
    obj: bpy.types.Object,
    image: bpy.types.Image,
    name: str,
    keeps_finish: bool,
) -> tuple[bpy.types.Material, list[str]]:
    """Texture one object; returns the first of its materials, and what is to be said. Raises :class:`SceneError` before
    anything was changed."""
    problem = faces_problem(obj, target, is_new(result, part))
    if problem:
        raise SceneError(problem)
    add = is_new(result, part) or uv_maps.state_of(obj.data, target) != "same"
    layer = "" if add else uv_maps.find_map(obj.data, target) if target.uv_layer else ""
    if target.replaces_mesh and any(m.show_viewport for m in obj.modifiers):
        apply_modifiers(obj, target)
    active, _ = uv_maps.chosen(obj.data)
    notes = []
    if add:
        values = job_uv(result.folder, part, target)
        layer = uv_maps.new_map(obj.data, values, uv_maps.free_name(obj, uv_maps.NAME)) if values is not None else ""
        if not layer:
            raise SceneError(f"The new UV map could not be added to “{obj.name}”.")
    if layer in obj.data.uv_layers:
        seen = layer == active or not active or not pinned_modifiers.goes_by_active(obj.data)
        if seen and layer != active:
            mapless = pinned_modifiers.pin(obj.data, active)
            if mapless:
                notes.append(
                    f"The modifiers {', '.join(mapless)} of “{obj.name}” had no UV map to go by. So that they do "
                    "not go by the new one, they are off, or use local coordinates."
                )
        # The material names its map. It is the rendered one, too, for what else may look at the mesh, but not where
        # that went by another one before.
        rendered = add and not keeps_finish and not twins_have_materials(obj)
        uv_maps.select(obj.data, layer if seen else "", layer if rendered else "")
    if not obj.material_slots:
        obj.data.materials.append(None)
    before = [slot.material for slot in obj.material_slots]
    faces = slots_of_faces(obj)
    taken = slots_for_texture(obj, faces)
    if keeps_finish:
        taken = [i for i in taken if i in faces or has_color(before[i])]
        made = iter(edited_materials([before[i] for i in taken], image, layer, name))
    else:
        made = itertools.repeat(bpy.data.materials.new(name))
    materials = [next(made) if i in taken else old for i, old in enumerate(before)]
    first = materials[taken[0]]
    if not keeps_finish:
        build_material(first, image, layer)
    assign(obj, materials)
    # A map that was kept counts as the job saw it, which may be what modifiers made of it.
    wanted = None if is_new(result, part) else exported_uv(result.folder, part, target)
    if uv_maps.is_overwritten(obj, layer, wanted):
        notes.append(
            f"The texture does not fit “{obj.name}” as it is seen now: its modifiers change or remove the UV map "
            f"“{layer}”, or no longer do (UV Warp, UV Project, Data Transfer, nodes)."
        )
    return first, notes


def assign(obj: bpy.types.Object, materials: Sequence[bpy.types.Material | None]) -> None:
    """Put ``materials`` in the slots, one for each; what was there is kept with a fake user.

    That does not keep what is linked from another file: the material names it as the one before it.
    """
    before = [slot.material for slot in obj.material_slots]
    for old in set(before) - {None, *materials}:
        old.use_fake_user = True
    for material in {new for new in materials if new is not None and new not in before}:
        replaced = dict.fromkeys(old for old, new in zip(before, materials, strict=True) if new == material)
        linked = {
            f"{number}": old for number, old in enumerate(replaced) if old is not None and old.library is not None
        }
        if linked:
            material["csd_before"] = linked
    for slot, material in zip(obj.material_slots, materials, strict=True):
        if slot.material != material:
            slot.material = material
    obj.update_tag()


def load_images(result: Result, names: Sequence[str]) -> list[bpy.types.Image]:
    """Every part's texture, or none. Raises :class:`SceneError` when one of the files is no picture."""
    images: list[bpy.types.Image] = []
    try:
        for path, name in zip(result.albedo, names, strict=True):
            images.append(load_albedo(path, name, result.record))
    except SceneError:
        for image in images:
            bpy.data.images.remove(image)
        raise
    return images


def load_albedo(path: Path, name: str, made: job_result.Result) -> bpy.types.Image:
    """The texture as an image packed into the file, with what made it as custom properties.

    Raises:
        SceneError: the file is not there, cut off, or no picture.
    """
    try:
        image = bpy.data.images.load(str(path))
    except RuntimeError as error:
        raise unreadable(path.parent.parent) from error
    if not image.size[0] or not image.size[1] or not image.has_data:
        bpy.data.images.remove(image)
        raise unreadable(path.parent.parent)
    image.name = name
    try:
        image.colorspace_settings.name = "sRGB"
    except TypeError:
        pass  # a color configuration of one's own; Blender has chosen its space for pictures
    image.pack()
    image.filepath_raw = own_file(image)
    for packed in image.packed_files:  # by this name it is unpacked, and exported
        packed.filepath = image.filepath_raw
    image["csd_settings"] = json.dumps(dict(made.settings))
    image["csd_prompt"] = made.prompt
    image["csd_licences"] = json.dumps(dict(made.licences))
    return image


def own_file(image: bpy.types.Image) -> str:
    """Where unpacking puts ``image``: a file that no other image of the .blend has, on systems that take capital and
    small letters for the same, too."""
    stem = bpy.path.clean_name(image.name)
    stem += "_" if stem.lower() in DEVICES else ""
    taken = {bpy.path.basename(i.filepath_raw).lower() for i in bpy.data.images if i != image}
    names = (f"{stem}{f'_{number}' if number else ''}.png" for number in itertools.count())
    return "//" + next(name for name in names if name.lower() not in taken)


def short_name(text: str) -> str:
    """``text`` cut at a word for use as a data-block's name (which may have 63 bytes)."""
    text = " ".join(text.split())
    while len(text.encode()) > NAME_LENGTH:
        text = text[: len(text) - 1].rsplit(" ", 1)[0] if " " in text else text[:-1]
    return text[:1].upper() + text[1:]
