"""The multi-view variant's pictures and its training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from csd_blender.backend.diffusion.views.mvdream import see_all_views
from csd_blender.backend.mini import vocabulary as voc
from tests.support.tiny_mini import write_world
from tools.lab.mini.control.train import load_frozen, make_control_net
from tools.lab.mini.dataset import COLUMNS
from tools.lab.mini.training import loop
from tools.lab.mini.views import pictures, train


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory):
    """A tiny model of the mini model's build with its ControlNet, and a part with few pictures."""
    folder = write_world(tmp_path_factory.mktemp("views"), pictures.render_part(6, 0, shapes=3))
    make_control_net(load_frozen(folder / "weights").unet, 0).save_pretrained(folder / "control")
    return folder


def config_of(world, out, **settings):
    return train.Config(
        world / "weights", world / "control", world / "cache", out, count=1, batch=4, processes=1, **settings
    )


def test_a_ring_shows_one_thing_from_four_sides(tiny_world):
    part = np.load(tiny_world / "cache" / "part_00000.npz")
    assert len(part["images"]) == 3 * pictures.RING * pictures.SURFACES
    labels = part["labels"].reshape(-1, pictures.RING, len(COLUMNS))
    for column in ("shape", "material", "color", "light"):
        assert (labels[:, :, COLUMNS.index(column)] == labels[:, :1, COLUMNS.index(column)]).all(), column
    matrices = part["cameras"].reshape(-1, pictures.RING, 4, 4)
    places = matrices[..., :3, 3]
    assert np.allclose(np.linalg.norm(places, axis=-1), 1, atol=1e-6)
    assert np.allclose(places[:, 0] * (1, 1, -1), -places[:, 2], atol=1e-6), "the third looks from the other side"
    assert np.allclose(matrices[..., :3, 2], places, atol=1e-6), "cameras look at the thing"
    views = labels[:, :, COLUMNS.index("view")]
    for ring, seen in zip(places, views, strict=True):
        for place, view in zip(ring, seen, strict=True):  # the network's front is at +X
            azimuth = math.degrees(math.atan2(place[1], place[0]))
            elevation = math.degrees(math.asin(np.clip(place[2], -1, 1)))
            assert voc.VIEWS[view] == voc.view_word(azimuth, elevation)


def test_the_same_part_has_the_same_bytes(tiny_world):
    stored, again = np.load(tiny_world / "cache" / "part_00000.npz"), pictures.render_part(6, 0, shapes=3)
    assert set(stored.files) == set(again) and all(np.array_equal(stored[name], again[name]) for name in again)


def test_captions_name_no_side():
    rng, label = np.random.default_rng(0), np.array([0, 0, 1, voc.VIEWS.index("back"), 0, 0, 0, 1], np.int16)
    said = {word for _ in range(200) for word in train.ring_words(label, rng)}
    assert not said & set(voc.VIEWS) and voc.SHAPES[0] in said and label[COLUMNS.index("clear")] == 1


def test_the_network_begins_as_the_plain_one(tiny_world):
    """Four views alike are to it what one is to the plain network: its new layers say nothing at first."""
    plain = load_frozen(tiny_world / "weights").unet
    unet = train.make_view_unet(plain, 1).eval()
    one, words = torch.randn(1, 4, 16, 16), torch.randn(1, 16, 32)
    t, cameras = torch.tensor([400]), torch.randn(4, 16)
    with torch.no_grad():
        expected = plain(one, t, words).sample
        found = unet(one.repeat(4, 1, 1, 1), t.repeat(4), words.repeat(4, 1, 1), class_labels=cameras).sample
    torch.testing.assert_close(found, expected.expand(4, -1, -1, -1), atol=1e-5, rtol=1e-5)


def test_a_training_that_was_cut_takes_the_same_steps_and_learns(tiny_world, tmp_path, monkeypatch):
    config = config_of(tiny_world, tmp_path / "whole", steps=4)
    train.train_views(config)
    cut, factor = replace(config, out=tmp_path / "cut", steps=2), loop.learning_factor
    with monkeypatch.context() as patch:  # the fall of the rate is of the whole training
        patch.setattr(loop, "learning_factor", lambda step, progress, **rest: factor(step, step / 4, **rest))
        train.train_views(cut)
    train.train_views(replace(cut, steps=4))
    nets = [torch.load(c.out / "views.pt", weights_only=True)["net"] for c in (config, cut)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
    start = train.make_view_unet(load_frozen(config.weights).unet, config.seed).state_dict()
    changed = [name for name in start if not torch.equal(start[name], nets[0][name])]
    assert "class_embedding.linear_2.weight" in changed and any("attn1" in name for name in changed)


def test_the_exported_network_is_diffusers_own_and_gives_the_averaged_answers(tiny_world, tmp_path):
    config = config_of(tiny_world, tmp_path / "run", steps=2)
    train.train_views(config)
    plain = load_frozen(config.weights).unet
    assert train.export(config.out, plain, tmp_path / "unet") == 2
    assert str(tiny_world) not in (tmp_path / "unet" / "config.json").read_text(), (
        "where it was made is nobody's business"
    )
    found = UNet2DConditionModel.from_pretrained(tmp_path / "unet", torch_dtype=torch.float32)
    see_all_views(found, pictures.RING)
    average = train.make_view_unet(plain, 0)
    average.load_state_dict(torch.load(config.out / "views.pt", weights_only=True)["average"])
    inputs = torch.randn(4, 4, 16, 16), torch.full((4,), 300), torch.randn(4, 16, 32)
    with torch.no_grad():
        answers = [network.eval()(*inputs, class_labels=torch.ones(4, 16)).sample for network in (found, average)]
    torch.testing.assert_close(*answers, atol=3e-3, rtol=3e-3)


def test_things_are_drawn_by_whether_they_have_a_front_and_evenly_by_their_kind():
    labels = np.repeat([0, 1, len(voc.FRONT_SHAPES), len(voc.FRONT_SHAPES) + 2], [50, 2, 40, 3])
    kinds = [np.flatnonzero(labels == k) for k in range(len(voc.SHAPES))]
    rng = np.random.default_rng(0)
    with_front = rng.random(4000) < 0.25
    drawn = labels[train.drawn_by_kind(kinds, with_front, rng)]
    assert ((drawn < len(voc.FRONT_SHAPES)) == with_front).all()
    for few, many in ((1, 0), (len(voc.FRONT_SHAPES) + 2, len(voc.FRONT_SHAPES))):
        assert (drawn == few).sum() == pytest.approx((drawn == many).sum(), rel=0.15)
    seldom, often = len(voc.FRONT_SHAPES), len(voc.FRONT_SHAPES) + 2
    drawn = labels[train.drawn_by_kind(kinds, with_front, rng, often=(voc.SHAPES[often],))]
    assert (drawn == often).sum() == pytest.approx(train.OFTEN * (drawn == seldom).sum(), rel=0.15)
    assert ((drawn < len(voc.FRONT_SHAPES)) == with_front).all()


def test_a_training_can_go_on_from_a_network_of_its_sort(tiny_world, tmp_path):
    first = config_of(tiny_world, tmp_path / "first", steps=2)
    train.train_views(first)
    train.export(first.out, load_frozen(first.weights).unet, tmp_path / "unet")
    more = config_of(tiny_world, tmp_path / "more", steps=1, start=tmp_path / "unet", fronts=0.5, rate=1e-9)
    train.train_views(more)
    found = torch.load(more.out / "views.pt", weights_only=True)["net"]
    given = UNet2DConditionModel.from_pretrained(tmp_path / "unet", torch_dtype=torch.float32).state_dict()
    for name, value in given.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)
