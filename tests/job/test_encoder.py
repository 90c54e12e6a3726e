"""The words for small encoders, and which folders they lead to; without torch."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest

from csd_blender.job.errors import JobError
from csd_blender.job.kinds import KINDS
from csd_blender.job.models import licences
from csd_blender.job.models.catalogue import CATALOGUE
from csd_blender.job.models.encoder import PUBLISHED, chosen_encoder, find_encoder, lasting_encoder_name
from csd_blender.job.presets.edit import edit_job, shape_stage
from csd_blender.job.presets.effects import without_effect
from csd_blender.job.presets.picture import picture_job
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.picture import PictureJob
from csd_blender.job.spec.text_to_3d import TextTo3DJob
from csd_blender.job.spec.texture import TextureJob

MAKERS = (texture_job, text_to_3d_job, picture_job, lambda *a, **k: edit_job(*a, source="a", **k))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A hub's cache, and a folder of models, of this test's own."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    return tmp_path / "hub"


def net(folder, **settings):
    """A folder that looks like a small encoder from outside."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny", **settings}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    return folder


def cached(cache, source):
    return net(cache / ("models--" + source.replace("/", "--")) / "snapshots" / "abc")


def refusal(words, family="sd", code="encoder_unreadable"):
    with pytest.raises(JobError) as caught:
        chosen_encoder(words, family)
    assert caught.value.code == code, caught.value
    return caught.value.message


def test_full_is_the_models_own_and_small_the_bundled_or_the_familys_published_one(tmp_path, cache):
    assert chosen_encoder("full", "sd") is None
    bundled = net(tmp_path / "encoder")
    assert chosen_encoder("small", "sd", bundled).part.folder == bundled
    for family, source in PUBLISHED.items():
        place = cache / ("models--" + source.replace("/", "--"))
        folder = place / "snapshots" / "abc" if place.exists() else cached(cache, source)
        found = chosen_encoder("small", family)
        assert (found.name, found.part.folder) == (source, folder)
    assert chosen_encoder(str(bundled), "sdxl").part.folder == bundled


def test_one_that_is_not_here_says_how_to_get_it():
    assert "“csd models get taesd”, or set Encoder to full." in refusal("small", code="encoder_missing")
    assert "csd models get taesdxl" in refusal("taesdxl", "sdxl", code="encoder_missing")
    assert "Hugging Face cache" in refusal("owner/tiny", code="encoder_missing")
    assert "“no such thing”" in refusal("no such thing", code="encoder_missing")
    assert "no small one for models of this kind" in refusal("small", "if", code="encoder_missing")


@pytest.mark.parametrize("name", ["mini", "sd15", "sdxl-depth"])
def test_a_model_of_another_sort_is_called_so_and_not_offered_to_be_got(name):
    with pytest.raises(JobError, match="is no small encoder") as caught:
        chosen_encoder(name, "sd")
    assert caught.value.code == "encoder_unreadable" and "models get" not in caught.value.fix


def test_one_of_another_family_is_refused_by_what_is_known_of_it(cache):
    folder = cached(cache, "madebyollin/taesdxl")
    for name in ("taesdxl", "madebyollin/taesdxl", str(folder)):
        said = refusal(name, "sd")
        assert str(folder) in said and "Stable Diffusion XL alone" in said
        assert chosen_encoder(name, "sdxl").part.folder == folder
    cached(cache, "madebyollin/taesd")
    assert chosen_encoder("taesd", "zero123").name == "taesd"


def test_what_is_no_small_encoder_is_refused_with_its_file(tmp_path):
    whole = net(tmp_path / "whole")
    (whole / "model_index.json").write_text("{}")
    other = net(tmp_path / "other", _class_name="AutoencoderKL")
    empty, pickle, cut = tmp_path / "empty", net(tmp_path / "pickle"), net(tmp_path / "cut")
    empty.mkdir()
    (pickle / "diffusion_pytorch_model.safetensors").rename(pickle / "diffusion_pytorch_model.bin")
    weights = cut / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    for folder, words in (
        (whole, "a whole diffusion model"),
        (other, "of the class AutoencoderKL"),
        (empty, "has no config.json"),
        (pickle, "diffusion_pytorch_model.bin is a pickle"),
        (cut, "diffusion_pytorch_model.safetensors"),
    ):
        said = refusal(str(folder))
        assert str(folder) in said and words in said and "\n" not in said


def test_names_that_last_are_whole_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(net(tmp_path / "tiny").parent)
    assert lasting_encoder_name("tiny") == str(tmp_path / "tiny")
    assert [lasting_encoder_name(words) for words in ("full", "small")] == ["full", "small"]
    with pytest.raises(JobError, match="there is none “other”"):
        lasting_encoder_name("other")
    assert find_encoder("tiny/config.json") == tmp_path / "tiny"


def test_every_kind_has_it_and_old_jobs_keep_their_fingerprints():
    for make in MAKERS:
        job = make("a mug")
        assert job.encoder == "full" and job.spec_hash() == replace(job, encoder="full").spec_hash()
        assert job.spec_hash() != replace(job, encoder="small").spec_hash()
        older = job.to_json()
        del older["encoder"]
        assert type(job).from_json(older).spec_hash() == job.spec_hash()
        with pytest.raises(JobError, match="encoder is ' ', allowed is full, small, or a folder"):
            replace(job, encoder=" ")
    assert all(kind.spec in (TextureJob, TextTo3DJob, PictureJob) or "encoder" in kind.spec.shown for kind in KINDS)
    assert shape_stage(edit_job("a mug", source="a", shape="free", encoder="small")).encoder == "small"


def test_it_is_said_where_it_has_no_effect():
    assert "encoder" not in without_effect(TextureJob, {}) and "encoder" not in without_effect(TextTo3DJob, {})
    assert without_effect(TextureJob, {"model": "if-xl"})["encoder"] == "The model takes pixels"
    assert without_effect(TextTo3DJob, {"model": "if-xl"})["encoder"] == "The model takes pixels"
    assert "encoder" not in without_effect(TextTo3DJob, {"model": "sd15", "coarse_model": "if-xl"})
    assert without_effect(PictureJob, {})["encoder"] == "Latents are not encoded"
    assert "encoder" not in without_effect(PictureJob, {"space": "pixels"})


def test_a_named_one_is_asked_for_its_terms():
    job = texture_job("a mug", encoder="owner/tiny")
    assert licences.models_of(job) == ["mini", "owner/tiny"]
    assert licences.models_of(replace(job, encoder="small")) == ["mini"]
    assert "not known here" in licences.unknown_terms("owner/tiny") and not licences.unknown_terms("taesd")
    assert licences.licence_of("madebyollin/taesd") == "MIT"


def test_the_catalogues_are_those_that_families_take():
    listed = {entry.sources[0] for entry in CATALOGUE if entry.role == "encoder"}
    assert listed == set(PUBLISHED.values())
