"""Settings that ask for what the weights do not have, and names without end: a short sentence, at once."""

from __future__ import annotations

import json
import time

import pytest

from csd_blender.job.errors import QUOTED, JobError
from csd_blender.job.models.contents import read_header
from csd_blender.job.models.files import read_model
from tests.support.damage import edit_json, edit_weights, refusal
from tests.support.tiny_models import write_sd15

LONG = "x" * 5000


@pytest.fixture
def folder(tmp_path):
    return write_sd15(tmp_path / "model")


@pytest.mark.parametrize("name", ["vocab_size", "max_position_embeddings"])
def test_a_vocabulary_that_the_weights_do_not_have_costs_no_memory(folder, name):
    resource = pytest.importorskip("resource")
    edit_json(folder / "text_encoder" / "config.json", **{name: 9_999_999})
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    message = refusal(folder)
    assert "text_encoder/config.json asks for" in message and "model.safetensors holds" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "in units of 1024 bytes"
    assert time.process_time() - began < 60


@pytest.mark.parametrize("change", [{"layers_per_block": 999}, {"transformer_layers_per_block": [1, 999]}])
def test_more_layers_than_there_are_tensors_are_refused_before_a_network_is_made(folder, change):
    edit_json(folder / "unet" / "config.json", **change)
    [name] = change
    with pytest.raises(JobError, match=f"damaged at '{name}'"):
        read_model(folder)


def rename(tensors):
    tensors[LONG] = tensors.pop(next(iter(tensors)))


def header_of(path, dtype="I32", name=LONG):
    header = json.dumps({name: {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def index_of(folder, **parts_of_it):
    edit_json(folder / "model_index.json", **parts_of_it)


HOSTILE = {
    "what is predicted": lambda f: edit_json(f / "scheduler" / "scheduler_config.json", prediction_type=LONG),
    "a class": lambda f: index_of(f, unet=["diffusers", LONG]),
    "a pipeline": lambda f: index_of(f, _class_name=LONG, transformer=["diffusers", "x"], unet=[None, None]),
    "a kind of number": lambda f: header_of(f / "unet" / "diffusion_pytorch_model.safetensors", LONG),
    "a tensor's name": lambda f: header_of(f / "unet" / "diffusion_pytorch_model.safetensors"),
    "an unknown weight": lambda f: edit_weights(f / "text_encoder" / "model.safetensors", rename),
    "a setting": lambda f: edit_json(f / "unet" / "config.json", class_embed_type=LONG),
    "a name of layers": lambda f: edit_json(f / "unet" / "config.json", **{"layers" + LONG: 10**6}),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_an_error_repeats_no_more_than_a_line_of_what_a_file_says(folder, how):
    HOSTILE[how](folder)
    assert "x" * (QUOTED + 1) not in refusal(folder)


def test_a_long_name_that_is_not_wrong_is_no_fault(tmp_path):
    header_of(tmp_path / "x.safetensors", "F32")
    assert list(read_header(tmp_path / "x.safetensors")) == [LONG]
