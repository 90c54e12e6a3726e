"""Triangle meshes as plain arrays, and what a texture job must know about one before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ...job.errors import JobError

MAX_FACES = 500_000
CREASE = 60.0  # degrees between faces, beyond which their edge is sharp
MOST_FACES = (
    64  # at a vertex, up to which each is compared with each; a hub of more has their own normals where it is bent
)
CHUNK = 200_000  # corners compared at once
FAR = 16.0  # sizes from the origin: beyond, float32 keeps less than a millionth of the size


@dataclass
class Mesh:
    """A triangle mesh in the Blender world: right-handed, Z up, meters, the front facing -Y.

    Attributes:
        positions: ``[V, 3]`` float32.
        triangles: ``[F, 3]`` int32, counter-clockwise seen from outside.
        uv: ``[F, 3, 2]`` float32, one coordinate for each corner of each triangle, v up; None without a UV map.
        part: ``[F]`` int32, which texture a face belongs to; an index into ``part_names``.
        part_names: one name for each texture, usually the name of an object.
        material: ``[F]`` int32 material slot, or None.
        offset: ``[3]`` float64, what must be added to ``positions`` to be where the mesh was made. Zero, but for a mesh
            so far from the origin that 32 bits would not keep its shape there (`near_origin`).
        corner: ``[F, 3]`` int32, which corner of the polygon that a triangle was cut from each of its corners is, where
            the mesh has polygons: triangles of one polygon have corners in common, and a corner has but one UV. The
            numbers of one polygon rise around it.
    """

    positions: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None = None
    part: np.ndarray = None  # becomes all zeros
    part_names: tuple[str, ...] = ("mesh",)
    material: np.ndarray | None = None
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    corner: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.triangles = np.ascontiguousarray(self.triangles, np.int32).reshape(-1, 3)
        faces = len(self.triangles)
        with np.errstate(over="ignore"):  # what is beyond 32 bits is not finite then, which `clean_mesh` tells
            self.positions = np.ascontiguousarray(self.positions, np.float32).reshape(-1, 3)
            if self.uv is not None:
                self.uv = np.ascontiguousarray(self.uv, np.float32).reshape(faces, 3, 2)
        self.part = np.zeros(faces, np.int32) if self.part is None else np.ascontiguousarray(self.part, np.int32)
        self.part_names = tuple(str(name) for name in self.part_names)
        if self.material is not None:
            self.material = np.ascontiguousarray(self.material, np.int32)
        self.offset = np.array(self.offset, np.float64).reshape(3)
        if self.corner is not None:
            self.corner = np.ascontiguousarray(self.corner, np.int32).reshape(faces, 3)

    @property
    def part_count(self) -> int:
        return len(self.part_names)


def merge(meshes: list[Mesh]) -> Mesh:
    """One mesh of several, the parts one after another. Faces of meshes without UVs get zeros if others have UVs.

    The offset is that of the first mesh.
    """
    if not meshes:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3)))
    vertices = np.cumsum([0] + [len(m.positions) for m in meshes])
    parts = np.cumsum([0] + [m.part_count for m in meshes])
    with_uv = any(m.uv is not None for m in meshes)
    with_material = any(m.material is not None for m in meshes)
    uv = [np.zeros((len(m.triangles), 3, 2), np.float32) if m.uv is None else m.uv for m in meshes]
    material = [np.zeros(len(m.triangles), np.int32) if m.material is None else m.material for m in meshes]
    return Mesh(
        positions=np.concatenate([m.positions + np.float32(m.offset - meshes[0].offset) for m in meshes]),
        triangles=np.concatenate([m.triangles + v for m, v in zip(meshes, vertices[:-1], strict=True)]),
        uv=np.concatenate(uv) if with_uv else None,
        part=np.concatenate([m.part + p for m, p in zip(meshes, parts[:-1], strict=True)]),
        part_names=tuple(name for m in meshes for name in m.part_names),
        material=np.concatenate(material) if with_material else None,
        offset=meshes[0].offset,
    )


def near_origin(positions: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions that keep their shape in 32 bits, and the offset ``[3]`` float64 that leads back.

    A mesh whose box has its center more than `FAR` times its size from the origin is moved there; others stay
    exactly as they are. Only finite vertices that a face uses count.

    Args:
        positions: ``[V, 3]`` float64. triangles: ``[F, 3]``, of vertices that exist.
    """
    used = positions[np.unique(triangles)]
    used = used[np.isfinite(used).all(axis=1)]
    if not len(used):
        return positions, np.zeros(3)
    low, high = used.min(axis=0), used.max(axis=0)
    center = low / 2 + high / 2
    if np.abs(center).max() <= FAR * (high - low).max():
        return positions, np.zeros(3)
    return positions - center, center


def face_cross(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """``[F, 3]`` float64: the normal of each face, as long as twice its area."""
    a, b, c = (points[triangles[:, i]].astype(np.float64) for i in range(3))
    return np.cross(b - a, c - a)


def corner_angles(points: np.ndarray, triangles: np.ndarray, area: np.ndarray) -> np.ndarray:
    """``[F, 3]`` float64 radians; ``area``: twice that of each face ``[F, 1]``, the length of any two sides' cross
    product."""
    corners = points[triangles].astype(np.float64)
    ahead, back = np.roll(corners, -1, axis=1) - corners, np.roll(corners, 1, axis=1) - corners
    return np.arctan2(area, (ahead * back).sum(2))


def weld(mesh: Mesh) -> np.ndarray:
    """``[V]`` numbers of points: vertices of one part that are at the very same place have the same. Files have several
    there where the UV map is cut, and so has a mesh that was read from one."""
    part = np.zeros(len(mesh.positions), np.int64)
    part[mesh.triangles.ravel()] = np.repeat(mesh.part, 3)
    keys = np.column_stack((part, mesh.positions.astype(np.float64) + 0.0))  # no zero is negative
    order = np.lexsort(keys.T)
    new = np.any(keys[order[1:]] != keys[order[:-1]], axis=1)
    numbers = np.zeros(len(order), np.int64)
    numbers[order[1:]] = np.cumsum(new)
    return numbers


def crease_normals(mesh: Mesh, crease: float = CREASE) -> np.ndarray:
    """``[F, 3, 3]`` float32 unit normals of corners: the mean of the faces there (:func:`weld`) that are at most
    ``crease`` degrees from the corner's own, weighted by their angles, so that it does not matter how they are cut into
    triangles (Thürmer and Wüthrich 1998). Of faces without area, the mean of all; upward for want of any."""
    cross = face_cross(mesh.positions, mesh.triangles)
    area = np.linalg.norm(cross, axis=1, keepdims=True)
    flat = cross / np.maximum(area, 1e-300)
    vertex, face = weld(mesh)[mesh.triangles].ravel(), np.repeat(np.arange(len(cross)), 3)
    angled = flat[face] * corner_angles(mesh.positions, mesh.triangles, area).reshape(-1, 1)
    total = np.stack([np.bincount(vertex, angled[:, i], minlength=len(mesh.positions)) for i in range(3)], axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    normals = np.float32(np.where(length > 1e-12, total / np.maximum(length, 1e-30), [0.0, 0.0, 1.0]))[vertex]
    # Two faces that far apart are not both within half of it from their mean, so that most vertices have none.
    bent = np.zeros(len(mesh.positions), bool)
    bent[vertex[(normals * flat[face]).sum(1) < np.cos(np.radians(crease / 2))]] = True
    degree = np.bincount(vertex, minlength=len(bent))
    bent_corners = np.flatnonzero(bent[vertex] & (area[face, 0] > 0))
    hub = degree[vertex[bent_corners]] > MOST_FACES
    normals[bent_corners[hub]] = flat[face[bent_corners[hub]]]
    corners = bent_corners[~hub]
    corners = corners[np.argsort(vertex[corners], kind="stable")]
    _, first, count = np.unique(vertex[corners], return_index=True, return_counts=True)
    first, count = np.repeat(first, count), np.repeat(count, count)  # of each corner's vertex, among the corners
    for start in range(0, len(corners), CHUNK):
        some = slice(start, start + CHUNK)
        own = np.repeat(np.arange(len(corners))[some], count[some])
        others = first[own] + np.arange(len(own)) - np.repeat(np.cumsum(count[some]) - count[some], count[some])
        near = (flat[face[corners[own]]] * flat[face[corners[others]]]).sum(1) >= np.cos(np.radians(crease)) - 1e-6
        total = np.zeros((len(corners[some]), 3))
        np.add.at(total, own[near] - start, angled[corners[others[near]]])
        normals[corners[some]] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return normals.reshape(-1, 3, 3)


def uv_areas(uv: np.ndarray) -> np.ndarray:
    """``[F]`` signed areas of the corners ``[F, 3, 2]``, in units of the tile."""
    uv = uv.astype(np.float64)
    e, f = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return 0.5 * (e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0])


def zero_area_faces(mesh: Mesh) -> np.ndarray:
    """``[F]`` bool: faces whose three corners lie on one line, seen against the size of the mesh."""
    if not len(mesh.triangles):
        return np.zeros(0, bool)
    corners = mesh.positions[mesh.triangles].astype(np.float64)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    area = np.linalg.norm(face_cross(mesh.positions, mesh.triangles), axis=1)
    size = max(np.ptp(mesh.positions.astype(np.float64), axis=0).max(), 1e-30)
    return area <= np.maximum(1e-7 * longest**2, 1e-14 * size**2)


def clean_mesh(mesh: Mesh) -> tuple[Mesh, list[str]]:
    """A mesh that the rest of the backend can trust, and sentences about what was odd with it.

    Faces keep their number and order, so that UVs found for the clean mesh fit the mesh it came from. Vertices
    that no face uses are removed (they would shrink the object in its frame). Faces without area are kept: they cover
    no pixel and no texel. Holes, loose pieces and edges with three faces need no repair for texturing.

    Raises:
        JobError: ``mesh_no_faces``, ``mesh_too_large``, ``mesh_not_finite`` or ``mesh_unreadable``.
    """
    notes = []
    faces, vertices = len(mesh.triangles), len(mesh.positions)
    if faces == 0:
        raise JobError("mesh_no_faces")
    if faces > MAX_FACES:
        raise JobError("mesh_too_large", f"{faces} triangles", faces=faces, limit=MAX_FACES)
    if mesh.triangles.min() < 0 or mesh.triangles.max() >= vertices:
        raise JobError("mesh_unreadable", f"a face uses a vertex that does not exist (there are {vertices})")
    if len(mesh.part) != faces or mesh.part.min() < 0 or mesh.part.max() >= mesh.part_count:
        raise JobError("mesh_unreadable", "the part numbers of the faces do not fit the list of parts")

    used, triangles = np.unique(mesh.triangles, return_inverse=True)
    positions = mesh.positions[used]
    broken = int((~np.isfinite(positions).all(axis=1)).sum())
    if broken:
        raise JobError("mesh_not_finite", f"{broken} of {len(used)} vertices", vertices=broken)
    clean = replace(mesh, positions=positions, triangles=triangles.reshape(-1, 3))
    if len(used) < vertices:
        notes.append(f"{vertices - len(used)} vertices without a face were left out.")

    flat = zero_area_faces(clean)
    if flat.all():
        raise JobError("mesh_no_faces", "all faces have zero area")
    if flat.any():
        notes.append(f"{int(flat.sum())} faces without area get no texture of their own.")
    if clean.uv is not None:
        bad = ~np.isfinite(clean.uv).all(axis=(1, 2))
        if bad.any():
            uv = clean.uv.copy()
            uv[bad] = 0.0
            clean = replace(clean, uv=uv)
            notes.append(f"{int(bad.sum())} faces have broken UV coordinates.")
    return clean, notes


def normalize(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Move points into the unit ball.

    Args:
        positions: ``[V, 3]``.

    Returns:
        points ``[V, 3]`` float32 with ``points = (positions - center) * scale``, the center of their box at the
        origin and the farthest one at distance 1; the center ``[3]`` float64; the scale.
    """
    wide = positions.astype(np.float64)
    center = (wide.min(axis=0) + wide.max(axis=0)) / 2
    radius = float(np.linalg.norm(wide - center, axis=1).max())
    scale = 1.0 / radius if radius > 0 else 1.0
    return ((wide - center) * scale).astype(np.float32), center, scale
