"""Tiny models in the layout of each family, written once."""

from __future__ import annotations

import shutil

import pytest

from tests.support.tiny_models import write_if, write_sd15, write_sd21


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory):
    return write_sd15(tmp_path_factory.mktemp("models") / "sd15")


@pytest.fixture(scope="session")
def sd21_folder(tmp_path_factory):
    return write_sd21(tmp_path_factory.mktemp("models") / "sd21", sample_size=24)


@pytest.fixture(scope="session")
def if_folder(tmp_path_factory):
    return write_if(tmp_path_factory.mktemp("models") / "if", only_spiece=True)


@pytest.fixture
def copy(sd15_folder, tmp_path):
    """A Stable Diffusion 1.5 to be damaged."""
    return shutil.copytree(sd15_folder, tmp_path / "model")
