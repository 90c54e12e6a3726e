"""A small encoder in the VAE's place, on tiny models, beside diffusers' own ``AutoencoderTiny``."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from csd_blender.backend.diffusion.additions.load_encoder import MINI_ENCODER, use_encoder
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.support.memory import Saving
from csd_blender.job.errors import JobError
from tests.support.tiny_encoders import write_small_encoder
from tests.support.tiny_models import write_if, write_sd3, write_sdxl

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_small_encoder(tmp_path_factory.mktemp("small") / "tiny")


@pytest.fixture(scope="module")
def model(sd21_folder):
    return load_model(str(sd21_folder), CPU)


@pytest.fixture
def pictures():
    return torch.rand((2, 3, 192, 192), generator=torch.Generator().manual_seed(1))


def refusal(words, model) -> str:
    with pytest.raises(JobError) as caught:
        use_encoder(str(words), model)
    assert caught.value.code == "encoder_unreadable", caught.value
    return caught.value.message


def test_latents_and_gradients_are_those_of_diffusers_own(model, small, pictures):
    plain, use = AutoencoderTiny.from_pretrained(small).eval(), torch.randn((2, 4, 24, 24))
    use_encoder(str(small), model)
    found = []
    for encode in (model.encode_images, lambda shown: plain.encode(shown * 2 - 1).latents):
        leaf = pictures.clone().requires_grad_(True)
        latents = encode(leaf)
        found.append((latents.detach(), torch.autograd.grad(latents, leaf, use)[0]))
    assert found[0][0].dtype == torch.float32 and float(found[0][1].abs().max()) > 0
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not any(value.requires_grad for value in model.small_encoder.network.parameters())


def test_one_picture_at_a_time_gives_the_same(model, small, pictures):
    use_encoder(str(small), model)
    leaf = pictures.clone().requires_grad_(True)
    together = model.encode_images(leaf)
    gradient = torch.autograd.grad(together.square().sum(), leaf)[0]
    model.thrift.saving = Saving(pictures=True)
    try:
        alone = model.encode_images(leaf)
        torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(alone.square().sum(), leaf)[0], gradient, rtol=1e-4, atol=1e-5)
    finally:
        model.thrift.reset()


def test_it_adds_nothing_random_and_leaves_the_rest_of_the_random_numbers_as_they_were(model, small, pictures):
    states = []
    for words in ("full", str(small)):
        use_encoder(words, model)
        draws = torch.Generator().manual_seed(7)
        latents = model.encode_images(pictures, draws)
        states.append(draws.get_state())
    assert torch.equal(*states)
    assert torch.equal(latents, model.encode_images(pictures))
    several = [torch.Generator().manual_seed(i) for i in range(2)]
    assert torch.equal(latents, model.encode_images(pictures, several))


def test_scale_and_shift_are_those_of_its_settings(model, pictures, tmp_path):
    folder = write_small_encoder(tmp_path / "tiny", scaling_factor=0.5, shift_factor=0.25)
    use_encoder(str(folder), model)
    with torch.no_grad():
        expected = (AutoencoderTiny.from_pretrained(folder).encode(pictures * 2 - 1).latents - 0.25) * 0.5
    torch.testing.assert_close(model.encode_images(pictures), expected, rtol=1e-5, atol=1e-5)


def test_full_takes_it_away_and_the_same_one_is_kept(model, small, pictures):
    use_encoder("full", model)
    own = model.encode_images(pictures)
    use_encoder(str(small), model)
    first = model.small_encoder
    assert not torch.allclose(model.encode_images(pictures), own)
    use_encoder(str(small), model)
    assert model.small_encoder is first
    use_encoder("full", model)
    assert model.small_encoder is None and torch.equal(model.encode_images(pictures), own)


def test_decoding_stays_the_models_own(model, small):
    latents = torch.randn((1, 4, 24, 24))
    use_encoder("full", model)
    own = model.decode_latents(latents)
    use_encoder(str(small), model)
    assert torch.equal(model.decode_latents(latents), own)


@pytest.mark.parametrize(("write", "channels"), [(write_sdxl, 4), (write_sd3, 16)])
def test_other_families_take_one(tmp_path, write, channels, pictures):
    model = load_model(str(write(tmp_path / "model")), CPU)
    channels = model.latent_channels
    folder = write_small_encoder(tmp_path / "tiny", channels=channels, stride=model.latent_factor)
    use_encoder(str(folder), model)
    with torch.no_grad():
        shown = torch.nn.functional.interpolate(pictures, (model.native_size,) * 2, mode="bilinear") * 2 - 1
        expected = AutoencoderTiny.from_pretrained(folder).encode(shown).latents
    torch.testing.assert_close(model.encode_images(pictures), expected, rtol=1e-4, atol=1e-4)


def test_a_model_on_pixels_needs_none_whatever_is_asked_for(tmp_path):
    model = load_model(str(write_if(tmp_path / "if")), CPU)
    for words in ("small", "/no/such", "full"):
        use_encoder(words, model)
        assert model.small_encoder is None


def test_small_finds_the_published_one_in_the_hubs_cache(model, small, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    with pytest.raises(JobError, match="csd models get taesd") as caught:
        use_encoder("small", model)
    assert caught.value.code == "encoder_missing" and model.small_encoder is None
    place = tmp_path / "hub" / "models--madebyollin--taesd" / "snapshots" / "abc"
    shutil.copytree(small, place)
    use_encoder("small", model)
    assert (model.small_encoder.name, model.small_encoder.folder) == ("madebyollin/taesd", place)


def test_one_that_does_not_fit_the_model_is_refused(model, tmp_path):
    said = refusal(write_small_encoder(tmp_path / "stride", stride=4), model)
    assert "4 times smaller, but the model 8 times" in said
    said = refusal(write_small_encoder(tmp_path / "channels", channels=16), model)
    assert "latents of 16 channels, but the model's have 4" in said
    said = refusal(write_small_encoder(tmp_path / "colors", in_channels=1, out_channels=1), model)
    assert "reads 1 channels" in said
    assert "8 times smaller" not in said and model.small_encoder is None
    said = refusal(MINI_ENCODER, model)
    assert str(MINI_ENCODER / "config.json") in said


def test_one_that_is_damaged_is_refused_with_the_file_and_the_key(model, small, tmp_path):
    def damaged(name, change):
        folder = shutil.copytree(small, tmp_path / name)
        weights = load_file(folder / "diffusion_pytorch_model.safetensors")
        change(weights)
        save_file(weights, folder / "diffusion_pytorch_model.safetensors")
        return folder

    key = "encoder.layers.0.weight"
    for name, change, words in (
        ("lost", lambda weights: weights.pop(key), f"lacks {key}"),
        ("nan", lambda weights: weights[key].fill_(float("nan")), f"as torch.float32) in {key}"),
        ("zeros", lambda weights: weights[key].zero_(), f"nothing but zeros in {key}"),
        ("more", lambda weights: weights.update(other=torch.ones(1)), "unknown weights: other"),
    ):  # fmt: skip
        said = refusal(damaged(name, change), model)
        assert words in said and str(tmp_path / name / "diffusion_pytorch_model.safetensors") in said, said
    folder = shutil.copytree(small, tmp_path / "scale")
    config = json.loads((folder / "config.json").read_text()) | {"scaling_factor": "big"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "damaged at 'scaling_factor'" in refusal(folder, model)


def test_full_asks_nothing_of_a_model(monkeypatch):
    use_encoder("full", made := SimpleNamespace(on_pixels=False, name="/no/such", small_encoder=3))
    assert made.small_encoder is None
