"""The field of colors: its kernels agree with their plain twin, with closed forms, and with finite differences."""

import pytest
import torch

from csd_blender.backend.fields.grid_levels import GridLevel, grid_levels
from csd_blender.backend.fields.hash_grid import encode
from csd_blender.backend.fields.hash_grid_twin import encode_twin
from csd_blender.backend.fields.texture_field import TextureField

SHAPES = [
    {"levels": 6},
    {"levels": 4, "log2_table_size": 8, "finest_resolution": 64},
    {"levels": 1, "base_resolution": 3, "finest_resolution": 3},
]


def random_field(**arguments) -> TextureField:
    field = TextureField(**arguments)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        field.table.copy_(torch.randn(field.table.shape, generator=generator))
    return field


def points_for(field: TextureField, count: int = 500) -> torch.Tensor:
    """Random points, those outside, and those exactly on cell borders and on the faces of the cube."""
    generator = torch.Generator().manual_seed(2)
    inside = torch.rand((count, 3), generator=generator) * 2.2 - 1.1
    lattice = torch.randint(0, field.levels[-1].resolution + 1, (count // 5, 3), generator=generator)
    corners = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, 0], [3, -3, 0]])
    return torch.cat([inside, lattice / field.levels[-1].resolution * 2 - 1, corners])


def test_levels_grow_geometrically_and_are_hashed_when_too_large():
    levels = grid_levels(3, 4, 64, 12)
    assert levels == [GridLevel(4, 0, 125, True), GridLevel(16, 125, 4096, False), GridLevel(64, 4221, 4096, False)]


@pytest.mark.parametrize("arguments", SHAPES)
def test_kernels_and_twin_give_the_same_colors(arguments):
    field = random_field(**arguments)
    points = points_for(field)
    with torch.no_grad():
        assert torch.allclose(field(points), field.forward_twin(points), atol=2e-6)


@pytest.mark.parametrize("arguments", SHAPES)
def test_kernels_and_twin_give_the_same_gradients(arguments):
    field = random_field(**arguments)
    points = points_for(field)
    weight = torch.randn((len(points), 3), generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((field(points) * weight).sum(), list(field.parameters()))
    expected = torch.autograd.grad((field.forward_twin(points) * weight).sum(), list(field.parameters()))
    for name, a, b in zip(dict(field.named_parameters()), found, expected, strict=True):
        assert (a - b).abs().max() <= 2e-5 * b.abs().max().clamp_min(1e-6), name


def test_the_gradient_agrees_with_finite_differences():
    levels = grid_levels(3, 4, 40, 9)
    generator = torch.Generator().manual_seed(4)
    rows = levels[-1].offset + levels[-1].rows
    table = torch.randn((rows, 3), generator=generator, dtype=torch.float64)
    points = torch.rand((60, 3), generator=generator) * 2 - 1
    weight = torch.randn((60, 3), generator=generator)
    leaf = table.float().requires_grad_(True)
    (grad,) = torch.autograd.grad((encode(points, leaf, levels, True) * weight).sum(), leaf)
    step = torch.randn(table.shape, generator=generator, dtype=torch.float64)

    def value(t: torch.Tensor) -> torch.Tensor:
        return (encode_twin(points.double(), t, levels, True) * weight).sum()

    slope = (value(table + 1e-4 * step) - value(table - 1e-4 * step)) / 2e-4
    assert (grad * step).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_a_dense_level_reproduces_linear_functions_exactly():
    levels = grid_levels(1, 7, 7, 12)
    axis = torch.linspace(-1, 1, 8)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    table = torch.stack([2 * x - y, z + 0.5, x + y + z], dim=-1).reshape(-1, 3)
    points = torch.rand((300, 3)) * 2 - 1
    x, y, z = points.T
    expected = torch.stack([2 * x - y, z + 0.5, x + y + z], dim=-1)
    assert torch.allclose(encode(points, table, levels, True), expected, atol=1e-5)


def test_weights_of_every_level_sum_to_one():
    field = TextureField(levels=5, log2_table_size=9)
    constant = torch.full_like(field.table, 0.3)
    points = points_for(field)
    assert torch.allclose(encode(points, constant, field.levels, True), torch.tensor(5 * 0.3), atol=1e-5)


@pytest.mark.parametrize("features", [2, 3])
@pytest.mark.parametrize("summed", [True, False])
def test_features_of_any_length_are_summed_or_stand_side_by_side_as_in_the_twin(features, summed):
    levels, generator = grid_levels(3, 4, 40, 9), torch.Generator().manual_seed(6)
    table = torch.randn((levels[-1].offset + levels[-1].rows, features), generator=generator).requires_grad_(True)
    points = torch.rand((300, 3), generator=generator) * 2.2 - 1.1
    found, twin = encode(points, table, levels, summed), encode_twin(points, table, levels, summed)
    torch.testing.assert_close(found, twin, atol=2e-6, rtol=0)
    weight = torch.randn(found.shape, generator=generator)
    one, two = (torch.autograd.grad((x * weight).sum(), table)[0] for x in (found, twin))
    assert (one - two).abs().max() <= 2e-5 * two.abs().max()


def test_a_fresh_field_is_mid_gray():
    assert (TextureField()(torch.rand((100, 3)) * 2 - 1) == 0.5).all()


def test_training_twice_gives_the_same_bits():
    def train() -> torch.Tensor:
        field = TextureField(log2_table_size=12)
        optimizer = torch.optim.Adam(field.parameters(), lr=0.03)
        generator = torch.Generator().manual_seed(0)
        for _ in range(4):
            points = torch.rand((20_000, 3), generator=generator) * 2 - 1
            optimizer.zero_grad()
            colors = field(points)
            colors.backward(colors.detach() - points.abs())
            optimizer.step()
        return field.table.detach().clone()

    assert torch.equal(train(), train())


def test_the_kernels_give_the_same_bits_on_any_number_of_threads():
    field = random_field(log2_table_size=10)
    points = torch.rand((20_001, 3), generator=torch.Generator().manual_seed(0)) * 2 - 1

    def run(threads: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.set_num_threads(threads)
        features = encode(points, field.table, field.levels, True)
        return features, torch.autograd.grad(features, field.table, features.detach())[0]

    before = torch.get_num_threads()
    try:
        assert all(torch.equal(a, b) for a, b in zip(run(1), run(3), strict=True))
    finally:
        torch.set_num_threads(before)


def test_it_learns_a_picture_on_a_ball():
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn((8000, 3), generator=generator), dim=1)
    target = ((points * 9).sin() > 0).float() * 0.6 + 0.2
    field = TextureField(log2_table_size=14)
    optimizer = torch.optim.Adam(field.parameters(), lr=0.05, betas=(0.9, 0.99), eps=1e-15)
    for _ in range(40):
        optimizer.zero_grad()
        loss = (field(points) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.004  # 0.09 at the start


def test_no_points_are_no_problem():
    field = TextureField(levels=2)
    colors = field(torch.zeros((0, 3)))
    colors.sum().backward()
    assert colors.shape == (0, 3) and not field.table.grad.any()


def test_impossible_fields_are_refused():
    with pytest.raises(ValueError, match="level"):
        TextureField(levels=0)
    with pytest.raises(ValueError, match="resolution"):
        TextureField(base_resolution=32, finest_resolution=8)
