"""Whole models in one file give what the same weights give as a folder of diffusers; others are called by name."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.weights.clip_words import clip_tokenizer
from csd_blender.job.errors import JobError
from csd_blender.job.models.files import read_model
from csd_blender.job.models.places import find_folder, lasting_name
from tests.support.damage import refusal
from tests.support.ldm import single_file_of, write_folder, write_single_file

CPU = torch.device("cpu")
FAMILIES = ("sd1", "sd2", "sdxl")
PROMPTS = ["A red Mug, front view", "", "a wooden owl " * 40]
V_WEIGHT = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return {family: write_folder(place / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def files(folders):
    return {
        name: write_single_file(folder, name, folder.parent / f"{name}.safetensors") for name, folder in folders.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_what_the_folder_gives(family, folders, files):
    folder, file = load_model(str(folders[family]), CPU), load_model(str(files[family]), CPU)
    assert (file.native_size, file.latent_factor, type(file)) == (folder.native_size, 8, type(folder))
    told, expected = file.encode_prompts(PROMPTS), folder.encode_prompts(PROMPTS)
    torch.testing.assert_close(told.text, expected.text, rtol=1e-5, atol=1e-5)
    assert float((told.text[0] - told.text[2]).abs().max()) > 1e-2
    if family == "sdxl":
        torch.testing.assert_close(told.pooled, expected.pooled, rtol=1e-5, atol=1e-5)
        assert torch.equal(told.time_ids, expected.time_ids)
    seed = torch.Generator().manual_seed(0)
    noisy, t = torch.randn((3, 4, 16, 16), generator=seed), torch.tensor([20, 500, 980])
    found = file.predict_noise(noisy, t, told)
    torch.testing.assert_close(found, folder.predict_noise(noisy, t, expected), rtol=1e-5, atol=1e-5)
    assert float(found.std()) > 1e-3
    latents = torch.randn((1, 4, 8, 8), generator=seed)
    torch.testing.assert_close(file.decode_latents(latents), folder.decode_latents(latents), rtol=1e-5, atol=1e-5)
    file.native_size = folder.native_size = 64
    pictures = torch.rand((1, 3, 64, 64), generator=seed)
    torch.testing.assert_close(file.encode_images(pictures), folder.encode_images(pictures), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_settings_that_have_no_shape_are_the_familys_own(family, folders, files):
    of_folder, of_file = read_model(folders[family]), read_model(files[family])
    assert of_file.family == of_folder.family
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if part in of_file.parts:
            config, expected = of_file.parts[part].config, of_folder.parts[part].config
            told = {k: list(v) if isinstance(v, tuple) else v for k, v in expected.items()}
            differ = {k for k, v in config.items() if k in told and told[k] != v}
            assert differ <= {"transformer_layers_per_block", "force_upcast"}, part
    schedules = [load_model(str(place), CPU).schedule for place in (folders[family], files[family])]
    assert torch.equal(schedules[0].alphas_cumprod, schedules[1].alphas_cumprod)


def v_of(file, **options):
    def change(tensors):
        for key in options.get("keys", ()):
            tensors[key] = torch.tensor([0.0])
        if "spread" in options:
            tensors[V_WEIGHT] = torch.randn(32, generator=torch.Generator().manual_seed(0)) * options["spread"]

    write_single_file(options["folder"], options["family"], file, change, options.get("metadata"))
    if "yaml" in options:
        file.with_suffix(".yaml").write_text(options["yaml"])
    found = read_model(file)
    return found.scheduler.config["prediction_type"] == "v_prediction", found


@pytest.mark.parametrize(
    ("family", "told", "v"),
    [
        ("sd1", {}, False),
        ("sd1", {"keys": ["v_pred"]}, True),
        ("sdxl", {"keys": ["v_pred", "ztsnr"]}, True),
        ("sd2", {"metadata": {"modelspec.prediction_type": "v"}}, True),
        ("sd2", {"metadata": {"modelspec.prediction_type": "epsilon"}, "spread": 0.2}, False),
        ("sd2", {"yaml": 'model:\n  params:\n    parameterization: "v"\n'}, True),
        ("sd1", {"yaml": "model:\n  params:\n    parameterization: 'v'\n"}, True),
        ("sd1", {"yaml": 'model:\n  params:\n    parameterization: "v"  # and not eps\n'}, True),
        ("sd1", {"yaml": 'model:\n  params:\n    # parameterization: "v"\n    parameterization: "eps"\n'}, False),
        ("sd2", {"yaml": "model:\n  params:\n    linear_start: 0.00085\n", "spread": 0.2}, False),
    ],
)
def test_what_a_network_predicts_is_read_from_marks_remarks_or_settings_beside_it(tmp_path, folders, family, told, v):
    found, files = v_of(tmp_path / "one.safetensors", folder=folders[family], family=family, **told)
    assert found == v
    assert files.scheduler.config["rescale_betas_zero_snr"] == ("ztsnr" in told.get("keys", ()))
    if family == "sd2":
        assert files.unet.config["sample_size"] == (96 if v else 64)


def test_else_by_a_weight_of_stable_diffusion_2(tmp_path):
    folder = write_folder(tmp_path / "folder", "sd2")
    from csd_blender.job.models import single_file

    key = "model.diffusion_model.output_blocks.8.1.transformer_blocks.0.norm1.bias"
    tensors = single_file_of(folder, "sd2")
    assert key in tensors  # the tiny network has three levels, and no block 11
    for spread, v in ((0.2, True), (0.01, False)):
        for kind in (torch.float32, torch.float16, torch.bfloat16):
            values = torch.randn(32, generator=torch.Generator().manual_seed(0)) * spread
            file = tmp_path / "one.safetensors"
            save_file({k: t.contiguous().clone() for k, t in (tensors | {key: values.to(kind)}).items()}, file)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(single_file, "V_WEIGHT", key)
                assert (read_model(file).scheduler.config["prediction_type"] == "v_prediction") == v


def test_clips_words_have_their_published_numbers():
    tokenizer = clip_tokenizer("!", 77)
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("A PHOTO  of a Cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("café 東京").input_ids[-1] == 49407 and tokenizer.pad_token_id == 0


def test_a_folder_with_one_such_file_is_that_model_and_of_two_one_must_be_chosen(files, tmp_path):
    file = tmp_path / "models" / "one.safetensors"
    file.parent.mkdir()
    file.write_bytes(files["sd1"].read_bytes())
    (file.parent / "notes.txt").write_text("hello")
    assert find_folder(str(file.parent)) == find_folder(str(file)) == file
    assert lasting_name(str(file)) == str(file)
    (file.parent / "two.safetensors").write_bytes(files["sd1"].read_bytes())
    message = refusal(file.parent)
    assert "2 models" in message and "two.safetensors" in message


def test_a_repository_of_single_files_in_the_hubs_cache_is_found_by_its_name(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    state = tmp_path / "hub" / "models--some--one" / "snapshots" / "abc"
    state.mkdir(parents=True)
    (state / "one.safetensors").symlink_to(files["sd1"])
    for name in ("some/one", str(tmp_path / "hub" / "models--some--one"), str(state)):
        assert find_folder(name) == state / "one.safetensors"
    (state / "two.safetensors").symlink_to(files["sd2"])
    for name in ("some/one", str(state)):
        assert "2 models" in refusal(name)


def drop(*prefixes):
    def change(tensors):
        for key in [key for key in tensors if key.startswith(prefixes)]:
            del tensors[key]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("first_stage_model."), "VAE"),
        (drop("cond_stage_model."), "text encoder"),
        (drop("model.diffusion_model.input_blocks.0."), "input_blocks.0.0.weight"),
        (drop("model.diffusion_model.input_blocks.4.0.in_layers.2.weight"), "down_blocks.1.resnets.0.conv1.weight"),
        (drop("cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.bias"), "layers.1.mlp.fc2.bias"),
        (lambda t: t.update({"model.diffusion_model.joint_blocks.0.x": torch.zeros(1)}), "Stable Diffusion 3"),
        (lambda t: t.update({"model.diffusion_model.double_blocks.0.x": torch.zeros(1)}), "Flux"),
        (lambda t: t.update({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(32, 9, 3, 3)}), "9 channels"),
        (lambda t: t.update({"first_stage_model.encoder.conv_in.weight": torch.full((32, 3, 3, 3), torch.nan)}), "NaN"),
        (lambda t: t.update({"first_stage_model.encoder.conv_in.bias": torch.zeros(5)}), "encoder.conv_in.bias"),
    ],
)
def test_files_that_lack_a_part_or_are_others_are_named(folders, tmp_path, change, said):
    file = write_single_file(folders["sd1"], "sd1", tmp_path / "x.safetensors", change)
    with pytest.raises(JobError) as caught:
        load_model(str(file), CPU)
    assert caught.value.code == "model_unreadable" and caught.value.fix
    assert said in caught.value.detail and str(file) in caught.value.detail


@pytest.mark.parametrize(
    ("family", "keys", "said"),
    [
        ("sdxl", {"edm_mean": (4,), "edm_std": (4,)}, "Playground"),
        ("sdxl", {"edm_vpred.sigma_max": (1,), "edm_vpred.sigma_min": (1,)}, "CosXL"),
        ("sd2", {"model.diffusion_model.label_emb.0.0.weight": (128, 20)}, "label_emb.0.0.weight"),  # unCLIP
        ("sd1", {"model.diffusion_model.time_embed.cond_proj.weight": (32, 8)}, "cond_proj"),  # LCM
        ("sd1", {"model.diffusion_model.input_blocks.4.2.motion.weight": (8, 8)}, "input_blocks.4.2.motion"),
        ("sd1", {"model.diffusion_model.time_embed.0.scale_weight": (1,)}, "scale_weight"),  # scaled 8 bits
        ("sd1", {"first_stage_model.decoder.extra.weight": (8, 8)}, "first_stage_model.decoder.extra.weight"),
    ],
)
def test_a_network_with_more_than_its_family_has_is_refused_and_not_loaded_in_part(
    folders, tmp_path, family, keys, said
):
    more = {key: torch.ones(shape) for key, shape in keys.items()}
    file = write_single_file(folders[family], family, tmp_path / "x.safetensors", lambda tensors: tensors.update(more))
    with pytest.raises(JobError) as caught:
        load_model(str(file), CPU)
    assert caught.value.code == "model_unreadable" and caught.value.fix
    assert said in caught.value.detail and str(file) in caught.value.detail


def write_header(file, change):
    """The same numbers under a header in which something was changed."""
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:end])
    change(table)
    text = json.dumps(table).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("sd1", "model.diffusion_model.input_blocks.0.0.weight"),
        ("sd1", "first_stage_model.decoder.conv_in.weight"),
        ("sd1", "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"),
        ("sd2", "cond_stage_model.model.token_embedding.weight"),
        ("sdxl", "conditioner.embedders.1.model.token_embedding.weight"),
    ],
)
def test_a_shape_that_no_such_weight_has_is_named(files, tmp_path, family, key):
    file = tmp_path / "x.safetensors"
    shutil.copy(files[family], file)
    for shape in ([8], [2, 2, 2], [], [True, 4], [2.0, 4], ["2", 4]):
        write_header(file, lambda table, shape=shape: table[key].update(shape=shape))
        with pytest.raises(JobError, match=f"no usable shape for {key}"):
            read_model(file)


def test_a_header_with_endless_places_is_damaged(folders, tmp_path):
    file = write_single_file(folders["sd1"], "sd1", tmp_path / "x.safetensors")
    write_header(file, lambda table: table["model_ema.num_updates"].update(data_offsets=[0, float("inf")]))
    with pytest.raises(JobError, match="or a damaged one"):
        read_model(file)


def test_what_only_training_needed_does_no_harm(folders, tmp_path):
    keys = ("first_stage_model.loss.logvar", "first_stage_model.model_ema.decay", "model_ema.decay", "betas")
    more = {key: torch.ones(1) for key in keys}
    file = write_single_file(folders["sd1"], "sd1", tmp_path / "x.safetensors", lambda tensors: tensors.update(more))
    assert load_model(str(file), CPU).native_size == 512


def test_a_refiner_is_called_so(folders, tmp_path):
    def change(tensors):
        for key in [key for key in tensors if key.startswith("conditioner.embedders.1.")]:
            tensors["conditioner.embedders.0." + key.removeprefix("conditioner.embedders.1.")] = tensors.pop(key)

    assert "refiner" in refusal(write_single_file(folders["sdxl"], "sdxl", tmp_path / "x.safetensors", change))


def test_a_file_in_half_precision_is_read_as_the_device_wants_it(folders, tmp_path):
    def change(tensors):
        tensors |= {key: value.half() for key, value in tensors.items() if value.is_floating_point()}

    model = load_model(str(write_single_file(folders["sd1"], "sd1", tmp_path / "x.safetensors", change)), CPU)
    assert model.unet.dtype == model.vae.dtype == torch.float32
