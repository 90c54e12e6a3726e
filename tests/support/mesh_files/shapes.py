"""What a sample file of the mesh tests is, and the shapes in them, whose measures are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Sample:
    """A file and what is in it, in the axes of the Blender world.

    Attributes:
        name: of the file that is opened; ``files`` are its bytes and those beside it.
        area, volume: of the surface (volume None: not closed). box: lowest and highest corner.
        uv: area of the UV map in tiles, None when there is none.
        facing: the way all faces of a flat one look.
        refused: words that the error must have, for a file that is not read.
        blender: why Blender's importer finds something else, empty when it must find the same.
    """

    name: str
    files: dict[str, bytes] = field(repr=False)
    area: float = 0.0
    volume: float | None = None
    box: tuple = ()
    uv: float | None = None
    facing: tuple = ()
    refused: tuple[str, ...] = ()
    blender: str = ""

    def write(self, folder: Path) -> Path:
        """Into a folder of its own; returns the path to open."""
        place = folder / self.name.replace(".", "_").replace(" ", "_")
        for name, data in self.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        return place / self.name


def upright(low, high) -> tuple:
    """A box of a Y-up file in the Blender world: (x, y, z) becomes (x, -z, y)."""
    return ((low[0], -high[2], low[1]), (high[0], -low[2], high[1]))


# A cube of side 2 around the origin.
CUBE = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
CUBE_TRIANGLES = np.array([t for a, b, c, d in CUBE_QUADS for t in ((a, b, c), (a, c, d))])
CUBE_AREA, CUBE_VOLUME, CUBE_BOX = 24.0, 8.0, ((-1, -1, -1), (1, 1, 1))
# A map of the six quads: one cell each of 0.3 by 0.4.
CELLS = np.array([(k % 3 / 3, k // 3 / 2) for k in range(6)])
QUAD_UV = CELLS[:, None] + np.array([(0, 0), (0.3, 0), (0.3, 0.4), (0, 0.4)])
TRIANGLE_UV = QUAD_UV[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 2)
UV_AREA = 6 * 0.3 * 0.4
# An L of six corners, three unit squares and two more: area 5; as a prism of height 1: area 22, volume 5.
L_SHAPE = [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)]
L_BOX = ((0, 0, 0), (3, 3, 1))


def cube(**more) -> dict:
    """What is known of a file with the cube."""
    return {"area": CUBE_AREA, "volume": CUBE_VOLUME, "box": CUBE_BOX} | more


def prism(first: int = 0) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Points and faces of the L with its two concave ends as one face each, which begin at corner ``first``."""
    points = np.array([(x, y, z) for z in (0, 1) for x, y in L_SHAPE], float)
    end = [*range(first, 6), *range(first)]
    sides = [(i, (i + 1) % 6, (i + 1) % 6 + 6, i + 6) for i in range(6)]
    return points, [tuple(reversed(end)), tuple(i + 6 for i in end), *sides]
