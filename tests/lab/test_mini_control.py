"""Training of the mini model's ControlNet: modelled features, what the net is shown, and steps that resume."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.support.tiny_mini import write_world
from tools.lab.mini import solids
from tools.lab.mini.control import pictures, train
from tools.lab.mini.control.builds import BUILDS, snowman_of_three
from tools.lab.mini.control.hints import DROPS, drop, hint_pictures
from tools.lab.mini.control.relief import framed, lifted, make_relief_shape, moved_features, sunk
from tools.lab.mini.figures import INK
from tools.lab.mini.render import Camera, paint, soft_normals, trace
from tools.lab.mini.shape import Shape
from tools.lab.mini.train import weighted_error
from tools.lab.mini.training import loop

BALL = solids.sphere((0, 0, 0), 1.0)
CAP = solids.sphere((0, -1, 0), 0.4)  # a region around the front of it


def surface_along(solid: solids.Solid, direction: tuple[float, float, float]) -> float:
    """How far out the surface lies in that direction."""
    line = torch.linspace(0.5, 1.5, 20001)
    inside = solid(line[:, None] * torch.tensor(direction)) < 0
    return float(line[inside].max())


def test_features_stand_out_lie_deep_or_have_a_rim():
    front, back = (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)
    for solid, height in ((lifted(BALL, BALL, CAP, 0.05), 1.05), (sunk(BALL, BALL, CAP, 0.05), 0.95)):
        assert surface_along(solid, front) == pytest.approx(height, abs=1e-3)
        assert surface_along(solid, back) == pytest.approx(1.0, abs=1e-3)
    rim = framed(BALL, CAP, 0.1, 0.05)
    edge = 2 * math.asin(0.45 / 2)  # the direction in which the ball's surface is 0.45 from the cap's center
    assert surface_along(rim, (math.sin(edge), -math.cos(edge), 0.0)) == pytest.approx(1.05, abs=5e-3)
    assert surface_along(rim, front) == pytest.approx(1.0, abs=1e-3)


def test_moved_features_stay_together():
    eye, pupil = solids.sphere((0.3, -1, 0.2), 0.2), solids.sphere((0.3, -1, 0.2), 0.1)
    shape = Shape("owl", BALL, [], [(eye, (1.0, 1.0, 1.0)), (pupil, (0.0, 0.0, 0.0))])
    seen = set()
    for seed in range(8):
        moved = moved_features(shape, np.random.default_rng(seed))
        points = torch.rand(40000, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        inside = [points[region(points) < 0] for region, _ in moved.features]
        centers = [rows[:, [0, 2]].mean(0) for rows in inside]
        assert torch.dist(*centers) < 0.05
        seen.add(tuple(round(float(v), 2) for v in centers[0]))
    assert len(seen) > 4


@pytest.mark.parametrize(
    ("name", "builds"),
    [*((name, 0.0) for name in ("robot", "house", "car", "snowman", "television", "object", "vase")),
     *((name, 1.0) for name in BUILDS)],
)  # fmt: skip
def test_every_shape_has_radius_one_about_the_origin(name, builds):
    for seed in range(4):
        shape = make_relief_shape(name, np.random.default_rng(seed), builds)
        line = torch.linspace(-1.3, 1.3, 40)
        points = torch.cartesian_prod(line, line, line)
        inside = points[shape.distance(points) < 0]
        assert 0.85 < float(inside.norm(dim=1).max()) < 1.06


@pytest.mark.parametrize("name", sorted(BUILDS))
def test_eyes_and_doors_of_other_builds_are_seen_from_the_front(name):
    for seed in range(8):
        shape = make_relief_shape(name, np.random.default_rng(seed), builds=1.0)
        geometry = trace(shape, [Camera(azimuth=0, elevation=5, distance=3.0, fov=45)], 96)
        first = shape.features[0][0]
        there = geometry.points[first(geometry.points * shape.radius + shape.center) < 0]
        assert 4 <= len(there) < 0.15 * len(geometry.points)
        assert abs(float(there[:, 0].mean())) < 0.1 and float(there[:, 1].max()) < 0


def test_three_balls_get_smaller_upwards_and_the_hat_is_above_the_eyes():
    for seed in range(8):
        shape = snowman_of_three(np.random.default_rng(seed))
        points = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(seed)) * 2.6 - 1.3
        inside = points[shape.body(points) < 0]
        layers = [inside[(inside[:, 2] > low) & (inside[:, 2] <= low + 0.1)][:, 0].abs() for low in (-0.6, 0.05)]
        assert float(layers[0].amax()) > float(layers[1].amax())
        hats = [points[part(points) < 0][:, 2] for part, color in shape.parts if color == INK]
        eyes = points[shape.features[0][0](points) < 0][:, 2]
        assert all(float(hat.amin()) > float(eyes.mean()) for hat in hats)


def test_shapes_without_another_build_stay_what_they_were():
    probe = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def distances(name, builds):
        return make_relief_shape(name, np.random.default_rng(3), builds).distance(probe)

    assert torch.equal(distances("owl", 0.0), distances("owl", 1.0))
    assert not torch.equal(distances("snowman", 0.0), distances("snowman", 1.0))


def test_more_of_some_shapes_can_be_shown():
    rng, often = np.random.default_rng(0), ("mug", "barrel")
    shapes = [pictures.shape_name(rng, often) for _ in range(4000)]
    usual = [pictures.shape_name(rng, ()) for _ in range(4000)]
    shares = [[names.count(name) / 4000 for name in often] for names in (shapes, usual)]
    least = pictures.OFTEN_SHARE / 2
    assert min(shares[0]) > least - 0.02 and max(shares[1]) < 0.05
    assert shapes.count("owl") / usual.count("owl") == pytest.approx(1 - pictures.OFTEN_SHARE, abs=0.2)


def test_rounded_normals_tell_of_a_pane_that_exact_ones_at_the_pixels_middles_miss():
    wall, pane = solids.box((0, 0, 0), (0.7, 0.5, 0.7)), solids.box((0, -0.5, 0), (0.2, 0.3, 0.2))
    geometry = trace(Shape("cube", sunk(wall, wall, pane, 0.04)), [Camera(azimuth=0, elevation=0, distance=3.0)], 64)
    front = (geometry.points[:, :2].abs() - torch.tensor([0.6, 0.6])).amax(1) < 0
    tilted = [
        int((normals[front] @ torch.tensor([0.0, -1.0, 0.0]) < 0.98).sum())
        for normals in (geometry.normals, soft_normals(geometry, 0.03))
    ]
    assert tilted[1] > 2 * tilted[0] and tilted[1] > 30


def test_rounding_changes_normals_and_leaves_depth():
    exact, soft = (pictures.render_part(5, 0, shapes=1, soft=soft) for soft in (0.0, 0.03))
    assert np.array_equal(exact["depth"], soft["depth"]) and not np.array_equal(exact["normals"], soft["normals"])


def test_pixels_tell_what_gives_them_their_color():
    nose, eye = solids.sphere((0.0, -1.0, 0.0), 0.3), solids.sphere((0.5, -0.85, 0.0), 0.2)
    shape = Shape("owl", BALL, [(nose, (1.0, 0.5, 0.0))], [(eye, (0.0, 0.0, 0.0))])
    geometry = trace(shape, [Camera(0.0, 0.0, 3.0, 40.0), Camera(180.0, 0.0, 3.0, 40.0)], 64)
    front, back = (pictures.painted_map(geometry, view) for view in range(2))
    assert set(np.unique(front)) == {0, 1, 2} and not back.any()
    image = paint(geometry, 0, lambda p, n: torch.ones_like(p), torch.full((3, 1, 1), 0.2), None)
    inside = geometry.coverage[0] == 1
    for which, color in ((1, (1.0, 0.5, 0.0)), (2, (0.0, 0.0, 0.0))):
        shown = image[:, torch.from_numpy(front == which) & inside].T
        assert (shown - torch.tensor(color)).abs().mean() < 0.06  # at its rim a pixel shows a part of others, too


def test_small_things_count_as_if_they_covered_their_share():
    painted = torch.zeros(3, 64, 64, dtype=torch.uint8)
    painted[0, :8, :16] = 1  # a thirty-second
    painted[1, :8, :4], painted[1, 32:, :] = 2, 1  # a 128th, and half of the picture
    counts = train.emphasis(painted, 1 / 8, 16)
    assert counts.shape == (3, 1, 16, 16)
    assert (counts[0, 0, :2, :4] == 4).all() and counts[0].sum() == 248 + 8 * 4
    assert (counts[1, 0, :2, :1] == 16).all() and (counts[1, 0, 8:] == 1).all()
    assert (counts[2] == 1).all()
    assert train.emphasis(painted, 1.0, 16).max() == train.MOST
    assert (train.emphasis(painted, 0.0, 16) == 1).all()


def test_what_counts_more_has_more_of_the_error():
    right, wrong = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
    wrong[:, :, 0, 0] = 1.0
    alphas, counts = torch.tensor([0.5]), torch.ones(1, 1, 16, 16)
    counts[0, 0, 0, 0] = 16.0
    plain, more = (weighted_error(wrong, right, alphas, 5.0, by) for by in (1.0, counts))
    assert plain == pytest.approx(1 / 256) and more == pytest.approx(16 / 256)


def test_where_there_is_much_noise_an_error_of_the_clean_picture_counts_that_much_at_least():
    alphas = torch.tensor([0.01, 0.2, 0.5, 0.8, 0.99])
    wrong_by = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))  # in the clean picture
    for alpha, wrong in zip(alphas, wrong_by, strict=True):
        snr = alpha / (1 - alpha)
        noise = (snr.sqrt() * wrong)[None]
        for floor in (0.0, 0.5, 1.0):
            found = weighted_error(noise, torch.zeros_like(noise), alpha[None], 5.0, floor=floor)
            assert found == pytest.approx(float(snr.clamp(floor, 5.0) * wrong.square().mean()), rel=1e-5)


def test_cameras_come_as_near_as_a_whole_shape_lets_them():
    plank = Shape("box", solids.box((0.1, 0, 0), (0.9, 0.2, 0.3)))
    for azimuth, elevation, fov in ((0.0, 0.0, 40.0), (70.0, 30.0, 30.0), (-120.0, -10.0, 38.0), (10.0, 80.0, 35.0)):
        far = Camera(azimuth, elevation, 4.0, fov)
        near = pictures.nearer(far, trace(plank, [far], 24).points, 0.9)
        seen = trace(plank, [near], 64).coverage[0] > 0.5
        rows, columns = (torch.nonzero(seen.any(side))[:, 0] for side in (1, 0))
        ends = torch.stack((rows[0], 63 - rows[-1], columns[0], 63 - columns[-1])).float()
        # A tenth of the half is 3.2 pixels; a glance may miss half a pixel of 24 at each end, which is 2.2 from near.
        assert near.distance < far.distance and 1 <= float(ends.min()) <= 5
        assert abs(float(ends[0] - ends[1])) <= 3 and abs(float(ends[2] - ends[3])) <= 3
    ball = Camera(0.0, 0.0, 1.0 / math.sin(math.radians(20)) / 0.9, 40.0)
    assert pictures.nearer(ball, trace(Shape("ball", BALL), [ball], 24).points, 0.85).distance > 0.95 * ball.distance
    assert pictures.nearer(far, torch.zeros(1, 3), 0.9).distance == pictures.NEAREST * 4.0


def test_some_pictures_of_a_part_are_taken_from_near():
    shared, near = (pictures.render_part(5, 0, shapes=3, near=near) for near in (0.0, 1.0))
    far_share, near_share = ((part["coverage"] > 127).mean() for part in (shared, near))
    assert near_share > 1.1 * far_share
    assert np.array_equal(shared["coverage"], pictures.render_part(5, 0, shapes=3)["coverage"])


def test_depth_and_normals_of_a_ball():
    distance, camera = 3.0, Camera(azimuth=70, elevation=25, distance=3.0, fov=45)
    geometry = trace(Shape("ball", BALL), [camera], 65)
    depth, normals = pictures.buffers(geometry, 0)
    middle = 32
    assert float(depth[middle, middle]) == pytest.approx(distance - 1, abs=5e-3)
    assert normals[middle, middle].tolist() == pytest.approx([0, 0, 1], abs=1e-2)
    there = geometry.coverage[0] == 1
    assert float(depth[there].max()) < math.sqrt(distance**2 - 1) + 0.05 and not depth[geometry.coverage[0] == 0].any()
    right, top = normals[middle, there[middle].nonzero().max()], normals[there[:, middle].nonzero().min(), middle]
    assert right[0] > 0.8 and abs(right[1]) < 0.1 and top[1] > 0.8 and abs(top[0]) < 0.1


def test_near_is_white_and_what_is_kept_back_is_black():
    depth = torch.zeros(1, 4, 4)
    depth[0, 1, 1], depth[0, 1, 2], depth[0, 2, 1] = 2.0, 3.0, 2.5
    normals = torch.zeros(1, 4, 4, 3, dtype=torch.int8)
    normals[0, 1, 1], normals[0, 1, 2] = torch.tensor([0, 0, 127]), torch.tensor([127, 0, 0])
    coverage = torch.where(depth > 0, 255, 0).to(torch.uint8)
    coverage[0, 2, 1] = 128
    for hard, edge in ((True, 0.5), (False, 0.5 * 128 / 255)):
        hint = hint_pictures(depth.half(), normals, coverage, torch.tensor([hard]))
        assert hint[0, 0, 1, 1] == 1 and hint[0, 0, 1, 2] == 0
        assert float(hint[0, 0, 2, 1]) == pytest.approx(edge)
        assert hint[0, 1:, 1, 1].tolist() == pytest.approx([0.5, 0.5, 1.0])
        assert hint[0, 1:, 1, 2].tolist() == pytest.approx([0.0, 0.5, 0.5])  # what looks to the right has no red
        assert not hint[0, :, 0].any()
    kinds = {name: k for k, name in enumerate(DROPS)}
    both = torch.ones(4, 4, 2, 2)
    kept = drop(both, np.array([kinds[name] for name in ("nothing", "all", "depth", "normals")]))
    assert kept[:, :, 0, 0].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0]]


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory):
    """A tiny model of the mini model's build, and a part with few pictures."""
    return write_world(tmp_path_factory.mktemp("control"), pictures.render_part(3, 0, shapes=3))


def test_the_same_part_has_the_same_bytes(tiny_world):
    stored, again = np.load(tiny_world / "cache" / "part_00000.npz"), pictures.render_part(3, 0, shapes=3)
    assert all(np.array_equal(stored[name], again[name]) for name in again)
    assert stored["images"].shape[1:] == (64, 64, 3) and (stored["depth"] > 0).any()


@pytest.mark.parametrize("even", [0.0, 0.1])
def test_a_training_that_was_cut_takes_the_same_steps_and_learns(tiny_world, tmp_path, monkeypatch, even):
    config = train.Config(
        tiny_world / "weights",
        tiny_world / "cache",
        tmp_path / "whole",
        count=1,
        steps=6,
        batch=8,
        processes=1,
        even=even,
    )
    train.train_control(config)
    cut = replace(config, out=tmp_path / "cut", steps=3)
    factor = loop.learning_factor
    with monkeypatch.context() as patch:  # the fall of the rate is of the whole training
        patch.setattr(loop, "learning_factor", lambda step, progress, **rest: factor(step, step / 6, **rest))
        train.train_control(cut)
    train.train_control(replace(cut, steps=6))
    nets = [torch.load(c.out / "control.pt", weights_only=True)["net"] for c in (config, cut)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
    frozen = train.load_frozen(config.weights)
    start = train.make_control_net(frozen.unet, config.seed).state_dict()
    assert any(not torch.equal(start[name], nets[0][name]) for name in start)


def test_the_exported_net_is_diffusers_own_and_gives_the_averaged_residuals(tiny_world, tmp_path):
    from diffusers import ControlNetModel

    config = train.Config(
        tiny_world / "weights", tiny_world / "cache", tmp_path / "run", count=1, steps=2, batch=4, processes=1
    )
    train.train_control(config)
    unet = UNet2DConditionModel.from_pretrained(config.weights / "unet", torch_dtype=torch.float32)
    assert train.export(config.out, unet, tmp_path / "net") == 2
    net = ControlNetModel.from_pretrained(tmp_path / "net", torch_dtype=torch.float32)
    average = torch.load(config.out / "control.pt", weights_only=True)["average"]
    assert all(torch.allclose(value, average[name].half().float()) for name, value in net.state_dict().items())
