"""The levels of a hash grid: where each one's rows lie in the table, as torch and as kernels read it.

After Mueller et al. 2022 (Instant NGP, arXiv 2201.05989), section 3: a level with resolution R divides the cube
[-1, 1]^3 into R^3 cells, holds one feature vector at each cell corner, and interpolates them trilinearly. A level
whose (R + 1)^3 corners fit its share of the table is stored densely, a finer one through a spatial hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

HASH_Y, HASH_Z = 2654435761, 805459861  # primes of the spatial hash; the first axis keeps 1 for locality


@dataclass(frozen=True)
class GridLevel:
    """Where one level lies in the table.

    Attributes:
        resolution: cells per axis of the cube [-1, 1]^3.
        offset: first row in the table.
        rows: number of rows.
        dense: rows are counted x fastest, then y, then z; else hashed (``rows`` is a power of two).
    """

    resolution: int
    offset: int
    rows: int
    dense: bool


def grid_levels(levels: int, base_resolution: int, finest_resolution: float, log2_table_size: int) -> list[GridLevel]:
    """Levels whose resolutions grow geometrically from base to finest (both included)."""
    growth = (finest_resolution / base_resolution) ** (1.0 / max(levels - 1, 1))
    result, offset, limit = [], 0, 1 << log2_table_size
    for i in range(levels):
        resolution = round(base_resolution * growth**i)
        corners = (resolution + 1) ** 3
        rows = min(corners, limit)
        result.append(GridLevel(resolution, offset, rows, corners <= limit))
        offset += rows
    return result


def level_rows(levels: list[GridLevel]) -> Tensor:
    """``[levels, 4]`` int32 as the kernels read them: resolution, offset, stride, mask."""
    rows = [(v.resolution, v.offset, v.resolution + 1, 0) if v.dense else (v.resolution, v.offset, 0, v.rows - 1)
            for v in levels]  # fmt: skip
    return torch.tensor(rows, dtype=torch.int32)
