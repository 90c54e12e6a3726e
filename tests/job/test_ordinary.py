"""Links, pipes and devices in the place of a job's own files and folders: refused, and nothing elsewhere is touched."""

from __future__ import annotations

import errno
import os

import pytest

from csd_blender.job import files, ordinary
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder, read_coarse
from csd_blender.job.ordinary import NotOrdinary, open_ordinary
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.processes import HeldFile

POSIX = pytest.mark.skipif(os.name == "nt", reason="links and pipes as this system has them")
APPEND = os.O_WRONLY | os.O_APPEND


@pytest.fixture
def folder(tmp_path):
    return JobFolder.create(tmp_path / "job", texture_job("a mug"))


@pytest.fixture
def mine(tmp_path):
    """A folder of the user's own, with files that have names such as the program deletes."""
    place = tmp_path / "mine"
    place.mkdir()
    for name in ("work.txt", "step_000001.safetensors", "view.rgba.0123456789ab.tmp"):
        (place / name).write_text("a year")
    return place


def untouched(place):
    return {entry.name: entry.read_text() for entry in place.iterdir()} == dict.fromkeys(
        ("work.txt", "step_000001.safetensors", "view.rgba.0123456789ab.tmp"), "a year"
    )


def refused(action) -> str:
    with pytest.raises(JobError) as caught:
        action()
    assert caught.value.code == "bad_job_folder"
    return caught.value.message


@POSIX
@pytest.mark.parametrize("name", files.FOLDERS)
def test_a_folder_with_a_link_for_one_of_its_own_is_refused_by_name(folder, mine, name):
    if (folder.path / name).exists():
        (folder.path / name).rmdir()
    (folder.path / name).symlink_to(mine)
    assert f"{folder.path / name} is a link" in refused(lambda: JobFolder.open(folder.path))
    folder.tidy()
    assert "became a link" in refused(lambda: folder.write_bytes(f"{name}/step_000002.json", b"{}"))
    assert untouched(mine)


MADE = [lambda path, mine: path.symlink_to(mine / "work.txt"), lambda path, mine: os.mkfifo(path)]
MADE += [lambda path, mine: path.symlink_to(mine / "not there"), lambda path, mine: path.mkdir()]


@POSIX
@pytest.mark.parametrize("make", MADE, ids=["link", "pipe", "dangling", "folder"])
@pytest.mark.parametrize("name", [*files.OWN, "checkpoint/step_000001.json", "stages/coarse.safetensors"])
def test_a_folder_with_anything_else_in_the_place_of_a_file_is_refused_by_name(folder, mine, name, make):
    path = folder.path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path, mine)
    assert f"{path} is a link or no ordinary file" in refused(lambda: JobFolder.open(folder.path))
    assert untouched(mine)


def test_what_else_the_user_keeps_in_a_job_folder_is_no_matter(folder, mine):
    (folder.path / "result" / "the best").mkdir()
    (folder.path / "notes").symlink_to(mine) if os.name == "posix" else None
    assert JobFolder.open(folder.path).spec == folder.spec


@POSIX
def test_a_job_folder_may_itself_be_reached_by_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder.path)
    opened = JobFolder.open(tmp_path / "link")
    (folder.path / "job.json.0123456789ab.tmp").touch()
    opened.tidy()
    opened.append_event({"type": "progress"})
    assert len(folder.events()) == 1 and not (folder.path / "job.json.0123456789ab.tmp").exists()


@POSIX
@pytest.mark.parametrize("flags", [APPEND, os.O_RDWR])
@pytest.mark.parametrize("make", MADE, ids=["link", "pipe", "dangling", "folder"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "meanwhile"])
def test_no_file_is_opened_for_writing_where_something_else_lies(tmp_path, mine, monkeypatch, make, flags, late):
    make(tmp_path / "file", mine)
    if late:  # it is put there between the look and the opening
        monkeypatch.setattr(ordinary, "what_is", lambda path: ordinary.NOTHING)
    with pytest.raises((NotOrdinary, IsADirectoryError)):
        open_ordinary(tmp_path / "file", flags)
    assert untouched(mine)


@POSIX
def test_a_pipe_that_somebody_reads_is_no_log_either(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(NotOrdinary):
        open_ordinary(tmp_path / "pipe", APPEND)
    os.close(reader)


def test_lines_are_appended_and_the_users_mask_counts(tmp_path):
    for word in (b"one", b"two"):
        with open_ordinary(tmp_path / "file", APPEND) as file:
            file.write(word)
    assert (tmp_path / "file").read_bytes() == b"onetwo"
    with pytest.raises(OSError) as caught:
        open_ordinary(tmp_path / "missing" / "file", APPEND)
    assert caught.value.errno == errno.ENOENT


@POSIX
def test_events_go_nowhere_else_when_the_file_became_a_link_during_the_job(folder, mine):
    (folder.path / files.EVENTS).symlink_to(mine / "work.txt")
    refused(lambda: folder.append_event({"type": "progress"}))
    (folder.path / files.EVENTS).unlink()
    os.mkfifo(folder.path / files.EVENTS)
    refused(lambda: folder.append_event({"type": "progress"}))
    assert untouched(mine) and folder.events() == []


@POSIX
def test_a_lock_is_not_made_where_a_link_leads(tmp_path, mine):
    (tmp_path / "lock").symlink_to(mine / "new")
    with pytest.raises(JobError, match="is a link"), HeldFile(tmp_path / "lock", "held"):
        pass
    assert untouched(mine)


def test_a_coarse_stage_of_any_size_is_not_read(folder):
    path = folder.path / files.COARSE_SHAPE
    path.parent.mkdir()
    with open(path, "wb") as file:
        file.truncate(2**40)
    assert "it is too large" in refused(lambda: read_coarse(folder))
