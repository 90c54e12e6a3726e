"""From latents back to pictures, as the library's own pipelines do it."""

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.support.memory import Saving
from tests.support.tiny_models import write_if

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def latent_model(tiny_folder):
    return load_model(str(tiny_folder), CPU)


def test_latents_are_decoded_as_the_library_does(latent_model):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scale = latent_model.vae.config.scaling_factor
    wanted = (latent_model.vae.decode(latents / scale).sample / 2 + 0.5).clamp(0, 1)
    found = latent_model.decode_latents(latents)
    assert found.shape == (2, 3, 32, 32) and not found.requires_grad
    torch.testing.assert_close(found, wanted)
    latent_model.thrift.saving = Saving(pictures=True)
    try:
        torch.testing.assert_close(latent_model.decode_latents(latents), wanted)
    finally:
        latent_model.thrift.reset()


def test_a_model_on_pixels_gives_back_what_it_was_given(tmp_path):
    model = load_model(str(write_if(tmp_path / "if")), CPU)
    side = model.native_size
    pictures = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.decode_latents(model.encode_images(pictures)), pictures)
    assert float(model.decode_latents(torch.full((1, 3, 4, 4), 3.0)).max()) == 1.0
