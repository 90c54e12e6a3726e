"""The variant that draws the other sides of a pictured thing: its pictures and its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.views.zero123 import Zero123, pose
from csd_blender.backend.mini import vocabulary as voc
from csd_blender.backend.pipelines.text_to_3d.one_picture import FILL
from csd_blender.job.models import places
from tests.support.tiny_mini import write_world
from tools.lab.mini.control.train import load_frozen
from tools.lab.mini.picture import pictures, train
from tools.lab.mini.render import Camera, trace
from tools.lab.mini.shapes import make_shape
from tools.lab.mini.training import loop


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("picture"), pictures.render_part(8, 0, shapes=2))


def config_of(world, out, **settings):
    return train.Config(world / "weights", world / "cache", out, count=1, batch=4, processes=1, **settings)


def test_a_part_has_things_as_they_are_shown_and_others_from_around(tiny_world):
    part = np.load(tiny_world / "cache" / "part_00000.npz")
    things = 2 * pictures.SHOWN * pictures.SURFACES
    assert [len(part[name]) for name in ("shown", "images", "poses", "labels")] == [
        things,
        4 * things,
        4 * things,
        things,
    ]
    assert (part["labels"][:, 0] < len(voc.SHAPES)).all()
    for name in ("shown", "images"):
        assert (part[name][:, 0, 0] == 255).all(), "on white"
    around = np.hypot(part["poses"][:, 1], part["poses"][:, 2])
    assert np.allclose(around, 1, atol=1e-6) and (part["poses"][:, 3] >= 0).all()
    again = pictures.render_part(8, 0, shapes=2)
    assert all(np.array_equal(part[name], again[name]) for name in part.files), "the same part has the same bytes"


def test_the_nearest_camera_sees_the_thing_as_large_as_it_is_shown(monkeypatch):
    """The very camera that it is shown from, at the recipe's nearest distance: it fills the frame as when cut out."""
    ranges = {"elevation": (20.0, 20.0), "distance": (2.3, 2.3), "fov_y": (45.0, 45.0)}
    monkeypatch.setattr(pictures, "MINI_CAMERAS", ranges)
    shape = make_shape("house", np.random.default_rng(3))
    first = Camera(30.0, 20.0, pictures.SHOWN_FROM, 45.0)
    filled = pictures.fill(trace(shape, [first], 128).coverage[0])
    others, ways = pictures.other_cameras(np.random.default_rng(0), first, filled)
    seen = [pictures.fill(c) for c in trace(shape, [replace(c, azimuth=30.0) for c in others], 128).coverage]
    assert seen == pytest.approx([FILL] * 4, abs=0.06), "but for perspective"
    turns = [np.radians(c.azimuth - 30.0) for c in others]
    assert np.allclose(ways[:, 1], np.sin(turns), atol=1e-5) and np.allclose(ways[:, [0, 3]], 0, atol=1e-5)
    assert torch.equal(pose(torch.zeros(1), torch.tensor([90.0]), torch.zeros(1))[0, 1:2].round(), torch.ones(1))


def test_a_training_that_was_cut_takes_the_same_steps_and_learns(tiny_world, tmp_path, monkeypatch):
    config = config_of(tiny_world, tmp_path / "whole", steps=4)
    train.train_picture(config)
    cut, factor = replace(config, out=tmp_path / "cut", steps=2), loop.learning_factor
    with monkeypatch.context() as patch:  # the fall of the rate is of the whole training
        patch.setattr(loop, "learning_factor", lambda step, progress, **rest: factor(step, step / 4, **rest))
        train.train_picture(cut)
    train.train_picture(replace(cut, steps=4))
    nets = [torch.load(c.out / "picture.pt", weights_only=True)["net"] for c in (config, cut)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
    start = train.PictureNet(load_frozen(config.weights).unet, config.seed).state_dict()
    changed = {name.split(".")[0] for name in start if not torch.equal(start[name], nets[0][name])}
    assert changed == {"unet", "image_encoder", "projection"}


def test_the_exported_networks_are_a_zero123_that_gives_the_averaged_answers(tiny_world, tmp_path, monkeypatch):
    config = config_of(tiny_world, tmp_path / "run", steps=2)
    train.train_picture(config)
    plain = load_frozen(config.weights).unet
    assert train.export(config.out, plain, tmp_path / "networks") == 2
    assert str(tiny_world) not in (tmp_path / "networks" / "unet" / "config.json").read_text()
    monkeypatch.setattr(places, "BUNDLED_PICTURE", tmp_path / "networks")
    monkeypatch.setattr("csd_blender.backend.diffusion.loading.MINI_FOLDER", config.weights)
    model = load_model("mini", torch.device("cpu"), told="picture")
    assert isinstance(model, Zero123)
    net = train.PictureNet(plain, 0).eval()
    net.load_state_dict(torch.load(config.out / "picture.pt", weights_only=True)["average"])
    shown = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    seen, poses = (
        model.show(shown),
        pose(torch.tensor([10.0, 0.0]), torch.tensor([90.0, 0.0]), torch.tensor([0.2, 0.0])),
    )
    noisy, t = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2)), torch.tensor([400, 400])
    with torch.no_grad():
        both = shown.expand(2, -1, -1, -1), seen.latents.expand(2, -1, -1, -1), poses
        expected = net(noisy, t, *both, torch.ones(2))
        empty = net(noisy, t, *both, torch.zeros(2))
    torch.testing.assert_close(
        model.predict_noise(noisy, t, model.conditions(seen, poses)), expected, atol=2e-2, rtol=2e-2
    )
    torch.testing.assert_close(model.predict_noise(noisy, t, model.empty(2)), empty, atol=2e-2, rtol=2e-2)
