"""Fields of a hash grid and small networks agree with closed forms, their plain twins and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from csd_blender.backend.fields.hash_network import HashNetwork
from csd_blender.backend.fields.network_field import NetworkColors, NetworkField, activated

SHAPES = [
    {"levels": 3, "base_resolution": 4, "finest_resolution": 32},
    {"levels": 4, "base_resolution": 4, "finest_resolution": 64, "log2_table_size": 9, "width": 5},
]


def numbers(seed=0):
    return torch.Generator().manual_seed(seed)


def rough(module: nn.Module) -> nn.Module:
    """The same with features as large as after some training."""
    with torch.no_grad():
        module.network.table.copy_(torch.randn(module.network.table.shape, generator=numbers(1)))
    return module


def field_of(shape, **more) -> NetworkField:
    return rough(NetworkField(**shape, **{"radius": 1.5, "seed": 3, **more}))


def inner_points(count=400, radius=1.5):
    """None of them where a slope jumps, but for hidden units, which no one meets by chance."""
    return (torch.rand((count, 3), generator=numbers(2)) * 2 - 1) * radius * 0.999


def gradients(total: torch.Tensor, module: nn.Module) -> dict[str, torch.Tensor]:
    named = dict(module.named_parameters())
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def test_a_fresh_field_is_a_ball_of_fog_as_good_as_gray():
    field = NetworkField(levels=3, finest_resolution=64)
    axis = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0, 0, 0.9], [0, 1.01, 0], [0, 0, -7.0]])
    density, color = field(axis)
    expected = [10.0, 0.6931472, 3.353e-4, 0.0, 0.0]
    assert density.tolist() == pytest.approx(expected, rel=1e-3) and (color - 0.5).abs().max() < 1e-3


def test_a_function_is_what_its_weights_say():
    """One level, one cell, features equal everywhere: the network by hand, without biases."""
    network = HashNetwork({"one": 1, "two": 2}, levels=1, base_resolution=1, finest_resolution=1, width=3)
    with torch.no_grad():
        network.table.copy_(torch.tensor([2.0, -1.0]))
        network.one_hidden.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        network.one_out.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
    points = inner_points(5, 1.0)
    assert network.at("one", points).flatten().tolist() == pytest.approx([2.0 + 0.0 + 100.0] * 5)
    assert network.at("two", points).shape == (5, 2)
    assert sum(p.numel() for p in network.parameters()) == 8 * 2 + 3 * 2 + 3 + 3 * 2 + 2 * 3


def test_first_weights_are_those_of_the_seed_and_within_their_bounds():
    one, same, other = (HashNetwork({"a": 1}, levels=2, finest_resolution=32, seed=s) for s in (4, 4, 5))
    for name, value in one.named_parameters():
        assert torch.equal(value, getattr(same, name)) and not torch.equal(value, getattr(other, name))
    bounds = {"table": 1e-4, "a_hidden": 0.5, "a_out": 0.125}  # 4 inputs, 64 inputs
    for name, bound in bounds.items():
        reach = getattr(one, name).detach().abs().max()
        assert 0.9 * bound < reach <= bound


@pytest.mark.parametrize("activation", ["sigmoid", "linear"])
@pytest.mark.parametrize("shape", SHAPES)
def test_field_and_twin_give_the_same_values(shape, activation):
    field = field_of(shape, activation=activation)
    points = torch.cat([inner_points(radius=1.7), torch.tensor([[1.5, 0, 0], [0, 0, 0]])])
    with torch.no_grad():
        density, color = field(points)
        twin_density, twin_color = field.forward_twin(points.double())
    assert torch.allclose(density.double(), twin_density, rtol=2e-4, atol=1e-5)
    assert torch.allclose(color.double(), twin_color, atol=2e-5)
    assert torch.equal(field.density(points), density) and torch.allclose(field.color(points), color)
    assert (density[(points.abs() > 1.5).any(1)] == 0).all()


def test_colors_are_linear_or_pass_a_sigmoid():
    raw = torch.tensor([-3.0, 0.0, 0.5])
    assert activated(raw, "linear").tolist() == [-1.0, 0.5, 0.75]
    assert torch.equal(activated(raw, "sigmoid"), torch.sigmoid(raw))


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_normals_and_their_gradients_agree_with_the_twin(shape):
    field = field_of(shape)
    points, weight = inner_points(), torch.randn((400, 3), generator=numbers(3))
    found, expected = field.normals(points, 0.0), field.normals_twin(points.double())
    assert torch.allclose(found.double(), expected, atol=1e-3)
    one = gradients((found * weight).sum(), field)
    two = gradients((expected * weight).sum(), field)
    assert one.keys() == two.keys() == {"network.table", "network.density_hidden", "network.density_out"}
    for name in one:
        assert (one[name] - two[name]).abs().max() <= 2e-3 * two[name].abs().max(), name


def test_exact_slopes_agree_with_finite_differences():
    field, points, step = field_of(SHAPES[0]), inner_points(200), 1e-6
    slopes = field.network.slopes("density", points / field.radius).detach().double() / field.radius
    field, points = field.double(), points.double()

    def value(shift):
        return field.network.values("density", field.network.features_twin((points + shift) / field.radius))[:, 0]

    differences = [(value(e * step) - value(-e * step)) / (2 * step) for e in torch.eye(3).double()]
    assert torch.allclose(slopes, torch.stack(differences, 1).detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("what", ["density", "color", "normals", "taps"])
def test_gradients_agree_with_finite_differences(what):
    """Along a random direction of all parameters at once, in double precision on the twin's side."""
    field = field_of(SHAPES[0])
    points = inner_points(200)
    weight = torch.randn((200, 3), generator=numbers(5))

    def total(field, points):
        if what == "taps":
            taps = torch.tensor(((1.0, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1))).to(points)
            corners = (points[:, None] + 0.1 * taps).view(-1, 3)
            features = field.network.features_twin(corners / field.radius)
            logit = field.network.values("density", features)[:, 0]
            logit = logit + field.blob_scale * (1 - corners.norm(dim=1) / field.blob_std)
            slopes = logit.view(-1, 4) @ taps / 0.4
            return -(nn.functional.normalize(slopes, dim=1, eps=1e-3) * weight).sum()
        if what == "normals":
            return (field.normals_twin(points) * weight).sum()
        density, color = field.forward_twin(points)
        return (density * weight[:, 0]).sum() if what == "density" else (color * weight).sum()

    found = {
        "density": lambda: (field.density(points) * weight[:, 0]).sum(),
        "color": lambda: (field(points)[1] * weight).sum(),
        "normals": lambda: (field.normals(points, 0.0) * weight).sum(),
        "taps": lambda: (field.normals(points, 0.1) * weight).sum(),
    }[what]()
    moved = {k: torch.randn(p.shape, generator=numbers(6)).double() for k, p in field.named_parameters()}
    along = sum(float((g.double() * moved[k]).sum()) for k, g in gradients(found, field).items())
    field.double()
    ends = []
    for sign in (1e-7, -1e-7):
        with torch.no_grad():
            for name, p in field.named_parameters():
                p += sign * moved[name]
        ends.append(float(total(field, points.double()).detach()))
        with torch.no_grad():
            for name, p in field.named_parameters():
                p -= sign * moved[name]
    assert along == pytest.approx((ends[0] - ends[1]) / 2e-7, rel=2e-3)


def test_normals_of_the_ball_point_outwards_both_ways():
    field = NetworkField(levels=2, finest_resolution=32)
    points = nn.functional.normalize(torch.randn((300, 3), generator=numbers()), dim=1) * 0.6
    for eps in (None, 0.0):
        assert ((field.normals(points, eps) * points / 0.6).sum(1) > 0.99).all()


def test_levels_that_do_not_count_neither_show_nor_learn():
    field = field_of(SHAPES[1])
    field.network.active = 2
    points = inner_points()
    first = field.network.levels[2].offset
    density, color = field(points)
    total = density.sum() + color.sum() + field.normals(points, 0.0).sum()
    grads = gradients(total, field)
    assert grads["network.table"][:first].any() and not grads["network.table"][first:].any()
    assert not grads["network.density_hidden"][:, 4:].any()
    with torch.no_grad():
        field.network.table[first:] += 7.0
        assert torch.equal(field(points)[0], density)
    assert field.cell == 2 * 1.5 / field.network.levels[1].resolution
    field.network.active = 4
    assert not torch.allclose(field(points)[0], density)


def test_the_number_of_levels_that_count_is_part_of_the_state():
    field, other = field_of(SHAPES[1]), NetworkField(**SHAPES[1], radius=1.5)
    field.network.active = 3
    other.load_state_dict(field.state_dict())
    assert other.network.active == 3 and torch.equal(other.density(inner_points()), field.density(inner_points()))


@pytest.mark.parametrize("active", [4, 2])
def test_colors_taken_over_are_the_field_s_own_and_go_on_from_there(active):
    field = field_of(SHAPES[1], activation="linear")
    field.network.active = active
    colors = NetworkColors("linear", **SHAPES[1], seed=9)
    colors.inherit(field)
    points = inner_points(radius=1.0)
    assert torch.allclose(colors(points), field.color(points * 1.5), atol=1e-6)
    grad = gradients(colors(points).square().sum(), colors)["network.table"]
    assert grad[field.network.levels[3].offset :].any()  # all levels learn now


def test_colors_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="same grid"):
        NetworkColors(**SHAPES[0]).inherit(field_of(SHAPES[1]))


def test_many_points_without_gradient_come_in_parts_and_are_the_same(monkeypatch):
    from csd_blender.backend.fields import hash_network, network_field

    field, points = field_of(SHAPES[0]), inner_points(1000)
    whole = [
        x.detach() for x in (field.density(points), field.color(points), *field(points), field.normals(points, 0.0))
    ]
    monkeypatch.setattr(hash_network, "CHUNK", 64)
    monkeypatch.setattr(network_field, "CHUNK", 64)
    with torch.no_grad():
        parts = [field.density(points), field.color(points), *field(points), field.normals(points, 0.0)]
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(whole, parts, strict=True))


def test_training_twice_gives_the_same_bits():
    points = inner_points(9000)

    def train():
        field = NetworkField(**SHAPES[1], seed=2)
        optimizer = torch.optim.Adam(field.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            density, color = field(points)
            (density.mean() + color.square().sum() + field.normals(points, 0.0)[:, 2].sum()).backward()
            optimizer.step()
        return {k: v.clone() for k, v in field.state_dict().items()}

    one, two = train(), train()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_no_points_are_no_problem():
    field, none = NetworkField(levels=2, finest_resolution=16), torch.zeros((0, 3))
    density, color = field(none)
    (density.sum() + color.sum() + field.normals(none, 0.0).sum() + field.normals(none).sum()).backward()
    assert density.shape == (0,) and color.shape == (0, 3) and not field.table.grad.any()


def test_impossible_fields_are_refused():
    with pytest.raises(ValueError, match="resolution"):
        NetworkField(base_resolution=32, finest_resolution=8)
    with pytest.raises(ValueError, match="radius"):
        NetworkField(radius=0.0)
    with pytest.raises(ValueError, match="width"):
        NetworkField(width=0)
