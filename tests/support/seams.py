"""Reading a texture as a renderer does, on both sides of every UV border: shared by the tests and no test itself."""

import numpy as np
import torch
import torch.nn.functional as F

from csd_blender.backend.geometry.mesh import Mesh


def border_samples(mesh: Mesh, uv: np.ndarray, along: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on the edges where two faces meet in space but not in the UV map.

    Returns:
        points ``[N, 3]`` and the two UVs ``[N, 2]`` at which their two faces show them.
    """
    corner = mesh.triangles
    start, end = corner.reshape(-1), np.roll(corner, -1, axis=1).reshape(-1)
    uv_start, uv_end = uv.reshape(-1, 2), np.roll(uv, -1, axis=1).reshape(-1, 2)
    swap = start > end
    key = np.minimum(start, end).astype(np.int64) * len(mesh.positions) + np.maximum(start, end)
    uv_start, uv_end = np.where(swap[:, None], uv_end, uv_start), np.where(swap[:, None], uv_start, uv_end)
    order = np.argsort(key, kind="stable")
    pair = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    one, two = order[pair], order[pair + 1]
    gap = np.maximum(np.abs(uv_start[one] - uv_start[two]), np.abs(uv_end[one] - uv_end[two]))
    torn = gap.max(axis=1) > 1e-5
    one, two = one[torn], two[torn]
    t = ((np.arange(along) + 0.5) / along)[None, :, None]
    low, high = mesh.positions[np.minimum(start, end)[one]], mesh.positions[np.maximum(start, end)[one]]

    def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a[:, None] * (1 - t) + b[:, None] * t).reshape(-1, a.shape[1])

    return between(low, high), between(uv_start[one], uv_end[one]), between(uv_start[two], uv_end[two])


def bilinear(texture: torch.Tensor, uv: np.ndarray) -> torch.Tensor:
    """Colors ``[N, 3]`` of a texture ``[S, S, 3]`` (row 0 at v = 1) at UVs ``[N, 2]``."""
    grid = torch.from_numpy(np.float32(uv)) * torch.tensor([2.0, -2.0]) + torch.tensor([-1.0, 1.0])
    image = texture.permute(2, 0, 1)[None]
    return F.grid_sample(image, grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T


def mip(texture: torch.Tensor, level: int) -> torch.Tensor:
    """The mip level of a texture, by 2 x 2 means."""
    return F.avg_pool2d(texture.permute(2, 0, 1)[None], 1 << level)[0].permute(1, 2, 0)
