"""The model that stays in memory between jobs is that which lies on the disk, also after another took its place."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from csd_blender.backend.diffusion.additions.load_control import load_controls
from csd_blender.backend.diffusion.additions.load_encoder import load_encoder
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.models.control import ControlFiles, read_control
from csd_blender.job.models.encoder import EncoderFiles, read_encoder
from csd_blender.job.models.lora import find_lora
from tests.support.tiny_encoders import write_small_encoder
from tests.support.tiny_models import write_control, write_sd15

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def folder(tmp_path):
    return write_sd15(tmp_path / "sd15")


def write_lora(file, value):
    factors = {"A": torch.full((1, 8), value), "B": torch.ones(8, 1)}
    save_file({f"unet.{LAYER}.lora_{side}.weight": factor for side, factor in factors.items()}, file)
    return find_lora(str(file))


def double(file):
    save_file({key: 2 * value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})


def test_a_lora_that_was_written_anew_under_its_name_is_the_new_one(folder, tmp_path):
    models = ModelCache()
    first = models.get(str(folder), "cpu", write_lora(tmp_path / "a.safetensors", 1.0))
    assert models.get(str(folder), "cpu", find_lora(str(tmp_path / "a.safetensors"))) is first
    before = first.unet.get_submodule(LAYER).weight.clone()
    second = models.get(str(folder), "cpu", write_lora(tmp_path / "a.safetensors", 3.0))
    torch.testing.assert_close(second.unet.get_submodule(LAYER).weight, before + 2.0)


def test_a_model_that_was_changed_is_loaded_again_and_one_that_was_removed_is_missing(folder):
    models = ModelCache()
    first = models.get(str(folder), "cpu")
    assert models.get(str(folder), "cpu") is first
    before = first.unet.get_submodule(LAYER).weight.clone()
    double(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(models.get(str(folder), "cpu").unet.get_submodule(LAYER).weight, 2 * before)
    shutil.rmtree(folder)
    with pytest.raises(JobError) as caught:
        models.get(str(folder), "cpu")
    assert caught.value.code == "model_missing"


def test_so_is_a_controlnet(folder, tmp_path):
    model, place = ModelCache().get(str(folder), "cpu"), write_control(tmp_path / "depth", folder)
    files = [ControlFiles("depth", ("depth",), read_control(place))]
    model.control = load_controls(files, model)
    assert load_controls(files, model).nets[0].network is model.control.nets[0].network
    double(place / "diffusion_pytorch_model.safetensors")
    old, new = (nets.nets[0].network.conv_in.weight for nets in (model.control, load_controls(files, model)))
    assert torch.equal(new, 2 * old)


def test_so_is_a_small_encoder(tmp_path):
    place = write_small_encoder(tmp_path / "encoder")
    files, cpu = EncoderFiles("tiny", read_encoder(place)), torch.device("cpu")
    had = load_encoder(files, 4, 8, cpu)
    assert load_encoder(files, 4, 8, cpu, had) is had
    double(place / "diffusion_pytorch_model.safetensors")
    assert load_encoder(files, 4, 8, cpu, had) is not had
