"""Differentiable marching tetrahedra: the surface where a function on a tetrahedral grid changes its sign.

After DMTet (Shen et al. 2021, arXiv 2111.04276). Which edges the surface crosses is found without gradients; where
on each edge it lies is a linear interpolation, through which gradients reach the function and the grid's positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


def _cut_edges(code: int) -> tuple[int, ...]:
    """The edges of a positively oriented tetrahedron that the surface crosses, counterclockwise seen from outside.

    Args:
        code: a bit for each vertex inside.
    """
    inside = [v for v in range(4) if code >> v & 1]
    outside = [v for v in range(4) if not code >> v & 1]
    if len(inside) in (0, 4):
        return ()
    if len(inside) == 2:
        (a, b), (c, d) = inside, outside
        pairs = [(a, c), (a, d), (b, d), (b, c)]
    elif len(inside) == 1:
        pairs = [(inside[0], v) for v in outside]
    else:
        pairs = [(outside[0], v) for v in reversed(inside)]
    if _odd((*inside, *outside) if len(inside) < 3 else (*outside, *inside)):
        pairs.reverse()
    return tuple(EDGES.index((min(p), max(p))) for p in pairs)


def _odd(order: tuple[int, ...]) -> bool:
    """Whether an order of the vertices turns the tetrahedron inside out."""
    return sum(order[i] > order[j] for i in range(4) for j in range(i + 1, 4)) % 2 == 1


CASES = tuple(_cut_edges(code) for code in range(16))


def marching_tets(positions: Tensor, sdf: Tensor, tets: Tensor) -> tuple[Tensor, Tensor]:
    """Extract the zero surface of a function that is linear in each tetrahedron.

    Vertices are shared, one for each edge crossed, so the mesh is closed unless the surface leaves the grid.

    Args:
        positions: ``[V, 3]`` floating. Differentiable.
        sdf: ``[V]`` of the same type, negative inside; zero counts as outside. Differentiable.
        tets: ``[T, 4]`` integer, positively oriented (det of the edges from the first vertex > 0). Those without a
            change of sign cost little and change nothing.

    Returns:
        vertices ``[P, 3]`` in the order of their edges; triangles ``[F, 3]`` int32, counterclockwise from outside.
    """
    edges, triangles = crossings(sdf.detach() < 0, tets)
    ends = edges.flatten()
    vertices = interpolate(positions.index_select(0, ends).view(-1, 2, 3), sdf.index_select(0, ends).view(-1, 2))
    return vertices, triangles


def crossings(inside: Tensor, tets: Tensor) -> tuple[Tensor, Tensor]:
    """The topological half of marching tetrahedra; no gradients.

    Args:
        inside: ``[V]`` bool. tets: ``[T, 4]`` integer.

    Returns:
        edges ``[P, 2]`` int64, the crossed ones, each once, lower vertex first, sorted; triangles ``[F, 3]`` int32,
        whose corners are numbers of crossed edges.
    """
    columns = [column.long().contiguous() for column in tets.unbind(1)]
    flags = inside.to(torch.uint8)
    code = sum(flags.index_select(0, column) << bit for bit, column in enumerate(columns))
    corners = []  # for each number of cut edges, the edges around the cut: a number that names both ends
    for length in (3, 4):
        which = torch.tensor([len(case) == length for case in CASES], device=code.device)[code.long()].nonzero()[:, 0]
        ends = [column.index_select(0, which) for column in columns]
        names = torch.stack([_name(ends[a], ends[b]) for a, b in EDGES], 1)
        table = torch.tensor([case if len(case) == length else (0,) * length for case in CASES], device=code.device)
        corners.append(names.gather(1, table[code.index_select(0, which).long()]).flatten())
    names, number = torch.unique(torch.cat(corners), return_inverse=True)
    edges = torch.stack([names >> 32, names & 0xFFFFFFFF], 1)
    number = number.int()
    single, quads = number[: len(corners[0])].view(-1, 3), number[len(corners[0]) :].view(-1, 4)
    return edges, torch.cat([single, quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _name(a: Tensor, b: Tensor) -> Tensor:
    """One number ``[N]`` for the edge between vertices ``[N]``, whichever comes first."""
    return torch.minimum(a, b) << 32 | torch.maximum(a, b)


def interpolate(ends: Tensor, sdf: Tensor) -> Tensor:
    """Where a linear function is zero on edges ``[P, 2, 3]`` with end values ``[P, 2]`` of unlike sign: ``[P, 3]``."""
    share = sdf[:, :1] / (sdf[:, :1] - sdf[:, 1:])
    return torch.lerp(ends[:, 0], ends[:, 1], share)
