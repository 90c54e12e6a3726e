"""Meshes and cameras shared by the tests of the renderer."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.render.rasterizer import get_rasterizer


def soup(generator: torch.Generator, faces: int = 60, views: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Random triangles in clip space, some with corners behind the camera: clip ``[B, 3 F, 4]``, ``[F, 3]``."""
    vertices = 3 * faces
    clip = torch.rand((views, vertices, 4), generator=generator) * 3 - 1.5
    clip[..., 3] = torch.rand((views, vertices), generator=generator) * 2.2 - 0.2
    clip[..., 2] = (torch.rand((views, vertices), generator=generator) * 1.6 - 0.8) * clip[..., 3].abs()
    return clip, torch.arange(vertices, dtype=torch.int32).view(faces, 3)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture(scope="session")
def warp_rasterizer():
    return get_rasterizer("warp")


@pytest.fixture(scope="session")
def torch_rasterizer():
    return get_rasterizer("torch")
