"""Reading and writing meshes: .obj .glb .gltf .ply .stl through trimesh, and the job folder's own .npz."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from ...job.errors import JobError
from .mesh import Mesh, merge

SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl")
# (maintain_order stays off: it would give every vertex of an OBJ file the UV of only one of its corners)
OPTIONS = {".obj": {"split_objects": True, "group_material": False, "skip_materials": True}}
MAX_PARTS = 8  # a file of more objects becomes one part, which then needs one UV map for all
Y_UP = (".obj", ".glb", ".gltf")  # glTF says so; for .obj it is what Blender and most programs write by default


def load_mesh(path: str | Path) -> Mesh:
    """Read a mesh file; several objects become one part each, more than `MAX_PARTS` a single one.

    glTF and OBJ files are Y up with their front facing +Z and are turned to Z up, front -Y; PLY and STL files are
    taken as they are.

    Raises:
        JobError: ``mesh_unreadable`` or ``mesh_no_faces``.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise JobError("mesh_unreadable", f"{path.name}: the file must be one of {' '.join(SUFFIXES)}")
    if not path.is_file():
        raise JobError("mesh_unreadable", f"{path}: there is no such file")
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is checked below
            scene = trimesh.load_scene(str(path), process=False, **OPTIONS.get(suffix, {}))
            pieces = _pieces(scene)
            if suffix == ".obj":
                pieces.sort(key=lambda piece: piece[0])  # its reader changes their order from run to run
            meshes = _objects(pieces)
    except JobError:
        raise
    except Exception as error:  # readers raise whatever they like on broken files
        raise JobError("mesh_unreadable", f"{path.name}: {type(error).__name__}: {error}") from error
    meshes = [mesh for mesh in meshes if len(mesh.triangles)]
    if not meshes:
        raise JobError("mesh_no_faces", path.name)
    mesh = merge(meshes)
    if mesh.part_count > MAX_PARTS:
        mesh = replace(mesh, part=None, part_names=(path.stem,))
    if suffix in Y_UP:
        mesh.positions = np.ascontiguousarray(mesh.positions[:, [0, 2, 1]] * np.float32([1, -1, 1]))
    return mesh


def _pieces(scene: trimesh.Scene) -> list[tuple[str, trimesh.Trimesh]]:
    """The scene's meshes, by the names of their objects and with their placement applied."""
    pieces = []
    order = {name: i for i, name in enumerate(scene.geometry)}
    for node in sorted(scene.graph.nodes_geometry, key=lambda node: (order[scene.graph[node][1]], str(node))):
        transform, geometry = scene.graph[node]
        piece = scene.geometry[geometry]
        if isinstance(piece, trimesh.Trimesh):  # curves and points have no faces
            piece = piece.copy()
            piece.apply_transform(transform)
            pieces.append((_object_name(scene, str(node)), piece))
    return pieces


def _object_name(scene: trimesh.Scene, node: str) -> str:
    """The name of the object a piece belongs to.

    A glTF mesh of several materials arrives as one piece each, below the object's node and with random endings.
    """
    parent = str(scene.graph.transforms.parents.get(node, ""))
    return parent if re.fullmatch(re.escape(parent) + "_[0-9a-f]{6}", node) else node


def _objects(pieces: list[tuple[str, trimesh.Trimesh]]) -> list[Mesh]:
    """One mesh for each object, its pieces being its material slots."""
    objects: dict[str, list[Mesh]] = {}
    for name, piece in pieces:
        objects.setdefault(name, []).append(_from_trimesh(piece, name))
    result = []
    for name, meshes in objects.items():
        mesh = merge(meshes)
        result.append(replace(mesh, material=mesh.part, part=None, part_names=(name,)))
    return result


def _from_trimesh(piece: trimesh.Trimesh, name: str) -> Mesh:
    faces = np.asarray(piece.faces)
    uv = getattr(piece.visual, "uv", None)
    if uv is not None and len(uv) == len(piece.vertices):
        uv = np.asarray(uv, np.float32)[:, :2][faces]
    else:
        uv = None
    return Mesh(np.asarray(piece.vertices), faces, uv, part_names=(name,))


def save_npz(path: str | Path, mesh: Mesh) -> None:
    """Write the arrays of a mesh, without pickles; the file appears whole or not at all."""
    arrays = {
        "positions": mesh.positions,
        "triangles": mesh.triangles,
        "part": mesh.part,
        "part_names": np.array(mesh.part_names, dtype=np.str_),
    }
    for name in ("uv", "material", "corner"):
        if getattr(mesh, name) is not None:
            arrays[name] = getattr(mesh, name)
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(beside, path)


def load_npz(path: str | Path) -> Mesh:
    """Read what `save_npz` wrote (or the Blender side, which writes the same arrays).

    Raises:
        JobError: ``mesh_unreadable``.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        faces = len(found["triangles"])
        return Mesh(
            positions=found["positions"],
            triangles=found["triangles"],
            uv=found.get("uv"),
            part=found.get("part", np.zeros(faces, np.int32)),
            part_names=tuple(found.get("part_names", np.array(["mesh"])).tolist()),
            material=found.get("material"),
            corner=found.get("corner"),
        )
    except Exception as error:
        raise JobError("mesh_unreadable", f"{Path(path).name}: {type(error).__name__}: {error}") from error


def split_corners(mesh: Mesh, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices for formats that keep one UV a vertex: corners with equal position and UV share one.

    Args:
        uv: ``[F, 3, 2]``.

    Returns:
        positions ``[W, 3]``, uv ``[W, 2]``, triangles ``[F, 3]``, and each one's vertex in ``mesh`` ``[W]``.
    """
    corners = np.concatenate([mesh.triangles.reshape(-1, 1), np.float32(uv).reshape(-1, 2).view(np.int32)], axis=1)
    _, first, inverse = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    vertex = mesh.triangles.reshape(-1)[first]
    return mesh.positions[vertex], np.float32(uv).reshape(-1, 2)[first], inverse.reshape(-1, 3), vertex


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """``[V, 3]`` float32 unit normals, faces weighted by area."""
    points = mesh.positions.astype(np.float64)
    cross = np.cross(*(points[mesh.triangles[:, i]] - points[mesh.triangles[:, 0]] for i in (1, 2)))
    total = np.zeros_like(points)
    for i in range(3):
        np.add.at(total, mesh.triangles[:, i], cross)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.float32(np.where(length > 0, total / np.maximum(length, 1e-30), [0.0, 0.0, 1.0]))


def save_glb(path: str | Path, mesh: Mesh, uv: np.ndarray, albedo: str | Path | list[str | Path]) -> None:
    """Write a textured binary glTF file: Y up, one mesh and material for each part.

    Args:
        uv: ``[F, 3, 2]``, v up.
        albedo: the image file of the part, or one for each part. It is embedded, as sRGB base color.
    """
    images = [albedo] if isinstance(albedo, str | Path) else list(albedo)
    normals = vertex_normals(mesh)
    scene = trimesh.Scene()
    for i, name in enumerate(mesh.part_names):
        faces = np.flatnonzero(mesh.part == i)
        if not len(faces):
            continue
        piece = Mesh(mesh.positions, mesh.triangles[faces])
        positions, piece_uv, triangles, vertex = split_corners(piece, uv[faces])
        with Image.open(images[min(i, len(images) - 1)]) as file:
            image = file.convert("RGB")
        image.format = "PNG"
        material = trimesh.visual.material.PBRMaterial(
            name=f"{name} CSD", baseColorTexture=image, metallicFactor=0.0, roughnessFactor=0.8
        )
        scene.add_geometry(
            trimesh.Trimesh(
                _to_y_up(positions),
                triangles,
                vertex_normals=_to_y_up(normals[vertex]),
                visual=trimesh.visual.TextureVisuals(uv=piece_uv, material=material),
                process=False,
            ),
            node_name=name,
            geom_name=name,
        )
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(scene.export(file_type="glb", include_normals=True))
    os.replace(beside, path)


def _to_y_up(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, [0, 2, 1]] * np.float32([1, 1, -1])
