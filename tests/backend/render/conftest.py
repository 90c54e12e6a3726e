"""Meshes and cameras shared by the tests of the renderer."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.render.rasterizer.choose import get_rasterizer


def make_soup(generator: torch.Generator, faces: int = 60, views: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles in clip space, some with corners behind the camera: clip ``[B, 3 F, 4]``, ``[F, 3]``."""
    vertices = 3 * faces
    clip = torch.rand((views, vertices, 4), generator=generator) * 3 - 1.5
    clip[..., 3] = torch.rand((views, vertices), generator=generator) * 2.2 - 0.2
    clip[..., 2] = (torch.rand((views, vertices), generator=generator) * 1.6 - 0.8) * clip[..., 3].abs()
    return clip, torch.arange(vertices, dtype=torch.int32).view(faces, 3)


def make_sphere(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Closed sphere of ``2 * steps * (2 * steps - 2)`` triangles, radius 1."""
    rings, spokes = steps, 2 * steps
    lat = torch.linspace(-torch.pi / 2, torch.pi / 2, rings + 1)[1:-1]
    lon = torch.arange(spokes) * (2 * torch.pi / spokes)
    grid = torch.stack(
        [lat.cos()[:, None] * lon.cos(), lat.cos()[:, None] * lon.sin(), lat.sin()[:, None].expand(-1, spokes)], -1
    )
    points = torch.cat([grid.reshape(-1, 3), torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])])
    faces, south, north = [], len(points) - 2, len(points) - 1
    for j in range(spokes):
        k = (j + 1) % spokes
        faces.append([south, k, j])
        last = (rings - 2) * spokes
        faces.append([north, last + j, last + k])
        for i in range(rings - 2):
            a, b, c, d = i * spokes + j, i * spokes + k, (i + 1) * spokes + j, (i + 1) * spokes + k
            faces += [[a, b, d], [a, d, c]]
    return points, torch.tensor(faces, dtype=torch.int32)


@pytest.fixture(scope="session")
def soup():
    """The function that makes random triangles."""
    return make_soup


@pytest.fixture(scope="session")
def sphere():
    """The function that makes closed spheres."""
    return make_sphere


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def warp_rasterizer():
    return get_rasterizer("warp")


@pytest.fixture(scope="session")
def torch_rasterizer():
    return get_rasterizer("torch")
