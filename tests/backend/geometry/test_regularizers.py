"""Regularizers against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from csd_blender.backend.geometry.regularizers import laplacian, mesh_edges, normal_consistency
from csd_blender.backend.render.rasterizer.topology import topology

TETRAHEDRON = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
TETRAHEDRON_FACES = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], dtype=torch.int32)
OCTAHEDRON = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]).double()
OCTAHEDRON_FACES = torch.tensor(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], dtype=torch.int32
)


def strip(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat strip of squares, split into triangles."""
    points = torch.tensor([[float(i), float(j), 0.0] for i in range(count) for j in range(2)], dtype=torch.float64)
    faces = [f for i in range(count - 1) for f in ([2 * i, 2 * i + 2, 2 * i + 3], [2 * i, 2 * i + 3, 2 * i + 1])]
    return points, torch.tensor(faces, dtype=torch.int32)


def test_edges_are_listed_once():
    edges = mesh_edges(OCTAHEDRON_FACES)
    assert len(edges) == 12 and len(edges.unique(dim=0)) == 12 and (edges[:, 0] < edges[:, 1]).all()
    assert torch.equal(edges, topology(OCTAHEDRON_FACES).edges.long())
    assert mesh_edges(OCTAHEDRON_FACES[:0]).shape == (0, 2)


def test_normals_of_a_flat_mesh_are_consistent():
    assert normal_consistency(*strip()).item() == pytest.approx(0, abs=1e-12)


def test_normals_of_platonic_solids_point_away_from_the_center_so_the_angles_are_known():
    # vertex normals are the directions of the vertices: 90 degrees apart on an octahedron, cos = -1/3 on a tetrahedron
    assert normal_consistency(OCTAHEDRON, OCTAHEDRON_FACES).item() == pytest.approx(1.0)
    assert normal_consistency(TETRAHEDRON, TETRAHEDRON_FACES).item() == pytest.approx(4 / 3)


def test_a_folded_strip_has_the_consistency_of_its_fold():
    # two squares that meet at an angle: the fold's normals are half way, so edges across differ by half of it
    angle = math.radians(50)
    points = torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.float64)
    points[4:] = torch.tensor(
        [[1 + math.cos(angle), 0, math.sin(angle)], [1 + math.cos(angle), 1, math.sin(angle)]], dtype=torch.float64
    )
    # four faces around the middle of each square keep the weights of both sides of the fold equal
    centers = torch.stack([points[:4].mean(0), points[2:].mean(0)])
    points = torch.cat([points, centers])
    faces = torch.tensor([[0, 2, 6], [2, 3, 6], [3, 1, 6], [1, 0, 6], [2, 4, 7], [4, 5, 7], [5, 3, 7], [3, 2, 7]])
    half = 1 - math.cos(angle / 2)
    edges = mesh_edges(faces)
    crossing = ((edges == 2) | (edges == 3)).any(1) & ~((edges == 2) | (edges == 3)).all(1)
    expected = half * crossing.sum().item() / len(edges)
    assert normal_consistency(points, faces).item() == pytest.approx(expected, rel=1e-6)


def test_the_laplacian_of_solids_is_known():
    # octahedron: the four neighbors' mean is the origin, at distance 1; tetrahedron: the mean is -v / 3
    assert laplacian(OCTAHEDRON, OCTAHEDRON_FACES).item() == pytest.approx(1.0)
    assert laplacian(TETRAHEDRON, TETRAHEDRON_FACES).item() == pytest.approx(4 / 3 * math.sqrt(3))


def test_vertices_without_a_face_do_not_count():
    more = torch.cat([OCTAHEDRON, torch.tensor([[9.0, 9, 9]], dtype=torch.float64)])
    assert laplacian(more, OCTAHEDRON_FACES).item() == pytest.approx(1.0)


def test_known_edges_give_the_same():
    links = topology(TETRAHEDRON_FACES)
    assert normal_consistency(TETRAHEDRON, TETRAHEDRON_FACES, links.edges).item() == pytest.approx(4 / 3)
    assert laplacian(TETRAHEDRON, TETRAHEDRON_FACES, links.edges).item() == pytest.approx(4 / 3 * math.sqrt(3))


@pytest.mark.parametrize("term", [normal_consistency, laplacian])
def test_gradients_are_true(term):
    generator = torch.Generator().manual_seed(0)
    points = (OCTAHEDRON + 0.2 * torch.randn(6, 3, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: term(p, OCTAHEDRON_FACES), points)


@pytest.mark.parametrize("term", [normal_consistency, laplacian])
def test_an_empty_mesh_costs_nothing(term):
    points = torch.zeros((0, 3), requires_grad=True)
    loss = term(points, torch.zeros((0, 3), dtype=torch.int32))
    loss.backward()
    assert loss.item() == 0
