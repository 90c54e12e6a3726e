"""Which sort of model a name or folder is taken for, before anything of it is loaded."""

from __future__ import annotations

import json

import pytest

from csd_blender.job.presets.model_kinds import works_on_pixels
from csd_blender.job.presets.text_to_3d import text_to_3d_job

T5, CLIP = ["transformers", "T5EncoderModel"], ["transformers", "CLIPTextModel"]
VAE = ["diffusers", "AutoencoderKL"]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ({"text_encoder": T5}, True),
        ({"text_encoder": T5, "vae": None}, True),
        ({"text_encoder": T5, "vae": [None, None]}, True),
        ({"text_encoder": T5, "vae": VAE}, False),
        ({"text_encoder": CLIP, "vae": VAE}, False),
        ({"text_encoder": CLIP}, False),
        ({"text_encoder": None}, False),
        ({"text_encoder": []}, False),
        ({}, False),
        ([], False),
        (5, False),
    ],
)
def test_a_folder_s_index_says_whether_its_model_works_on_pixels(tmp_path, index, expected):
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert works_on_pixels(str(tmp_path)) is expected


def test_a_folder_above_the_model_s_is_looked_into(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("\ufeff" + json.dumps({"text_encoder": T5}), "utf-8")
    assert works_on_pixels(str(tmp_path)) is True


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"x"', "\udcff", '{"text_encoder": {"a": 1}}'])
def test_an_index_that_cannot_be_read_is_no_pixel_model(tmp_path, text):
    (tmp_path / "model_index.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert works_on_pixels(str(tmp_path)) is False


@pytest.mark.parametrize("name", ["sd15", "sd21-base", "mini", "a/b", "", "\0", "~nobody/x", "x" * 5000, "\udcff"])
def test_a_model_that_is_not_here_is_taken_for_stable_diffusion(name):
    assert works_on_pixels(name) is False


def test_deepfloyd_s_own_name_is_known():
    assert works_on_pixels("DeepFloyd/IF-I-XL-v1.0") is True
    assert text_to_3d_job("x", model="DeepFloyd/IF-I-M-v1.0", recipe="magic3d").coarse.guidance.guidance_scale == 20
