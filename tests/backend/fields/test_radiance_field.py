"""The field of density and color: its kernels agree with their plain twin, with closed forms and with differences."""

import pytest
import torch

from csd_blender.backend.fields.radiance_field import RadianceField

SHAPES = [
    {"levels": 3, "finest_resolution": 32},
    {"levels": 4, "log2_table_size": 9, "finest_resolution": 64, "radius": 1.5},
    {"levels": 1, "base_resolution": 5, "finest_resolution": 5, "blob_scale": 0.0},
]


def random_field(**arguments) -> RadianceField:
    field = RadianceField(**arguments)
    with torch.no_grad():
        field.table.copy_(torch.randn(field.table.shape, generator=torch.Generator().manual_seed(1)))
    return field


def random_points(radius: float, count: int = 500) -> torch.Tensor:
    """Some of them outside, some exactly on the faces of the cube."""
    points = (torch.rand((count, 3), generator=torch.Generator().manual_seed(2)) * 2.4 - 1.2) * radius
    corners = torch.tensor([[1.0, 1, 1], [-1, -1, -1], [1, -1, 0], [0, 0, 0]]) * radius
    return torch.cat([points, corners])


@pytest.mark.parametrize("arguments", SHAPES)
def test_kernels_and_twin_give_the_same_values(arguments):
    field = random_field(**arguments)
    points = random_points(field.radius)
    with torch.no_grad():
        density, color = field(points)
        expected_density, expected_color = field.forward_twin(points.double())
        assert torch.allclose(density.double(), expected_density, rtol=2e-5, atol=1e-6)
        assert torch.allclose(color.double(), expected_color, atol=2e-6)
        assert torch.allclose(field.density(points), density, rtol=1e-5, atol=1e-7)
        assert torch.equal(field.color(points), color)


@pytest.mark.parametrize("arguments", SHAPES)
def test_kernels_and_twin_give_the_same_gradients(arguments):
    field = random_field(**arguments)
    points = random_points(field.radius)
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(len(points), generator=generator), torch.randn((len(points), 3), generator=generator)

    def gradient(density: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad((density * a).sum() + (color * b).sum(), field.table)[0]

    found, expected = gradient(*field(points)), gradient(*field.forward_twin(points))
    assert (found - expected).abs().max() <= 3e-5 * expected.abs().max()
    (alone,) = torch.autograd.grad((field.density(points) * a).sum(), field.table)
    assert (alone[:, 0] - found[:, 0]).abs().max() <= 3e-5 * found.abs().max() and not alone[:, 1:].any()


@pytest.mark.parametrize("eps", [None, 0.07, 0.0])
@pytest.mark.parametrize("arguments", SHAPES)
def test_normals_and_their_gradients_agree_with_the_twin(arguments, eps):
    field = random_field(**arguments)
    points = random_points(field.radius)
    if eps == 0:  # the exact slope jumps at the faces of the cube and of its cells, and the ball has none in the middle
        points = points[:-4][(points[:-4].abs() < field.radius).all(1)]
    weight = torch.randn((len(points), 3), generator=torch.Generator().manual_seed(3))
    found, expected = field.normals(points, eps), field.normals_twin(points, eps)
    assert torch.allclose(found, expected, atol=2e-4)
    (a,) = torch.autograd.grad((found * weight).sum(), field.table)
    (b,) = torch.autograd.grad((expected * weight).sum(), field.table)
    assert (a - b).abs().max() <= 2e-3 * b.abs().max()


def test_the_gradient_agrees_with_finite_differences():
    field = random_field(levels=3, finest_resolution=32, log2_table_size=9)
    points = random_points(1.0).double()
    generator = torch.Generator().manual_seed(4)
    step = torch.randn(field.table.shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(len(points), generator=generator, dtype=torch.float64)
    (grad,) = torch.autograd.grad((field.density(points.float()).double() * weight).sum(), field.table)
    field.double()

    def value(sign: float) -> torch.Tensor:
        field.table.data += sign * 1e-5 * step
        result = (field.forward_twin(points)[0] * weight).sum()
        field.table.data -= sign * 1e-5 * step
        return result

    slope = (value(1.0) - value(-1.0)) / 2e-5
    assert (grad.double() * step).sum().item() == pytest.approx(slope.item(), rel=1e-3)


def test_a_fresh_field_is_a_gray_ball_of_fog():
    field = RadianceField(levels=2, finest_resolution=16)
    axis = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0, 0, 0.9], [0, 1.01, 0], [0, 0, -7.0]])
    density, color = field(axis)
    expected = [10.0, 0.6931472, 3.353e-4, 0.0, 0.0]
    assert density.tolist() == pytest.approx(expected, rel=1e-3) and (color == 0.5).all()


def test_normals_of_the_ball_point_outwards():
    field = RadianceField(levels=2, finest_resolution=32)
    points = torch.nn.functional.normalize(torch.randn((300, 3), generator=torch.Generator().manual_seed(0)), dim=1)
    for distance in (0.2, 0.5, 0.95):
        normals = field.normals(points * distance)
        assert ((normals * points).sum(1) > 0.99).all()
        assert torch.allclose(normals.norm(dim=1), torch.tensor(1.0), atol=1e-5)


def test_training_twice_gives_the_same_bits_on_any_number_of_threads():
    points = random_points(1.0, 9000)

    def train(threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        field = random_field(levels=3, finest_resolution=32, log2_table_size=10)
        optimizer = torch.optim.Adam(field.parameters(), lr=0.03)
        for _ in range(3):
            optimizer.zero_grad()
            density, color = field(points)
            (density.mean() + color.square().sum() + field.normals(points)[:, 2].sum()).backward()
            optimizer.step()
        return field.table.detach().clone()

    before = torch.get_num_threads()
    try:
        first = train(1)
        assert torch.equal(first, train(1)) and torch.equal(first, train(3))
    finally:
        torch.set_num_threads(before)


def test_no_points_are_no_problem():
    field = RadianceField(levels=2, finest_resolution=16)
    density, color = field(torch.zeros((0, 3)))
    (density.sum() + color.sum() + field.normals(torch.zeros((0, 3))).sum()).backward()
    assert density.shape == (0,) and color.shape == (0, 3) and not field.table.grad.any()


def test_impossible_fields_are_refused():
    with pytest.raises(ValueError, match="resolution"):
        RadianceField(base_resolution=32, finest_resolution=8)
    with pytest.raises(ValueError, match="radius"):
        RadianceField(radius=0.0)
