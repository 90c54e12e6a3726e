"""Loading and calling models in the diffusers layout, on a tiny Stable Diffusion with random weights."""

from __future__ import annotations

import pytest
import torch

from csd_blender.backend.diffusion.conditions import Conditions
from csd_blender.backend.diffusion.deepfloyd import DeepFloyd
from csd_blender.backend.diffusion.loading import FAMILIES, load_model, select_device
from csd_blender.backend.diffusion.model import PREDICTION_TYPES, to_noise
from csd_blender.backend.support.memory import Saving
from csd_blender.job.errors import JobError
from csd_blender.job.models.catalogue import CATALOGUE
from csd_blender.job.models.files import read_model

CPU = torch.device("cpu")


@pytest.fixture
def tiny(tiny_folder):
    return load_model(str(tiny_folder), CPU)


def test_a_diffusers_folder_loads_with_its_own_sizes(tiny):
    assert (tiny.native_size, tiny.latent_factor, tiny.latent_channels) == (32, 4, 4)
    assert not any(p.requires_grad for p in [*tiny.unet.parameters(), *tiny.vae.parameters()])
    # the betas of "scaled_linear" are squares of an even grid between their roots
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(tiny.schedule.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)


def test_encoding_matches_diffusers_own_encoder(tiny):
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    expected = tiny.vae.encode(images * 2 - 1).latent_dist.mode() * 0.5
    torch.testing.assert_close(tiny.encode_images(images), expected, rtol=1e-5, atol=1e-6)
    tiny.thrift.saving = Saving(pictures=True)
    torch.testing.assert_close(tiny.encode_images(images), expected, rtol=1e-4, atol=1e-5)


def test_the_encoder_passes_a_gradient_to_the_picture(tiny):
    images = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    probe = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(3)).double()
    tiny.vae.double()

    def value(x):
        return (tiny.encode_images(x).double() * probe).sum()

    x = images.double().requires_grad_(True)
    value(x).backward()
    step = 1e-3
    with torch.no_grad():
        numeric = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert float((x.grad * direction).sum()) == pytest.approx(float(numeric), rel=5e-3)


@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_any_kind_of_prediction_becomes_the_same_noise(tiny, kind):
    """If the network returns the exact answer for known data, the converted prediction is the exact noise."""
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn((2, 4, 8, 8), generator=generator) for _ in range(2))
    t = torch.tensor([100, 900])
    alpha, sigma = tiny.schedule.alpha_sigma(t)
    noisy = tiny.schedule.add_noise(x, noise, t)
    exact = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x, "flow_prediction": noise - x}[kind]

    class Exact(torch.nn.Module):
        dtype = torch.float32

        def forward(self, sample, steps, encoder_hidden_states):
            return type("Output", (), {"sample": exact})

    tiny.unet, tiny.schedule.prediction_type = Exact(), kind
    told = Conditions(torch.zeros(2, 8, 16))
    torch.testing.assert_close(tiny.predict_noise(noisy, t, told), noise, rtol=1e-4, atol=1e-5)
    # and on a flow's own straight path, from the picture to the noise
    share = torch.tensor([0.3, 0.8]).view(-1, 1, 1, 1)
    on_the_way = (1 - share) * x + share * noise
    found = to_noise("flow_prediction", noise - x, on_the_way, 1 - share, share)
    torch.testing.assert_close(found, noise, rtol=1e-4, atol=1e-5)


def test_a_prediction_of_something_else_is_refused_by_name():
    one = torch.ones(1, 1, 1, 1)
    with pytest.raises(ValueError, match="'sample' is no prediction; known are epsilon, v_prediction"):
        to_noise("sample", one, one, one, one)


def test_every_family_of_the_catalogue_that_is_offered_can_be_driven(tiny_folder, if_folder):
    assert {entry.family for entry in CATALOGUE if entry.can_be_used} <= FAMILIES.keys()
    assert read_model(tiny_folder).family == "sd" and read_model(if_folder).family == "if"
    assert isinstance(load_model(str(if_folder), CPU), DeepFloyd)
    assert next(entry for entry in CATALOGUE if entry.id == "mini").native_size == load_model("mini", CPU).native_size


def test_prompts_are_encoded_once_and_the_encoder_can_be_freed(tiny):
    calls = []
    encoder = tiny.text.encoder
    tiny.text.encoder = lambda ids: calls.append(len(ids)) or encoder(ids)
    first = tiny.encode_prompts(["a red mug", "a mug", "a red mug"]).text
    tiny.free_text_encoder()
    again = tiny.encode_prompts(["a mug", "a red mug"]).text
    assert calls == [2]
    assert torch.equal(first[0], again[1]) and torch.equal(first[1], again[0])
    tiny.encode_prompts(["a new prompt"])  # loads the encoder anew
    assert tiny.text.encoder is not None


@pytest.mark.parametrize("damage", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_damaged_weights_give_one_sentence(tiny_folder, tmp_path, damage):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    (copy / damage).write_bytes(b"not weights")
    with pytest.raises(JobError) as caught:
        load_model(str(copy), CPU)
    assert caught.value.code == "model_unreadable"


def test_an_unknown_model_and_an_absent_device_are_named():
    with pytest.raises(JobError) as caught:
        load_model("no-such-model", CPU)
    assert caught.value.code == "model_missing" and "no-such-model" in str(caught.value)
    if not torch.cuda.is_available():
        with pytest.raises(JobError) as caught:
            select_device("cuda:0")
        assert caught.value.code == "no_gpu"
