"""From objects in the scene to the plain arrays of a job."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import bpy
import numpy as np
from mathutils import Matrix

from ...job.errors import quoted
from ...job.files import TARGET_ARRAYS, TARGETS
from ..errors import SceneError
from . import open_file
from .checks import (
    check_accepting,
    check_computed,
    check_is_read,
    check_objects,
    has_room,
    is_computed,
    left_out,
    no_faces,
)
from .movement import dropped_by_applying
from .stored_arrays import UNREADABLE, read_json, read_npz
from .target import Target

FAR = 16  # sizes of the objects from the origin, where float32 still is exact to a millionth of the size
INEXACT = 1e-3  # of an object's size, by which its corners may be off
MOST_CORNERS = 20_000_000  # of one mesh in a job folder; ten times what a job can have


@dataclass
class Export:
    """Arrays of ``mesh.npz``, the targets in the order of the parts, and the UV choice that the job must use.

    ``warnings`` are sentences about what the job leaves out, for the artist.
    """

    arrays: dict[str, np.ndarray]
    targets: list[Target]
    uv: str
    warnings: list[str] = field(default_factory=list)

    def mesh_bytes(self) -> bytes:
        return npz_bytes(self.arrays)


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def export_objects(objects: Sequence[bpy.types.Object], depsgraph, modifiers: str, uv: str) -> Export:
    """Read the evaluated meshes of ``objects``, each one part of the job.

    Args:
        modifiers: ``keep`` (the shape as seen), ``apply`` (the same, applied on accept) or ``ignore``.
        uv: the job's UV choice; decides whether a mesh without a way back can be used.

    Returns:
        positions float32 ``[V, 3]`` in world space (meters; far from the origin moved near it, all parts alike, and
        then offset float64 ``[3]``, which leads back),
        triangles int32 ``[F, 3]``, corner int32 ``[F, 3]`` (which corners of the faces the triangles were cut from they
        have; numbered through), part int32 ``[F]``, material int32 ``[F]``, part_names, and uv float32 ``[F, 3, 2]``
        when any object has a UV map.

    Raises:
        SceneError: for meshes that share data, cannot be changed, have no faces, cannot be mapped back, would lose
            something on accept, or have no room for a new UV map that is wanted.
    """
    check_objects(objects)
    flush(objects, depsgraph)
    parts, targets = [], []
    for obj in objects:
        part, target = export_object(obj, depsgraph, modifiers, uv)
        parts.append(part)
        targets.append(target)
    arrays = join_parts(parts, [t.name for t in targets])
    check_exact(parts, arrays)
    pairs = list(zip(objects, targets, strict=True))
    warnings = [sentence for obj, t in pairs for sentence in left_out(obj, t, depsgraph, modifiers)]
    if all((t.maps_back or t.replaces_mesh) and has_room(obj, t, depsgraph) for obj, t in pairs):
        return Export(arrays, targets, uv, warnings)
    bare = next((t.name for t in targets if not t.uv_layer), None)
    if bare is not None:
        raise SceneError(
            f"“{bare}” has no UV map, and another selected object does not allow a new one.",
            "Texture them one after the other.",
        )
    return Export(arrays, targets, "keep", warnings)


def flush(objects: Sequence[bpy.types.Object], depsgraph) -> None:
    """Let the evaluated meshes be up to date: Edit and Sculpt Mode keep theirs to themselves, and scripts change
    meshes without a word to anybody."""
    bpy.ops.ed.flush_edits()
    for obj in objects:
        if obj.mode == "EDIT":
            obj.update_from_editmode()
        obj.data.update_tag()
    depsgraph.update()


def export_shape(objects: Sequence[bpy.types.Object], depsgraph, modifiers: str) -> Export:
    """The same for a job that makes a new object of these: any mesh will do, since its targets need no way back.

    Args:
        modifiers: ``ignore``, or anything else for the shape as seen.
    """
    flush(objects, depsgraph)
    parts, targets = [], []
    for obj in objects:
        if modifiers != "ignore" and (any(m.show_viewport for m in obj.modifiers) or obj.data.shape_keys):
            check_computed(obj, depsgraph)
        arrays, corners, mesh = read_object(obj, depsgraph, modifiers)
        parts.append(arrays)
        targets.append(
            Target(
                name=obj.name,
                uid=obj.session_uid,
                uv_layer=mesh.active_uv,
                modifiers=modifiers,
                maps_back=False,
                topology=mesh.topology,
                corner_count=mesh.corner_count,
                corners=corners,
            )
        )
    return Export(join_parts(parts, [obj.name for obj in objects]), targets, "new")


def export_object(obj: bpy.types.Object, depsgraph, modifiers: str, uv: str) -> tuple[dict, Target]:
    """Arrays of one object, and how to find the way back."""
    if not any(m.show_viewport for m in obj.modifiers) and not obj.data.shape_keys:
        modifiers = "keep"
    elif modifiers != "ignore":
        check_computed(obj, depsgraph)
    arrays, corners, mesh = read_object(obj, depsgraph, modifiers)
    own_topology = fingerprint(obj.data)
    maps_back = mesh.topology == own_topology
    if maps_back:
        modifiers = "keep" if modifiers == "apply" else modifiers
    elif modifiers == "keep" and (uv == "new" or not mesh.active_uv):
        reason = "a new UV map" if mesh.active_uv else "a UV map, which it lacks,"
        other = "Ignore" if dropped_by_applying(obj) else "Apply or Ignore"
        raise SceneError(
            f"“{obj.name}” needs {reason} but its modifiers change its faces.",
            f"Set Output > Modifiers to {other}, or unwrap it first.",
        )
    own = obj.data.uv_layers.get(mesh.active_uv) if mesh.active_uv else None
    target = Target(
        name=obj.name,
        uid=obj.session_uid,
        uv_layer=mesh.active_uv,
        modifiers=modifiers,
        maps_back=maps_back,
        topology=mesh.topology,
        corner_count=mesh.corner_count,
        corners=corners,
        own_topology=own_topology,
        own_uv=read(own.uv, "vector", 2, np.float32) if own is not None else np.zeros((0, 2), np.float32),
        own_shape=shape_of(obj.data),
        others=others_than(obj),
    )
    check_accepting(obj, target, depsgraph, uv)
    return arrays, target


class ReadMesh(NamedTuple):
    """What must be known of the mesh that was read, which is gone by now."""

    active_uv: str
    topology: str
    corner_count: int


def read_object(obj: bpy.types.Object, depsgraph, modifiers: str) -> tuple[dict, np.ndarray, ReadMesh]:
    """Arrays of one object's mesh in world space, its triangles' corners, and what it was like.

    Raises :class:`SceneError` when there are no faces, or not those that are seen.
    """
    check_is_read(obj, modifiers)
    evaluated = obj.evaluated_get(depsgraph)
    mesh = obj.data if modifiers == "ignore" else evaluated.to_mesh()
    try:
        matrix = np.array(world_matrix(obj, depsgraph), np.float64)
        check_place(obj, matrix)
        arrays, corners = read_mesh(mesh, matrix)
        if not len(corners):
            raise no_faces(obj, depsgraph, modifiers)
        active = mesh.uv_layers.active.name if mesh.uv_layers.active else ""
        return arrays, corners, ReadMesh(active, fingerprint(mesh), len(mesh.loops))
    finally:
        if modifiers != "ignore":
            evaluated.to_mesh_clear()


def check_place(obj: bpy.types.Object, matrix: np.ndarray) -> None:
    """Raise :class:`SceneError` where ``matrix``, 4×4, leaves no face an area, or puts it nowhere."""
    if not np.isfinite(matrix).all():
        raise SceneError(f"The location, rotation or scale of “{obj.name}” is no number.", "Clear it (Object > Clear).")
    if np.linalg.matrix_rank(matrix[:3, :3]) < 2:
        scale = "scale" if obj.parent is None else "scale, or that of its parents,"
        fix = "Give it another one (Object > Clear > Scale makes it 1)."
        raise SceneError(f"The {scale} leaves the faces of “{obj.name}” no area.", fix)


def world_matrix(obj: bpy.types.Object, depsgraph) -> Matrix:
    """Where ``obj`` stands. Of one that Blender does not work out, as in a collection that is excluded, it is what its
    own and its parents' transforms come to. Raises :class:`SceneError` where more than these moves it."""
    if is_computed(obj, depsgraph):
        return obj.evaluated_get(depsgraph).matrix_world
    data = obj.animation_data
    moved = obj.constraints or (data is not None and (data.action or data.drivers or data.nla_tracks))
    if moved or (obj.parent is not None and obj.parent_type != "OBJECT"):
        raise SceneError(
            f"“{obj.name}” is disabled in viewports or not in this scene, so that nobody knows where it stands.",
            "Enable it first.",
        )
    if obj.parent is None:
        return obj.matrix_basis
    return world_matrix(obj.parent, depsgraph) @ obj.matrix_parent_inverse @ obj.matrix_basis


def read_mesh(mesh: bpy.types.Mesh, matrix: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Triangles of ``mesh`` moved by the 4×4 ``matrix``, in float64; also the mesh corner of each triangle corner."""
    positions = read(mesh.vertices, "co", 3, np.float32) @ matrix[:3, :3].T + matrix[:3, 3]
    mesh.calc_loop_triangles()
    triangles = read(mesh.loop_triangles, "vertices", 3, np.int32)
    corners = read(mesh.loop_triangles, "loops", 3, np.int32)
    if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored by a negative scale: keep the outside outside
        triangles, corners = triangles[:, [0, 2, 1]], corners[:, [0, 2, 1]]
    arrays = {
        "positions": positions,
        "triangles": np.ascontiguousarray(triangles),
        "corner": np.ascontiguousarray(corners),
        "material": read(mesh.loop_triangles, "material_index", 1, np.int32)[:, 0],
    }
    layer = mesh.uv_layers.active
    if layer is not None and len(layer.uv):
        arrays["uv"] = read(layer.uv, "vector", 2, np.float32)[corners]
    return arrays, np.ascontiguousarray(corners)


def read(collection, attribute: str, width: int, dtype) -> np.ndarray:
    """``[N, width]`` array of one attribute of every element."""
    values = np.empty(len(collection) * width, dtype)
    collection.foreach_get(attribute, values)
    return values.reshape(-1, width)


def fingerprint(mesh: bpy.types.Mesh) -> str:
    """Equal for two meshes when, and only when, their faces join the same corners in the same order."""
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(np.int64([len(mesh.vertices), len(mesh.loops), len(mesh.polygons)]).tobytes())
    digest.update(read(mesh.loops, "vertex_index", 1, np.int32).tobytes())
    digest.update(read(mesh.polygons, "loop_start", 1, np.int32).tobytes())
    return digest.hexdigest()


def others_than(obj: bpy.types.Object) -> list[str]:
    """Names of the file's other mesh objects."""
    return [o.name for o in bpy.data.objects if o.type == "MESH" and o != obj]


def shape_of(mesh: bpy.types.Mesh) -> str:
    """Equal for two meshes when their vertices lie at the same places."""
    return hashlib.sha1(read(mesh.vertices, "co", 3, np.float32).tobytes(), usedforsecurity=False).hexdigest()


def join_parts(parts: list[dict[str, np.ndarray]], names: list[str]) -> dict[str, np.ndarray]:
    """One mesh of several; parts without UVs get coordinates that no texture can use (all zero).

    float32 resolves a ten-millionth of a coordinate, which is a meter on a map of the world. So what lies far from the
    origin, seen against its size, is moved there before it is rounded; ``offset`` then leads back, to the place of the
    job's own ``mesh.glb``. The rest of the job does not depend on the place.
    """
    positions, offset = near_origin(np.concatenate([p["positions"] for p in parts]))
    offsets = np.cumsum([0] + [len(p["positions"]) for p in parts[:-1]])
    corners = np.cumsum([0] + [int(p["corner"].max(initial=-1)) + 1 for p in parts[:-1]])
    joined = {
        "positions": positions,
        "triangles": np.concatenate([p["triangles"] + o for p, o in zip(parts, offsets, strict=True)]).astype(np.int32),
        "corner": np.concatenate([p["corner"] + c for p, c in zip(parts, corners, strict=True)]).astype(np.int32),
        "material": np.concatenate([p["material"] for p in parts]),
        "part": np.concatenate([np.full(len(p["triangles"]), i, np.int32) for i, p in enumerate(parts)]),
        "part_names": np.array(names),
    }
    if offset.any():
        joined["offset"] = offset
    if any("uv" in p for p in parts):
        joined["uv"] = np.concatenate([p.get("uv", np.zeros((len(p["triangles"]), 3, 2), np.float32)) for p in parts])
    return joined


def check_exact(parts: list[dict[str, np.ndarray]], joined: dict[str, np.ndarray]) -> None:
    """Raise :class:`SceneError` where a part is so far from the others that it lost its shape in float32."""
    ends = np.cumsum([len(p["positions"]) for p in parts])
    for part, end, name in zip(parts, ends, joined["part_names"], strict=True):
        exact = part["positions"]
        rounded = np.float64(joined["positions"][end - len(exact) : end])
        off = np.abs(rounded - rounded[0] - (exact - exact[0])).max(initial=0.0)
        if len(parts) > 1 and off > INEXACT * np.ptp(exact, axis=0).max():
            raise SceneError(f"“{name}” is too far from the other objects.", "Texture them one after the other.")


def near_origin(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 of ``positions`` ``[V, 3]``, moved to the origin when that is over ``FAR`` sizes away; and the offset
    ``[3]`` float64 that leads back, zero where nothing was moved."""
    finite = positions[np.isfinite(positions).all(axis=1)]
    if len(finite):
        low, high = finite.min(axis=0), finite.max(axis=0)
        if np.abs((low + high) / 2).max() > FAR * (high - low).max():
            offset = (low + high) / 2
            return np.float32(positions - offset), offset
    return np.float32(positions), np.zeros(3)


def targets_bytes(
    targets: list[Target], blend_file: str, place: Sequence[float] = (), also: Sequence[str] = ()
) -> dict[str, bytes]:
    """What a later Blender session needs to find the targets: the contents of ``target.json`` and ``target.npz``.

    ``place``, for a job that makes an object, is where that shall stand; there are no targets then. ``also``: other
    names of the file.
    """
    plain = [{k: v for k, v in vars(t).items() if k not in ("corners", "own_uv", "uid", "saved_name")} for t in targets]
    arrays = {f"corners_{i}": t.corners for i, t in enumerate(targets)}
    arrays |= {f"own_uv_{i}": t.own_uv for i, t in enumerate(targets)}
    record = {"blend_file": blend_file, "also": list(also), "opening": open_file.opening(), "targets": plain}
    return {
        TARGETS: json.dumps(record | ({"place": list(place)} if place else {}), indent=1).encode(),
        TARGET_ARRAYS: npz_bytes(arrays),
    }


def read_targets(folder: Path) -> tuple[list[Target], str]:
    """The targets of a job folder and the file they were in; without ``uid`` (0), as that is for one session only.

    Raises:
        SceneError: when the folder was not made by Blender or is damaged.
    """
    try:
        record = read_json(folder / TARGETS)
        arrays = read_npz(folder / TARGET_ARRAYS) if record["targets"] else {}
        targets = [read_target(plain, arrays, i) for i, plain in enumerate(record["targets"])]
        return targets, str(record["blend_file"])
    except UNREADABLE as error:
        raise SceneError(f"The job folder {folder.name} cannot be read.", "Start a new job.") from error


def read_target(plain: dict, arrays: dict[str, np.ndarray], i: int) -> Target:
    """One target of a job folder, checked: its corners are used as indices. Raises ``UNREADABLE``."""
    corners, own_uv = arrays[f"corners_{i}"], arrays.get(f"own_uv_{i}", np.zeros((0, 2), np.float32))
    target = Target(uid=0, corners=corners, own_uv=own_uv, **plain)
    texts = ("name", "uv_layer", "modifiers", "topology", "own_topology", "own_shape")
    for text in (*(getattr(target, name) for name in texts), *target.others):
        if not isinstance(text, str):
            raise ValueError(f"{quoted(text)} must be a text")
    if corners.ndim != 2 or corners.shape[1] != 3 or corners.dtype.kind not in "iu":
        raise ValueError("corners must be rows of three whole numbers")
    if own_uv.ndim != 2 or own_uv.shape[1] != 2 or own_uv.dtype.kind != "f":
        raise ValueError("UVs must be pairs of numbers")
    if len(corners) and not 0 <= corners.min() <= corners.max() < int(target.corner_count) <= MOST_CORNERS:
        raise ValueError("corners name corners that do not exist")
    return target


def read_word(folder: Path, name: str) -> str:
    """What ``target.json`` says of the file: ``blend_file``, its path; ``opening``, the word for it as it was when the
    job was started (see :mod:`open_file`). Empty when it is not known."""
    try:
        return str(read_json(folder / TARGETS).get(name, ""))
    except UNREADABLE:
        return ""


def read_also(folder: Path) -> list[str]:
    """Other paths of the file that a job belongs to: those that it was saved as before."""
    try:
        return [str(path) for path in read_json(folder / TARGETS).get("also", ())]
    except UNREADABLE:
        return []
