"""Zero-1-to-3: conditions and predictions are those of its pipeline, written out here from the library's parts.

The pipeline itself is one of the library's community programs, which are not in its package.
"""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.views.zero123 import pose
from csd_blender.job.errors import JobError
from tests.support.damage import edit_json
from tests.support.tiny_models import write_sd15, write_zero123

CPU = torch.device("cpu")
LAYERS = {"cc_projection": "projection", "clip_camera_projection": "proj"}
FILE = "diffusion_pytorch_model.safetensors"


def load_picture_model(name: str, device: torch.device):
    return load_model(name, device, told="picture")


@pytest.fixture(scope="module", params=sorted(LAYERS))
def folder(request, tmp_path_factory):
    return write_zero123(tmp_path_factory.mktemp("models") / "zero123", layer=request.param)


@pytest.fixture(scope="module")
def picture():
    return torch.rand(1, 3, 100, 100, generator=torch.Generator().manual_seed(3))


def told_by_hand(folder, picture, degrees):
    """Vector and latents for one picture in [0, 1] and ``(from the pole, around, farther)`` in degrees and lengths."""
    eye = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    pixels = picture * 2 - 1
    small = F.interpolate(pixels, (24, 24), mode="bicubic", align_corners=True, antialias=False) / 2 + 0.5
    for channel, (mean, deviation) in enumerate(
        ((0.48145466, 0.26862954), (0.4578275, 0.26130258), (0.40821073, 0.27577711))
    ):
        small[:, channel] = (small[:, channel] - mean) / deviation
    vector = eye(small).image_embeds[0].tolist()
    polar, around, farther = degrees
    way = [math.radians(polar), math.sin(math.radians(around)), math.cos(math.radians(around)), farther]
    layer = next(name for name in LAYERS if (folder / name).is_dir())
    weights = load_file(folder / layer / FILE)
    matrix, shift = (weights[f"{LAYERS[layer]}.{name}"] for name in ("weight", "bias"))
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    own = F.interpolate(pixels, (64, 64), mode="bilinear", align_corners=False)
    return matrix @ torch.tensor(vector + way) + shift, vae.encode(own).latent_dist.mode()[0]


@torch.no_grad()
def test_a_step_of_sampling_is_the_one_of_its_pipeline(folder, picture):
    model = load_picture_model(str(folder), CPU)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t, scale = 601, 3.0
    ways = ((-10.0, 90.0, 0.2), (25.0, -160.0, 0.0))
    expected = []
    for row, way in zip(noisy, ways, strict=True):
        vector, latents = told_by_hand(folder, picture, way)
        inputs = torch.stack((torch.cat((row, torch.zeros_like(latents))), torch.cat((row, latents))))
        text = torch.stack((torch.zeros_like(vector), vector))[:, None]
        empty, full = unet(inputs, t, encoder_hidden_states=text).sample
        expected.append(empty + scale * (full - empty))
    steps = torch.full((2,), t)
    elevation, azimuth, distance = torch.tensor([(-polar, around, far) for polar, around, far in ways]).unbind(1)
    told = model.conditions(model.show(picture), pose(elevation, azimuth, distance))
    empty, full = (model.predict_noise(noisy, steps, c) for c in (model.empty(2), told))
    found = empty + scale * (full - empty)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)

    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(50)
    clean = scheduler.step(found, t, noisy).pred_original_sample
    alpha, sigma = model.schedule.alpha_sigma(steps)
    torch.testing.assert_close((noisy - sigma * found) / alpha, clean, rtol=1e-4, atol=1e-4)


def test_picture_and_camera_matter(folder, picture):
    model = load_picture_model(str(folder), CPU)
    shown, other = model.show(picture), model.show(1 - picture)
    still = pose(*torch.zeros(3, 1))
    assert still.tolist() == [[0, 0, 1, 0]]
    text = model.conditions(shown, still).text
    assert text.shape == (1, 1, 16)
    assert not torch.allclose(text, model.conditions(other, still).text, atol=1e-4)
    beside = pose(*torch.tensor([[0.0], [90.0], [0.0]]))
    assert not torch.allclose(text, model.conditions(shown, beside).text, atol=1e-4)
    assert not torch.allclose(shown.latents, other.latents, atol=1e-4)
    assert not model.empty(3).text.any() and not model.empty(3).picture.any()


def test_encoder_and_decoder_are_stable_diffusions(folder, picture):
    model = load_picture_model(str(folder), CPU)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    own = F.interpolate(picture * 2 - 1, (64, 64), mode="bilinear", align_corners=False)
    mean = vae.encode(own).latent_dist.mode() * vae.config.scaling_factor
    torch.testing.assert_close(model.encode_images(picture), mean, rtol=1e-5, atol=1e-5)
    decoded = (vae.decode(mean / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(model.decode_latents(mean), decoded, rtol=1e-5, atol=1e-5)


def said(call, *given):
    with pytest.raises(JobError) as caught:
        call(*given)
    assert caught.value.code == "model_unreadable" and caught.value.fix
    return str(caught.value)


def test_models_of_prompts_and_of_pictures_are_not_taken_for_each_other(folder, tmp_path):
    assert "picture and a camera" in said(load_model, str(folder), CPU)
    assert "no picture" in said(load_picture_model, str(write_sd15(tmp_path / "sd15")), CPU)


def change_layer(folder, change):
    layer = next(name for name in LAYERS if (folder / name).is_dir())
    file, inner = folder / layer / FILE, LAYERS[layer]
    weights = load_file(file)
    change(weights, inner)
    save_file(weights, file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w, n: w.update({f"{n}.weight": torch.zeros(16, 12)}), "shape (16, 12)"),
        (lambda w, n: w.update({f"{n}.bias": torch.full((16,), torch.nan)}), "invalid numbers"),
        (lambda w, n: w.pop(f"{n}.bias"), "one layer"),
        (lambda w, n: w.update(more=torch.zeros(1)), "one layer"),
    ],
)
def test_what_is_no_layer_is_refused(folder, tmp_path, change, words):
    copy = shutil.copytree(folder, tmp_path / "model")
    change_layer(copy, change)
    assert words in said(load_picture_model, str(copy), CPU)


def test_a_program_is_not_run_and_other_parts_of_its_own_are_not_taken(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "model")
    index = json.loads((copy / "model_index.json").read_text())
    edit_json(copy / "model_index.json", unet=["pipeline_zero1to3", "OwnUNet"])
    assert "program of its own" in said(load_picture_model, str(copy), CPU)
    (copy / "model_index.json").write_text(json.dumps(index))
    (copy / "pipeline_zero1to3.py").write_text("raise SystemExit")
    assert "is a program" in said(load_picture_model, str(copy), CPU)
    (copy / "pipeline_zero1to3.py").unlink()
    edit_json(copy / "unet" / "config.json", in_channels=4)
    assert "unet" in said(load_picture_model, str(copy), CPU)
