"""glTF 2.0 (.glb, .gltf): what the default scene shows, placed, posed and with the UVs of its base color."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .common import BadFile, FileMesh, check_size, quote
from .gltf_data import Document, entry, integer, numbers
from .gltf_scene import Placement, Scene

POINTS_AND_LINES = (0, 1, 2, 3)
TRIANGLES, STRIP, FAN = 4, 5, 6
# Extensions that leave the shape and the UVs as they are, so that a file that requires them can be read without them.
# KHR_mesh_quantization is what the accessors are read by in any case; KHR_texture_transform is applied.
HARMLESS = ("KHR_mesh_quantization", "KHR_texture_", "KHR_materials_", "KHR_lights_", "KHR_xmp", "KHR_animation_",
            "EXT_texture_", "EXT_lights_", "MSFT_texture_", "MSFT_packing_", "ADOBE_materials_")  # fmt: skip
COMPRESSIONS = {
    "KHR_draco_mesh_compression": "Draco compression",
    "EXT_meshopt_compression": "meshopt compression",
    "KHR_meshopt_compression": "meshopt compression",
    "EXT_mesh_gpu_instancing": "instancing",
}


def read_gltf(path: Path, colored: bool = False) -> FileMesh:
    """Read a file by the glTF 2.0 specification (Khronos, ISO/IEC 12113); ``colored``: with its vertices' colors.

    Points and lines are passed over; a mirroring placement turns its triangles round. Skinned meshes and morph
    targets are read as the file poses them, animations are not played.

    Raises:
        BadFile: for what the specification forbids and for required extensions that are not read, by name.
        JobError: ``mesh_too_large``, before anything is placed.
    """
    document = Document(path)
    _check_extensions(document)
    scene = Scene(document)
    placements = scene.placements()
    faces = {p.mesh: _count_triangles(document, p.mesh) for p in placements}
    placements = [p for p in placements if faces[p.mesh]]
    check_size(sum(faces[p.mesh] for p in placements))
    names = [p.name for p in placements]
    alike: dict[tuple, list[int]] = {}
    for number, placement in enumerate(placements):
        alike.setdefault((placement.mesh, placement.skin, placement.weights), []).append(number)
    groups = [_place(scene, placements, chosen, colored) for chosen in alike.values()]
    return _joined(groups, names)


def _check_extensions(document: Document) -> None:
    for name in document.list_of("extensionsRequired"):
        if not isinstance(name, str) or not name.startswith(HARMLESS):
            what = COMPRESSIONS.get(name) if isinstance(name, str) else None
            kind = f"{what} ({quote(name)})" if what else f"the extension {quote(name)}"
            raise BadFile(f"it needs {kind}, which is not read; export it without")


def _primitives(document: Document, mesh: int) -> list[dict]:
    found = entry(document.data.get("meshes"), mesh, "mesh").get("primitives")
    if not isinstance(found, list) or not all(isinstance(p, dict) for p in found):
        raise BadFile(f"mesh {mesh} has no list of primitives")
    return [p for p in found if integer(p, "mode", TRIANGLES, f"mesh {mesh}") not in POINTS_AND_LINES]


def _count_triangles(document: Document, mesh: int) -> int:
    """At most this many; known without reading a vertex."""
    total = 0
    for primitive in _primitives(document, mesh):
        source = primitive.get("indices", _attributes(primitive).get("POSITION"))
        if source is not None:
            count = document.count(source)
            total += count // 3 if primitive.get("mode", TRIANGLES) == TRIANGLES else max(count - 2, 0)
    return total


def _attributes(primitive: dict) -> dict:
    found = primitive.get("attributes")
    if not isinstance(found, dict):
        raise BadFile("a primitive has no attributes")
    return found


@dataclass
class Group:
    """Equal meshes at P places: positions ``[P, V, 3]``, ``mirrored`` and ``part`` ``[P]``; the rest is of one.

    ``material`` counts the materials of this mesh, ``base`` has their numbers in the file. ``color`` ``[F, 3, 3]`` is
    linear.
    """

    positions: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None
    color: np.ndarray | None
    material: np.ndarray
    base: np.ndarray
    mirrored: np.ndarray
    part: np.ndarray


def _place(scene: Scene, placements: list[Placement], chosen: list[int], colored: bool) -> Group:
    one = placements[chosen[0]]
    document = scene.document
    pieces = [
        piece
        for primitive in _primitives(document, one.mesh)
        if (piece := _read_primitive(scene, primitive, one, colored)) is not None
    ]
    if not pieces:
        empty = np.zeros((0, 3))
        pieces = [Piece(empty, np.zeros((0, 3), np.int64), None, None, 0)]
    counts = [len(piece.triangles) for piece in pieces]
    before = np.cumsum([0] + [len(piece.points) for piece in pieces])
    points = np.concatenate([piece.points for piece in pieces])
    triangles = np.concatenate([piece.triangles + first for piece, first in zip(pieces, before, strict=False)])
    uv = _corner_values([piece.uv for piece in pieces], counts, np.zeros(2))
    color = _corner_values([piece.color for piece in pieces], counts, np.ones(3))
    slots = {number: slot for slot, number in enumerate(dict.fromkeys(piece.base for piece in pieces))}
    base = np.repeat([piece.base for piece in pieces], counts)
    material = np.repeat([slots[piece.base] for piece in pieces], counts)
    if one.skin is not None or one.node is None:
        matrices = np.broadcast_to(np.eye(4), (len(chosen), 4, 4))
    else:
        matrices = scene.matrices([node for i in chosen if (node := placements[i].node) is not None])
    placed = np.einsum("pij,vj->pvi", matrices[:, :3, :3], points) + matrices[:, None, :3, 3]
    mirrored = np.linalg.det(matrices[:, :3, :3]) < 0
    return Group(placed, triangles, uv, color, material, base, mirrored, np.array(chosen))


def _corner_values(found: list[np.ndarray | None], counts: list[int], other: np.ndarray) -> np.ndarray | None:
    """``[F, 3, K]`` of pieces with so many faces each, ``other [K]`` for those without; None where none has any."""
    if all(values is None for values in found):
        return None
    plain = [np.broadcast_to(other, (count, 3, len(other))) for count in counts]
    return np.concatenate([plain[i] if values is None else values for i, values in enumerate(found)])


@dataclass
class Piece:
    """A primitive: its used vertices ``[V, 3]``, triangles ``[F, 3]``, UVs ``[F, 3, 2]`` and linear colors
    ``[F, 3, 3]`` of their corners, each or None, and the material's number or -1."""

    points: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None
    color: np.ndarray | None
    base: int


def _read_primitive(scene: Scene, primitive: dict, one: Placement, colored: bool) -> Piece | None:
    document, attributes = scene.document, _attributes(primitive)
    if attributes.get("POSITION") is None:
        return None
    positions = document.accessor(attributes["POSITION"], ("VEC3",), "positions")
    if positions.count and positions.rows is None and not len(positions.sparse_rows):
        names = ", ".join(map(quote, primitive.get("extensions") or ["no buffer view"]))
        raise BadFile(f"the positions of a mesh have no data ({names})")
    corners = _corners(document, primitive, positions.count)
    used, triangles = np.unique(corners, return_inverse=True)
    triangles = triangles.reshape(-1, 3)
    points = positions.numbers(used)
    targets = primitive.get("targets")
    targets = targets if isinstance(targets, list) else []
    for target, weight in zip(targets, one.weights, strict=False):
        if weight and isinstance(target, dict) and target.get("POSITION") is not None:
            moved = document.accessor(target["POSITION"], ("VEC3",), "morph targets")
            _check_count(moved.count, positions.count, "morph targets")
            points = points + weight * moved.numbers(used)
    if one.skin is not None:
        points = _pose(scene, one.skin, attributes, points, used, positions.count)
    material = primitive.get("material", -1)
    uv = _uv(document, attributes, material, used, positions.count)
    color = _color(document, attributes, used, positions.count) if colored else None
    return Piece(
        points,
        triangles,
        None if uv is None else uv[triangles],
        None if color is None else color[triangles],
        material if isinstance(material, int) else -1,
    )


def _check_count(count: int, expected: int, what: str) -> None:
    if count != expected:
        raise BadFile(f"there are {count} {what} for {expected} vertices")


def _corners(document: Document, primitive: dict, count: int) -> np.ndarray:
    """``[F, 3]`` vertex numbers of a primitive's triangles."""
    mode = integer(primitive, "mode", TRIANGLES, "a primitive")
    if mode not in (TRIANGLES, STRIP, FAN):
        raise BadFile(f"a primitive has mode {mode}, and there are 0 to 6")
    runs = [np.arange(count)]
    if primitive.get("indices") is not None:
        accessor = document.accessor(primitive["indices"], ("SCALAR",), "indices")
        declared = document.list_of("accessors")[primitive["indices"]]
        limits = {5121: 0xFF, 5123: 0xFFFF, 5125: 0xFFFFFFFF}
        if declared["componentType"] not in limits:
            raise BadFile(f"indices are of type {declared['componentType']}, and must be unsigned integers")
        indices = accessor.integers()
        restart = limits[declared["componentType"]]
        wrong = indices[indices >= count]
        if len(wrong) and (mode == TRIANGLES or (wrong != restart).any()):
            extra = " (primitive restart, which glTF forbids)" if (wrong == restart).all() else ""
            raise BadFile(f"an index is {wrong[0]}, but there are {count} vertices{extra}")
        runs = [indices]
        if len(wrong):  # forbidden, but what it would mean is plain
            ends = np.flatnonzero(indices == restart)
            runs = [run[run != restart] for run in np.split(indices, ends)]
    if mode == TRIANGLES:
        if len(runs[0]) % 3:
            raise BadFile(f"a primitive has {len(runs[0])} corners, which are not whole triangles")
        return runs[0].reshape(-1, 3)
    parts = [_strip(run) if mode == STRIP else _fan(run) for run in runs if len(run) >= 3]
    return np.concatenate(parts) if parts else np.zeros((0, 3), np.int64)


def _strip(run: np.ndarray) -> np.ndarray:
    """Triangles (i, i+1, i+2), every second one turned round; those with a vertex twice only lead on."""
    odd = np.arange(len(run) - 2) % 2
    i = np.arange(len(run) - 2)
    rows = np.stack([run[i], run[i + 1 + odd], run[i + 2 - odd]], axis=1)
    return rows[(rows != np.roll(rows, 1, axis=1)).all(axis=1)]


def _fan(run: np.ndarray) -> np.ndarray:
    """Triangles (i+1, i+2, 0)."""
    return np.stack([run[1:-1], run[2:], np.broadcast_to(run[0], len(run) - 2)], axis=1)


def _pose(scene: Scene, skin: int, attributes: dict, points: np.ndarray, used: np.ndarray, count: int) -> np.ndarray:
    """Vertices moved by the joints of a skin; the node's own place means nothing then."""
    matrices = scene.joint_matrices(skin)
    total, moved = np.zeros(len(points)), np.zeros_like(points)
    for number in range(8):
        if attributes.get(f"JOINTS_{number}") is None or attributes.get(f"WEIGHTS_{number}") is None:
            break
        joints = scene.document.accessor(attributes[f"JOINTS_{number}"], ("VEC4",), "joints")
        weights = scene.document.accessor(attributes[f"WEIGHTS_{number}"], ("VEC4",), "joint weights")
        _check_count(joints.count, count, "joints")
        _check_count(weights.count, count, "joint weights")
        for joint, weight in zip(joints.numbers(used).T, weights.numbers(used).T, strict=True):
            follows = np.flatnonzero(weight != 0)
            if not ((joint >= 0) & (joint < len(matrices)))[follows].all():
                raise BadFile(f"a vertex follows joint {joint[follows].max():.0f}, but its skin has {len(matrices)}")
            for at in np.array_split(follows, len(follows) // 65_536 + 1):
                matrix = matrices[joint[at].astype(np.int64)]
                placed = np.einsum("vij,vj->vi", matrix[:, :3, :3], points[at]) + matrix[:, :3, 3]
                moved[at] += weight[at, None] * placed
            total += weight
    followed = np.abs(total) > 1e-6
    moved[followed] /= total[followed, None]
    return np.where(followed[:, None], moved, points)


def _uv(document: Document, attributes: dict, material: object, used: np.ndarray, count: int) -> np.ndarray | None:
    """``[V, 2]``, v up: the map that the base color uses, or else the first, with the texture's transform applied."""
    there = [number for number in range(100) if attributes.get(f"TEXCOORD_{number}") is not None]
    if not there:
        return None
    texture = base_color_info(entry(document.data.get("materials"), material, "material")) if material != -1 else {}
    transform = extension(texture, "KHR_texture_transform")
    chosen = integer(transform if "texCoord" in transform else texture, "texCoord", 0, "a texture")
    fitting = chosen in there
    name = f"TEXCOORD_{chosen if fitting else there[0]}"
    accessor = document.accessor(attributes[name], ("VEC2",), name)
    _check_count(accessor.count, count, "UVs")
    uv = accessor.numbers(used)
    if transform and fitting:
        offset = numbers(transform.get("offset", [0, 0]), 2, "a texture's offset")
        scale = numbers(transform.get("scale", [1, 1]), 2, "a texture's scale")
        angle = numbers([transform.get("rotation", 0)], 1, "a texture's rotation")[0]
        c, s = np.cos(angle), np.sin(angle)
        uv = (uv * scale) @ np.array([[c, -s], [s, c]]) + offset
    return uv * [1, -1] + [0, 1]


def _color(document: Document, attributes: dict, used: np.ndarray, count: int) -> np.ndarray | None:
    """``[V, 3]`` linear, 0 to 1: what the specification multiplies the base color by. What shines through is left
    out."""
    if attributes.get("COLOR_0") is None:
        return None
    accessor = document.accessor(attributes["COLOR_0"], ("VEC3", "VEC4"), "vertex colors")
    _check_count(accessor.count, count, "vertex colors")
    if not accessor.scale and accessor.sparse_values.dtype.kind != "f":
        raise BadFile("its vertex colors are whole numbers that are not marked as normalized")
    values = accessor.numbers(used)[:, :3]
    if not np.isfinite(values).all():
        raise BadFile("a vertex color is no number")
    return np.clip(values, 0, 1)


def extension(holder: dict, name: str) -> dict:
    """What an extension of that name says of ``holder``; nothing where there is none."""
    found = holder.get("extensions")
    found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def base_color_info(material: dict) -> dict:
    """The texture info of the base color, or of what stands for it in an older kind of material."""
    older = extension(material, "KHR_materials_pbrSpecularGlossiness").get("diffuseTexture")
    metal = material.get("pbrMetallicRoughness")
    newer = metal.get("baseColorTexture") if isinstance(metal, dict) else None
    return next((texture for texture in (newer, older) if isinstance(texture, dict)), {})


def _joined(groups: Iterable[Group], names: list[str]) -> FileMesh:
    """One mesh of all groups, the faces of each place together."""
    points, triangles, part, material, base, first = [], [], [], [], [], 0
    groups = list(groups)
    for group in groups:
        places, vertices = group.positions.shape[:2]
        rows = np.where(group.mirrored[:, None, None], group.triangles[:, ::-1], group.triangles)
        triangles.append((rows + first + vertices * np.arange(places)[:, None, None]).reshape(-1, 3))
        points.append(group.positions.reshape(-1, 3))
        part.append(np.repeat(group.part, len(group.triangles)))
        material.append(np.tile(group.material, places))
        base.append(np.tile(group.base, places))
        first += places * vertices
    if not groups:
        return FileMesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    part = np.concatenate(part)
    order = np.argsort(part, kind="stable")
    counts = [len(group.positions) * len(group.triangles) for group in groups]
    uv = _corner_values([_at_places(group, group.uv) for group in groups], counts, np.zeros(2))
    color = _corner_values([_at_places(group, group.color) for group in groups], counts, np.ones(3))
    return FileMesh(
        positions=np.concatenate(points),
        triangles=np.concatenate(triangles)[order],
        uv=None if uv is None else uv[order],
        part=part[order],
        part_names=tuple(names),
        material=np.concatenate(material)[order],
        base=np.concatenate(base)[order],
        corner_light=None if color is None else color[order],
    )


def _at_places(group: Group, values: np.ndarray | None) -> np.ndarray | None:
    """Values of the corners, ``[F, 3, K]``, at each of the group's places, ``[P F, 3, K]``."""
    if values is None:
        return None
    corners = np.where(group.mirrored[:, None, None, None], values[:, ::-1], values)
    return corners.reshape(-1, *values.shape[1:])
