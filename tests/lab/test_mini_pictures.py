# SPDX-License-Identifier: GPL-3.0-or-later
import math

import numpy as np
import pytest
import torch

from csd_blender.backend.mini import vocabulary as voc
from tools.lab.mini import dataset, solids
from tools.lab.mini.materials import make_material
from tools.lab.mini.palette import RGB
from tools.lab.mini.render import Camera, Light, paint, trace
from tools.lab.mini.shape import Shape
from tools.lab.mini.shapes import make_shape

GRAY = torch.full((3, 1, 1), 0.5)


def _ball(radius: float) -> Shape:
    return Shape("ball", solids.sphere((0, 0, 0), radius))


@pytest.mark.parametrize(("radius", "distance", "fov"), [(1.0, 3.5, 40.0), (0.6, 2.5, 50.0), (0.9, 5.0, 30.0)])
def test_silhouette_of_a_ball(radius, distance, fov):
    geometry = trace(_ball(radius), [Camera(30, 20, distance, fov)])
    # A ball at distance d is a disc of radius tan(asin(r / d)) on the picture plane.
    disc = math.tan(math.asin(radius / distance)) / math.tan(math.radians(fov) / 2) * 32
    # Pixels whose center is covered count in full, those just outside in part: the outline grows by 1/8 pixel.
    assert geometry.coverage.sum().item() == pytest.approx(math.pi * (disc + 0.125) ** 2, rel=0.01)
    assert torch.allclose(geometry.points.norm(dim=1), torch.tensor(radius), atol=0.02)


def test_normals_of_a_ball_point_outwards():
    geometry = trace(_ball(1.0), [Camera(-70, -10)])
    outwards = torch.nn.functional.normalize(geometry.points, dim=1)
    assert (geometry.normals * outwards).sum(1).min() > 0.999


@pytest.mark.parametrize(
    ("azimuth", "elevation", "expected"),
    [(0, 0, (0, -1, 0)), (90, 0, (1, 0, 0)), (180, 0, (0, 1, 0)), (0, 90, (0, 0, 1))],
)
def test_camera_positions(azimuth, elevation, expected):
    position = Camera(azimuth, elevation, 2.0).position()
    assert torch.allclose(position, 2.0 * torch.tensor(expected, dtype=torch.float32), atol=1e-5)


def test_picture_axes():
    """Seen from the front, +X is right and +Z is up."""
    body = solids.union(solids.sphere((0.6, 0, 0), 0.2), solids.sphere((0, 0, 0.6), 0.2))
    coverage = trace(Shape("object", body), [Camera(0, 0)]).coverage[0]
    assert coverage[32, 44] > 0.9 and coverage[20, 32] > 0.9
    assert coverage[32, 20] == 0 and coverage[44, 32] == 0


@pytest.mark.parametrize("name", voc.SHAPES)
def test_shapes_fill_the_unit_ball(name):
    shape = make_shape(name, np.random.default_rng(5))
    line = torch.linspace(-1.5, 1.5, 49)
    points = torch.cartesian_prod(line, line, line)
    inside = points[shape.distance(points) < 0]
    assert len(inside) > 50
    assert 0.8 < inside.norm(dim=1).max() < 1.08


@pytest.mark.parametrize("name", voc.FRONT_SHAPES)
def test_features_show_in_front_only(name):
    """On a plain magenta-free body the front shows much more of other colors than the back does."""
    shape = make_shape(name, np.random.default_rng(1))
    geometry = trace(shape, [Camera(0, 10), Camera(180, 10)])
    body = torch.tensor((0.2, 0.9, 0.6))

    def other(view: int) -> float:
        picture = paint(geometry, view, lambda p, n: body.expand(len(p), 3), body[:, None, None], None)
        return float(((picture - body[:, None, None]).abs().amax(0) > 0.2).sum())

    front, back = other(0), other(1)
    assert front > 60
    # A house's roof, a car's tail lamps and the like are also seen from behind.
    assert front > 1.3 * back


@pytest.mark.parametrize("color", voc.COLORS)
def test_flat_plain_pictures_have_one_color(color):
    geometry = trace(make_shape("object", np.random.default_rng(2)), [Camera(20, 10)])
    picture = paint(geometry, 0, make_material("plain", color, np.random.default_rng(3)), GRAY, None)
    inside = picture[:, geometry.coverage[0] == 1]
    assert (inside.amax(1) - inside.amin(1)).max() < 1e-5
    assert (inside[:, 0] - torch.tensor(RGB[color])).abs().max() < 0.2


def test_light_shades_and_flat_does_not():
    geometry = trace(_ball(1.0), [Camera(0, 0)])
    white = make_material("plain", "white", np.random.default_rng(0))
    lit = paint(geometry, 0, white, GRAY, Light((0.0, -0.7071, 0.7071), 0.4, 0.5, 0.0))[0]
    assert lit[16, 32] > lit[48, 32] + 0.1


@pytest.mark.parametrize("name", voc.MATERIALS)
def test_materials(name):
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    normals = torch.nn.functional.normalize(points, dim=1)
    color = "red" if name in voc.PATTERNS else None
    first, again = (make_material(name, color, np.random.default_rng(4))(points, normals) for _ in range(2))
    assert first.shape == (500, 3) and torch.equal(first, again)
    assert 0 <= first.min() and first.max() <= 1.001
    if name != "plain":
        assert first.std(0).max() > 0.05


def test_material_arguments_are_checked():
    rng = np.random.default_rng(0)
    for name, color in (("striped", None), ("striped", "beige"), ("wood", "red"), ("velvet", None)):
        with pytest.raises(ValueError):
            make_material(name, color, rng)
    with pytest.raises(ValueError):
        make_shape("spoon", rng)


def test_parts_are_reproducible():
    first, again = (dataset.render_part(9, 3, shapes=2) for _ in range(2))
    other = dataset.render_part(9, 4, shapes=2)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["images"], other["images"])
    assert first["images"].shape == (24, 64, 64, 3) and first["labels"].shape == (24, len(dataset.COLUMNS))


@pytest.mark.parametrize("flaw", voc.QUALITY)
def test_flaws_change_pictures(flaw):
    rng = np.random.default_rng(0)
    geometry = trace(make_shape("owl", rng), [Camera(0, 10)])
    clean = paint(geometry, 0, make_material("checkered", "blue", rng), GRAY, None)
    spoiled = dataset.spoil(clean, flaw, rng)
    assert spoiled.shape == clean.shape and 0 <= spoiled.min() and spoiled.max() <= 1
    assert (spoiled - clean).abs().mean() > 0.01
    with pytest.raises(ValueError):
        dataset.spoil(clean, "haunted", rng)


def test_captions():
    rng = np.random.default_rng(0)
    mug, striped, blue = voc.SHAPES.index("mug"), voc.MATERIALS.index("striped"), voc.COLORS.index("blue")
    label = np.array([mug, striped, blue, 0, 1, 0, 1, 1])
    captions = [dataset.caption_words(label, rng) for _ in range(2000)]
    assert np.mean([not c for c in captions]) == pytest.approx(0.1, abs=0.025)
    words = [set(c) for c in captions if c]
    known = {"mug", "object", "striped", "blue", "front", "flat", "closeup", "blurry", "<unk>"}
    assert set.union(*words) == known
    assert np.mean(["blue" in w for w in words]) > 0.9 and np.mean(["blurry" in w for w in words]) > 0.88
    lit = label.copy()
    lit[5] = 1
    assert not any("flat" in dataset.caption_words(lit, rng) for _ in range(300))
    between = label.copy()
    between[7] = 0
    assert not any("front" in dataset.caption_words(between, rng) for _ in range(300))
