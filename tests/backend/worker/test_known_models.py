"""A job that goes on with other weights than it began with says so."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from csd_blender.backend.diffusion.loading import MINI_FOLDER
from csd_blender.backend.worker.known_models import sum_of_model, sums_of
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.files import MODEL_RECORD
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from tests.support.tiny_encoders import write_small_encoder
from tests.support.tiny_jobs import TINY, after, run, warnings_but_terms
from tests.support.tiny_language import write_bert


@pytest.fixture
def model(tmp_path, tiny_folder):
    return shutil.copytree(tiny_folder, tmp_path / "model")


def make(tmp_path, model):
    return JobFolder.create(tmp_path / "job", text_to_3d_job("a red mug", model=str(model), **TINY))


def weights_of(model):
    return next((model / "unet").glob("*.safetensors"))


def changed(file):
    """Other numbers in a file of the same length."""
    data = bytearray(file.read_bytes())
    data[-8:] = bytes(8)
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model: None, []),
        (lambda model: os.utime(weights_of(model), (1, 1)), []),  # another date is no other file
        (lambda model: changed(weights_of(model)), ["model_changed"]),
        (lambda model: shutil.copy(weights_of(model), model / "unet" / "more.safetensors"), ["model_changed"]),
    ],
)
def test_a_job_that_is_resumed_knows_its_model_again(tmp_path, model, change, said):
    folder, models = make(tmp_path, model), ModelCache()
    run(folder, models, stop=after(2, "leave"))
    assert (folder.path / MODEL_RECORD).is_file()
    change(model)
    outcome, events = run(folder, models, resume=True)
    assert outcome.type == "result" and [c for c in warnings_but_terms(events) if c == "model_changed"] == said


def test_a_job_that_begins_anew_takes_what_is_there(tmp_path, model):
    folder, models = make(tmp_path, model), ModelCache()
    run(folder, models, stop=after(1, "leave"))
    changed(weights_of(model))
    for resume in (False, True):
        _, events = run(folder, models, resume=resume, stop=after(1, "leave"))
        assert "model_changed" not in warnings_but_terms(events)


def test_a_job_of_a_version_without_such_a_record_goes_on(tmp_path, model):
    folder, models = make(tmp_path, model), ModelCache()
    run(folder, models, stop=after(2, "leave"))
    for content in (None, b"{", b"[]"):
        (folder.path / MODEL_RECORD).unlink(missing_ok=True)
        if content is not None:
            (folder.path / MODEL_RECORD).write_bytes(content)
        outcome, events = run(folder, models, resume=True, stop=after(1, "leave"))
        assert "model_changed" not in warnings_but_terms(events) and outcome.code == "interrupted"


def test_a_sum_does_not_depend_on_the_place(tmp_path):
    assert sum_of_model(MINI_FOLDER) == sum_of_model(shutil.copytree(MINI_FOLDER, tmp_path / "elsewhere"))


def test_a_model_that_was_broken_and_is_got_again_is_none_that_changed(tmp_path, model):
    folder, models = make(tmp_path, model), ModelCache()
    whole = weights_of(model).read_bytes()
    weights_of(model).write_bytes(whole[:-8])
    assert run(folder, models)[0].code == "model_unreadable"
    weights_of(model).write_bytes(whole)
    outcome, events = run(folder, models, resume=True, stop=after(2, "leave"))
    assert outcome.code == "interrupted" and "model_changed" not in warnings_but_terms(events)
    changed(weights_of(model))  # but now there are steps by the one that was got
    _, events = run(folder, models, resume=True, stop=after(1, "leave"))
    assert "model_changed" in warnings_but_terms(events)


def test_what_lies_beside_a_single_file_is_no_part_of_it_but_for_its_settings(tmp_path):
    file = tmp_path / "dream.safetensors"
    file.write_bytes(b"weights")
    before = sum_of_model(file)
    for name in ("dream.json", "dream.txt", "dream.inpaint.safetensors"):  # as WebUIs and people put them there
        (tmp_path / name).write_text("{}")
    assert sum_of_model(file) == before
    (tmp_path / "dream.yaml").write_text("parameterization: v")
    assert sum_of_model(file) != before


def test_what_is_added_to_a_model_by_name_is_known_again_too(tmp_path):
    lora = tmp_path / "lora.safetensors"
    pair = {f"lora_unet_mid_block.lora_{way}.weight": torch.ones(2, 2) for way in ("down", "up")}
    save_file(pair, lora)
    small, bert = write_small_encoder(tmp_path / "small"), write_bert(tmp_path / "bert")
    job = text_to_3d_job("a mug", lora=str(lora), encoder=str(small), debias_prompt=str(bert), model="mini")
    before = sums_of(job)
    assert set(before) == {"model", "LoRA", "encoder", "language model"}
    (tmp_path / "adapter_config.json").write_text("{}")
    changed(next(small.glob("*.safetensors")))
    after_it = sums_of(job)
    assert {name for name in before if before[name] != after_it[name]} == {"LoRA", "encoder"}


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_file_whose_name_is_no_text_hinders_no_sum(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    assert sum_of_model(tmp_path)
