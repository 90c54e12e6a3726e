"""The small encoder of the bundled model: how alike the full one it is, and how its training learns and resumes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from csd_blender.backend.diffusion.additions.load_encoder import MINI_ENCODER
from csd_blender.backend.diffusion.loading import load_model
from tools.lab import encoders
from tools.lab.mini.control.pictures import render_part
from tools.lab.mini.encoder import targets, train
from tools.lab.mini.models import Sizes, make_text_encoder, make_unet, make_vae, save_pipeline
from tools.lab.mini.training import loop

SMALL = Sizes(vae=(8, 8, 8), unet=(16, 16, 16), text=16, text_layers=1)


@pytest.fixture(scope="module")
def mini():
    return load_model("mini", torch.device("cpu"))


# ---- the bundled one -------------------------------------------------------------------------------------------------


def test_the_bundled_one_gives_the_gradients_and_the_latents_of_the_full_one(mini):
    found = encoders.likeness(mini, *encoders.rendered_pictures(shapes=6, seed=99))
    assert float(found.cosines.mean()) >= 0.95 and float(found.cosines.min()) >= 0.85
    assert 0.9 < float(found.sizes.mean()) < 1.1
    assert found.error < 0.25  # (latents have about unit deviation)


def test_it_comes_as_near_in_the_steps_of_a_texture_job(mini):
    sizes = encoders.Sizes(jobs=(("robot", "rust"),), steps=45, every=9)
    pictures, gradients = encoders.job_pictures(mini, sizes)
    assert pictures.shape == (20, 3, 64, 64) and gradients.shape == (20, 4, 16, 16)
    found = encoders.likeness(mini, pictures, gradients)
    assert float(found.cosines.mean()) >= 0.95 and 0.9 < float(found.sizes.mean()) < 1.1


def test_it_is_a_small_file_that_diffusers_itself_reads(mini):
    config = json.loads((MINI_ENCODER / "config.json").read_text())
    assert config["_class_name"] == "AutoencoderTiny" and config["scaling_factor"] == 1.0
    assert sum(file.stat().st_size for file in MINI_ENCODER.iterdir()) < 200_000
    net = AutoencoderTiny.from_pretrained(MINI_ENCODER)
    count = sum(value.numel() for value in net.encoder.parameters())
    assert count < 0.2 * sum(value.numel() for value in mini.vae.encoder.parameters())
    pictures, _ = encoders.rendered_pictures(shapes=2, seed=99)
    with torch.no_grad():
        latents = net.encode(pictures * 2 - 1).latents
        drawn = net.decode(mini.encode_images(pictures)).sample
    assert float((latents - mini.encode_images(pictures)).square().mean().sqrt()) < 0.25
    assert float((drawn - (pictures * 2 - 1)).square().mean()) < 0.1  # its decoder is there for the layout's sake


# ---- how it is made --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    save_pipeline(folder, make_vae(SMALL), make_unet(SMALL), make_text_encoder(SMALL))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two parts of a few pictures each."""
    folder = tmp_path_factory.mktemp("cache")
    for part in range(2):
        np.savez(folder / f"part_{part:05d}.npz", **render_part(1, part, 2))
    return folder


@pytest.fixture
def config(weights, pictures, tmp_path, monkeypatch):
    for module in (targets, train):
        monkeypatch.setattr(module, "PART", 8)
    monkeypatch.setattr("tools.lab.mini.control.pictures.PART", 8)
    return train.Config(weights, pictures, tmp_path / "run", count=8, steps=6, batch=4, decoded=1, processes=1)


def test_targets_are_the_full_encoders_own_gradients_and_come_again(weights, pictures):
    part = targets.make_part(weights, [pictures / "part_00000.npz"], 5, 0)
    again = targets.make_part(weights, [pictures / "part_00000.npz"], 5, 0)
    assert all(np.array_equal(part[name], again[name]) for name in part)
    vae, shown = targets.load_full(weights), targets.pixels_of(part["images"])
    leaf = shown[:3].clone().requires_grad_(True)
    latents = vae.encode(leaf).latent_dist.mode() * vae.config.scaling_factor
    (latents * targets.latent_gradients(5, 0, 8)[:3]).sum().backward()
    for name, expected in (("latents", latents.detach()), ("gradients", leaf.grad)):
        np.testing.assert_allclose(part[name][:3].astype(np.float32), expected.numpy(), rtol=2e-3, atol=2e-3)
    plain = np.load(pictures / "part_00000.npz")["images"]
    changed = [not np.array_equal(a, b) for a, b in zip(part["images"], plain, strict=True)]
    assert 0 < sum(changed) < len(changed)


def test_half_made_textures_have_plain_backgrounds_and_stay_pictures():
    image, coverage = torch.full((3, 64, 64), 0.3), torch.zeros(64, 64)
    coverage[16:48, 16:48] = 1
    made = targets.half_made(image, coverage, np.random.default_rng(0))
    assert made.shape == image.shape and 0 <= float(made.min()) <= float(made.max()) <= 1
    behind = made[:, coverage == 0]
    assert torch.equal(behind, behind[:, :1].expand_as(behind)) and float(made[:, coverage == 1].std()) > 0.01


def test_a_training_that_was_interrupted_takes_the_same_steps_and_is_exported(config, tmp_path, monkeypatch):
    train.train_encoder(config)
    whole = torch.load(config.out / "encoder.pt", weights_only=True)
    assert whole["step"] == 6
    rows = [json.loads(line) for line in (config.out / "progress.jsonl").read_text().splitlines()]
    assert rows[-1]["stage"] == "held out" and -1 <= rows[-1]["lowest_cosine"] <= rows[-1]["cosine"] <= 1

    class Gone(Exception):
        pass

    save, later = loop.save_state, replace(config, out=tmp_path / "later", save_seconds=0.0)

    def saves_and_is_gone(path, state):
        save(path, state)
        if state["step"] == 3:
            raise Gone

    monkeypatch.setattr(loop, "save_state", saves_and_is_gone)
    with pytest.raises(Gone):
        train.train_encoder(later)
    monkeypatch.setattr(loop, "save_state", save)
    train.train_encoder(later)
    resumed = torch.load(later.out / "encoder.pt", weights_only=True)
    for kind in ("net", "average"):
        assert all(torch.equal(resumed[kind][name], value) for name, value in whole[kind].items())
    assert train.export(config.out, tmp_path / "exported") == 6
    net = AutoencoderTiny.from_pretrained(tmp_path / "exported")
    weight = whole["average"]["encoder.layers.0.weight"]
    assert torch.equal(net.encoder.layers[0].weight, weight.half().float())


def test_the_loss_falls_where_gradients_and_latents_come_near(config):
    paths = targets.make_targets(config.weights, config.cache, config.out, 8, (3, 5), 1)
    rows = train.load_rows(paths, 5, 0)
    torch.manual_seed(0)
    net = train.make_small()
    batch = rows.batch(np.arange(8), "cpu")
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses, (before, _) = [], train.cosines(net, rows, "cpu")
    for _ in range(40):
        loss = train.encoder_loss(net, batch, 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    after, _ = train.cosines(net, rows, "cpu")
    assert losses[-1] < 0.6 * losses[0] and float(after.mean()) > float(before.mean()) + 0.15


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_written_and_printed(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        assert encoders.run_encoders(tmp_path, rehearse=True) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "a texture step at Draft" in said and "texture jobs, their own gradients" in said
    assert encoders.run_encoders(tmp_path, show=True) == 0 and capsys.readouterr().out == said
    assert encoders.run_encoders(tmp_path / "none", show=True) == 0
