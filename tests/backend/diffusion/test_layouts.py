"""What people have in place of a whole folder in the diffusers layout: it loads, or one sentence names the file and
says what to do. Never are weights random, and never is anything of a folder run."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from csd_blender.backend.diffusion import loading
from csd_blender.job.errors import JobError
from csd_blender.job.models.catalogue import CATALOGUE
from csd_blender.job.models.places import state_of
from tests.support.damage import WEIGHTS, edit_json, loads, refusal

SD15 = next(entry for entry in CATALOGUE if entry.id == "sd15")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def into_cache(folder, cache, repo, commit="a" * 40, main=True):
    """``folder`` as the hub's cache keeps it: blobs by hash, a snapshot of links to them, and what ``main`` is."""
    repository = cache / ("models--" + repo.replace("/", "--"))
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(file.relative_to(folder))
        blob = repository / "blobs" / f"{abs(hash((commit, name))):x}"
        link = repository / "snapshots" / commit / name
        for place in (blob, link):
            place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(blob)
    if main:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
    return repository


# ---- where it lies -------------------------------------------------------------------------------------------------


def test_the_folder_above_or_below_and_the_index_itself_lead_to_the_model(copy):
    for place in (copy, copy.parent, copy / "unet", copy / "vae", copy / "model_index.json"):
        assert loads(place)


def test_of_several_models_below_a_folder_one_must_be_chosen(copy):
    shutil.copytree(copy, copy.parent / "another")
    message = refusal(copy.parent)
    assert "2 models" in message and "another" in message and "Choose one" in message


def test_the_hubs_cache_is_found_by_id_by_catalogue_name_and_by_folder(sd15_folder, cache):
    repository = into_cache(sd15_folder, cache, SD15.sources[0])
    snapshot = repository / "snapshots" / ("a" * 40)
    for name in (SD15.sources[0], "sd15", repository, repository / "snapshots", snapshot, cache):
        assert loads(name)
    assert state_of(SD15) == "ready"


@pytest.mark.parametrize("lost", ["unet/" + WEIGHTS["unet"], "tokenizer/vocab.json", "vae/config.json", "scheduler"])
def test_a_download_that_did_not_end_is_not_ready_and_its_missing_file_is_named(sd15_folder, cache, lost):
    repository = into_cache(sd15_folder, cache, SD15.sources[0])
    file = repository / "snapshots" / ("a" * 40) / lost
    if file.is_dir():
        shutil.rmtree(file)
    else:
        os.remove(os.path.realpath(file))  # the link is there, what it leads to is not yet
    for name in ("sd15", SD15.sources[0], repository, file.parent if lost == "scheduler" else file.parent.parent):
        assert lost in refusal(name)
    assert state_of(SD15).startswith("not ready") and lost in state_of(SD15)


def test_a_half_downloaded_update_leaves_the_whole_state_before_it_in_use(sd15_folder, cache):
    into_cache(sd15_folder, cache, SD15.sources[0], commit="a" * 40)
    repository = into_cache(sd15_folder, cache, SD15.sources[0], commit="b" * 40)
    (repository / "snapshots" / ("b" * 40) / "unet" / WEIGHTS["unet"]).unlink()
    assert loads("sd15")
    assert loading.find_model("sd15").name == "a" * 40


def test_an_empty_cache_is_no_model(cache):
    assert "there is no model or folder" in refusal("sd15", "model_missing")
    assert "someone/something" in refusal("someone/something", "model_missing")
    assert state_of(SD15) == "not on this computer"
    (cache / "models--a--b" / "refs").mkdir(parents=True)
    refusal("a/b")


def test_a_cache_of_a_user_that_does_not_exist_is_an_empty_one(monkeypatch):
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(variable, "~nobody-of-that-name/cache")
        assert "there is no model or folder" in refusal("sd15", "model_missing")
        assert state_of(SD15) == "not on this computer"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-that-name/x", "/", "\U0001f986", "a/b/c"])
def test_names_of_any_kind_get_a_sentence(cache, name):
    with pytest.raises(JobError) as caught:
        loading.find_model(name)
    assert len(str(caught.value)) < 400


# ---- other files and folders ---------------------------------------------------------------------------------------


def single_file(folder, keys):
    file = folder / "one.safetensors"
    save_file({key: torch.zeros(2) for key in keys}, file)
    return file


def test_single_files_are_told_apart(tmp_path):
    whole = single_file(tmp_path, ["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.x"])
    assert "no encoder of pictures" in (message := refusal(whole)) and str(whole) in message and "folder" in message
    for keys in (["lora_unet_down_blocks_0.lora_down.weight"], ["unet.mid_block.attn.to_q.lora_A.weight"]):
        lora = single_file(tmp_path, keys)
        assert "is a LoRA" in (message := refusal(lora)) and str(lora) in message
        assert "is a LoRA" in refusal(lora.parent)  # a folder that has nothing else
    assert "ControlNet" in refusal(single_file(tmp_path, ["control_model.zero_convs.0.0.weight"]))
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert "is no model" in refusal(text)


def test_pickles_are_never_opened(copy, tmp_path):
    marker = tmp_path / "ran"

    class Program:
        def __reduce__(self):
            return (marker.write_text, ("x",))

    for part, name in (("unet", "diffusion_pytorch_model.bin"), ("text_encoder", "pytorch_model.bin")):
        folder = shutil.copytree(copy, tmp_path / part)
        (folder / part / WEIGHTS[part]).unlink()
        (folder / part / name).write_bytes(pickle.dumps(Program()))
        assert name in (message := refusal(folder)) and "pickle" in message and "safetensors" in message
    lone = tmp_path / "model.ckpt"
    lone.write_bytes(pickle.dumps(Program()))
    assert "pickle" in refusal(lone)
    renamed = copy / "vae" / WEIGHTS["vae"]
    renamed.write_bytes(pickle.dumps(Program()))
    assert str(renamed) in refusal(copy)
    assert not marker.exists()


def test_pickles_beside_safetensors_do_no_harm(copy):
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04")
    assert loads(copy)


@pytest.mark.parametrize("name", ["unet/" + WEIGHTS["unet"], "tokenizer/vocab.json", "model_index.json"])
def test_a_git_lfs_pointer_is_called_by_its_name(copy, name):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 3438167540\n"
    (copy / name).write_text(pointer)
    assert str(copy / name) in (message := refusal(copy)) and "git lfs pull" in message


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize(
    "damage",
    [b"", b"not weights", b"<html>sign in</html>", b"PK\x03\x04" * 40, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"],
)
def test_damaged_weights_are_named(copy, part, damage):
    file = copy / part / WEIGHTS[part]
    file.write_bytes(damage)
    assert str(file) in refusal(copy)


def test_weights_that_are_cut_off_are_named(copy):
    file = copy / "unet" / WEIGHTS["unet"]
    data = file.read_bytes()
    for length in (4, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        assert str(file) in refusal(copy)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", "null", '"x"', "[" * 100_000, '{"a":' * 50_000, '{"unet": 3}', '{"unet": ["a"]}']
)
def test_a_damaged_index_is_named(copy, text):
    (copy / "model_index.json").write_text(text)
    assert str(copy / "model_index.json") in refusal(copy)


@pytest.mark.parametrize(
    "name", ["unet/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json"]
)
@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\ufeff\0"])
def test_damaged_settings_are_named(copy, name, text):
    (copy / name).write_text(text)
    assert str(copy / name) in refusal(copy)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unet/config.json", {"block_out_channels": [4, 8]}),
        ("unet/config.json", {"block_out_channels": 10**12}),
        ("unet/config.json", {"layers_per_block": 10**6}),
        ("unet/config.json", {"sample_size": None}),
        ("unet/config.json", {"in_channels": 9}),
        ("unet/config.json", {"num_class_embeds": 1000}),
        ("unet/config.json", {"time_cond_proj_dim": 256}),
        ("unet/config.json", {"quantization_config": {"load_in_8bit": True}}),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}),
        ("text_encoder/config.json", {"hidden_size": "wide"}),
        ("vae/config.json", {"down_block_types": ["Strange"]}),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}),
        ("scheduler/scheduler_config.json", {"beta_schedule": None}),
        ("scheduler/scheduler_config.json", {"beta_schedule": "strange"}),
        ("scheduler/scheduler_config.json", {"beta_start": float("nan")}),
        ("scheduler/scheduler_config.json", {"beta_end": 1e400}),
        ("scheduler/scheduler_config.json", {"beta_end": 5}),
        ("scheduler/scheduler_config.json", {"beta_end": 1e-5}),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1] * 5}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
        ("unet/config.json", {"norm_eps": float("nan")}),
        ("unet/config.json", {"sample_size": True}),
        ("unet/config.json", {"sample_size": 10_000}),
        ("vae/config.json", {"scaling_factor": None}),
        ("vae/config.json", {"scaling_factor": 0}),
        ("vae/config.json", {"scaling_factor": float("nan")}),
        ("vae/config.json", {"scaling_factor": "0.18215"}),
        ("vae/config.json", {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1, 1, 1, 2]}),
        ("text_encoder/config.json", {"layer_norm_eps": float("nan")}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 0}),
        ("tokenizer/tokenizer_config.json", {"model_max_length": "77"}),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
    ],
)
def test_settings_that_make_no_network_of_text_to_image_are_refused_with_their_place(copy, name, changes):
    edit_json(copy / name, **changes)
    assert str(copy / name.split("/")[0]) in refusal(copy)


def test_a_vae_of_pictures_with_depth_is_named_before_the_first_step(copy):
    vae = AutoencoderKL.from_pretrained(copy / "vae")
    AutoencoderKL(**{**vae.config, "in_channels": 6, "out_channels": 6}).save_pretrained(copy / "vae")
    assert "(6, 6) channels" in refusal(copy)


def test_a_limit_that_a_scheduler_was_saved_without_is_no_damage(copy):
    edit_json(copy / "scheduler" / "scheduler_config.json", lambda_min_clipped=float("-inf"))
    assert loads(copy)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_part_that_is_missing_is_named(copy, part):
    shutil.move(copy / part, copy.parent / "away")
    assert part in refusal(copy)
    (copy / part).mkdir()
    assert part in refusal(copy)
    index = json.loads((copy / "model_index.json").read_text())
    shutil.rmtree(copy / part)
    shutil.move(copy.parent / "away", copy / part)
    for nothing in ({}, {part: [None, None]}, {part: None}):
        (copy / "model_index.json").write_text(json.dumps({k: v for k, v in index.items() if k != part} | nothing))
        message = refusal(copy)
        assert part in message or "channels" in message


@pytest.mark.parametrize(
    "index",
    [
        {"_class_name": "StableDiffusionXLPipeline", "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]},
        {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"], "unet": None},
        {"_class_name": "KandinskyPipeline", "unet": ["diffusers", "UNet3DConditionModel"]},
        {
            "_class_name": "Zero1to3StableDiffusionPipeline",
            "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
            "cc_projection": ["pipeline_zero1to3", "CCProjection"],
            "text_encoder": [None, None],
            "tokenizer": [None, None],
        },
        {"vae": ["diffusers", "AutoencoderTiny"]},
        {"text_encoder": ["transformers", "LlamaModel"]},
        {"tokenizer": ["transformers", "LlamaTokenizer"]},
    ],
)
def test_other_families_are_called_by_their_names(copy, index):
    edit_json(copy / "model_index.json", **index)
    message = refusal(copy)
    assert any(str(v) in message for value in index.values() for v in (value if isinstance(value, list) else [value]))


def test_parts_alone_and_empty_folders_are_called_what_they_are(copy, tmp_path):
    controlnet = tmp_path / "control" / "net"
    controlnet.mkdir(parents=True)
    assert "is empty" in refusal(controlnet)
    (controlnet / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    save_file({"x": torch.zeros(2)}, controlnet / WEIGHTS["unet"])
    assert "ControlNetModel" in refusal(controlnet)
    (controlnet / "adapter_config.json").write_text("{}")
    assert "LoRA" in refusal(controlnet)
    (tmp_path / "pictures" / "inside").mkdir(parents=True)
    assert "model_index.json" in refusal(tmp_path / "pictures")
