"""Files of a job folder that are cut off, empty or of another world: a sentence, no traceback, nothing changed."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.support.blender import bpy, cube, module
from tests.support.by_hand import HandJob, ObjectHandJob, look, temporary

scene_import, scene_export = module("addon.scene.apply_texture"), module("addon.scene.export")
SceneError = scene_export.SceneError

DAMAGE = {
    "gone": None,
    "empty": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "last byte": lambda data: data[:-1],
    "middle turned": lambda data: bytes(b ^ 255 if i == len(data) // 2 else b for i, b in enumerate(data)),
    "text": lambda data: b"hello",
    "deep list": lambda data: b"[" * 100_000,
    "list": lambda data: b"[]",
    "zeros": lambda data: bytes(len(data)),
}


def damaged(path):
    """Damage the file in one way after the other, telling which; at the end it is whole again."""
    data = path.read_bytes()
    for case, change in DAMAGE.items():
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(data))
        yield case
    path.write_bytes(data)


@pytest.fixture
def job(monkeypatch):
    job = HandJob(monkeypatch)
    job.write_uv(["new"])
    return job


@pytest.mark.parametrize("name", ["result/uv.npz", "mesh.npz"])
def test_without_readable_uvs_there_is_no_new_map_and_no_traceback(job, name):
    target, folder = job.job.targets[0], job.job.folder
    for _ in damaged(folder / name):
        found = scene_import.corner_uv(folder, 0, target)
        assert found is None or found.shape == (target.corner_count, 2)
        assert scene_import.uv_sources(folder) in ([], ["new"])
    assert scene_import.corner_uv(folder, 0, target) is not None


@pytest.mark.parametrize("name", ["result/uv.npz", "result/albedo_0.png", "result/result.json"])
def test_a_finished_result_with_a_damaged_file_is_accepted_whole_or_changes_nothing(job, name):
    clean = look(cube())
    job.finish(["new"])
    for case in damaged(job.job.folder / name):
        try:
            job.jobs.accept()
        except SceneError as error:
            assert error.text.endswith(".") and error.fix.endswith("."), case
            assert module("addon.session").session.job is job.job, case
            module("addon.scene.preview.cover").uncover_all()
            assert look(cube()) == clean and not [i for i in bpy.data.images if i.name.startswith("Red brick")], case
        else:
            assert name != "result/result.json" and case in ("last byte", "middle turned", "cut in half")
            assert cube().material_slots[0].material.name == "Red brick"
            return
    job.jobs.accept()
    assert cube().material_slots[0].material.name == "Red brick"


RECORDS = [
    [],
    {"parts": 3},
    {"parts": [[]]},
    {"parts": [{"albedo": 7}]},
    {"parts": [{"albedo": "../../job.json"}]},
    {"parts": []},
    {"parts": [{"albedo": "result/albedo_0.png"}], "settings": [1]},
    {"parts": [{"albedo": "result/albedo_0.png"}], "licences": 1},
    {"parts": [{"albedo": "result/albedo_0.png"}] * 3},
]


def test_a_result_of_another_shape_is_one_sentence(job):
    job.finish(["new"])
    for record in RECORDS:
        (job.job.folder / "result" / "result.json").write_text(json.dumps(record))
        with pytest.raises(SceneError, match="cannot be read"):
            job.jobs.accept()


def test_what_is_gone_is_told_with_what_can_still_be_done(job):
    job.finish(["new"])
    for lost, fix in (("result", "Resume the job to make it again"), (".", "folder is gone; generate anew")):
        shutil.rmtree(job.job.folder / lost)
        with pytest.raises(SceneError) as caught:
            job.jobs.accept()
        assert fix in caught.value.fix


@pytest.mark.parametrize("name", ["target.json", "target.npz"])
def test_damaged_targets_are_one_sentence(job, name):
    for case in damaged(job.job.folder / name):
        if case in ("last byte", "middle turned"):
            continue  # may still be read
        with pytest.raises(SceneError, match="cannot be read"):
            scene_export.read_targets(job.job.folder)
    assert scene_export.read_targets(job.job.folder)


def test_targets_that_do_not_fit_their_corners_are_refused(job):
    path = job.job.folder / "target.json"
    record = json.loads(path.read_text())
    changes = [{"corner_count": n} for n in (3, 10**12, "many")] + [{"name": 5}, {"surprise": 1}, {"modifiers": None}]
    for change in changes:
        path.write_text(json.dumps(record | {"targets": [record["targets"][0] | change]}))
        with pytest.raises(SceneError, match="cannot be read"):
            scene_export.read_targets(job.job.folder)


@pytest.mark.parametrize("kind", ["pairs of names", "threes", "complex", "whole numbers", "a list"])
def test_uvs_that_are_no_pairs_of_numbers_are_refused(job, kind):
    path = job.job.folder / "target.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    count = len(arrays["own_uv_0"]) or 24
    odd = {
        "pairs of names": np.zeros((count, 2), [("u", "f4")]), "threes": np.zeros((count, 3), np.float32),
        "complex": np.zeros((count, 2), np.complex64), "whole numbers": np.zeros((count, 2), int),
        "a list": np.zeros(count, np.float32),
    }  # fmt: skip
    np.savez(path, **arrays | {"own_uv_0": odd[kind]})
    with pytest.raises(SceneError, match="cannot be read"):
        scene_export.read_targets(job.job.folder)


def test_uvs_of_a_result_that_are_no_numbers_are_none(job):
    job.finish(["new"])
    path = job.job.folder / "result" / "uv.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    assert scene_import.corner_uv(job.job.folder, 0, job.job.targets[0]) is not None
    np.savez(path, **arrays | {"uv": arrays["uv"].astype(np.complex64)})
    assert scene_import.corner_uv(job.job.folder, 0, job.job.targets[0]) is None


def test_a_prompt_with_half_a_character_names_what_it_made(job):
    job.finish(["new"])
    path = job.job.folder / "result" / "result.json"
    record = json.loads(path.read_text())
    record["settings"]["prompt"] = "red \ud800 brick"
    path.write_text(json.dumps(record))
    [applied] = job.jobs.accept()
    assert applied.material.name.startswith("Red ? brick")


def test_an_array_file_that_would_inflate_to_gigabytes_is_not_unpacked(tmp_path, monkeypatch):
    stored_arrays, path = module("addon.scene.stored_arrays"), tmp_path / "bomb.npz"
    np.savez_compressed(path, uv=np.zeros(1 << 20, np.float32))
    assert path.stat().st_size < 10_000 and stored_arrays.LARGEST <= 1 << 30
    monkeypatch.setattr(stored_arrays, "LARGEST", 1 << 20)
    with pytest.raises(ValueError, match="too large"):
        stored_arrays.read_npz(path, ("uv",))
    assert stored_arrays.read_npz(path, ("other",)) == {}


def test_a_damaged_preview_of_an_object_is_passed_over(monkeypatch):
    bpy.data.objects.remove(cube())
    job = ObjectHandJob(monkeypatch)
    job.preview(segments=8)
    for case in damaged(job.job.folder / "preview" / "mesh.npz"):
        said = module("job.process.bodies").Preview("preview/mesh.npz", "mesh")
        picture = module("addon.scene.preview.pictures").PictureMaker()._make_mesh(said, job.job.folder)
        assert picture is None or len(picture.triangles) == 16, case
    job.jobs.end_without_result(job.job, "cancelled")
    assert temporary() == []


@pytest.mark.parametrize("name", ["result/result.json", "result/uv.npz", "target.json", "target.npz", "closed"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_is_not_waited_for(job, name):
    job.finish(["new"])
    path = job.job.folder / name
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        path.unlink(missing_ok=True)
        make(path)
        [entry] = module("addon.folders").entries(job.job.folder.parent)
        assert entry.prompt == "red brick" and (entry.answer == "answered") == (name == "closed")
        assert scene_import.corner_uv(job.job.folder, 0, job.job.targets[0]) is None or name != "result/uv.npz"
        if name.startswith("target"):
            with pytest.raises(SceneError, match="cannot be read"):
                scene_export.read_targets(job.job.folder)
        module("addon.run.belonging").move_to_file(job.job.folder)


PLACES = ["[1, 2]", "[1, 2, 1" + "0" * 400 + "]", "[NaN, 0, 0]", "[0, 0, 1e999]", "[[" * 50_000]


@pytest.mark.parametrize("place", PLACES, ids=["two", "huge", "no number", "endless", "deep"])
def test_a_place_that_is_none_is_the_origin(tmp_path, place):
    (tmp_path / "target.json").write_text('{"place": ' + place + "}")
    assert module("addon.kinds.object.job").read_place(tmp_path) == (0.0, 0.0, 0.0)


def test_a_result_that_is_deleted_right_after_its_answer_leaves_no_traceback(tmp_path):
    module("addon.folders").remove_working_files(tmp_path / "gone")
    (tmp_path / "preview").write_text("no folder")
    module("addon.folders").remove_working_files(tmp_path)


@pytest.mark.parametrize("name", ["preview", "checkpoint"])
def test_tidying_leaves_alone_what_a_link_in_a_job_folder_leads_to(job, tmp_path, name):
    mine = tmp_path / "mine"
    (mine / "deeper").mkdir(parents=True)
    (mine / "work.txt").write_text("a year")
    job.finish(["new"])
    folder = job.job.folder
    shutil.rmtree(folder / name)
    (folder / name).symlink_to(mine)
    (folder / "preview").mkdir(exist_ok=True)
    (folder / "preview" / "texture_0.rgba").write_text("x")
    module("addon.folders").remove_working_files(folder)
    assert (mine / "work.txt").read_text() == "a year" and (mine / "deeper").is_dir()
    assert (folder / "preview" / "texture_0.rgba").exists() == (name == "preview")
    module("addon.folders").remove(folder, folder.parent)
    assert not folder.exists() and (mine / "work.txt").exists()


def test_an_answer_is_not_written_to_where_a_link_leads(job, tmp_path):
    mine = tmp_path / "work.txt"
    mine.write_text("a year")
    (job.job.folder / "closed").symlink_to(mine)
    module("addon.folders").close(job.job.folder, "discarded")
    assert mine.read_text() == "a year"
    assert module("addon.folders").read_answer(job.job.folder) == "discarded"
    module("addon.folders").close(tmp_path / "gone", "discarded")
    assert not (tmp_path / "gone").exists()
