"""What the tests of damaged models share: changes to a folder, and the sentence with which it is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.job.errors import JobError

CPU = torch.device("cpu")
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


def refusal(name, code="model_unreadable"):
    """The sentence with which ``name`` is refused."""
    with pytest.raises(JobError) as caught:
        load_model(str(name), CPU)
    assert caught.value.code == code
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message
    assert message.endswith(".") and message.count("  ") == 0
    assert caught.value.fix
    return message


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def loads(name):
    model = load_model(str(name), CPU)
    assert (model.native_size, model.latent_channels) == (512, 4)
    return model
