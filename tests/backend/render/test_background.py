"""The learned background: its harmonics, its gradients, and what is behind the pictures of a step."""

from __future__ import annotations

import math

import pytest
import torch

from csd_blender.backend.pipelines.text_to_3d.backdrop import as_pictures, behind_mesh, behind_pictures, make_background
from csd_blender.backend.render.background import LearnedBackground, spherical_harmonics
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.volume.render import OccupancyGrid, render_volume
from csd_blender.job.spec.scene_stages import CoarseStage, RefineStage
from tests.backend.render.test_volume import small_field

DRAWS = 2000


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def learned_of(seed=4) -> LearnedBackground:
    """One with weights so large that directions differ."""
    background = LearnedBackground(seed=seed)
    with torch.no_grad():
        for weight in background.parameters():
            weight *= 4
    return background


def test_harmonics_are_orthonormal_over_the_sphere():
    """By quadrature that is exact here: equal steps around, three Gauss points in height per band and more."""
    heights = [-math.sqrt(3 / 5), 0.0, math.sqrt(3 / 5)]  # Gauss-Legendre, exact up to degree 5
    shares = [5 / 9, 8 / 9, 5 / 9]
    total = torch.zeros(9, 9, dtype=torch.float64)
    for z, share in zip(heights, shares, strict=True):
        around = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
        r = math.sqrt(1 - z * z)
        directions = torch.stack([r * around.cos(), r * around.sin(), torch.full_like(around, z)], 1)
        values = spherical_harmonics(directions)
        total += share * (2 * math.pi / 16) * values.T @ values
    assert torch.allclose(total, torch.eye(9, dtype=torch.float64), atol=1e-12)


def test_bands_keep_their_length_in_every_direction():
    """The addition theorem: the squares of band l add up to (2 l + 1) / 4 pi, whichever way one looks."""
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=numbers(), dtype=torch.float64), dim=1)
    squares = spherical_harmonics(directions).square()
    for band, part in enumerate(squares.split([1, 3, 5], 1)):
        assert torch.allclose(part.sum(1), torch.full((50,), (2 * band + 1) / (4 * math.pi)).double())


def test_it_has_two_hidden_layers_of_sixteen_without_biases_and_starts_nearly_gray():
    background = LearnedBackground(seed=1)
    assert sum(p.numel() for p in background.parameters()) == 9 * 16 + 16 * 16 + 16 * 3
    colors = background(orbit(3).directions(5))
    assert colors.shape == (3, 5, 5, 3) and (colors - 0.5).abs().max() < 0.2
    assert torch.equal(colors, LearnedBackground(seed=1)(orbit(3).directions(5)))


def test_its_gradient_agrees_with_finite_differences():
    background, directions = learned_of().double(), orbit(2).directions(6).double()
    weight = torch.randn(2, 6, 6, 3, generator=numbers(), dtype=torch.float64)

    def value():
        return (background(directions) * weight).sum()

    parameters = list(background.parameters())
    moves = [torch.randn(p.shape, generator=numbers(2), dtype=torch.float64) for p in parameters]
    along = sum((g * m).sum() for g, m in zip(torch.autograd.grad(value(), parameters), moves, strict=True))
    ends = []
    for sign in (1e-6, -1e-6):
        with torch.no_grad():
            for p, m in zip(parameters, moves, strict=True):
                p += sign * m
            ends.append(float(value()))
            for p, m in zip(parameters, moves, strict=True):
                p -= sign * m
    assert float(along) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_it_is_seen_where_nothing_is_and_learns_from_there():
    background, cameras = learned_of(), orbit(2, distance=2.5)
    behind = background(cameras.directions(12)).permute(0, 3, 1, 2)
    volume = render_volume(small_field(), cameras, 12, OccupancyGrid(), 0.1, behind)
    rest = 1 - volume.opacity
    black = render_volume(small_field(), cameras, 12, OccupancyGrid(), 0.1, torch.zeros(3)).color
    assert torch.allclose(volume.color, black + rest * behind, atol=1e-6)
    volume.color.sum().backward()
    assert all(p.grad.any() for p in background.parameters())


# ---- what is behind the pictures of a step -------------------------------------------------------------------------


def behind(stage, generator, learned=None, views=2, size=3):
    drawn = torch.full((views, 3), 0.25)
    return behind_pictures(stage, drawn, learned, lambda: orbit(views).directions(size), generator)


def test_a_stage_of_colors_keeps_what_was_drawn_and_draws_nothing_more():
    generator = numbers()
    assert (behind(CoarseStage(), generator) == 0.25).all()
    assert torch.equal(generator.get_state(), numbers().get_state())


@pytest.mark.parametrize("kind", ["learned", "white"])
def test_in_the_asked_share_of_steps_each_picture_has_one_color_of_its_own(kind):
    stage, generator = CoarseStage(background=kind, random_background=0.3), numbers()
    learned = make_background(stage, "sigmoid", 0)
    assert (learned is None) == (kind == "white")
    usual = (
        behind(stage, generator, learned) if kind == "white" else learned(orbit(2).directions(3)).permute(0, 3, 1, 2)
    )
    found = [behind(stage, generator, learned) for _ in range(DRAWS)]
    flat = [b for b in found if b.shape == (2, 3) and not (b == 1).all()]
    assert abs(len(flat) / DRAWS - 0.3) < 5 * (0.3 * 0.7 / DRAWS) ** 0.5
    assert all(torch.equal(b, usual) for b in found if not any(b is f for f in flat))
    colors = torch.stack(flat)
    assert (colors[:, 0] != colors[:, 1]).any(1).all()  # one for each picture
    assert abs(float(colors.mean()) - 0.5) < 0.05 and colors.min() < 0.05 and colors.max() > 0.95
    assert (colors.amax(2) - colors.amin(2)).min() > 0  # none is gray on purpose


def test_a_step_takes_the_same_numbers_whether_its_background_is_random_or_not():
    states = []
    for share in (0.0, 1.0):
        stage, generator = CoarseStage(background="learned", random_background=share), numbers()
        behind(stage, generator, LearnedBackground())
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_behind_a_mesh_each_picture_has_the_learned_color_of_its_own_direction():
    stage, learned, cameras = RefineStage(background="learned", random_background=0.0), learned_of(), orbit(3)
    colors = behind_mesh(stage, "color", torch.zeros(3, 3), learned, cameras, numbers())
    middle = cameras.directions(1)[:, 0, 0]  # through the center of the picture, where the scene's center is
    assert torch.allclose(colors, learned(middle), atol=1e-6)
    assert len({tuple(c) for c in colors.tolist()}) == 3


def test_normals_have_black_behind_them_where_the_stage_says_so():
    drawn = torch.full((2, 3), 0.7)
    for stage, kind, expected in (
        (RefineStage(normals_background="black"), "normal", 0.0),
        (RefineStage(normals_background="black"), "color", 0.7),
        (RefineStage(), "normal", 0.7),
        (RefineStage(normals_background="black", background="white", random_background=0.0), "lit", 1.0),
    ):
        found = behind_mesh(stage, kind, drawn, None, orbit(2), numbers())
        assert torch.allclose(found, torch.full((2, 3), expected))


def test_colors_and_pictures_of_colors_spread_alike():
    colors = torch.rand(2, 3, generator=numbers())
    pictures = colors[:, :, None, None].expand(2, 3, 4, 4)
    assert torch.equal(as_pictures(colors).expand(2, 3, 4, 4), as_pictures(pictures))
