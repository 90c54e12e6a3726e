"""A hub of one tiny model, and this process's client turned to it."""

from __future__ import annotations

import shutil

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from csd_blender.backend.hub import fetch
from tests.support.local_hub import Hub
from tests.support.model_kit import NAME
from tests.support.tiny_models import write_sd15


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A tiny Stable Diffusion 1.5 as publishers lay it out: two sorts of weights, pickles, a filter, a program."""
    folder = tmp_path_factory.mktemp("published")
    write_sd15(folder, variant="fp16")
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        shutil.copy(folder / part / f"{name}.fp16.safetensors", folder / part / f"{name}.safetensors")
        (folder / part / f"{name}.bin").write_bytes(b"pickle")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.fp16.safetensors").write_bytes(b"filter" * 99)
    (folder / "unet" / "helper.py").write_text("print('never')")
    (folder / "README.md").write_text("# tiny")
    (folder / "LICENSE.md").write_text("Use it well.")
    (folder / "sd15.ckpt").write_bytes(b"pickle")
    return folder


@pytest.fixture
def published(written, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(written, tmp_path / "published")


@pytest.fixture
def hub(published, tmp_path, monkeypatch):
    """The running server; no token, no cache, and no patience are left from this computer."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    monkeypatch.setattr(fetch, "BETWEEN", 0.02)
    monkeypatch.setattr(fetch, "CHUNK", 4096)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with Hub({NAME: published}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running
    close_session()


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder of models."""
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"
