"""What the hub or this computer refuses: one sentence that says what to do, and nothing is left half."""

from __future__ import annotations

import shutil

import pytest

from csd_blender.backend.hub import get as get_module
from csd_blender.backend.hub.get import get_model
from csd_blender.job.errors import JobError
from csd_blender.job.models import catalogue, store
from csd_blender.job.models.states import look_at
from tests.support.model_kit import NAME, get, names_in, refused

# ---- the hub says no -------------------------------------------------------------------------------------------------


def test_a_gated_model_says_what_to_do_and_comes_with_a_token_that_is_kept_nowhere(hub, models, monkeypatch):
    hub.faults.token = "hf_secret"
    error = refused(models, "model_gated")
    assert f"{hub.address}/{NAME}" in error.fix and "HF_TOKEN" in error.fix and "hf auth login" in error.fix
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    folder = get(models)
    assert not [p for p in models.rglob("*") if p.is_file() and b"hf_secret" in p.read_bytes()]
    sent = [token for (_, path, _), token in zip(hub.asked, hub.tokens, strict=True) if path.startswith("/lfs/")]
    assert folder.is_dir() and "Bearer hf_secret" in hub.tokens and sent


@pytest.mark.parametrize(
    ("status", "code", "message", "expected", "word"),
    [
        (401, "", "Invalid credentials in Authorization header", "download_failed", "access token"),
        (403, "GatedRepo", "", "model_gated", "tiny/sd15"),
        (403, "", "", "model_gated", "tiny/sd15"),
        (404, "", "", "model_gone", "tiny/sd15"),
        (404, "EntryNotFound", "", "model_gone", "LICENSE"),
        (416, "", "", "download_failed", "shorter"),
        (500, "", "", "download_failed", "500"),
    ],
)
def test_what_the_hub_answers_becomes_one_sentence(hub, models, status, code, message, expected, word):
    hub.faults.status, hub.faults.error_code, hub.faults.error_message = status, code, message
    assert word in refused(models, expected).message


@pytest.mark.parametrize(
    ("status", "expected"), [(401, "model_gone"), (403, "model_gated"), (404, "model_gone"), (503, "download_failed")]
)
def test_so_does_what_it_answers_about_the_repository(hub, models, status, expected):
    hub.faults.api_status = status
    refused(models, expected)


def test_a_repository_that_is_not_there_is_named_and_the_next_one_tried(hub, models):
    refused(models, "model_gone", "nobody/nothing")
    entry = catalogue.ModelEntry("tiny", "sd", "Tiny", ("nobody/nothing", NAME), "tests", "MIT", "yes", 1, 1, 512)
    assert store.read_record(get_model(entry, models)).source == NAME


def test_a_gated_entry_that_the_hub_hides_is_told_as_gated(hub, models):
    entry = catalogue.ModelEntry("g", "sd", "G", ("nobody/nothing",), "tests", "MIT", "yes", 1, 1, 512, gated=True)
    with pytest.raises(JobError) as caught:
        get_model(entry, models)
    assert caught.value.code == "model_gated" and "nobody/nothing" in caught.value.fix


def test_a_repository_of_pickles_alone_is_refused_and_none_is_downloaded(hub, models, published):
    for file in (published / "unet").glob("*.safetensors"):
        file.unlink()
    error = refused(models, "model_unreadable")
    assert "pickles" in error.detail and "unet" in error.detail
    assert not [path for _, path, _ in hub.asked if "resolve" in path]


def test_a_repository_of_something_else_is_refused(hub, models, published):
    (published / "model_index.json").unlink()
    assert "model_index.json" in refused(models, "model_unreadable").detail


# ---- this computer says no -------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_anything_comes(hub, models, monkeypatch):
    monkeypatch.setattr(get_module, "free_bytes", lambda root: 10**6)
    error = refused(models, "no_space")
    assert "needed" in error.detail and "0.0 GB are free" in error.detail and str(models) in error.detail
    assert not [path for _, path, _ in hub.asked if "resolve" in path]


def test_a_disk_that_fills_up_keeps_what_came(hub, models, monkeypatch):
    from csd_blender.backend.hub.fetch import Watched

    real = Watched.write

    def full(self, data):
        if self.file.name.endswith("unet/diffusion_pytorch_model.fp16.safetensors.partial"):
            raise OSError(28, "No space left on device", self.file.name)
        return real(self, data)

    monkeypatch.setattr(Watched, "write", full)
    error = refused(models, "no_space")
    assert "kept" in error.fix
    monkeypatch.setattr(Watched, "write", real)
    assert get(models).is_dir()


def test_two_downloads_of_one_model_do_not_mix(hub, models):
    from csd_blender.job.process.processes import HeldFile

    models.mkdir()
    with HeldFile(store.lock_file(NAME, models), ""):
        refused(models, "busy")


def test_what_is_not_for_commercial_use_is_refused_unless_that_is_allowed(hub, models):
    assert "permits no such use" in refused(models, "licence_not_accepted", "if-xl").detail
    assert refused(models, "model_gated", "if-xl", allow_noncommercial=True)


def test_what_jobs_cannot_use_yet_is_not_downloaded(hub, models, monkeypatch):
    monkeypatch.setattr(catalogue, "DRIVEN_ROLES", ("model", "control"))
    assert "cannot use" in refused(models, "model_unreadable", "taesd").detail
    assert "needs no download" in refused(models, "model_unreadable", "mini").fix.lower()
    assert hub.asked == []


def test_an_addition_is_one_network_without_an_index(hub, models, published):
    for name in ("model_index.json", "LICENSE.md"):
        (published / name).unlink()
    for file in (published / "unet").iterdir():
        shutil.copy(file, published / file.name)
    entry = catalogue.ModelEntry("c", "sd", "C", (NAME,), "tests", "MIT", "yes", 1, 1, 512, role="control")
    found = names_in(get_model(entry, models))
    assert found == ["config.json", "csd-model.json", "diffusion_pytorch_model.fp16.safetensors"]
    assert look_at(entry, models).state == "ready"
