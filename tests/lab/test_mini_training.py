# SPDX-License-Identifier: GPL-3.0-or-later
import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import AutoTokenizer, CLIPTextModel

from tools.lab.mini import dataset, models
from tools.lab.mini.samples import generate, load_pipeline
from tools.lab.mini.train import Config, export, learning_factor, load_trained, train

TINY = models.Sizes(vae=(8, 8, 16), unet=(16, 16, 32), text=32, text_layers=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    np.savez(folder / "part_00000.npz", **dataset.render_part(0, 0, shapes=2))
    return folder


def _config(out, cache, **changes) -> Config:
    return Config(out=out, cache=cache, data_count=24, vae_data=24, vae_batch=2, unet_batch=4, processes=1,
                  sizes=TINY, **changes)  # fmt: skip


@pytest.fixture
def exact_kernels():
    """oneDNN's convolutions may round differently from one run to the next; torch's own do not."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def test_resumed_training_equals_uninterrupted(tmp_path, cache, exact_kernels):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(_config(whole, cache, vae_steps=3, unet_steps=3, save_seconds=0.0))
    # Stops after each step: the checkpoint of step 1 must lead to the same step 3.
    train(_config(halves, cache, vae_steps=3, unet_steps=3, save_seconds=0.0))
    from tools.lab.mini import train as module

    class Stop(Exception):
        pass

    interrupted = tmp_path / "interrupted"
    real = module.unet_loss
    calls = []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise Stop
        return real(*args, **kwargs)

    module.unet_loss = failing
    try:
        with pytest.raises(Stop):
            train(_config(interrupted, cache, vae_steps=3, unet_steps=3, save_seconds=0.0))
    finally:
        module.unet_loss = real
    assert torch.load(interrupted / "unet.pt", weights_only=True)["step"] == 2
    train(_config(interrupted, cache, vae_steps=3, unet_steps=3, save_seconds=0.0, resume=True))
    for other in (halves, interrupted):
        for name, key in (("vae.pt", "vae"), ("unet.pt", "networks"), ("unet.pt", "average")):
            a, b = (torch.load(folder / name, weights_only=True)[key] for folder in (whole, other))
            assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    with pytest.raises(FileExistsError):
        train(_config(whole, cache, vae_steps=3, unet_steps=3))


def test_training_lowers_the_loss_and_reports(tmp_path, cache):
    train(_config(tmp_path / "run", cache, vae_steps=100, unet_steps=2))
    rows = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["stage"] == "vae"] == [50, 100]
    assert rows[1]["loss"] < rows[0]["loss"]


def test_export_loads_in_half_precision(tmp_path, cache):
    train(_config(tmp_path / "run", cache, vae_steps=1, unet_steps=1))
    target = tmp_path / "weights"
    assert export(tmp_path / "run", target) == 1
    vae = AutoencoderKL.from_pretrained(target, subfolder="vae", torch_dtype=torch.float16)
    unet = UNet2DConditionModel.from_pretrained(target, subfolder="unet", torch_dtype=torch.float16)
    text = CLIPTextModel.from_pretrained(target, subfolder="text_encoder", dtype=torch.float16)
    tokenizer = AutoTokenizer.from_pretrained(target, subfolder="tokenizer")
    scheduler = DDIMScheduler.from_pretrained(target, subfolder="scheduler")
    assert vae.dtype == unet.dtype == text.dtype == torch.float16
    assert scheduler.config.prediction_type == "epsilon" and tokenizer.model_max_length == 16
    trained_vae, trained_unet, _, _ = load_trained(tmp_path / "run")
    assert vae.config.scaling_factor == trained_vae.config.scaling_factor
    assert torch.allclose(unet.conv_in.weight.float(), trained_unet.conv_in.weight, atol=1e-3)
    pictures = generate(load_pipeline(target), ["a red ball", ""], steps=2)
    assert pictures.shape == (2, 3, 64, 64) and torch.isfinite(pictures).all()


def test_learning_rate_shape():
    assert learning_factor(0, 0.0) == pytest.approx(1 / 200)
    assert learning_factor(500, 0.5) == 1.0
    assert learning_factor(900, 0.85) == pytest.approx(0.51)
    assert learning_factor(1000, 1.0) == pytest.approx(0.02)
