"""Stable Diffusion XL: prompts, what the network is told and answers, and pictures are its own pipeline's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline, StableDiffusionXLPipeline

from csd_blender.backend.diffusion import parts, sdxl
from csd_blender.backend.diffusion.additions.load_control import load_controls
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.pipelines.texture import texture_mesh
from csd_blender.job.models.control import ControlFiles, read_control
from csd_blender.job.models.files import Part, read_model
from csd_blender.job.presets.texture import texture_job
from tests.support.damage import edit_json, refusal
from tests.support.killed_jobs import albedo, reporter_until, square_folder
from tests.support.tiny_models import write_control, write_sdxl

CPU = torch.device("cpu")
PROMPTS = ["A red Mug, front view", "a wooden owl " * 40, "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sdxl(tmp_path_factory.mktemp("models") / "sdxl")


@pytest.fixture
def damaged(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "model")


def own_pipeline(folder):
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, local_files_only=True, feature_extractor=None, image_encoder=None, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def recorded(pipeline, **options):
    """What the pipeline gives its network in two steps of sampling, and what it gets."""
    calls, forward = [], pipeline.unet.forward

    def spy(sample, t, **told):
        result = forward(sample, t, **told)  # (a ControlNet's pipeline tells more)
        calls.append((sample, t, told["encoder_hidden_states"], told["added_cond_kwargs"], result[0]))
        return result

    pipeline.unet.forward = spy
    seed = torch.Generator().manual_seed(0)
    pipeline("A red Mug", num_inference_steps=2, generator=seed, output_type="latent", **options)
    return calls


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_prompts_are_encoded_by_both_encoders_as_the_pipeline_does(folder):
    model = load_model(str(folder), CPU)
    text, _, pooled, _ = own_pipeline(folder).encode_prompt(PROMPTS, device=CPU, do_classifier_free_guidance=False)
    found = model.encode_prompts(PROMPTS)
    assert found.text.shape == (3, 77, 40) and found.pooled.shape == (3, 12)
    close(found.text, text)
    close(found.pooled, pooled)
    assert float((found.pooled[0] - found.pooled[2]).abs().max()) > 1e-2


@pytest.mark.parametrize("empty_is_zero", [True, False])
def test_the_network_is_told_and_answers_what_it_does_in_its_own_pipeline(tmp_path, empty_is_zero):
    folder = write_sdxl(tmp_path / "sdxl", empty_is_zero=empty_is_zero)
    model = load_model(str(folder), CPU)
    conditions = model.encode_prompts(["", "A red Mug"])
    assert bool(conditions.text[0].any()) != empty_is_zero
    calls = recorded(own_pipeline(folder))
    assert len(calls) == 2
    for sample, t, text, added, answer in calls:
        close(conditions.text, text)
        close(conditions.pooled, added["text_embeds"])
        close(conditions.time_ids, added["time_ids"].float())
        found = model.predict_noise(sample, t.reshape(-1).expand(len(sample)).long(), conditions)
        close(found, answer)
    assert float(calls[0][4].std()) > 1e-3
    assert conditions.time_ids[0].tolist() == [192, 192, 0, 0, 192, 192]


def test_what_the_network_is_told_changes_its_answer(folder):
    model = load_model(str(folder), CPU)
    told = model.encode_prompts(["a red mug"])
    noisy, t = torch.randn((1, 4, 24, 24), generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    usual = model.predict_noise(noisy, t, told)
    for part in ("text", "pooled", "time_ids"):
        other = sdxl.Conditions(**vars(told) | {part: getattr(told, part) * 0.5})
        assert float((model.predict_noise(noisy, t, other) - usual).abs().max()) > 1e-5, part


def test_pictures_become_the_pipelines_latents_and_pictures_again(folder):
    model, vae = load_model(str(folder), CPU), own_pipeline(folder).vae
    pictures = torch.rand((2, 3, 192, 192), generator=torch.Generator().manual_seed(1))
    latents = vae.encode(pictures * 2 - 1).latent_dist.mode() * 0.13025
    found = model.encode_images(pictures)
    assert (model.native_size, model.latent_factor, found.shape) == (192, 8, (2, 4, 24, 24))
    close(found, latents)
    close(model.decode_latents(found), (vae.decode(latents / 0.13025).sample / 2 + 0.5).clamp(0, 1))


def test_encoded_prompts_outlive_the_encoders_and_new_ones_bring_them_back(folder):
    model = load_model(str(folder), CPU)
    before = model.encode_prompts(["a red mug"])
    model.free_text_encoder()
    assert model.text.encoder is None and model.second_text.encoder is None
    assert torch.equal(model.encode_prompts(["a red mug"]).pooled, before.pooled)
    assert model.second_text.encoder is None
    assert model.encode_prompts(["a stone owl"]).text.shape == before.text.shape


def test_the_encoder_of_pictures_is_in_half_precision_only_where_the_folder_says_that_it_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr(sdxl, "network_dtypes", lambda device: (torch.float16, torch.bfloat16))
    cuda = torch.device("cuda")
    for config, dtype in (
        ({}, torch.float32),
        ({"force_upcast": True}, torch.float32),
        ({"force_upcast": False}, torch.bfloat16),
    ):
        assert sdxl._vae_dtype(Part(tmp_path, "AutoencoderKL", config), cuda) == dtype


def test_a_refiner_and_parts_that_do_not_fit_are_named(damaged):
    edit_json(damaged / "unet" / "config.json", addition_time_embed_dim=6)
    message = refusal(damaged)
    assert "60 numbers" in message and "make 48" in message and "refiner" in message
    edit_json(damaged / "text_encoder_2" / "config.json", hidden_size=32)
    message = refusal(damaged)
    assert "40 wide" in message and "16 and 32" in message and str(damaged / "unet") in message
    edit_json(damaged / "text_encoder" / "config.json", hidden_size=None)
    assert "hidden_size" in refusal(damaged)
    index = json.loads((damaged / "model_index.json").read_text())
    edit_json(damaged / "model_index.json", text_encoder=[None, None], tokenizer=[None, None])
    message = refusal(damaged)
    assert "refiner" in message and str(damaged) in message
    edit_json(damaged / "model_index.json", **index | {"text_encoder_2": ["transformers", "CLIPTextModel"]})
    assert "CLIPTextModel" in refusal(damaged)


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2"])
def test_a_second_encoder_that_is_missing_is_named(damaged, part):
    shutil.rmtree(damaged / part)
    assert part in refusal(damaged)


def test_the_family_is_found(folder):
    files = read_model(folder)
    assert files.family == "sdxl" and files.options["force_zeros_for_empty_prompt"] is True


@pytest.mark.parametrize("method", ["csd", "vsd"])
def test_a_texture_is_made(folder, tmp_path, method):
    settings = {"steps": 2, "views": 1, "texture_size": 64, "device": "cpu", "method": method, "rasterizer": "torch"}
    made = square_folder(tmp_path / "job", texture_job("a red mug", model=str(folder), **settings))
    model = load_model(str(folder), CPU)
    result = texture_mesh(made.spec, made, reporter_until(), lambda *a: model)
    assert result.stats["network_calls"] > 0 and albedo(made).std() > 0.5


def test_a_control_net_is_told_what_the_network_is_told_as_in_its_own_pipeline(folder, tmp_path):
    place = write_control(tmp_path / "depth", folder, seed=1)
    net = ControlNetModel.from_pretrained(place)
    absent = dict.fromkeys(("feature_extractor", "image_encoder"))
    pipeline = StableDiffusionXLControlNetPipeline.from_pretrained(
        folder, controlnet=net, local_files_only=True, add_watermarker=False, **absent
    )
    pipeline.set_progress_bar_config(disable=True)
    picture = torch.rand((1, 3, 192, 192), generator=torch.Generator().manual_seed(0))
    calls = recorded(pipeline, image=picture, controlnet_conditioning_scale=0.7)
    model = load_model(str(folder), CPU)
    plain = model.encode_prompts(["", "A red Mug"])
    model.control = load_controls([ControlFiles(str(place), ("depth",), read_control(place))], model)
    shown = replace(plain, control=picture.expand(2, -1, -1, -1), control_weight=torch.full((2, 1), 0.7))
    for sample, t, _, _, answer in calls:
        steps = t.reshape(-1).expand(len(sample)).long()
        found = model.predict_noise(sample, steps, shown)
        close(found, answer)
        assert float((found - model.predict_noise(sample, steps, plain)).abs().max()) > 1e-3


def test_half_precision_of_the_network_goes_with_full_precision_of_the_encoder(folder, monkeypatch):
    """What a GPU has; a processor is slow at it, and can."""
    half = load_half(folder, monkeypatch, sdxl)
    full = load_model(str(folder), CPU)
    assert (half.unet.dtype, half.vae.dtype, half.text.dtype) == (torch.float16, torch.float32, torch.float16)
    noisy = torch.randn((2, 4, 24, 24), generator=torch.Generator().manual_seed(0))
    t, prompts = torch.tensor([100, 800]), ["", "a red mug"]
    found = half.predict_noise(noisy, t, half.encode_prompts(prompts))
    expected = full.predict_noise(noisy, t, full.encode_prompts(prompts))
    assert found.dtype == torch.float32 and half.refused_predictions == 0
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
    assert half.encode_images(torch.rand((1, 3, 192, 192))).dtype == torch.float32


def load_half(folder, monkeypatch, module):
    for place in (module, parts):
        monkeypatch.setattr(place, "network_dtypes", lambda device: (torch.float16, torch.bfloat16))
    model = load_model(str(folder), CPU)
    monkeypatch.undo()
    return model
