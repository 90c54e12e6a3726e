"""Stable Diffusion 3: prompts, velocities as noise, and pictures are its own pipeline's."""

from __future__ import annotations

import shutil

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from csd_blender.backend.diffusion import flow
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.model import NoiseSchedule, encode_texts
from csd_blender.backend.distillation import inversion
from csd_blender.backend.distillation.score import weight
from csd_blender.backend.pipelines.texture import texture_mesh
from csd_blender.job.errors import JobError
from csd_blender.job.presets.texture import texture_job
from tests.support.damage import edit_json, refusal
from tests.support.killed_jobs import albedo, reporter_until, square_folder
from tests.support.tiny_models import write_sd3

CPU = torch.device("cpu")
PROMPTS = ["A red Mug, front view", "", "a wooden owl " * 40]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return {t5: write_sd3(place / f"sd3-{t5}", t5=t5) for t5 in (True, False)}


@pytest.fixture
def damaged(folders, tmp_path):
    return shutil.copytree(folders[True], tmp_path / "model")


def own_pipeline(folder):
    absent = dict.fromkeys(("image_encoder", "feature_extractor"))
    if not (folder / "text_encoder_3").exists():
        absent |= dict.fromkeys(("text_encoder_3", "tokenizer_3"))
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, local_files_only=True, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t5", [True, False])
def test_prompts_are_encoded_as_the_pipeline_does(folders, t5):
    found = load_model(str(folders[t5]), CPU).encode_prompts(PROMPTS)
    text, _, pooled, _ = own_pipeline(folders[t5]).encode_prompt(
        PROMPTS, PROMPTS, PROMPTS, device=CPU, do_classifier_free_guidance=False
    )
    assert found.text.shape == (3, 77 + 256, 48) and found.pooled.shape == (3, 28)
    close(found.text, text)
    close(found.pooled, pooled)
    assert bool(found.text[:, 77:].any()) == t5


def test_a_prompt_that_clip_cannot_read_whole_is_read_whole_by_the_t5(folders):
    model, ending = load_model(str(folders[True]), CPU), ", back view"
    clip, long = model.text.tokenizer, model.long_text.tokenizer
    prompt = " ".join(["a red wooden mug"] * 12)
    assert len(clip(prompt).input_ids) > 77 and len(long(prompt + ending).input_ids) <= 256
    assert model.fitting_prompt(prompt, ending) == prompt
    behind = (ending, ", front view", ", no shadows", ", blurry", "")
    texts = [prompt + said for said in behind]
    found = encode_texts(model, texts, dict.fromkeys(texts, prompt))
    text, *_ = own_pipeline(folders[True]).encode_prompt(
        texts[0], None, None, device=CPU, do_classifier_free_guidance=False
    )
    close(found.text[:1, 77:], text[:, 77:])
    rows = list(found.text[:, :77])
    different = [torch.equal(one, other) for i, one in enumerate(rows) for other in rows[:i]]
    assert not any(different), "CLIP is told what stands behind the prompt, too"
    close(encode_texts(model, texts[-1:], {texts[-1]: prompt}).text, model.encode_prompts(texts[-1:]).text)
    own = f"a red car, side view, {prompt}"  # words of the artist's own are no ending
    assert model._for_clip(own + ending, own).startswith("a red car, side view")
    without = load_model(str(folders[False]), CPU)
    assert len(clip(without.fitting_prompt(prompt, ending) + ending).input_ids) <= 77


@pytest.mark.parametrize("t5", [True, False])
def test_the_transformer_is_told_and_answers_what_it_does_in_its_own_pipeline(folders, t5):
    model, pipeline = load_model(str(folders[t5]), CPU), own_pipeline(folders[t5])
    calls, forward = [], pipeline.transformer.forward

    def spy(**told):
        result = forward(**told)
        calls.append((told, result[0]))
        return result

    pipeline.transformer.forward = spy
    steps = [949, 499, 99]
    pipeline(
        "A red Mug", negative_prompt="", sigmas=[(t + 1) / 1000 for t in steps], output_type="latent",
        num_inference_steps=3, generator=torch.Generator().manual_seed(0), height=192, width=192,
    )  # fmt: skip
    conditions = model.encode_prompts(["", "A red Mug"])
    assert len(calls) == 3
    for t, (told, velocity) in zip(steps, calls, strict=True):
        noisy, sigma = told["hidden_states"], float(told["timestep"][0]) / 1000
        close(conditions.text, told["encoder_hidden_states"])
        close(conditions.pooled, told["pooled_projections"])
        found = model.predict_noise(noisy, torch.tensor([t, t]), conditions)
        close(found, noisy + (1 - sigma) * velocity)
        difference = found[1] - found[0]  # CSD's row
        close(difference, (1 - sigma) * (velocity[1] - velocity[0]))
    assert float(calls[0][1].std()) > 1e-3


def test_the_schedule_is_the_librarys_and_its_ways_lead_back(folders):
    schedule = load_model(str(folders[False]), CPU).schedule
    library = FlowMatchEulerDiscreteScheduler.from_pretrained(folders[False] / "scheduler")
    close(schedule.sigmas[:-1], library.sigmas.flip(0)[:-1])
    assert 0.999 < float(schedule.sigmas[-1]) < 1
    x, noise = torch.randn((2, 1, 16, 4, 4), generator=torch.Generator().manual_seed(0))
    t, later = torch.tensor([300]), torch.tensor([800])
    noisy = schedule.add_noise(x, noise, t)
    close(noisy, library.scale_noise(x, library.timesteps[[699]], noise))
    close(schedule.to_noise(noise - x, noisy, t), noise)
    close(inversion.ddim_move(schedule, noisy, noise, t, later), schedule.add_noise(x, noise, later))
    close(inversion.implied_noise(schedule, x, noisy, t), noise)
    sigma = schedule.sigmas
    close(weight("x0", schedule.alphas_cumprod)[:900], (sigma / (1 - sigma))[:900])
    last = torch.tensor([999])
    assert bool(torch.isfinite(inversion.ddim_move(schedule, x, noise, last, t)).all())
    assert bool(torch.isfinite(weight("x0", schedule.alphas_cumprod)).all())


def test_fresh_noise_between_two_times_is_that_of_as_noisy_a_schedule(folders):
    """A flow's picture is the other schedule's, scaled by what both numbers' length is."""
    flow = load_model(str(folders[False]), CPU).schedule
    usual = NoiseSchedule(flow.alphas_cumprod, "epsilon", CPU)
    t, later = torch.tensor([200]), torch.tensor([600])
    alpha, sigma = flow.alpha_sigma(later)
    length = float((alpha**2 + sigma**2).sqrt())
    assert length < 0.9
    close(inversion._ddim_deviation(flow, t, later), length * inversion._ddim_deviation(usual, t, later))


def test_a_shift_by_the_pictures_size_is_the_pipelines(damaged):
    edit_json(damaged / "scheduler" / "scheduler_config.json", use_dynamic_shifting=True)
    pipeline = own_pipeline(damaged)
    pipeline.scheduler.set_timesteps(sigmas=[0.9, 0.5], mu=0.5 + (1.15 - 0.5) / (4096 - 256) * (12 * 12 - 256))
    schedule = load_model(str(damaged), CPU).schedule
    close(schedule.sigmas[[899, 499]], pipeline.scheduler.sigmas[:2])


def test_pictures_become_the_pipelines_latents_and_pictures_again(folders):
    model, vae = load_model(str(folders[False]), CPU), own_pipeline(folders[False]).vae
    pictures = torch.rand((2, 3, 192, 192), generator=torch.Generator().manual_seed(1))
    latents = (vae.encode(pictures * 2 - 1).latent_dist.mode() - 0.0609) * 1.5305
    found = model.encode_images(pictures)
    assert (model.native_size, model.latent_channels, found.shape) == (192, 16, (2, 16, 24, 24))
    close(found, latents)
    close(model.decode_latents(found), (vae.decode(latents / 1.5305 + 0.0609).sample / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("method", ["csd", "sdi"])
def test_a_texture_is_made(folders, tmp_path, method):
    settings = {"steps": 2, "views": 1, "texture_size": 64, "device": "cpu", "method": method, "rasterizer": "torch"}
    made = square_folder(tmp_path / "job", texture_job("a red mug", model=str(folders[False]), **settings))
    model = load_model(str(folders[False]), CPU)
    result = texture_mesh(made.spec, made, reporter_until(), lambda *a: model)
    assert result.stats["network_calls"] > 0 and albedo(made).std() > 0.3


def test_vsd_which_wants_a_unet_says_so(folders, tmp_path):
    settings = {"steps": 2, "views": 1, "texture_size": 64, "device": "cpu", "method": "vsd", "rasterizer": "torch"}
    made = square_folder(tmp_path / "job", texture_job("a red mug", model=str(folders[False]), **settings))
    model = load_model(str(folders[False]), CPU)
    with pytest.raises(JobError, match="UNet") as caught:
        texture_mesh(made.spec, made, reporter_until(), lambda *a: model)
    assert caught.value.code == "bad_setting"


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, "scheduler_config.json"),
        ("scheduler/scheduler_config.json", {"shift": 1000.0}, "no sound schedule"),
        ("text_encoder/config.json", {"projection_dim": None}, "text_encoder"),
        ("model_index.json", {"tokenizer_3": [None, None]}, "tokenizer_3"),
        ("model_index.json", {"tokenizer_2": [None, None]}, "cannot be used"),
        ("model_index.json", {"transformer": ["diffusers", "FluxTransformer2DModel"]}, "FluxTransformer2DModel"),
    ],
)
def test_parts_that_do_not_fit_are_named(damaged, file, changes, said):
    if "scheduler" in file and "_class_name" in changes:
        edit_json(damaged / "model_index.json", scheduler=["diffusers", "DDIMScheduler"])
    edit_json(damaged / file, **changes)
    assert said in refusal(damaged)


@pytest.mark.parametrize("part", ["transformer", "text_encoder_3", "tokenizer_3", "vae"])
def test_a_part_that_is_missing_is_named(damaged, part):
    shutil.rmtree(damaged / part)
    assert part in refusal(damaged)


def test_a_preset_uses_the_levels_that_are_published_for_flows(folders):
    guidance = texture_job("a mug", model=str(folders[False]), steps=100).guidance
    sigmas = load_model(str(folders[False]), CPU).schedule.sigmas
    assert float(sigmas[int(1000 * guidance.t_min.at(0))]) == pytest.approx(0.3, abs=2e-3)
    assert float(sigmas[int(1000 * guidance.t_max.at(0))]) == pytest.approx(0.98, abs=2e-3)
    assert guidance.t_max.at(100) == 0.5 and texture_job("a mug", model="sd15", steps=100).guidance.t_min.at(0) == 0.02


def test_the_half_precision_of_a_gpu_gives_the_same_but_for_rounding(folders, monkeypatch):
    full = load_model(str(folders[True]), CPU)
    monkeypatch.setattr(flow, "network_dtypes", lambda device: (torch.float16, torch.bfloat16))
    half = load_model(str(folders[True]), CPU)
    assert half.unet.dtype == half.vae.dtype == half.long_text.dtype == torch.bfloat16
    noisy = torch.randn((2, 16, 24, 24), generator=torch.Generator().manual_seed(0))
    t, prompts = torch.tensor([100, 800]), ["", "a red mug"]
    found = half.predict_noise(noisy, t, half.encode_prompts(prompts))
    assert found.dtype == torch.float32 and half.refused_predictions == 0
    torch.testing.assert_close(found, full.predict_noise(noisy, t, full.encode_prompts(prompts)), rtol=0.1, atol=0.1)
