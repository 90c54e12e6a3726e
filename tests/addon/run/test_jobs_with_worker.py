"""Whole jobs against a worker process that behaves, or misbehaves, as told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.blender import MODULE, ROOT, bpy, cube, module, select, start_job, turn_pump, use_worker
from tests.support.by_hand import look, temporary
from tests.support.fake_layout import panel_text

session = module("addon.session").session


@pytest.fixture
def click(monkeypatch):
    """Press *Generate Texture* as in a window: the operator returns at once and the pump does the rest."""

    def press(**settings):
        for name, value in ({"prompt": "red brick"} | settings).items():
            setattr(bpy.context.scene.csd, name, value)
        return start_job({})

    return press


@pytest.fixture
def impatient(monkeypatch, mode):
    """Shorten the client's patience, so that a hung worker does not hold up the tests; a slow machine is no fault."""
    client = module("job.process.client")
    silence, hello = 1.0 if mode == "silent" else 20.0, 1.0 if mode == "no-hello" else 20.0
    short = client.Patience(interrupt=0.2, kill=0.4, silence=silence, hello=hello)
    monkeypatch.setattr(client, "Patience", lambda: short)
    return short


def test_the_texture_grows_on_the_mesh_and_is_offered(click):
    job = click()
    turn_pump(lambda: look(cube())[2].startswith(job.id))
    assert temporary()
    turn_pump(lambda: job.phase == "finished" and job.final_shown and job.has_view)
    assert job.fraction() > 0.9
    text = panel_text()
    assert {"Accept", "Discard", "Reuse Settings"} <= set(text)
    bpy.ops.csd.accept()
    assert cube().material_slots[0].material.name == "Red brick"


FAULTS = {
    "crash": "failed",
    "half-line": "failed",
    "wrong-version": "failed",
    "oom": "failed",
    "disk-full": "failed",
    "exit-before-hello": "failed",
    "hang": "cancelled",
    "silent": "failed",
    "no-hello": "failed",
    "ignore-cancel": "cancelled",
    "slow-cancel": "cancelled",
    "garbage": "finished",
    "two-ends": "finished",
    "chatter": "finished",
    "stdout-noise": "finished",
}


@pytest.mark.parametrize("mode", FAULTS)
def test_every_fault_of_the_worker_ends_in_a_usable_panel(mode, click, impatient, monkeypatch):
    before = look(cube())
    use_worker(monkeypatch, mode)
    job = click()
    if FAULTS[mode] == "cancelled":
        turn_pump(lambda: job.step >= 8)
        bpy.ops.csd.cancel()
    turn_pump(lambda: not job.active)
    assert job.phase == FAULTS[mode]
    text = " ".join(panel_text())
    assert "Traceback" not in text and "Generate Texture" in text
    if job.phase == "failed":
        assert job.problem.text.endswith(".") and job.problem.text[:20] in text
    if job.phase != "finished":
        assert look(cube()) == before and temporary() == []
    use_worker(monkeypatch, "happy")
    impatient.silence = impatient.hello = 20.0
    again = click()
    turn_pump(lambda: not again.active)
    assert again.phase == "finished"


def test_cancel_keeps_and_offers_what_there_is_so_far(click, monkeypatch):
    use_worker(monkeypatch, "slow")
    job = click()
    turn_pump(lambda: job.step > 4)
    bpy.ops.csd.cancel()
    turn_pump(lambda: not job.active)
    assert job.phase == "finished" and job.stopped_early
    assert any("Stopped early" in t for t in panel_text())
    bpy.ops.csd.accept()
    assert cube().material_slots[0].material.name == "Red brick"


def test_a_late_failure_says_why_and_offers_what_there_was_before(click, monkeypatch):
    use_worker(monkeypatch, "invalid-numbers")
    job = click()
    turn_pump(lambda: not job.active)
    assert job.phase == "finished" and job.stopped_early
    text = " ".join(panel_text())
    assert "Stopped early" in text and "Invalid numbers: big, from step 9 on. Choose another." in text
    bpy.ops.csd.accept()
    assert cube().material_slots[0].material.name == "Red brick"


@pytest.mark.parametrize("code", ["model_unreadable", "control_missing", "lora_missing", "licence_not_accepted"])
def test_a_failure_about_a_file_names_it_in_the_panel(code, click, monkeypatch):
    use_worker(monkeypatch, "hang")
    job = click()
    turn_pump(lambda: job.step >= 1)
    error = module("job.errors").JobError(code, "it lies at far/away")
    module("addon.run.lifecycle").end(job, module("job.process.bodies").Failed.of(error))
    assert job.phase == "failed" and "far/away" in " ".join(panel_text()) and "far/away" in job.problem.text


def test_a_crashed_job_is_resumed_with_one_press(click, monkeypatch):
    use_worker(monkeypatch, "crash")
    job = click()
    turn_pump(lambda: not job.active)
    assert "Resume" in panel_text()
    use_worker(monkeypatch, "happy")
    resumed = module("addon.run.lifecycle").resume(job.folder)
    assert resumed.targets[0].uid == cube().session_uid
    turn_pump(lambda: not resumed.active)
    assert resumed.phase == "finished"


def test_a_result_of_an_earlier_session_waits_for_an_answer_and_comes_back_with_its_picture(click, monkeypatch):
    results = module("addon.run.results")
    job = click(prompt="green moss", seed=7)
    turn_pump(lambda: not job.active)
    session.job = None  # Blender was closed without an answer
    results.refresh(now=True)
    [entry] = results.waiting()
    assert (entry.prompt, entry.seed, entry.state, entry.kind) == ("green moss", 7, "finished", "texture")
    assert "Show “green moss”" in panel_text()
    bpy.ops.csd.resume("INVOKE_DEFAULT", folder=entry.folder, go_on="show")
    assert session.job.phase == "finished" and session.job.has_view
    assert {"“green moss”", "Seed 7, normal", "Accept"} <= set(panel_text())
    bpy.ops.csd.discard()
    results.refresh(now=True)
    assert results.waiting() == [] and [e.state for e in session.results] == ["discarded"]


def test_the_operator_runs_to_the_end_and_the_function_gives_the_same():
    assert bpy.ops.csd.texture(prompt="red brick", seed=3) == {"FINISHED"}
    by_operator = bpy.data.images["Red brick"]
    bytes_by_operator, settings_by_operator = by_operator.packed_file.data, by_operator["csd_settings"]
    bpy.ops.ed.undo()
    assert cube().material_slots[0].material.name == "Material"
    [applied] = module("addon.api").texture(cube(), "red brick", seed=3)
    assert applied.object == cube() and applied.message == ""
    assert applied.image.packed_file.data == bytes_by_operator
    assert applied.image["csd_settings"] == settings_by_operator
    assert applied.material.name == "Red brick"


def test_the_operator_takes_what_is_not_given_from_the_scene():
    settings = bpy.context.scene.csd
    settings.prompt, settings.seed, settings.use_steps, settings.steps = "blue scales", 5, True, 33
    bpy.ops.csd.texture(quality="draft")
    record = cube()["csd_settings"]
    assert '"prompt": "blue scales"' in record and '"seed": 5' in record
    assert '"quality": "draft"' in record and '"steps": 33' in record


@pytest.mark.parametrize("mode", ["crash", "oom", "exit-before-hello"])
def test_a_failure_reaches_a_script_as_one_sentence(mode, monkeypatch):
    use_worker(monkeypatch, mode)
    with pytest.raises(RuntimeError) as by_operator:
        bpy.ops.csd.texture(prompt="red brick")
    with pytest.raises(module("addon.scene.export").SceneError) as by_function:
        module("addon.api").texture(prompt="red brick")
    assert by_function.value.text in str(by_operator.value)
    assert "Traceback" not in str(by_operator.value)
    assert cube().material_slots[0].material.name == "Material"


def test_progress_reaches_a_script():
    seen = []
    module("addon.api").texture(prompt="red brick", progress=lambda m: seen.append(m.type))
    assert {"stage", "progress", "result"} <= set(seen)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "x", "device": "toaster"}, "device"),
        ({"steps": 0}, "steps"),
        ({"prompt": 5}, "prompt is 5"),
        ({"texture_size": None}, "texture_size is None"),
        ({"texture_size": "1e3"}, "texture_size is '1e3'"),
        ({"modifiers": "away"}, "modifiers is 'away', allowed is one of keep, apply, ignore"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence_before_anything_starts(settings, sentence):
    errors = (module("addon.scene.export").SceneError, module("job.errors").JobError)
    with pytest.raises(errors, match=sentence):
        module("addon.api").texture(cube(), **({"prompt": "x"} | settings))
    assert session.client is None or not session.client.job


def test_unknown_settings_are_named():
    with pytest.raises(TypeError, match="colour"):
        module("addon.api").texture(cube(), "red brick", colour="red")


def test_several_selected_objects_are_textured_in_one_call():
    first = cube()
    bpy.ops.mesh.primitive_cone_add(location=(3, 0, 0))
    select(first, bpy.context.object)
    bpy.ops.csd.texture(prompt="red brick")
    assert [o.material_slots[0].material.name for o in bpy.context.selected_objects] == [
        "Red brick Cube",
        "Red brick Cone",
    ]


def test_the_preview_is_removed_when_the_extension_is_switched_off_and_on_again(click, monkeypatch):
    use_worker(monkeypatch, "slow")
    before = look(cube())
    job = click()
    turn_pump(lambda: temporary())
    process = session.client._process
    bpy.ops.preferences.addon_disable(module=MODULE)
    try:
        assert [s.material.name for s in cube().material_slots] == ["Material"]
        assert process.poll() is not None
        assert not hasattr(bpy.types.Scene, "csd")
    finally:
        bpy.ops.preferences.addon_enable(module=MODULE)
    assert look(cube()) == before
    assert (job.folder / "mesh.npz").exists()


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.support.blender import MODULE, bpy, module, start_job
bpy.context.preferences.use_preferences_save = False
bpy.ops.preferences.addon_enable(module=MODULE)
preferences = bpy.context.preferences.addons[MODULE].preferences
preferences.backend_python, preferences.data_folder = sys.executable, {data!r}
module("addon.process.backend").command = lambda: [sys.executable, {worker!r}, "slow"]
job = start_job(dict(prompt="red brick"))
import time
while job.step < 3:
    module("addon.run.pump").tick()
    time.sleep(0.01)
print("PID", module("addon.session").session.client._process.pid, flush=True)
"""


def test_blender_quits_cleanly_during_a_job_and_takes_the_worker_with_it(tmp_path):
    worker = ROOT / "tests" / "support" / "fake_worker.py"
    script = SCRIPT.format(root=str(ROOT), data=str(tmp_path), worker=str(worker))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    if bpy.app.version >= (4, 5):  # 4.2 as a module crashes at exit once any property had a Python callback
        assert done.returncode == 0, done.stderr[-2000:]
    pid = int(done.stdout.split("PID")[1].split()[0])
    assert not Path(f"/proc/{pid}").exists()
    assert list(tmp_path.glob("jobs/*/mesh.npz"))


@pytest.mark.skipif(os.name == "nt", reason="scripts are no programs there")
@pytest.mark.parametrize(
    ("text", "runs"), [("#!/bin/sh\nexit 1\n", True), ("#!/no/such/program\n", False), ("no program", False)]
)
def test_a_backend_python_that_is_none_is_named_with_what_to_do(text, runs, monkeypatch, tmp_path):
    monkeypatch.undo()
    python = tmp_path / "python"
    python.write_text(text)
    python.chmod(0o755)
    bpy.context.preferences.addons[MODULE].preferences.backend_python = str(python)
    bpy.context.scene.csd.prompt = "red brick"
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.csd.texture()
    said = str(caught.value)
    assert "Backend Python in the preferences cannot be used" in said and "clear it" in said
    assert ("log" in said) == runs and "Set Up" not in said and "folder" not in said


def test_a_script_is_told_which_of_its_settings_have_no_effect(capfd):
    told = []
    module("addon.api").texture(cube(), "red brick", lora="/style.safetensors", guidance_scale=7.0, lora_weight=1.0,
                                progress=told.append)  # fmt: skip
    warned = [m.body["text"] for m in told if m.type == "warning"]
    assert "The setting lora has no effect. None for this model." in warned
    assert not any("lora_weight" in text for text in warned), "it was given what it is anyway"
    capfd.readouterr()
    bpy.ops.csd.texture(prompt="red brick", control="off", control_strength=0.5)
    assert "Warning: The setting control_strength has no effect. No ControlNet." in capfd.readouterr().out
