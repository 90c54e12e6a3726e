"""Prompts, pictures and predictions are those of each family's own pipeline in diffusers, on tiny models."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, IFPipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from csd_blender.backend.diffusion.loading import load_model
from tests.support.tiny_models import write_if, write_sd15

CPU = torch.device("cpu")
PROMPTS = ["A red Mug, front view", "", "a wooden owl " * 40]


def own_pipeline(cls, folder):
    """The family's pipeline without the parts that only look at finished pictures."""
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if cls is IFPipeline:
        parts["watermarker"] = None
    pipeline = cls.from_pretrained(folder, local_files_only=True, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def own_embeddings(pipeline, prompts):
    if isinstance(pipeline, IFPipeline):
        return pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)[0]
    return pipeline.encode_prompt(prompts, CPU, 1, do_classifier_free_guidance=False)[0]


def record_calls(pipeline, prompt):
    """What the pipeline gives its network in two steps of sampling, and what it gets."""
    calls, forward = [], pipeline.unet.forward

    def spy(sample, t, encoder_hidden_states=None, **options):
        result = forward(sample, t, encoder_hidden_states=encoder_hidden_states, **options)
        calls.append((sample, t, encoder_hidden_states, result[0]))
        return result

    pipeline.unet.forward = spy
    seed = torch.Generator().manual_seed(0)
    latent = "pt" if isinstance(pipeline, IFPipeline) else "latent"
    pipeline(prompt, num_inference_steps=2, generator=seed, output_type=latent)
    return calls


@pytest.mark.parametrize("family", ["sd15", "sd21", "if"])
def test_prompts_are_encoded_as_the_familys_own_pipeline_does(family, request):
    folder = request.getfixturevalue(f"{family}_folder")
    pipeline = own_pipeline(IFPipeline if family == "if" else StableDiffusionPipeline, folder)
    expected = own_embeddings(pipeline, PROMPTS)
    found = load_model(str(folder), CPU).encode_prompts(PROMPTS).text
    assert found.shape[1] == 77
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["sd15", "sd21", "if"])
def test_the_network_is_told_and_answers_what_it_does_in_its_own_pipeline(family, request):
    folder = request.getfixturevalue(f"{family}_folder")
    pipeline = own_pipeline(IFPipeline if family == "if" else StableDiffusionPipeline, folder)
    model = load_model(str(folder), CPU)
    conditions = model.encode_prompts(["", "A red Mug"])
    calls = record_calls(pipeline, "A red Mug")
    assert len(calls) >= 2
    for sample, t, told, answer in calls:
        torch.testing.assert_close(conditions.text, told, rtol=1e-5, atol=1e-5)
        steps = t.reshape(-1).expand(len(sample)).long()
        found = model.predict_noise(sample, steps, conditions)
        if model.schedule.prediction_type == "v_prediction":  # as DDIM reads it
            alpha_bar = pipeline.scheduler.alphas_cumprod[int(t)]
            answer = alpha_bar**0.5 * answer + (1 - alpha_bar) ** 0.5 * sample
        torch.testing.assert_close(found, answer[:, : sample.shape[1]], rtol=1e-5, atol=1e-5)
    assert float(calls[0][3].std()) > 1e-3


def test_noise_schedules_are_those_of_the_folders(sd21_folder, if_folder):
    for folder in (sd21_folder, if_folder):
        model = load_model(str(folder), CPU)
        config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
        expected = DDIMScheduler.from_config(config).alphas_cumprod
        torch.testing.assert_close(model.schedule.alphas_cumprod, expected, rtol=1e-6, atol=1e-7)
    assert load_model(str(sd21_folder), CPU).schedule.prediction_type == "v_prediction"


def test_a_text_encoder_that_asks_for_a_mask_gets_it(sd15_folder, tmp_path):
    folder = shutil.copytree(sd15_folder, tmp_path / "masked")
    file = folder / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_attention_mask": True}))
    expected = own_embeddings(own_pipeline(StableDiffusionPipeline, folder), PROMPTS)
    found = load_model(str(folder), CPU).encode_prompts(PROMPTS).text
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, load_model(str(sd15_folder), CPU).encode_prompts(PROMPTS).text, atol=1e-3)


def test_a_long_prompt_for_if_is_cut_before_its_ending_is_lost(if_folder):
    model = load_model(str(if_folder), CPU)
    fitting = model.fitting_prompt("wooden " * 200, ", overhead view")
    assert 1 < len(fitting.split()) < 200
    assert len(model.text.tokenizer(fitting + ", overhead view").input_ids) <= 77


@pytest.mark.parametrize(
    "prompt",
    ["red,wooden,mug," * 60, "一只古老的木制猫头鹰雕像" * 30, "a" * 3000, "red\nwooden\n" * 99, "mug " + "x" * 3000],
)
def test_a_long_prompt_without_blanks_is_cut_before_its_ending_is_lost(sd15_folder, prompt):
    model, ending = load_model(str(sd15_folder), CPU), ", overhead view"
    fitting = model.fitting_prompt(prompt, ending)
    assert fitting and prompt.startswith(fitting) and fitting != prompt
    assert len(model.text.tokenizer(fitting + ending).input_ids) <= 77
    front, back = model.encode_prompts([f"{fitting}, front view", f"{fitting}, back view"]).text
    assert not torch.equal(front, back)


@pytest.mark.parametrize("length", range(1, 60))
def test_sides_are_kept_at_every_length_of_a_prompt_without_blanks(sd15_folder, length):
    model, ending = load_model(str(sd15_folder), CPU), ", overhead view, no shadows"
    for prompt in ("红" * length, "a fox " + "红" * length, "mug，" + "红" * length):
        fitting = model.fitting_prompt(prompt, ending)
        read = len(model.text.tokenizer(fitting + ending).input_ids)
        assert prompt.startswith(fitting) and read <= 77 and (fitting == prompt or read > 65)


@pytest.mark.parametrize("prompt", ["a red mug", "a, b,c ,d", " a  mug ", ",", "", "mug,\n", "红色，的"])
def test_a_prompt_that_is_read_whole_stays_as_it_is(sd15_folder, prompt):
    assert load_model(str(sd15_folder), CPU).fitting_prompt(prompt, ", overhead view") == prompt


@pytest.mark.parametrize("side", [64, 512])
def test_pictures_of_any_size_become_latents_of_the_models_own(sd15_folder, side):
    """As the published systems do: bilinear to 512 x 512, then the encoder."""
    model = load_model(str(sd15_folder), CPU)
    pictures = torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(side))
    enlarged = F.interpolate(pictures * 2 - 1, (512, 512), mode="bilinear", align_corners=False)
    expected = model.vae.encode(enlarged).latent_dist.mode() * model.vae.config.scaling_factor
    found = model.encode_images(pictures)
    assert found.shape == (1, 4, 64, 64)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(48, 48), (200, 200), (192, 100), (384, 384), (400, 400)])
def test_whatever_was_rendered_the_latents_have_one_shape(sd21_folder, shape):
    model = load_model(str(sd21_folder), CPU)
    assert model.native_size == 192
    latents = model.encode_images(torch.rand((2, 3, *shape)), torch.Generator().manual_seed(0))
    assert latents.shape == (2, 4, 24, 24)


def test_a_pixel_model_gets_its_own_size_and_nothing_else(if_folder):
    model = load_model(str(if_folder), CPU)
    assert (model.native_size, model.latent_factor, model.latent_channels, model.on_pixels) == (64, 1, 3, True)
    pictures = torch.rand((1, 3, 64, 64))
    assert torch.equal(model.encode_images(pictures), pictures * 2 - 1)
    small, large = torch.rand((1, 3, 32, 32)), torch.rand((1, 3, 512, 512))
    expected = F.interpolate(small * 2 - 1, (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(model.encode_images(small), expected)
    # eight times as large: every pixel counts, so a bright one is not lost between the samples
    large[:] = 0
    large[..., 4, 4] = 1
    assert float(model.encode_images(large).max()) > -1 + 1e-3


def test_the_gradient_of_a_small_picture_is_that_of_finite_differences(sd21_folder):
    model = load_model(str(sd21_folder), CPU)
    model.vae.double()
    x = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    probe = torch.randn((1, 4, 24, 24), generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def value(pictures):
        return (model.encode_images(pictures).double() * probe).sum()

    leaf = x.clone().requires_grad_(True)
    value(leaf).backward()
    with torch.no_grad():
        numeric = (value(x + 1e-3 * direction) - value(x - 1e-3 * direction)) / 2e-3
    assert float((leaf.grad * direction).sum()) == pytest.approx(float(numeric), rel=1e-2)


def test_t5_reads_a_tokenizer_of_one_kind_as_of_the_other(tmp_path):
    """``tokenizer.json`` made from a ``spiece.model`` gives the same tokens."""
    spiece = load_model(str(write_if(tmp_path / "spiece", only_spiece=True)), CPU)
    converted = shutil.copytree(tmp_path / "spiece", tmp_path / "json")
    shutil.rmtree(converted / "tokenizer")
    spiece.text.tokenizer.save_pretrained(converted / "tokenizer")
    assert (converted / "tokenizer" / "tokenizer.json").is_file()
    found = load_model(str(converted), CPU).encode_prompts(PROMPTS)
    torch.testing.assert_close(found.text, spiece.encode_prompts(PROMPTS).text)


def test_keys_of_older_libraries_load_with_the_same_values(tmp_path):
    """A text encoder with its prefix and a buffer of positions, and a VAE whose attention has its first names."""
    folder = write_sd15(tmp_path / "new", vae_attention=True)
    new = load_model(str(folder), CPU)
    text_file = folder / "text_encoder" / "model.safetensors"
    text = {"text_model." + k.removeprefix("text_model."): v for k, v in load_file(text_file).items()}
    text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(text, text_file, metadata={"format": "pt"})
    vae_file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = {}
    for key, value in load_file(vae_file).items():
        for now, once in names.items():
            key = key.replace(f"attentions.0.{now}.", f"attentions.0.{once}.")
        vae[key] = value
    assert any(".query." in key for key in vae)
    save_file(vae, vae_file, metadata={"format": "pt"})
    old = load_model(str(folder), CPU)
    assert torch.equal(old.encode_prompts(PROMPTS).text, new.encode_prompts(PROMPTS).text)
    picture = torch.rand((1, 3, 512, 512))
    assert torch.equal(old.encode_images(picture), new.encode_images(picture))
