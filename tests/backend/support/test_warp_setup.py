"""The quiet start of Warp."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from csd_blender.backend.support import warp_setup
from csd_blender.backend.support.warp_setup import kernel_cache, user_cache

ROOT = Path(__file__).parents[3]


def test_warp_starts_without_a_word_and_keeps_its_kernels_where_it_is_told(tmp_path):
    code = (
        "from csd_blender.backend.support.warp_setup import start_warp; start_warp(); import warp; "
        f"assert warp.config.kernel_cache_dir.startswith({str(tmp_path)!r}), warp.config.kernel_cache_dir"
    )
    environment = os.environ | {"CSD_KERNEL_CACHE": str(tmp_path / "kernels"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=1200)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A home, and a folder for temporary files, of the test's own."""
    for name in ("CSD_KERNEL_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="finds its home in another way")
def test_kernels_are_kept_in_a_folder_of_our_own_in_the_users_cache(places, monkeypatch):
    assert kernel_cache() == user_cache() / "kernels" and kernel_cache().is_dir()
    assert places / "home" in kernel_cache().parents and "csd_blender" in kernel_cache().parts
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "elsewhere"))
    if sys.platform.startswith("linux"):
        assert kernel_cache() == places / "elsewhere" / "csd_blender" / "kernels"
    monkeypatch.setenv("CSD_KERNEL_CACHE", str(places / "chosen"))
    assert kernel_cache() == places / "chosen"


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
def test_without_a_home_that_can_be_written_they_lie_in_a_temporary_folder_that_only_we_write(places):
    (places / "home").write_text("a file where the home should be")
    found = kernel_cache()
    assert found.parent == places / "temporary" and found.stat().st_mode & 0o777 == 0o700
    assert kernel_cache() == found  # the next process finds what this one compiled


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
def test_a_user_without_a_home_gets_no_folder_called_tilde(places, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user of a container whom nobody entered
    monkeypatch.chdir(places)
    assert kernel_cache().parent == places / "temporary" and not (places / "~").exists()


@pytest.mark.skipif(os.name == "nt", reason="modes of files")
@pytest.mark.parametrize("how", ["open to all", "link", "file"])
def test_machine_code_is_never_taken_from_a_folder_that_others_can_write(places, how):
    (places / "home").write_text("")
    usual = kernel_cache()
    usual.rmdir()
    if how == "open to all":
        usual.mkdir()
        usual.chmod(0o777)
    elif how == "link":
        (places / "theirs").mkdir()
        usual.symlink_to(places / "theirs")
    else:
        usual.touch()
    found = kernel_cache()
    assert found != usual and found.stat().st_mode & 0o777 == 0o700
    assert warp_setup._can_be_written(found)
