"""No path loses a result: it stays in its folder, and the list of results leads to it, until the artist deletes it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.blender import MODULE, bpy, cube, module, select, start_job, turn_pump, use_worker
from tests.support.by_hand import HandJob, ObjectHandJob, growing, look, temporary
from tests.support.fake_layout import panel_text

session = module("addon.session").session
results = module("addon.run.results")
job_folders = module("addon.folders")


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return HandJob(monkeypatch, **settings)

    return make


def states():
    """Prompt and state of every result, the newest first."""
    results.refresh(now=True)
    return [(entry.prompt, entry.state) for entry in session.results]


def show(job):
    return module("addon.run.lifecycle").resume(job.job.folder, show=True)


def test_a_job_that_another_blender_works_on_is_not_deleted(by_hand):
    job = by_hand()
    folder = job.job.folder
    session.job = None  # as the other one sees it, which has the same folder of jobs
    files = module("job.files")
    with module("job.process.processes").HeldFile(folder / files.LOCK, "busy"):
        with pytest.raises(RuntimeError, match="still running, in another Blender"):
            bpy.ops.csd.delete_result(folder=str(folder))
        assert (folder / files.JOB).exists()
    bpy.ops.csd.delete_result(folder=str(folder))
    assert not folder.exists()


def test_generate_over_a_finished_result_keeps_it_and_says_so(by_hand):
    first = by_hand(prompt="red brick")
    first.finish()
    bpy.context.scene.csd.prompt = "blue brick"
    assert "The result above stays in Results" in panel_text()
    second = by_hand(prompt="blue brick")
    assert look(cube())[2] == "", "the first result's preview is gone"
    assert sorted(states()) == [("blue brick", "not finished"), ("red brick", "finished")]
    second.finish()
    assert [entry.prompt for entry in results.waiting()] == ["red brick"]
    bpy.ops.csd.accept()
    assert show(first).phase == "finished"
    bpy.ops.csd.accept()
    assert cube().material_slots[0].material.name == "Red brick"
    assert sorted(states()) == [("blue brick", "accepted"), ("red brick", "accepted")]


def test_a_script_that_generates_leaves_the_waiting_result_alone(by_hand, monkeypatch):
    first = by_hand(prompt="red brick")
    first.finish()
    monkeypatch.undo()
    session.client = None
    use_worker(monkeypatch, "happy")
    module("addon.api").texture(cube(), "green moss")
    assert sorted(states()) == [("green moss", "accepted"), ("red brick", "finished")]


def test_undo_after_accept_generate_and_discard_loses_nothing(by_hand):
    first = by_hand(prompt="red brick")
    first.finish()
    bpy.ops.csd.accept("EXEC_DEFAULT", True)
    second = by_hand(prompt="blue brick")
    second.finish()
    bpy.ops.csd.discard("EXEC_DEFAULT", True)
    assert cube().material_slots[0].material.name == "Red brick" and session.job is None
    bpy.ops.ed.undo()  # of the discard: the second result is offered again over the first, which stays
    assert session.job is not None and session.job.folder == second.job.folder
    assert look(cube())[2].startswith(second.job.id)
    assert dict(states())["blue brick"] == "finished"
    bpy.ops.ed.redo()
    assert session.job is None and dict(states())["blue brick"] == "discarded"
    assert cube().material_slots[0].material.name == "Red brick" and temporary() == []
    bpy.ops.ed.undo()
    bpy.ops.csd.discard("EXEC_DEFAULT", True)
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()  # of the acceptance: its result can be shown again all the same
    module("addon.run.lifecycle").discard()
    assert cube().material_slots[0].material.name == "Material"
    assert show(first).phase == "finished"
    bpy.ops.csd.accept("EXEC_DEFAULT", True)
    assert cube().material_slots[0].material.name == "Red brick"


def test_undoing_something_else_after_a_discard_does_not_bring_the_result_back(by_hand):
    job = by_hand()
    job.finish()
    bpy.ops.csd.discard("EXEC_DEFAULT", True)
    cube().location.x = 3
    bpy.ops.ed.undo_push(message="Move")
    bpy.ops.ed.undo()
    assert session.job is None and look(cube())[2] == ""


def test_deleting_the_scene_in_which_it_was_discarded_does_not_bring_it_back_with_an_undo(by_hand):
    job = by_hand()
    job.finish()
    bpy.ops.scene.new(type="EMPTY")
    bpy.ops.ed.undo_push(message="Scene")
    bpy.ops.csd.discard("EXEC_DEFAULT", True)
    bpy.ops.scene.delete()
    bpy.ops.ed.undo_push(message="Delete Scene")
    cube().location.x = 3
    bpy.ops.ed.undo_push(message="Move")
    bpy.ops.ed.undo()
    assert session.job is None and look(cube())[2] == ""


def test_a_cancelled_job_can_be_shown_as_far_as_it_came_or_gone_on_with(monkeypatch):
    jobs = module("addon.run.lifecycle")
    use_worker(monkeypatch, "slow")
    bpy.context.scene.csd.prompt = "red brick"
    job = start_job({}, [cube()])
    turn_pump(lambda: job.step > 4)
    bpy.ops.csd.cancel()
    turn_pump(lambda: not job.active)
    (job.folder / "checkpoint" / "state.json").write_text("{}")
    bpy.ops.csd.accept()
    assert states() == [("red brick", "accepted")]
    assert (job.folder / "checkpoint" / "state.json").exists(), "an accepted job that was stopped early can still go on"
    assert jobs.resume(job.folder, show=True).stopped_early and "Go On" in panel_text()
    use_worker(monkeypatch, "happy")
    bpy.ops.csd.resume("INVOKE_DEFAULT", folder=str(job.folder), go_on="show")
    assert session.job.phase == "finished"
    again = jobs.resume(job.folder)
    assert again.active and states() == [("red brick", "stopped early")]
    turn_pump(lambda: again.phase == "finished")
    assert states() == [("red brick", "finished")]


def test_switching_the_extension_off_and_on_keeps_the_waiting_result(by_hand):
    job = by_hand(prompt="red brick")
    job.finish()
    bpy.ops.preferences.addon_disable(module=MODULE)
    bpy.ops.preferences.addon_enable(module=MODULE)
    bpy.context.preferences.addons[MODULE].preferences.data_folder = str(job.job.folder.parent.parent)
    assert session.job is None and temporary() == []
    assert states() == [("red brick", "finished")]


def test_a_deleted_object_and_another_file_leave_the_result_in_the_list(by_hand):
    job = by_hand(prompt="red brick")
    job.preview()
    bpy.data.objects.remove(cube())
    job.finish()
    bpy.ops.csd.accept()
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    assert states() == [("red brick", "accepted")]
    assert show(job).phase == "finished"


def test_objects_are_listed_and_shown_again_as_well(monkeypatch):
    cube().select_set(False)
    job = ObjectHandJob(monkeypatch, prompt="small robot", seed=3)
    job.finish()
    bpy.ops.csd.discard()
    [entry] = [e for e in (results.refresh(now=True), *session.results) if e]
    assert (entry.noun, entry.state, entry.seed) == ("object", "discarded", 3)
    show(job)
    turn_pump(lambda: growing() is not None)
    bpy.ops.csd.accept()
    assert "Small robot" in bpy.data.objects


DAMAGE = {
    "deep job.json": ("job.json", "[" * 100_000),
    "deep table": ("job.json", '{"prompt":' * 50_000 + "1" + "}" * 50_000),
    "huge number": ("job.json", '{"kind":"texture","prompt":"x","seed":' + "9" * 10_000 + "}"),
    "large number": ("job.json", '{"kind":"texture","prompt":"x","seed":' + "9" * 400 + "}"),
    "list": ("job.json", "[1, 2]"),
    "text": ("job.json", "not json at all"),
    "bytes": ("job.json", b"\xff\xfe\x00"),
    "prompt is a list": ("job.json", '{"kind":"texture","prompt":["x"],"seed":true}'),
    "half a character": ("job.json", '{"kind":"texture","prompt":"a \\ud83d b\\nc","seed":1}'),
    "long prompt": ("job.json", json.dumps({"kind": "texture", "prompt": "word " * 100_000, "seed": 1})),
    "very long": ("job.json", json.dumps({"kind": "texture", "prompt": "x" * 3_000_000, "seed": 1})),
    "result is a list": ("result/result.json", "[]"),
    "result is deep": ("result/result.json", "[" * 100_000),
    "result is a number": ("result/result.json", "1e999"),
    "result of lists": ("result/result.json", '{"parts":[[]],"settings":[]}'),
    "result names nothing": ("result/result.json", '{"parts":[{"albedo":"\\u0000"}]}'),
    "answer of bytes": ("closed", b"\xff" * 100),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_one_damaged_folder_hides_no_other(by_hand, name):
    good = by_hand(prompt="red brick")
    good.finish()
    bad = by_hand(prompt="blue brick")
    bad.finish()
    file, content = DAMAGE[name]
    (bad.job.folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    session.job = None
    found = dict(states())
    assert found["red brick"] == "finished" and len(session.results) == 2
    panel_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module("addon.process.backend"), "client", lambda: bad.client)
        try:
            module("addon.run.lifecycle").resume(bad.job.folder)
        except (module("addon.scene.export").SceneError, module("job.errors").JobError) as error:
            assert error.text.endswith(".") and len(str(error)) < 600
    panel_text()


def test_what_is_no_job_folder_is_passed_over(by_hand, tmp_path):
    job = by_hand(prompt="red brick")
    root = job.job.folder.parent
    (root / "a file").write_text("x")
    (root / "empty folder").mkdir()
    os.symlink(job.job.folder, root / "a link")
    os.mkfifo(root / "empty folder" / "job.json")
    (root / "empty folder" / "target.json").write_text("{}")
    assert ("red brick", "not finished") in states() and len(session.results) == 2


def test_delete_removes_the_folder_it_was_asked_to_and_nothing_else(by_hand):
    first = by_hand(prompt="red brick")
    first.finish()
    second = by_hand(prompt="blue brick")
    second.finish()
    results.refresh(now=True)
    with pytest.raises(RuntimeError, match="still running"):
        session.job.phase = "running"
        bpy.ops.csd.delete_result(folder=str(second.job.folder))
    session.job.phase = "finished"
    assert bpy.ops.csd.delete_result(folder=str(second.job.folder)) == {"FINISHED"}
    assert session.job is None and temporary() == [], "what was shown of it is gone as well"
    assert not second.job.folder.exists() and states() == [("red brick", "finished")]
    assert [p.name for p in first.job.folder.parent.iterdir()] == [first.job.folder.name]


def test_a_script_deletes_a_result_that_the_list_does_not_have_yet(by_hand):
    jobs = []
    for prompt in ("red brick", "blue brick"):
        jobs.append(by_hand(prompt=prompt))
        jobs[-1].finish()
    session.job, session.results = None, []
    assert bpy.ops.csd.delete_result(folder=f"{jobs[0].job.folder}/") == {"FINISHED"}
    assert not jobs[0].job.folder.exists() and [entry.prompt for entry in session.results] == ["blue brick"]
    with pytest.raises(RuntimeError, match="no job folder"):
        bpy.ops.csd.delete_result(folder=str(jobs[0].job.folder))


def test_delete_touches_nothing_outside_of_the_jobs(by_hand, tmp_path):
    job = by_hand(prompt="red brick")
    job.finish()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(job.job.folder, elsewhere)
    link = job.job.folder.parent / "link"
    os.symlink(elsewhere, link)
    results.refresh(now=True)
    for path in (elsewhere, link, job.job.folder / "result", job.job.folder.parent, Path("")):
        with pytest.raises(RuntimeError, match="no job folder"):
            bpy.ops.csd.delete_result(folder=str(path))
    assert (elsewhere / "job.json").exists() and (job.job.folder / "job.json").exists()


def test_the_panel_lists_what_is_there_with_its_size_and_leads_to_each(by_hand):
    job = by_hand(prompt="red brick", seed=5)
    job.finish()
    bpy.ops.csd.discard()
    results.refresh(now=True)
    text = panel_text(["CSD_PT_results"])
    assert {"red brick", "Seed 5, texture, discarded", "Show Again", "Folder", "Delete …"} <= set(text)
    assert any(t.startswith("1 in all, ") and t.endswith(" on the disk") for t in text)
    show(job)
    assert "It is offered above." in panel_text(["CSD_PT_results"])


def test_sizes_read_like_a_person_says_them():
    text = job_folders.size_text
    assert [text(n) for n in (0, 340_200, 12_000_000, 1_540_000_000)] == ["0 kB", "340 kB", "12 MB", "1.5 GB"]


def test_folders_of_earlier_versions_count_as_answered(by_hand):
    job = by_hand(prompt="red brick")
    job.finish()
    (job.job.folder / "closed").touch()
    session.job = None
    assert states() == [("red brick", "answered")] and results.waiting() == []
    shutil.rmtree(job.job.folder / "preview")
    assert show(job).phase == "finished" and not session.job.has_view


def test_the_small_picture_outlives_the_answer_and_only_a_whole_one_is_shown(by_hand):
    job = by_hand(prompt="red brick")
    job.finish()
    view = job.job.folder / "preview" / "view.rgba"
    view.write_bytes(bytes(64 * 64 * 4))
    (job.job.folder / "preview" / "texture_0.rgba").write_bytes(b"x")
    job_folders.remove_working_files(job.job.folder)
    assert [p.name for p in view.parent.iterdir()] == ["view.rgba"]
    read = module("addon.scene.preview.pictures").read_view
    assert read(view).width == 64
    for data in (b"", b"abc", bytes(64 * 63 * 4), bytes(4 * 513 * 513)):
        view.write_bytes(data)
        assert read(view) is None
    assert read(view.parent / "none") is None


def test_a_list_that_is_read_in_a_thread_arrives_by_the_timer(by_hand, monkeypatch):
    by_hand(prompt="red brick")
    registered = []
    monkeypatch.setattr(results, "bpy", FakeWindow(registered))
    session.results = []
    results.refresh()
    assert session.results == [] and registered == [results.arrive]
    while results.arrive() is not None:
        pass
    monkeypatch.undo()
    assert [entry.prompt for entry in session.results] == ["red brick"]


class FakeWindow:
    """``bpy`` as it is with a window: timers are only noted."""

    def __init__(self, registered):
        from types import SimpleNamespace

        timers = SimpleNamespace(register=lambda f, **_: registered.append(f), is_registered=lambda _f: False)
        self.app = SimpleNamespace(background=False, timers=timers)
        self.context = bpy.context


def test_the_backend_that_was_deleted_under_a_running_blender_is_offered_to_be_set_up_again(monkeypatch, tmp_path):
    backend = module("addon.process.backend")
    monkeypatch.undo()
    backend.stop()
    python = tmp_path / "python"
    python.symlink_to(os.path.realpath("/bin/sh"))
    preferences = bpy.context.preferences.addons[module("").__name__].preferences
    preferences.backend_python = str(python)
    assert backend.ready()
    python.unlink()
    bpy.context.scene.csd.prompt = "red brick"
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.csd.texture()
    assert "not installed" in str(caught.value) and "Errno" not in str(caught.value)
    assert not backend.ready() and "Set Up" in panel_text()
    assert states() == [], "nothing was written for a job that cannot begin"
    select(cube())


def test_a_folder_that_is_gone_is_one_sentence_when_it_shall_be_opened(tmp_path):
    with pytest.raises(RuntimeError, match="There is no .*gone. It was deleted") as caught:
        bpy.ops.csd.open_folder(folder=str(tmp_path / "gone"))
    assert "Traceback" not in str(caught.value)
