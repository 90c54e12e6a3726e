"""Finding a UV map for each part: the user's own when it can carry a texture, else a new one."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ...job.errors import JobError
from ..geometry.mesh import Mesh, face_cross, uv_areas, zero_area_faces
from .polygons import Polygons, lay_flat_faces, make_whole, polygons_of
from .project import project_unwrap
from .uv_kernels import coverage_counts

CHECK_SIZE = 1024  # texels of the grid on which overlap is measured
MAX_OVERLAP = 0.02  # share of the used texels that two faces may claim
MAX_SHARED = 0.05  # share of the surface whose place in the map other faces claim, too
MAX_FLAT = 0.02  # share of the surface that may have no UV area
MIN_COVERAGE = 0.02  # share of the tile that must be used
TILE_SLACK = 1e-3
MAX_REPEATS = 4.0  # a kept map may reach over this many tiles in each direction
XATLAS_FACES = 60_000  # beyond, xatlas takes minutes to hours
PATIENCE = 2.0 if sys.platform == "win32" else 10.0  # there the clock is all that ends it
PADDING = 4  # texels between islands, at the texture's own size


@dataclass(frozen=True)
class UVCheck:
    """What a part's UV map is like.

    Attributes:
        outside: share of the faces that leave the tile [0, 1].
        overlap: share of the used texels that more than one face claims. shared: the surface's share that these hold.
        flat: share of the surface whose faces have no UV area.
        coverage: share of the tile that is used.
    """

    outside: float
    overlap: float
    flat: float
    coverage: float
    shared: float = 0.0

    @property
    def reason(self) -> str:
        """Why the map cannot carry a texture; empty when it can."""
        if self.flat > MAX_FLAT:
            return f"{self.flat:.0%} of the surface has no area in the UV map"
        if self.outside > 0:
            return f"{max(self.outside, 0.01):.0%} of the faces reach outside of the UV tile"
        if self.overlap > MAX_OVERLAP:
            return f"{self.overlap:.0%} of the UV map is used by more than one face"
        if self.shared > MAX_SHARED:
            return f"{self.shared:.0%} of the surface shares its place in the UV map with other faces"
        if self.coverage < MIN_COVERAGE:
            return f"the UV map uses only {self.coverage:.1%} of the texture"
        return ""


def check_uv(mesh: Mesh, part: int) -> UVCheck:
    """Measure a part's UV map (which must exist)."""
    assert mesh.uv is not None
    faces = np.flatnonzero((mesh.part == part) & ~zero_area_faces(mesh))
    if not len(faces):
        return UVCheck(0.0, 0.0, 0.0, 1.0)
    uv = mesh.uv[faces]
    area = np.linalg.norm(face_cross(mesh.positions, mesh.triangles[faces]), axis=1)
    flat = area[np.abs(uv_areas(uv)) < 1e-12].sum() / area.sum()
    outside = ((uv < -TILE_SLACK) | (uv > 1 + TILE_SLACK)).any(axis=(1, 2)).mean()
    corners = torch.from_numpy(np.ascontiguousarray(uv)) * CHECK_SIZE
    counts = coverage_counts(corners, CHECK_SIZE)
    used = int((counts > 0).sum())
    overlap = int((counts > 1).sum()) / max(used, 1)
    # A face shares its place when it does so near its middle: how small it is in the map does not count. (In the very
    # middle of half a square the other half's edge may lie, and what is on an edge is in no face.)
    middle = (corners * corners.new_tensor([0.5, 0.3, 0.2])[:, None]).sum(1)
    column, row = (middle.floor().long() % CHECK_SIZE).unbind(1)
    shared = area[(counts[row, column] > 1).cpu().numpy()].sum() / area.sum()
    return UVCheck(float(outside), overlap, float(flat), used / CHECK_SIZE**2, float(shared))


def usable_uv(mesh: Mesh, part: int) -> tuple[bool, str]:
    """Whether the part's own UV map can carry a texture of its own, and if not, why (in words for the artist)."""
    if mesh.uv is None or not np.any(mesh.uv[mesh.part == part]):
        return False, "the mesh has no UV map"
    reason = check_uv(mesh, part).reason
    return not reason, reason


@dataclass
class UVPlan:
    """What becomes of each part's UV map.

    Attributes:
        uv: ``[F, 3, 2]`` float32, filled where the user's own is kept.
        sources: ``user`` or ``new`` for each part.
        missing: parts that need a new map.
    """

    uv: np.ndarray
    sources: tuple[str, ...]
    missing: tuple[int, ...]


def choose_uv(
    mesh: Mesh,
    mode: str = "auto",
    texture_size: int = 1024,
    timeout: float = 60.0,
    cancelled: Callable[[], bool] | None = None,
    warn: Callable[[str, str], object] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """A UV map for every part of a clean mesh.

    Args:
        mode: ``auto`` takes the user's map when it is usable, ``keep`` in any case, ``new`` never.
        texture_size: islands of new maps keep a distance that suits this size.
        timeout: seconds that xatlas may take for one part before a simpler unwrapping takes over.
        cancelled: asked several times a second.
        warn: gets (code, sentence) for everything the artist should know.

    Returns:
        uv ``[F, 3, 2]`` float32 and, for each part, where it comes from.

    Raises:
        JobError: as :func:`plan_uv`; ``cancelled``.
    """
    plan = plan_uv(mesh, mode, warn)
    for part in plan.missing:
        plan.uv[mesh.part == part] = unwrap(mesh, part, timeout, cancelled, texture_size, warn)
    return plan.uv, list(plan.sources)


def plan_uv(mesh: Mesh, mode: str, warn: Callable[[str, str], object] | None = None) -> UVPlan:
    """Look at the UV maps that there are; arguments as in :func:`choose_uv`.

    Raises:
        JobError: ``uv_missing`` when a map must be kept that is not there; ``uv_overlap`` when it repeats too often.
    """
    warn = warn or (lambda code, text: None)
    uv = np.zeros((len(mesh.triangles), 3, 2), np.float32)
    sources, missing = ["new"] * mesh.part_count, []
    for part, name in enumerate(mesh.part_names):
        faces = mesh.part == part
        if not faces.any():
            continue
        usable, reason = (False, "") if mode == "new" else usable_uv(mesh, part)
        if mode == "keep":
            _check_kept(mesh, part, reason, warn)
        if mesh.uv is not None and (usable or mode == "keep"):
            uv[faces] = mesh.uv[faces]
            sources[part] = "user"
            continue
        if mesh.uv is not None and mode == "auto":
            warn("uv_new", f"{name}: {reason}, so a new UV map was made.")
        missing.append(part)
    return UVPlan(uv, tuple(sources), tuple(missing))


def _check_kept(mesh: Mesh, part: int, reason: str, warn: Callable[[str, str], object]) -> None:
    """A map that the artist wants to keep must exist and stay within reason; overlap is only worth a warning."""
    name, faces = mesh.part_names[part], mesh.part == part
    check = check_uv(mesh, part) if mesh.uv is not None else None
    if mesh.uv is None or check is None or not np.any(mesh.uv[faces]) or check.flat > 0.9:
        raise JobError("uv_missing", f"{name}: {reason}", name=name)
    corners = mesh.uv[faces]
    if (corners.max(axis=1) - corners.min(axis=1)).max() > MAX_REPEATS or np.ptp(corners) > 100 * MAX_REPEATS:
        raise JobError("uv_overlap", f"{name}: the UV map repeats the texture too often", name=name)
    if reason:
        shared = check.overlap > MAX_OVERLAP or check.shared > MAX_SHARED
        result = "these places will show each other's colors" if shared else "it is used as it is"
        warn("uv_overlap", f"{name}: {reason}; {result}.")


class SolidPart(NamedTuple):
    """A part's faces that have an area: ``positions [V, 3]`` within one unit of the origin, ``triangles [F', 3]``;
    ``faces`` are the part's in the mesh, ``solid`` says which of them these are."""

    positions: np.ndarray
    triangles: np.ndarray
    faces: np.ndarray
    solid: np.ndarray


def solid_part(mesh: Mesh, part: int) -> SolidPart:
    """What there is to unwrap of a part."""
    faces = np.flatnonzero(mesh.part == part)
    solid = ~zero_area_faces(mesh)[faces]
    vertices, triangles = np.unique(mesh.triangles[faces[solid]], return_inverse=True)
    if not solid.any():
        return SolidPart(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), faces, solid)
    # xatlas has absolute tolerances: a mesh of a millimeter or a kilometer must look the same to it
    wide = mesh.positions[vertices].astype(np.float64)
    wide -= wide.mean(axis=0)
    positions = np.float32(wide / max(np.abs(wide).max(), 1e-30))
    return SolidPart(positions, triangles.reshape(-1, 3).astype(np.int32), faces, solid)


def first_atlas(
    part: SolidPart,
    timeout: float,
    cancelled: Callable[[], bool] | None,
    texture_size: int,
    beside: bool = False,
) -> Atlas | None:
    """What xatlas makes of a part; None where it cannot do it in time, or is not asked, as there is too much of it.
    ``beside``: as in :func:`run_child`."""
    if not 0 < len(part.triangles) <= XATLAS_FACES:
        return None
    return run_xatlas(part.positions, part.triangles, timeout, cancelled, texture_size, beside)


def unwrap(
    mesh: Mesh,
    part: int,
    timeout: float = 60.0,
    cancelled: Callable[[], bool] | None = None,
    texture_size: int = 1024,
    warn: Callable[[str, str], object] | None = None,
    atlas: Callable[[], Atlas | None] | None = None,
) -> np.ndarray:
    """A new UV map for one part: xatlas (MIT, by J. Young), or box projection when xatlas cannot do it in time.

    Polygons (``mesh.corner``) stay whole: each corner has one and the same UV in all triangles.

    Args:
        atlas: what :func:`first_atlas` made of it somewhere else.

    Returns:
        ``[faces of the part, 3, 2]`` float32 inside the tile. Faces without area get zeros.

    Raises:
        JobError: ``cancelled``.
    """
    warn = warn or (lambda code, text: None)
    positions, triangles, faces, solid = found = solid_part(mesh, part)
    result = np.zeros((len(faces), 3, 2), np.float32)
    if not solid.any():
        return result

    polygons = None
    if mesh.corner is not None:
        corner = mesh.corner[faces]
        polygons = Polygons(mesh.positions, mesh.triangles[faces], corner, solid, polygons_of(corner))

    def by_xatlas() -> np.ndarray | None:
        made = first_atlas(found, timeout, cancelled, texture_size) if atlas is None else atlas()
        if made is None or polygons is None:
            return None if made is None else made.corners
        result[solid] = made.corners

        def pack(uv: np.ndarray, island: np.ndarray) -> np.ndarray | None:
            packed = pack_islands(uv[solid], island[solid], made.size, timeout, cancelled)
            if packed is not None:
                uv[solid] = packed.corners
            return None if packed is None else uv

        whole = make_whole(polygons, result, pack)
        return None if whole is None else whole[solid]

    corners = by_xatlas()
    if corners is None:
        if len(triangles) <= XATLAS_FACES:
            warn(
                "unwrap_simple",
                f"{mesh.part_names[part]}: no good UV map was found in time; a simpler one was made.",
            )
        corner = None if polygons is None else polygons.corner[solid]
        corners = project_unwrap(positions, triangles, PADDING / texture_size, corner)
    result[solid] = corners
    return result if polygons is None else lay_flat_faces(polygons, result)


class Atlas(NamedTuple):
    """What xatlas made: ``corners [F, 3, 2]`` in the tile, and how many of its texels the tile is wide."""

    corners: np.ndarray
    size: int


def run_xatlas(
    positions: np.ndarray,
    triangles: np.ndarray,
    timeout: float,
    cancelled: Callable[[], bool] | None = None,
    texture_size: int = 1024,
    beside: bool = False,
) -> Atlas | None:
    """UVs by xatlas in a child process, or None when it failed or took longer than ``timeout`` seconds.

    Raises:
        JobError: ``cancelled``; the child is gone by then.
    """
    arrays = {"positions": positions, "triangles": triangles}
    return run_child(arrays, timeout, cancelled, texture_size, beside)


def pack_islands(
    uv: np.ndarray,
    island: np.ndarray,
    size: int,
    timeout: float,
    cancelled: Callable[[], bool] | None = None,
) -> Atlas | None:
    """The islands ``island [F]`` of ``uv [F, 3, 2]``, kept in shape, side by side in the tile; None as above.

    ``size`` is that of the atlas they come from; they keep their size and distance in its texels.
    """
    # One vertex for each place in each island, so that xatlas sees what hangs together.
    key = np.concatenate([np.repeat(island, 3)[:, None], np.float32(uv).reshape(-1, 2).view(np.int32)], axis=1)
    _, first, triangles = np.unique(key, axis=0, return_index=True, return_inverse=True)
    uvs = np.float32(uv).reshape(-1, 2)[first]
    arrays = {"uvs": uvs, "triangles": triangles.reshape(-1, 3).astype(np.int32), "islands": island.astype(np.int32)}
    return run_child(arrays, timeout, cancelled, size)


def run_child(
    arrays: dict[str, np.ndarray],
    timeout: float,
    cancelled: Callable[[], bool] | None,
    size: int,
    beside: bool = False,
) -> Atlas | None:
    """Have ``xatlas_child.py`` work on ``arrays``. Returns and raises as :func:`run_xatlas`.

    ``beside``: others compute meanwhile, and come first; the time is the processor's then, and may be
    :data:`PATIENCE` times as long by the clock.
    """
    limits = [math.ceil(timeout)] if beside else []
    timeout *= PATIENCE if beside else 1
    with tempfile.TemporaryDirectory(prefix="csd-unwrap-") as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **arrays)
        script = Path(__file__).with_name("xatlas_child.py")
        arguments = [
            str(script),
            str(source),
            str(target),
            str(timeout + 1),
            str(size),
            str(PADDING),
            *map(str, limits),
        ]
        child = subprocess.Popen(
            [sys.executable, "-I", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl+C in a terminal is for the job alone: it ends this child when it has no use for it any more.
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
            | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            start_new_session=sys.platform != "win32",
        )
        deadline = time.monotonic() + timeout
        try:
            while child.poll() is None:
                if cancelled is not None and cancelled():
                    raise JobError("cancelled")
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.02)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        if child.returncode != 0 or not target.is_file():
            return None
        with np.load(target, allow_pickle=False) as made:
            atlas = Atlas(made["corners"], int(made["size"]))
    return atlas if np.isfinite(atlas.corners).all() else None
