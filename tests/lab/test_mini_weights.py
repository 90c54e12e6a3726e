# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundled weights: size, loading, and a floor under their quality."""

import numpy as np
import pytest
import torch

from csd_blender.backend.mini import vocabulary as voc
from tools.lab.mini import dataset
from tools.lab.mini.__main__ import JUDGE_WEIGHTS, WEIGHTS
from tools.lab.mini.materials import make_material
from tools.lab.mini.readers.judge import load_judge
from tools.lab.mini.render import Camera, paint, trace
from tools.lab.mini.samples import generate, judged_accuracy, load_pipeline
from tools.lab.mini.shapes import make_shape


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline(WEIGHTS)


def test_size_on_disk():
    files = [p for folder in (WEIGHTS, JUDGE_WEIGHTS) for p in folder.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 24e6
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


def test_latents_have_unit_deviation_and_reconstruct(pipe):
    images = torch.from_numpy(dataset.render_part(4242, 0, shapes=6, flaw_share=0.0)["images"])
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        posterior = pipe.vae.encode(pixels).latent_dist
        decoded = pipe.vae.decode(posterior.mean).sample
    assert float((posterior.mean * pipe.vae.config.scaling_factor).std()) == pytest.approx(1.0, abs=0.15)
    assert float(((decoded - pixels) ** 2).mean()) < 0.02


def test_encoder_gradients_are_finite(pipe):
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    pipe.vae.encode(image * 2 - 1).latent_dist.mean.square().sum().backward()
    assert torch.isfinite(image.grad).all() and image.grad.abs().max() > 0


def test_same_seed_same_picture(pipe):
    first, again = (generate(pipe, ["a gold ring"], seed=3, steps=4) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, generate(pipe, ["a gold ring"], seed=4, steps=4))


def test_judge_knows_rendered_pictures():
    data = dataset.render_part(777, 0, shapes=20, flaw_share=0.0)
    scores = load_judge().classify(torch.from_numpy(data["images"]).permute(0, 3, 1, 2).float() / 255)
    material = scores["material"].argmax(1).numpy() == data["labels"][:, 1]
    colored = data["labels"][:, 2] >= 0
    color = scores["color"].argmax(1).numpy() == data["labels"][:, 2]
    assert material.mean() > 0.9 and color[colored].mean() > 0.9
    with pytest.raises(ValueError):
        load_judge().classify(torch.zeros(1, 3, 32, 32))


def test_judge_verdict_over_views():
    rng = np.random.default_rng(0)
    geometry = trace(make_shape("object", rng), [Camera(az, 15) for az in range(0, 360, 45)])
    judge = load_judge()

    def verdict(material: str, color: str | None) -> dict[str, str | None]:
        surface = make_material(material, color, rng)
        return judge.verdict(torch.stack([paint(geometry, k, surface, torch.ones(3, 1, 1), None) for k in range(8)]))

    assert {k: verdict("checkered", "green")[k] for k in ("material", "color")} == {
        "material": "checkered",
        "color": "green",
    }
    assert verdict("brick", None)["material"] == "brick" and verdict("brick", None)["color"] is None
    assert judge.MATERIALS == voc.MATERIALS and judge.VIEWS == voc.VIEWS


def test_flat_colors_are_flat(pipe):
    """A plain ball asked for in flat colors has hardly any shading, one in studio light does."""
    prompts = [
        f"a {c} plain ball, {light}"
        for light in ("flat colors", "studio light")
        for c in ("red", "blue", "green", "gray")
    ]
    pictures = generate(pipe, prompts, seed=1, steps=15)
    inside = pictures[:, :, 24:40, 24:40].flatten(2)
    spread = inside.std(2).mean(1)
    assert spread[:4].mean() < 0.03 and spread[:4].mean() < 0.6 * spread[4:].mean()


def test_prompts_are_followed():
    report = judged_accuracy(WEIGHTS, JUDGE_WEIGHTS, count=24, seed=5, steps=15)
    assert report["material and color"] >= 0.75
