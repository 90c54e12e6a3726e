"""Volume pictures: kernels and twins, closed forms, agreement with the rasterizer, and what skipping may change."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from csd_blender.backend.fields.radiance_field import RadianceField
from csd_blender.backend.render.cameras import Cameras, Shake, orbit, sample_cameras
from csd_blender.backend.render.volume import ray_samples
from csd_blender.backend.render.volume.render import (
    OccupancyGrid,
    RaySamples,
    VolumePictures,
    composite,
    convexity_loss,
    march,
    opaque_loss,
    orientation_loss,
    prune,
    render_volume,
    sparsity_loss,
    z_variance_loss,
)
from csd_blender.backend.render.volume.volume_twin import composite_twin, march_twin, see_twin


class Ball:
    """A ball of constant density and color at a place."""

    def __init__(self, radius: float, density: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        self.radius, self.value, self.center = radius, density, torch.tensor(center)

    def density(self, points: torch.Tensor) -> torch.Tensor:
        return self.value * ((points - self.center).norm(dim=-1) < self.radius).float()

    def __call__(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.density(points), torch.tensor([0.2, 0.4, 0.9]).expand(len(points), 3)

    def normals(self, points: torch.Tensor, eps: float | None = None) -> torch.Tensor:
        return torch.nn.functional.normalize(points - self.center, dim=-1)


def small_field(seed: int = 0) -> RadianceField:
    field = RadianceField(levels=3, finest_resolution=32)
    with torch.no_grad():
        field.table.copy_(torch.randn(field.table.shape, generator=torch.Generator().manual_seed(seed)))
    return field


def looked_at(density, step: float = 1 / 32, radius: float = 1.0) -> OccupancyGrid:
    occupancy = OccupancyGrid(radius)
    occupancy.update(density, step)
    return occupancy


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CAMERAS = sample_cameras(torch.Generator().manual_seed(3), 3, (-30.0, 80.0), (1.5, 2.5), (40.0, 70.0))


def random_composite(channels: int = 4, dtype=torch.float32):
    """Samples of random rays, with random densities and values."""
    occupancy = OccupancyGrid()
    occupancy.occupied.copy_(torch.rand((32, 32, 32), generator=seeded()) < 0.3)
    samples = march(CAMERAS, 9, occupancy, 1 / 12, seeded())
    density = torch.rand(len(samples), generator=seeded(1), dtype=dtype) * 6
    values = torch.randn((len(samples), channels), generator=seeded(2), dtype=dtype)
    return samples, density.requires_grad_(), values.requires_grad_()


def test_marching_agrees_with_its_twin():
    occupancy = OccupancyGrid(1.2, 16)
    occupancy.occupied.copy_(torch.rand((16, 16, 16), generator=seeded()) < 0.4)
    inside = Cameras(*(torch.tensor([x]) for x in (20.0, 10.0, 0.4, 60.0)))
    for cameras in (CAMERAS, inside, orbit(4, elevation=0.0)):
        samples = march(cameras, 24, occupancy, 0.05, seeded())
        origins = cameras.positions().repeat_interleave(24 * 24, 0)
        jitter = torch.rand(len(origins), generator=seeded())
        expected, counts = march_twin(origins, samples.directions, jitter, occupancy.occupied, 1.2, 0.05, 10**6)
        # a sample at a cell's border may fall on either side
        assert (samples.offsets.diff() != counts).float().mean() < 0.005
        assert abs(len(samples) - len(expected)) < 1e-3 * len(expected)
        same = (samples.offsets.diff() == counts)[samples.ray.long()]
        same_expected = (samples.offsets.diff() == counts).repeat_interleave(counts)
        difference = (samples.t[same] - expected[same_expected]).abs()
        assert (difference > 1e-5).float().mean() < 1e-3
        points = origins[samples.ray.long()] + samples.directions[samples.ray.long()] * samples.t[:, None]
        assert torch.allclose(points, samples.points, atol=1e-5) and samples.points.abs().max() <= 1.2 + 1e-5


def test_pruning_in_the_march_agrees_with_pruning_after_it_and_with_the_twin():
    field = small_field()
    occupancy = looked_at(field.density)
    samples = march(CAMERAS, 24, occupancy, 1 / 32, seeded())
    at_once = march(CAMERAS, 24, occupancy, 1 / 32, seeded(), visible_in=field)
    later = prune(samples, field.density)
    assert torch.equal(at_once.t, later.t) and torch.equal(at_once.offsets, later.offsets)
    assert torch.equal(at_once.points, later.points) and 0 < len(later) < len(samples)
    mask = see_twin(samples.offsets, field.density(samples.points), 1 / 32, 1e-3, 1e-4)
    assert abs(int(mask.sum()) - len(later)) <= 1e-3 * len(later)


@pytest.mark.parametrize("room", [0, 1 << 24])
def test_values_kept_from_the_march_give_the_pictures_and_gradients_of_the_plain_way(room, monkeypatch):
    monkeypatch.setattr(ray_samples, "MOST_VALUES", room)
    field = small_field()
    occupancy = looked_at(field.density)
    pictures = render_volume(field, CAMERAS, 24, occupancy, 1 / 32, torch.zeros(3), seeded())
    samples = prune(march(CAMERAS, 24, occupancy, 1 / 32, seeded()), field.density)
    assert (pictures.samples.density is None) == (room == 0)
    density, color = field.forward_twin(samples.points)
    sums = composite_twin(samples.offsets, samples.t, samples.step, density, color)[0]
    assert torch.allclose(pictures.color.permute(0, 2, 3, 1).flatten(0, 2), sums, atol=1e-4)
    pull = torch.randn(sums.shape, generator=seeded())
    (expected,) = torch.autograd.grad((sums * pull).sum(), field.table)
    (found,) = torch.autograd.grad((pictures.color.permute(0, 2, 3, 1).flatten(0, 2) * pull).sum(), field.table)
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


def test_pruning_changes_pictures_by_less_than_a_thousandth():
    ball = Ball(0.6, 60.0)
    samples = march(CAMERAS, 32, looked_at(ball.density), 1 / 32)
    kept = prune(samples, ball.density)
    assert len(kept) < 0.4 * len(samples)
    all_of_it, part = (composite(*ball(s.points), s) for s in (samples, kept))
    assert (all_of_it.values - part.values).abs().max() < 1.1e-3


@pytest.mark.parametrize("channels", [0, 1, 3, 6])
def test_compositing_agrees_with_its_twin(channels):
    samples, density, values = random_composite(channels)
    found = composite(density, values, samples)
    sums = [found.values.flatten(0, 2), found.opacity.flatten(), found.depth.flatten(), found.weights]
    expected = composite_twin(samples.offsets, samples.t, samples.step, density, values)
    pull = [torch.randn(x.shape, generator=seeded(i)) for i, x in enumerate(expected)]
    for a, b in zip(sums, expected, strict=True):
        assert torch.allclose(a, b, atol=2e-6)
    a = torch.autograd.grad(sum((x * p).sum() for x, p in zip(sums, pull, strict=True)), (density, values))
    b = torch.autograd.grad(sum((x * p).sum() for x, p in zip(expected, pull, strict=True)), (density, values))
    assert torch.allclose(a[0], b[0], atol=2e-5) and torch.allclose(a[1], b[1], atol=1e-6)


def test_the_twin_of_compositing_agrees_with_finite_differences():
    samples, density, values = random_composite(2, torch.float64)
    few = samples.keep(samples.ray < 12)
    density, values = density[: len(few)].detach(), values[: len(few)].detach()

    def run(d: torch.Tensor, v: torch.Tensor):
        return composite_twin(few.offsets, few.t, few.step, d, v)

    assert torch.autograd.gradcheck(run, (density.requires_grad_(), values.requires_grad_()), atol=1e-7)


def test_a_slab_of_constant_density_has_the_known_opacity_gradient_and_depth():
    camera = Cameras(*(torch.tensor([x]) for x in (0.0, 0.0, 3.0, 1.0)))
    samples = march(camera, 1, OccupancyGrid(), 1 / 64)
    sigma = torch.tensor(1.7, requires_grad=True)
    found = composite(sigma.expand(len(samples)), torch.ones((len(samples), 1)), samples)
    assert len(samples) == 128
    assert found.opacity.item() == pytest.approx(1 - math.exp(-1.7 * 2), rel=1e-5)
    assert found.values.item() == pytest.approx(found.opacity.item(), rel=1e-6)
    assert torch.autograd.grad(found.opacity.sum(), sigma)[0].item() == pytest.approx(2 * math.exp(-3.4), rel=1e-4)
    mean = 2.0 + (1 / 1.7) - 2 * math.exp(-3.4) / (1 - math.exp(-3.4))
    assert (found.depth / found.opacity).item() == pytest.approx(mean, abs=2e-3)


def test_a_ball_covers_the_same_pixels_as_the_rasterized_ball(warp_rasterizer, sphere):
    ball = Ball(0.45, 1000.0, (0.15, -0.1, 0.2))
    vertices, triangles = sphere(48)
    cameras = sample_cameras(seeded(), 4, (-40.0, 85.0), (1.5, 2.5), (40.0, 70.0))
    pictures = render_volume(ball, cameras, 128, looked_at(ball.density), 1 / 64, torch.ones(3), normals=True)
    clip = cameras.clip(vertices * 0.45 + torch.tensor([0.15, -0.1, 0.2]))
    meshes = warp_rasterizer.rasterize(clip, triangles, (128, 128)).rast[..., 3] > 0
    for volume, mesh in zip(pictures.opacity[:, 0] > 0.5, meshes, strict=True):
        assert iou(volume, mesh) > 0.98
    covered = pictures.opacity[:, 0] > 0.99
    assert torch.allclose(pictures.color[:, 2][covered], torch.tensor(0.9), atol=0.01)
    assert (pictures.color.permute(0, 2, 3, 1)[~meshes & (pictures.opacity[:, 0] == 0)] == 1).all()


def test_normal_pictures_are_gray_around_and_face_the_camera():
    ball = Ball(0.5, 300.0)
    pictures = render_volume(ball, orbit(1, 0.0, 2.5), 33, looked_at(ball.density), 1 / 64, torch.zeros(3), None, True)
    assert pictures.normal[0, :, 0, 0].tolist() == [0.5, 0.5, 0.5]
    assert pictures.normal[0, :, 16, 16].tolist() == pytest.approx([0.5, 0.0, 0.5], abs=0.02)  # the front is -Y
    assert orientation_loss(pictures).item() < 1e-3
    assert (pictures.depth / pictures.opacity)[0, 0, 16, 16].item() == pytest.approx(2.0, abs=0.03)


def test_skipping_empty_cells_changes_even_pictures_of_fog_by_less_than_three_hundredths():
    field = RadianceField(levels=2, finest_resolution=16)
    everything, skipping = OccupancyGrid(), looked_at(field.density)
    a, b = (render_volume(field, CAMERAS, 32, o, 1 / 32, torch.ones(3)) for o in (everything, skipping))
    assert skipping.occupied.float().mean() < 0.25 and len(b.samples) < len(a.samples)
    assert (a.opacity - b.opacity).abs().max() < 0.03 and (a.color - b.color).abs().max() < 0.03


def test_the_grid_remembers_decays_and_grows_by_a_cell():
    occupancy = OccupancyGrid(1.0, 16)
    spot = torch.zeros(16, 16, 16)
    spot[8, 3, 15] = 50.0
    occupancy.update(lambda points: spot.flatten(), 1 / 32)
    assert occupancy.occupied.sum() == 18 and occupancy.occupied[7:10, 2:5, 14:].all()
    low, high = occupancy.bounds()
    assert low == pytest.approx([-0.125, -0.75, 0.75]) and high == pytest.approx([0.25, -0.375, 1.0])
    occupancy.update(lambda points: torch.zeros(len(points)), 1 / 32)
    assert occupancy.densities.max().item() == pytest.approx(47.5) and occupancy.occupied.sum() == 18
    other = OccupancyGrid(1.0, 16)
    other.load_state_dict(occupancy.state_dict())
    assert torch.equal(other.occupied, occupancy.occupied)


def test_the_grid_looks_inside_its_own_cells():
    occupancy = OccupancyGrid(2.0, 32)
    seen = []
    occupancy.update(lambda points: seen.append(points) or (points[:, 0] > 1.5).float() * 40, 1 / 32, seeded())
    cells = ((seen[0] / 4 + 0.5) * 32).floor().long().view(32, 32, 32, 3)
    assert (cells[4, 5, 6] == torch.tensor([4, 5, 6])).all() and (cells[31, 0, 9] == torch.tensor([31, 0, 9])).all()
    assert not occupancy.occupied[:27].any() and occupancy.occupied[28:].all()


@pytest.mark.parametrize("density", [0.0, 1e-4])
def test_the_grid_is_never_empty(density):
    assert looked_at(lambda points: torch.full((len(points),), density)).occupied.all()


def test_nothing_to_see_is_no_problem():
    field = RadianceField(levels=2, finest_resolution=16, blob_scale=0.0)
    with torch.no_grad():
        field.table[:, 0] = -40.0
    off = Shake(torch.zeros(1, 3), torch.tensor([[5.0, 0.0, 0.0]]), torch.zeros(1, 3))  # looks beside the scene
    away = Cameras(*(torch.tensor([x]) for x in (0.0, 0.0, 3.0, 5.0)), shake=off)
    nowhere = OccupancyGrid()
    nowhere.occupied.fill_(False)
    for cameras, occupancy in ((CAMERAS, OccupancyGrid()), (CAMERAS, nowhere), (away, OccupancyGrid())):
        background = torch.rand((len(cameras), 3), requires_grad=True)
        pictures = render_volume(field, cameras, 8, occupancy, 1 / 16, background, seeded(), normals=True)
        assert len(pictures.samples) == 0 and not pictures.opacity.any() and (pictures.normal == 0.5).all()
        assert torch.equal(pictures.color, background[:, :, None, None].expand(-1, 3, 8, 8))
        loss = pictures.color.sum() + orientation_loss(pictures) + sparsity_loss(pictures.opacity)
        (loss + opaque_loss(pictures.opacity) + pictures.normal.sum() + pictures.weights.sum()).backward()
        assert not field.table.grad.any() and (background.grad == 64).all()


def test_the_same_call_gives_the_same_bits_on_any_number_of_threads():
    field = small_field()
    occupancy = looked_at(field.density)

    def run(threads: int) -> list[torch.Tensor]:
        torch.set_num_threads(threads)
        pictures = render_volume(field, CAMERAS, 64, occupancy, 1 / 32, torch.zeros(3), seeded(), normals=True)
        loss = pictures.color.square().sum() + orientation_loss(pictures) + pictures.normal[:, 0].sum()
        return [pictures.color, pictures.normal, pictures.depth, *torch.autograd.grad(loss, field.table)]

    before = torch.get_num_threads()
    try:
        first, again, threads = run(1), run(1), run(3)
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, again, threads, strict=True))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("min_alpha", [1e-4, 1e-2])
def test_thin_samples_are_left_out(min_alpha):
    field = RadianceField(levels=2, finest_resolution=16)
    samples = march(CAMERAS, 16, OccupancyGrid(), 1 / 32, None, field, min_alpha)
    alpha = 1 - torch.exp(-field.density(samples.points) / 32)
    assert min_alpha * 0.99 < alpha.min() < min_alpha * 1.1


def test_a_gpu_gives_the_pictures_and_gradients_of_the_cpu(gpu):
    results = []
    for device in ("cpu", gpu):
        field, occupancy = small_field().to(device), OccupancyGrid().to(device)
        occupancy.update(field.density, 1 / 32, seeded())
        background = torch.ones(3, device=device)
        pictures = render_volume(field, CAMERAS, 32, occupancy, 1 / 32, background, seeded(), normals=True)
        loss = pictures.color.square().sum() + pictures.normal.sum() + orientation_loss(pictures)
        (grad,) = torch.autograd.grad(loss, field.table)
        results.append([x.cpu() for x in (pictures.color, pictures.normal, pictures.depth, grad)])
    for a, b in zip(*results, strict=True):
        assert (a - b).abs().mean() < 1e-3 * a.abs().mean()


def test_regularizers_have_their_known_values():
    opacity = torch.tensor([0.0, 1.0, 0.5])
    assert sparsity_loss(opacity).item() == pytest.approx((0.1 + 1.01**0.5 + 0.26**0.5) / 3)
    low = -(1e-3 * math.log(1e-3) + 0.999 * math.log(0.999))
    assert opaque_loss(opacity).item() == pytest.approx((2 * low + math.log(2)) / 3, rel=1e-4)
    shell = Ball(0.5, 300.0)
    shell.normals = lambda points, eps=None: -torch.nn.functional.normalize(points, dim=-1)
    pictures = render_volume(shell, orbit(1, 0.0, 2.5), 1, looked_at(shell.density), 1 / 64, torch.zeros(3), None, True)
    assert orientation_loss(pictures).item() == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(ValueError, match="normals"):
        orientation_loss(render_volume(shell, CAMERAS, 4, OccupancyGrid(), 0.1, torch.zeros(3)))


def test_a_box_can_be_carved_from_its_silhouettes(warp_rasterizer, sphere):
    vertices, triangles = sphere(24)
    vertices = vertices * torch.tensor([0.7, 0.35, 0.45])
    field = RadianceField(levels=3, finest_resolution=32)
    occupancy = OccupancyGrid()
    optimizer = torch.optim.Adam(field.parameters(), lr=0.2, betas=(0.9, 0.99), eps=1e-15)
    generator = seeded()

    def masks(cameras: Cameras) -> torch.Tensor:
        return warp_rasterizer.rasterize(cameras.clip(vertices), triangles, (32, 32)).rast[..., 3] > 0

    for i in range(60):
        if i % 8 == 0:
            occupancy.update(field.density, 1 / 24, generator)
        cameras = sample_cameras(generator, 4, (-60.0, 80.0), (2.0, 2.5))
        opacity = render_volume(field, cameras, 32, occupancy, 1 / 24, torch.zeros(3), generator).opacity[:, 0]
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy(opacity.clamp(1e-4, 1 - 1e-4), masks(cameras).float()).backward()
        optimizer.step()
    cameras = orbit(8, 20.0, 2.3)
    found = render_volume(field, cameras, 32, occupancy, 1 / 24, torch.zeros(3)).opacity[:, 0] > 0.5
    assert iou(found, masks(cameras)) > 0.97


def two_rays(weights):
    """Pictures of a ray with samples at 1 and 2, and one with samples at 1, 2 and 4."""
    t, ray = torch.tensor([1.0, 2.0, 1.0, 2.0, 4.0]), torch.tensor([0, 0, 1, 1, 1], dtype=torch.int32)
    offsets = torch.tensor([0, 2, 5], dtype=torch.int32)
    samples = RaySamples(offsets, t, ray, torch.zeros(5, 3), torch.zeros(2, 3), 1.0, 2, 1)
    sums = [torch.stack([values[:2].sum(), values[2:].sum()]).view(2, 1, 1, 1) for values in (weights, weights * t)]
    return VolumePictures(torch.zeros(2, 3, 1, 1), *sums, None, samples, weights, None)


def test_the_spread_along_a_ray_is_the_variance_of_what_it_sees():
    weights = torch.tensor([0.4, 0.4, 0.1, 0.1, 0.1], dtype=torch.float64, requires_grad=True)
    assert z_variance_loss(two_rays(weights)).item() == pytest.approx(0.25)  # the second ray sees less than half
    assert torch.autograd.gradcheck(lambda w: z_variance_loss(two_rays(w)), weights)
    dense = torch.tensor([0.4, 0.4, 0.3, 0.3, 0.3])
    assert z_variance_loss(two_rays(dense)).item() == pytest.approx((0.25 + (1 + 4 + 16) / 3 - (7 / 3) ** 2) / 2)
    assert z_variance_loss(two_rays(dense * 0.1)).item() == 0


def test_convexity_counts_how_normals_turn_outwards():
    """Against plain loops over the cells, and by its sign."""
    generator = torch.Generator().manual_seed(3)
    normal, opacity = torch.rand(2, 3, 8, 8, generator=generator), torch.rand(2, 1, 8, 8, generator=generator)
    pictures = replace(two_rays(torch.ones(5)), normal=normal, opacity=opacity)
    unit = normal * 2 - 1
    cells = ((unit / unit.norm(dim=1, keepdim=True) + 1) / 2 * opacity).permute(0, 2, 3, 1).numpy()
    across = [np.cross(c[i, j], c[i, j + 1])[2] for c in cells for i in range(8) for j in range(7)]
    upward = [np.cross(c[i + 1, j], c[i, j])[2] for c in cells for i in range(7) for j in range(8)]
    assert convexity_loss(pictures).item() == pytest.approx(-(np.mean(across) + np.mean(upward)), abs=1e-6)

    ball = Ball(0.8, 300.0)
    hollow = Ball(0.8, 300.0)
    hollow.normals = lambda points, eps=None: torch.nn.functional.normalize(points, dim=-1) * torch.tensor([-1, 1, -1])
    seen = []
    for one in (ball, hollow):
        grid = looked_at(one.density)
        seen.append(
            convexity_loss(render_volume(one, orbit(4, 0.0, 2.5), 64, grid, 1 / 64, torch.zeros(3), None, True))
        )
    assert seen[0] < 0 < seen[1]
    with pytest.raises(ValueError, match="normals"):
        convexity_loss(two_rays(torch.ones(5)))
