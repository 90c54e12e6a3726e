"""The bundled model's network for several views at once: found in its place, with all else the model's own."""

from __future__ import annotations

import json

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model, look_through
from csd_blender.backend.diffusion.views.mvdream import MVDream, camera_numbers
from csd_blender.backend.render.cameras import orbit
from csd_blender.job.errors import JobError
from csd_blender.job.models import places
from tools.lab.mini.views.train import make_view_unet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plain():
    return load_model("mini", CPU)


@pytest.fixture
def untrained(plain, tmp_path, monkeypatch):
    """A network that begins as the plain one; its cameras say nothing yet."""
    unet = make_view_unet(plain.unet, 0)
    with torch.no_grad():  # as good as nothing, since what is nothing at all is refused
        unet.class_embedding.linear_2.weight.normal_(0, 1e-6, generator=torch.Generator().manual_seed(0))
    unet.half().save_pretrained(tmp_path / "unet", safe_serialization=True)
    monkeypatch.setattr(places, "BUNDLED_VIEWS", tmp_path / "unet")
    return tmp_path / "unet"


def ring(model):
    cameras = orbit(4)
    conditions = model.encode_prompts(["a red mug"] * 4)
    told = type(conditions)(text=conditions.text, cameras=camera_numbers(cameras.axes(), cameras.positions()))
    noisy = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    return noisy, torch.full((4,), 500), conditions, told


def test_it_is_the_plain_network_whose_pictures_look_at_each_other(plain, untrained):
    model = load_model("mini", CPU, told="views")
    assert isinstance(model, MVDream) and model.views == 4 and model.native_size == plain.native_size
    noisy, t, alone, told = ring(model)
    together = model.predict_noise(noisy, t, told)
    assert float((together - plain.predict_noise(noisy, t, alone)).abs().max()) > 0.01, "views are seen by each other"
    same = noisy[:1].expand(4, -1, -1, -1)  # four times the same picture: what is seen besides is nothing new
    close = model.predict_noise(same, t, told) - plain.predict_noise(same, t, alone)
    assert float(close.abs().max()) < 0.01
    turned = told.cameras.roll(1, 0)
    again = model.predict_noise(noisy, t, type(told)(text=told.text, cameras=turned))
    torch.testing.assert_close(again, together, atol=1e-3, rtol=0)


def test_without_the_network_several_views_are_refused_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "BUNDLED_VIEWS", tmp_path)
    for ask in (look_through, places.lasting_name):
        with pytest.raises(JobError) as refused:
            ask("mini", "views")
        assert refused.value.code == "bad_setting" and "one view at a time" in str(refused.value)


def test_a_damaged_one_is_named(untrained):
    (untrained / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(JobError) as refused:
        load_model("mini", CPU, told="views")
    assert refused.value.code == "model_unreadable" and "unet" in str(refused.value)
