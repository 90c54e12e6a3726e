"""From objects in the scene to the plain arrays of a job."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import bpy
import numpy as np


class SceneError(Exception):
    """Something in the scene keeps a job from starting or a result from being applied.

    Attributes:
        text: one sentence saying what is wrong. fix: one sentence saying what to do.
    """

    def __init__(self, text: str, fix: str = ""):
        super().__init__(f"{text} {fix}".strip())
        self.text = text
        self.fix = fix


@dataclass
class Target:
    """One textured object: how to find it again, and how the job's triangles lead back to its mesh.

    Attributes:
        name, uid: the object's name, and its ``session_uid`` in this Blender session.
        uv_layer: the UV map that was exported, empty when there was none.
        modifiers: ``keep``, ``apply`` or ``ignore``.
        maps_back: whether triangle corners are corners of the object's own mesh.
        topology: fingerprint of the mesh that the corners belong to.
        corner_count: how many corners (loops) that mesh has.
        corners: int32 ``[F, 3]``, the mesh corner (loop) of every triangle corner.
    """

    name: str
    uid: int
    uv_layer: str
    modifiers: str
    maps_back: bool
    topology: str
    corner_count: int
    corners: np.ndarray = field(repr=False)


@dataclass
class Export:
    """Arrays of ``mesh.npz``, the targets in the order of the parts, and the UV choice that the job must use."""

    arrays: dict[str, np.ndarray]
    targets: list[Target]
    uv: str

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
        positions float32 ``[V, 3]`` in world space (meters), triangles int32 ``[F, 3]``, part int32 ``[F]``,
        material int32 ``[F]``, part_names, and uv float32 ``[F, 3, 2]`` when any object has a UV map.

    Raises:
        SceneError: for meshes that share data, cannot be changed, have no faces, or cannot be mapped back.
    """
    check_objects(objects)
    parts, targets = [], []
    for obj in objects:
        part, target = export_object(obj, depsgraph, modifiers, uv)
        parts.append(part)
        targets.append(target)
    if all(t.maps_back or t.modifiers == "apply" for t in targets):
        return Export(join_parts(parts, [t.name for t in targets]), targets, uv)
    bare = next((t.name for t in targets if not t.uv_layer), None)
    if bare is not None:
        raise SceneError(
            f"“{bare}” has no UV map, and another selected object's modifiers do not allow a new one.",
            "Texture them one after the other.",
        )
    return Export(join_parts(parts, [t.name for t in targets]), targets, "keep")


def check_objects(objects: Sequence[bpy.types.Object]) -> None:
    """Raise :class:`SceneError` when these objects cannot be textured together."""
    if not objects:
        raise SceneError("No mesh object is selected.", "Select the object to texture.")
    seen: dict[str, str] = {}
    for obj in objects:
        if not obj.is_editable or not obj.data.is_editable:
            raise SceneError(
                f"“{obj.name}” is linked from another file.", "Make it local first (Object > Relations > Make Local)."
            )
        if obj.data.name in seen:
            raise SceneError(
                f"“{seen[obj.data.name]}” and “{obj.name}” share one mesh.",
                "Select only one of them, or make them single user first.",
            )
        seen[obj.data.name] = obj.name


def export_object(obj: bpy.types.Object, depsgraph, modifiers: str, uv: str) -> tuple[dict, Target]:
    """Arrays of one object, and how to find the way back."""
    if obj.mode == "EDIT":
        obj.update_from_editmode()
    has_modifiers = any(m.show_viewport for m in obj.modifiers)
    if not has_modifiers and not obj.data.shape_keys:
        modifiers = "keep"
    evaluated = obj.evaluated_get(depsgraph)
    mesh = obj.data if modifiers == "ignore" else evaluated.to_mesh()
    try:
        arrays, corners = read_mesh(mesh, np.array(evaluated.matrix_world, np.float64))
        if not len(corners):
            raise SceneError(f"“{obj.name}” has no faces.", "Add faces to it, or select another object.")
        layer = mesh.uv_layers.active.name if mesh.uv_layers.active else ""
        topology, corner_count = fingerprint(mesh), len(mesh.loops)
    finally:
        if modifiers != "ignore":
            evaluated.to_mesh_clear()
    maps_back = topology == fingerprint(obj.data)
    if maps_back:
        modifiers = "keep" if modifiers == "apply" else modifiers
    elif modifiers == "keep" and (uv == "new" or not layer):
        reason = "a new UV map" if layer else "a UV map, which it lacks,"
        raise SceneError(
            f"“{obj.name}” needs {reason} but its modifiers change its faces.",
            "Set Output > Modifiers to Apply or Ignore, or unwrap it first.",
        )
    return arrays, Target(obj.name, obj.session_uid, layer, modifiers, maps_back, topology, corner_count, corners)


def read_mesh(mesh: bpy.types.Mesh, matrix: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Triangles of ``mesh`` moved by the 4×4 ``matrix``; also the mesh corner of each triangle corner."""
    positions = read(mesh.vertices, "co", 3, np.float32) @ matrix[:3, :3].T + matrix[:3, 3]
    mesh.calc_loop_triangles()
    triangles = read(mesh.loop_triangles, "vertices", 3, np.int32)
    corners = read(mesh.loop_triangles, "loops", 3, np.int32)
    if np.linalg.det(matrix[:3, :3]) < 0:  # mirrored by a negative scale: keep the outside outside
        triangles, corners = triangles[:, [0, 2, 1]], corners[:, [0, 2, 1]]
    arrays = {
        "positions": np.ascontiguousarray(positions, np.float32),
        "triangles": np.ascontiguousarray(triangles),
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


def join_parts(parts: list[dict[str, np.ndarray]], names: list[str]) -> dict[str, np.ndarray]:
    """One mesh of several; parts without UVs get coordinates that no texture can use (all zero)."""
    offsets = np.cumsum([0] + [len(p["positions"]) for p in parts[:-1]])
    joined = {
        "positions": np.concatenate([p["positions"] for p in parts]),
        "triangles": np.concatenate([p["triangles"] + o for p, o in zip(parts, offsets, strict=True)]).astype(np.int32),
        "material": np.concatenate([p["material"] for p in parts]),
        "part": np.concatenate([np.full(len(p["triangles"]), i, np.int32) for i, p in enumerate(parts)]),
        "part_names": np.array(names),
    }
    if any("uv" in p for p in parts):
        joined["uv"] = np.concatenate([p.get("uv", np.zeros((len(p["triangles"]), 3, 2), np.float32)) for p in parts])
    return joined


def targets_bytes(targets: list[Target], blend_file: str, place: Sequence[float] = ()) -> dict[str, bytes]:
    """What a later Blender session needs to find the targets: the contents of ``target.json`` and ``target.npz``.

    ``place``, for a job that makes an object, is where that shall stand; there are no targets then.
    """
    plain = [{k: v for k, v in asdict(t).items() if k not in ("corners", "uid")} for t in targets]
    corners = {f"corners_{i}": t.corners for i, t in enumerate(targets)}
    record = {"blend_file": blend_file, "targets": plain} | ({"place": list(place)} if place else {})
    return {
        "target.json": json.dumps(record, indent=1).encode(),
        "target.npz": npz_bytes(corners),
    }


def read_targets(folder) -> tuple[list[Target], str]:
    """The targets of a job folder and the file they were in; without ``uid`` (0), as that is for one session only.

    Raises:
        SceneError: when the folder was not made by Blender or is damaged.
    """
    try:
        record = json.loads((folder / "target.json").read_text("utf-8"))
        with np.load(folder / "target.npz", allow_pickle=False) as file:
            corners = [file[f"corners_{i}"] for i in range(len(record["targets"]))]
        targets = [Target(uid=0, corners=c, **t) for t, c in zip(record["targets"], corners, strict=True)]
        return targets, record["blend_file"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SceneError(f"The job folder {folder.name} cannot be read.", "Start a new job.") from error
