"""Reading and writing mesh files: .obj .glb .gltf .ply .stl by the readers in ``files/``, .glb also written."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from ...job.errors import JobError
from .files.colors import Colors, colors_of, material_of_file
from .files.common import BadFile, FileMesh, check_kind, quote, unique_names
from .files.gltf import read_gltf
from .files.gltf_colors import gltf_materials
from .files.npz import load_npz, save_npz
from .files.obj import read_obj
from .files.obj_colors import obj_materials
from .files.ply import read_ply
from .files.stl import read_stl
from .manifold import open_edges
from .mesh import Mesh, crease_normals, near_origin

__all__ = ["load_colored", "load_mesh", "load_npz", "save_glb", "save_npz", "split_corners"]

SUFFIXES = (".obj", ".glb", ".gltf", ".ply", ".stl")
MAX_PARTS = 8  # a file of more objects becomes one part, which then needs one UV map for all
Y_UP = (".obj", ".glb", ".gltf")  # glTF says so; for .obj it is what Blender and most programs write by default


def load_mesh(path: str | Path) -> Mesh:
    """Read a mesh file; several objects become one part each, more than `MAX_PARTS` a single one.

    glTF and OBJ files are Y up with their front facing +Z and are turned to Z up, front -Y; PLY and STL files are
    taken as they are. What lies far from the origin is moved there in 64 bits (``offset`` of the mesh).

    Raises:
        JobError: ``mesh_unreadable``, ``mesh_no_faces`` or ``mesh_too_large``.
    """
    path = Path(path)
    with _refusing(path):
        return _as_mesh(_found(path), path)


def load_colored(path: str | Path) -> tuple[Mesh, Colors]:
    """A mesh as :func:`load_mesh` reads it, and the base color of its faces.

    Raises:
        JobError: as there; ``mesh_colorless`` for a mesh without any, ``picture_unreadable``.
    """
    path = Path(path)
    with _refusing(path):
        found = _found(path, colored=True)
        suffix, materials = path.suffix.lower(), {}
        if suffix == ".obj":
            used = () if found.base is None else np.unique(found.base)
            names = tuple(name if i in used else "" for i, name in enumerate(found.base_names))
            materials = obj_materials(path, names, found.libraries)
            if materials:  # which programs show in the place of such colors
                found.corner_color = None
        elif suffix == ".ply" and found.uv is not None:
            if found.base is None:  # of several, the first is all faces'
                found.base = np.zeros(len(found.triangles), np.int64) if found.pictures else None
            materials = {i: material_of_file(path.parent, name) for i, name in enumerate(found.pictures)}
        elif suffix in (".glb", ".gltf"):
            materials = gltf_materials(path)
        return _as_mesh(found, path), colors_of(found, materials)


def _found(path: Path, colored: bool = False) -> FileMesh:
    _check_file(path)
    found = _read(path, colored)
    if not len(found.triangles):
        raise JobError("mesh_no_faces", quote(path.name))
    return found


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file becomes one sentence."""
    name = quote(path.name or str(path))
    try:
        yield
    except JobError:
        raise
    except BadFile as error:
        raise JobError("mesh_unreadable", f"{name}: {str(error)[:170]}") from None
    except PermissionError:
        raise JobError("mesh_unreadable", f"{name}: its permissions forbid to read it") from None
    except OSError as error:
        raise JobError("mesh_unreadable", f"{name}: {error.strerror or type(error).__name__}") from error
    except MemoryError:
        raise JobError("mesh_unreadable", f"{name}: there is not enough memory for it") from None
    except Exception as error:  # a damage that no reader has a name for
        raise JobError("mesh_unreadable", f"{name}: it is damaged ({type(error).__name__})") from error


def _check_file(path: Path) -> None:
    """Raises ``BadFile`` for what cannot be a mesh file, before it is opened: a pipe would be waited for."""
    if path.suffix.lower() not in SUFFIXES and not path.is_dir():
        raise BadFile(f"its name must end with one of {' '.join(SUFFIXES)}")
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise BadFile("there is no such file") from None
    except ValueError:  # a name with a NUL
        raise BadFile("no file can have this name") from None
    if stat.S_ISDIR(mode):
        raise BadFile("it is a folder")
    if not stat.S_ISREG(mode):
        raise BadFile("it is a device or a pipe, not a file")
    check_kind(path)


def _read(path: Path, colored: bool) -> FileMesh:
    with np.errstate(all="ignore"):  # what matters is checked below
        suffix = path.suffix.lower()
        if suffix == ".obj":
            return read_obj(path)
        if suffix == ".ply":
            return read_ply(path)
        if suffix == ".stl":
            return read_stl(path)
        return read_gltf(path, colored)


def _as_mesh(found: FileMesh, path: Path) -> Mesh:
    """Upright, near the origin, with at most `MAX_PARTS` parts that have faces and names of their own."""
    positions = found.positions
    if path.suffix.lower() in Y_UP:
        positions = positions[:, [0, 2, 1]] * [1, -1, 1]
    with np.errstate(all="ignore"):
        positions, offset = near_origin(positions, found.triangles)
    part, names = None, ()
    if found.part is not None and found.part_names:
        used, part = np.unique(found.part, return_inverse=True)
        names = unique_names([found.part_names[i] for i in used]) if len(used) <= MAX_PARTS else ()
    return Mesh(
        positions=positions,
        triangles=found.triangles,
        uv=found.uv,
        part=part if names else None,
        part_names=names or unique_names([path.stem]),
        material=found.material,
        offset=offset,
    )


def split_corners(mesh: Mesh, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices for formats that keep one UV and one normal a vertex: corners with equal position and ``values`` share
    one.

    Args:
        values: ``[F, 3, C]`` float32.

    Returns:
        positions ``[W, 3]``, values ``[W, C]``, triangles ``[F, 3]``.
    """
    flat = np.ascontiguousarray(values, np.float32).reshape(len(mesh.triangles) * 3, -1)
    corners = np.concatenate([mesh.triangles.reshape(-1, 1), flat.view(np.int32)], axis=1)
    _, first, inverse = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    return mesh.positions[mesh.triangles.reshape(-1)[first]], flat[first], inverse.reshape(-1, 3)


def save_glb(path: str | Path, mesh: Mesh, uv: np.ndarray, albedo: str | Path | list[str | Path]) -> None:
    """Write a textured binary glTF file: Y up, one mesh and material for each part.

    The mesh's offset becomes the place of its nodes, whose numbers have 64 bits. Edges of over ``CREASE`` degrees are
    sharp. What has a border, as a leaf or a cloth, is seen from both sides.

    Args:
        uv: ``[F, 3, 2]``, v up.
        albedo: the image file of the part, or one for each part. It is embedded, as sRGB base color.
    """
    images = [albedo] if isinstance(albedo, str | Path) else list(albedo)
    corners = np.concatenate([np.float32(uv), crease_normals(mesh)], axis=2)
    scene = trimesh.Scene(base_frame=_other_than(mesh.part_names))
    place = np.eye(4)
    place[:3, 3] = mesh.offset[[0, 2, 1]] * [1, 1, -1]
    for i, name in enumerate(mesh.part_names):
        faces = np.flatnonzero(mesh.part == i)
        if not len(faces):
            continue
        piece = Mesh(mesh.positions, mesh.triangles[faces])
        positions, values, triangles = split_corners(piece, corners[faces])
        with Image.open(images[min(i, len(images) - 1)]) as file:
            image = file.convert("RGB")
        image.format = "PNG"
        material = trimesh.visual.material.PBRMaterial(
            name=f"{name} CSD",
            baseColorTexture=image,
            metallicFactor=0.0,
            roughnessFactor=0.8,
            doubleSided=open_edges(piece.positions, piece.triangles) > 0,
        )
        scene.add_geometry(
            trimesh.Trimesh(
                _to_y_up(positions),
                triangles,
                vertex_normals=_to_y_up(values[:, 2:]),
                visual=trimesh.visual.TextureVisuals(uv=values[:, :2], material=material),
                process=False,
            ),
            node_name=name,
            geom_name=name,
            transform=place if mesh.offset.any() else None,
        )
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(scene.export(file_type="glb", include_normals=True))
    os.replace(beside, path)


def _other_than(names: Sequence[str]) -> str:
    """A name for what holds all nodes, which none of them has."""
    return next(
        name for name in itertools.chain(["world"], map("world {}".format, itertools.count())) if name not in names
    )


def _to_y_up(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, [0, 2, 1]] * np.float32([1, 1, -1])
