"""What tests of whole jobs share."""

import pytest

from csd_blender.backend.worker.run_job import ModelCache


@pytest.fixture(scope="module")
def models():
    return ModelCache()


@pytest.fixture
def every_step_tells(monkeypatch):
    """Of its progress, so that a run can be stopped behind any of them."""
    monkeypatch.setattr("csd_blender.backend.support.reporting.PROGRESS_INTERVAL", 0.0)


@pytest.fixture
def no_models_of_the_user(monkeypatch, tmp_path):
    """Nothing is found in a cache or store of this computer."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CSD_MODELS", str(tmp_path / "models"))
