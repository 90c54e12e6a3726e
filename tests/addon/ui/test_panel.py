"""The panel and the operators as an artist meets them."""

import itertools
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.blender import bpy, cube, module, select, start_job, turn_pump, use_worker
from tests.support.fake_layout import FakeLayout, panel_text

session = module("addon.session").session
state = module("addon.ui.poll")


def operators():
    names = ("operators", "result_operators", "model_operators")
    return [cls for name in names for cls in module(f"addon.ui.{name}").CLASSES]


def test_labels_begin_with_a_verb_and_tooltips_are_sentences():
    for cls in operators():
        assert re.fullmatch(
            r"(Generate|Cancel|Accept|Discard|Resume|Reuse|Set|Free|Show|Copy|Delete|Choose|Get|Pause|Remove|Use|Refresh)"
            r"( \w+)*",
            cls.bl_label,
        )
        assert len(cls.__doc__.split()) >= 5 and cls.__doc__[0].isupper() and not cls.__doc__.endswith(".")


def test_every_setting_has_a_tooltip():
    named = module("addon.kinds.common").names(module("job.spec.texture").TextureJob)
    for owner in (bpy.ops.csd.texture.get_rna_type(), module("addon.properties").CSDSceneSettings.bl_rna):
        assert set(named) <= {item.identifier for item in owner.properties}
        for item in owner.properties:
            if item.identifier in named:
                assert item.description and not item.description.endswith("."), item.identifier


def test_the_menu_that_the_search_looks_through_has_everything_by_name():
    assert module("addon.ui.menus").draw_menu in bpy.types.VIEW3D_MT_object._dyn_ui_initialize()
    texts = []
    bpy.types.CSD_MT_object.draw(SimpleNamespace(layout=FakeLayout(texts)), bpy.context)
    text = " ".join(texts)
    assert all(
        name in text for name in ("Generate Texture", "Generate Object", "Accept", "Discard", "Cancel", "Resume")
    )


def test_an_idle_panel_has_prompt_quality_with_time_and_generate():
    bpy.context.scene.csd.prompt = "red brick"
    text = panel_text()
    assert {"Prompt", "Negative Prompt", "Generate Texture"} <= set(text)
    assert any(t.startswith("Takes about") for t in text)


def test_an_edit_s_panel_asks_for_what_there_is_and_what_shall_be():
    bpy.context.scene.csd.kind = "edit"
    text = panel_text()
    assert {"Source", "Target", "Alignment", "Generate Edit"} <= set(text) and "Negative Prompt" not in text
    assert "Write a source" in text


def test_the_panel_says_in_a_word_why_generate_is_disabled(monkeypatch):
    assert "Write a prompt" in panel_text()
    bpy.context.scene.csd.prompt = "red brick"
    monkeypatch.setattr(module("addon.process.backend"), "ready", lambda: False)
    assert "The backend is not set up" in panel_text()
    text = " ".join(panel_text())
    assert "not installed yet" in text and "Set Up" in text and "Allow Online Access" in text


def test_poll_gives_the_same_reason_to_the_button_and_to_scripts():
    cube().select_set(False)
    assert not bpy.ops.csd.texture.poll()
    with pytest.raises(RuntimeError, match="Select a mesh object"):
        bpy.ops.csd.texture(prompt="x")
    for name, reason in (("accept", "no finished texture"), ("cancel", "Nothing is being generated")):
        with pytest.raises(RuntimeError, match=reason):
            getattr(bpy.ops.csd, name)()


def test_a_running_job_shows_stage_bar_time_left_and_cancel(monkeypatch):
    use_worker(monkeypatch, "slow")
    jobs = module("addon.run.lifecycle")
    job = start_job({"prompt": "red brick"}, [cube()])
    turn_pump(lambda: job.step > 2)
    text = panel_text()
    assert "Painting" in text and "Cancel" in text and "Generate Texture" not in text
    assert any(t.endswith("left") for t in text) and any(t.endswith("%") for t in text)
    assert "Processor" in text and "Working" in text
    jobs.cancel()
    assert "Stopping …" in panel_text()
    turn_pump(lambda: not job.active)


def test_problems_are_shown_until_the_next_try():
    with pytest.raises(RuntimeError, match="prompt is empty"):
        bpy.ops.csd.texture()
    assert any("prompt is empty" in t for t in panel_text())
    bpy.ops.csd.texture(prompt="red brick")
    assert not any("prompt is empty" in t for t in panel_text())


def test_values_of_the_preset_are_shown_until_the_artist_changes_them():
    settings = bpy.context.scene.csd
    settings.quality = "draft"
    draft = module("job.presets.texture").texture_job("x", "draft")
    text = panel_text(["CSD_PT_guidance", "CSD_PT_output"])
    assert str(draft.steps) in text and f"{draft.texture_size} px" in text
    settings.use_steps = True
    assert str(draft.steps) not in panel_text(["CSD_PT_guidance"])


def guidance_rows() -> dict[str, str]:
    """What stands behind each text of the *Guidance* panel."""
    texts = panel_text(["CSD_PT_guidance"])
    return dict(itertools.pairwise(texts))


def test_a_setting_without_an_effect_stays_in_its_place_with_the_reason():
    csd = bpy.context.scene.csd
    assert guidance_rows()["Guidance Scale"] == "CSD has none"
    assert "as the approach" in panel_text(["CSD_PT_guidance"])
    csd.method = "ism"
    rows = guidance_rows()
    assert rows["Guidance Scale"] != "CSD has none" and rows["Noise"] == "ISM finds its own"
    assert rows["Negative"] == rows["Tame Colors"] == "ISM goes by its scale"
    order = [
        text for text in panel_text(["CSD_PT_guidance"]) if text in ("Method", "Noise", "Noise Levels", "Negative")
    ]
    csd.method = "csd"
    usual = panel_text(["CSD_PT_guidance"])
    assert order == [text for text in usual if text in ("Method", "Noise", "Noise Levels", "Negative")]
    assert "ISM" not in " ".join(usual)


def test_how_long_it_takes_is_told_of_methods_of_which_it_is_known():
    csd = bpy.context.scene.csd
    csd.prompt = "red brick"

    def told() -> bool:
        return any(text.startswith("Takes about") for text in panel_text())

    assert told()
    for csd.method, known in (("sds", True), ("vsd", False), ("sdi", False), ("csd", True)):
        assert told() == known, csd.method
    csd.kind = "text-to-3d"
    for csd.recipe, known in (("csd", True), ("dreamfusion", True), ("prolificdreamer", False), ("dsd", False)):
        assert told() == known, csd.recipe
    csd.kind = "image"
    for csd.picture_method, known in (("csd", True), ("ism", False), ("all", False)):
        assert told() == known, csd.picture_method


def test_each_kind_says_what_it_cannot_have():
    csd = bpy.context.scene.csd
    csd.kind = "image"
    assert guidance_rows()["Perp-Neg"] == "A picture has no sides" and "Optional Words" not in guidance_rows()
    csd.kind, csd.recipe = "text-to-3d", "dreamfusion"
    rows = guidance_rows()
    assert rows["Method"] == "SDS by DreamFusion" and rows["Refine Steps"] == "DreamFusion has none"
    csd.kind, csd.use_negative_prompt = "texture", False
    assert guidance_rows()["Negative"] == "No negative prompt"


@pytest.mark.parametrize(("recipe", "can"), [("csd", True), ("sjc", False)])
def test_the_dialog_says_why_an_object_cannot_begin_with_the_selected_mesh(recipe, can):
    csd = bpy.context.scene.csd
    csd.kind, csd.recipe = "text-to-3d", recipe
    select(cube())
    texts = []
    operator = SimpleNamespace(
        layout=FakeLayout(texts), bl_rna=bpy.ops.csd.text_to_3d.get_rna_type(), start_from_mesh=False, recipe="csd",
        properties=SimpleNamespace(is_property_set=lambda name: False),
    )  # fmt: skip
    bpy.types.CSD_OT_text_to_3d.draw(operator, bpy.context)
    assert "Start From Selected Mesh" in texts and ("SJC has no stage that refines a mesh" in texts) != can


def test_words_added_to_a_prompt_are_seen_and_can_be_changed_or_left_out():
    settings, make = bpy.context.scene.csd, module("addon.kinds.texture.settings").make_spec

    def spec():
        values = module("addon.kinds.texture.settings").gather(bpy.context.scene, {})
        return make({name: value for name, value in values.items() if name != "modifiers"} | {"prompt": "x"})

    select(cube())
    assert "flat colors" in panel_text(["CSD_PT_guidance"]) and spec().extra_words == "auto"
    settings.model = "sd15"
    assert "flat even lighting, no shadows" in panel_text(["CSD_PT_guidance"])
    assert spec().extra_words == "flat even lighting, no shadows"
    settings.use_extra_words = True
    assert "flat even lighting, no shadows" not in panel_text(["CSD_PT_guidance"])
    settings.extra_words = ""
    assert spec().extra_words == ""
    settings.extra_words = "matte"
    plain = spec().to_json()
    assert plain["extra_words"] == "matte"
    settings.use_extra_words = False
    module("addon.kinds.texture.settings").reuse(bpy.context.scene, plain)
    assert settings.use_extra_words and settings.extra_words == "matte"


def test_what_control_nets_see_is_offered_once_there_is_a_sheet(tmp_path, monkeypatch):
    use_worker(monkeypatch, "slow")
    job = start_job({"prompt": "a mug", "control": "off"}, [cube()])
    operator, spec = bpy.ops.csd.show_control, module("job.presets.texture").texture_job("a mug")
    monkeypatch.setattr(job, "folder", tmp_path)
    assert not operator.poll() and "Show Control Pictures" not in panel_text()
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "control.png").write_bytes(b"x")
    job.look_for_control()
    assert not operator.poll()  # of a job without ControlNets nothing is looked for
    monkeypatch.setattr(job, "spec", spec)
    job.look_for_control()
    assert operator.poll() and "Show Control Pictures" in panel_text()
    (tmp_path / "stages" / "control.png").unlink()
    with pytest.raises(RuntimeError, match="The control pictures are gone"):
        operator()


def test_long_sentences_are_wrapped_to_the_sidebar():
    bpy.context.scene.csd.prompt = "x"
    session.notice = "word " * 60
    lines = [t for t in panel_text() if "word" in t]
    assert len(lines) > 5 and max(map(len, lines)) < 60


def test_drawing_and_polling_touch_no_files(monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise AssertionError("a file was touched while drawing")

    monkeypatch.setattr("pathlib.Path.is_file", forbidden)
    monkeypatch.setattr("pathlib.Path.exists", forbidden)
    monkeypatch.setattr("builtins.open", forbidden)
    panel_text()
    bpy.ops.csd.texture.poll()


def test_a_prompt_that_is_being_written_warms_the_backend_up(monkeypatch):
    asked = []
    monkeypatch.setattr(module("addon.properties"), "on_prompt", [lambda: asked.append(1)])
    bpy.context.scene.csd.prompt = "red brick"
    assert asked
    monkeypatch.undo()
    assert module("addon.properties").on_prompt == [module("addon.run.pump").warm_up_soon]


def test_set_up_is_offered_offline_only_with_a_wheel_folder(tmp_path):
    assert "Online Access" in state.why_not_setup()
    bpy.context.preferences.addons[module("").__name__].preferences.wheel_folder = str(tmp_path)
    assert state.why_not_setup() == ""


SETUP = """
import json, sys, time
def say(**news): print(json.dumps(news), flush=True)
say(type="progress", fraction=0.25, text="Downloading torch", seconds_left=12.0)
mode = sys.argv[1]
if mode == "slow":
    sys.stdin.read()
    sys.exit(1)
if mode == "fail":
    say(type="error", code="no_space", text="The disk is full.", fix="Free some space.")
    sys.exit(1)
if mode == "crash": sys.exit(9)
say(type="progress", fraction=1.0, text="Done", seconds_left=0)
"""


@pytest.fixture
def setup_child(monkeypatch, tmp_path):
    setup = module("addon.process.setup")
    bpy.context.preferences.addons[module("").__name__].preferences.wheel_folder = str(tmp_path)

    def use(mode):
        monkeypatch.setattr(setup, "command", lambda: [sys.executable, "-c", SETUP, mode])

    return use


def test_set_up_shows_its_progress_and_ends_ready(setup_child):
    setup_child("happy")
    session.setup = module("addon.process.setup").start()
    turn_pump(lambda: session.setup is None or session.setup.fraction == 0.25)
    turn_pump(lambda: session.setup is None)
    assert session.problem is None and session.notice == "The backend is ready."


@pytest.mark.parametrize(("mode", "sentence"), [("fail", "The disk is full."), ("crash", "could not be set up")])
def test_a_failed_set_up_is_one_sentence_and_can_be_repeated(setup_child, mode, sentence):
    setup_child(mode)
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.csd.setup()
    assert session.setup is None and any(sentence[:12] in t for t in panel_text())
    setup_child("happy")
    assert bpy.ops.csd.setup() == {"FINISHED"}


def test_set_up_can_be_cancelled(setup_child):
    setup_child("slow")
    session.setup = module("addon.process.setup").start()
    turn_pump(lambda: session.setup.fraction == 0.25)
    text = panel_text()
    assert "Downloading torch" in text and "25%, 12 s left" in text and "Cancel" in text
    assert bpy.ops.csd.setup_cancel() == {"FINISHED"}
    turn_pump(lambda: session.setup is None)
    assert session.notice == "Set Up was cancelled." and session.problem is None


def test_free_memory_ends_the_process_and_the_next_texture_starts_it_again():
    bpy.ops.csd.texture(prompt="red brick")
    process = session.client._process
    bpy.ops.csd.free_memory()
    assert process.poll() is not None and session.client is None
    select(cube())
    bpy.ops.csd.texture(prompt="red brick")


def test_show_log_shows_the_end_of_it_and_leaves_nothing_in_the_file():
    path = module("addon.preferences").log_path()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(5000)) + b"\xff the last\r\n\n")
    lines = module("addon.ui.operators").last_lines(path, 24)
    assert len(lines) == 24 and lines[-1].endswith("the last") and lines[-2] == "line 4999"
    assert bpy.ops.csd.show_log() == {"FINISHED"} and not bpy.data.texts
    path.unlink()
    assert not bpy.ops.csd.show_log.poll()


def test_times_read_like_a_person_says_them():
    text = module("addon.session").time_text
    assert [text(s) for s in (7.6, 61, 95, 3600, 7500)] == ["8 s", "1 min", "1 min 30 s", "1 h 0 min", "2 h 5 min"]


def test_preferences_draw(monkeypatch):
    texts = []
    preferences = module("addon.preferences")
    owner = bpy.context.preferences.addons[module("").__name__].preferences
    fake = SimpleNamespace(layout=FakeLayout(texts), bl_rna=owner.bl_rna)
    preferences.CSDPreferences.draw(fake, bpy.context)
    assert {"Data Folder", "Offline Packages", "Preview Every", "Device", "Set Up"} <= set(texts)


def test_a_backend_python_that_is_named_alone_is_looked_for_where_shells_look(tmp_path, monkeypatch):
    preferences = bpy.context.preferences.addons[module("").__name__].preferences
    program = tmp_path / ("python9.exe" if os.name == "nt" else "python9")
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for written, expected in (("python9", program), (" python9 ", program), ("python10", Path.cwd() / "python10")):
        preferences.backend_python = written
        assert preferences.backend_python == str(expected)
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("PATH", tmp_path.name)  # from where one is, as some have "node_modules/.bin"
    assert module("addon.preferences").meant("backend_python", "python9") == str(program)
    preferences.backend_python = sys.executable


def test_a_backend_python_that_is_not_there_is_named_before_anything_is_set_up(tmp_path):
    preferences = bpy.context.preferences.addons[module("").__name__].preferences
    preferences.wheel_folder = str(tmp_path)
    preferences.backend_python = str(tmp_path / "gone")
    bpy.context.scene.csd.prompt = "red brick"
    with pytest.raises(RuntimeError, match="Backend Python in the preferences is not there"):
        bpy.ops.csd.texture()
    with pytest.raises(RuntimeError, match="is not there; correct the path or clear it"):
        bpy.ops.csd.setup()
    assert "Open Preferences" in panel_text() and "Set Up" in panel_text()


def test_paths_of_the_preferences_are_whole_from_the_moment_they_are_typed(tmp_path, monkeypatch):
    named = module("addon.preferences")
    preferences = bpy.context.preferences.addons[module("").__name__].preferences
    monkeypatch.chdir(tmp_path)
    for name in ("data_folder", "models_folder", "wheel_folder", "backend_python"):
        for typed, meant in (("~/csd", Path.home() / "csd"), ("csd", tmp_path / "csd"), (" ", "")):
            setattr(preferences, name, typed)
            assert getattr(preferences, name) == str(meant)
    own = bpy.utils.extension_path_user(module("").__name__)
    assert named.data_folder() == Path(own) and named.models_folder() == Path(own) / "models"


def test_where_blenders_own_place_cannot_be_nothing_is_written_elsewhere(tmp_path, monkeypatch):
    preferences = bpy.context.preferences.addons[module("").__name__].preferences
    place = tmp_path / "a file"
    place.write_text("")
    # What Blender does there: asked to make the folder, it prints a traceback and answers with nothing.
    answer = {True: "", False: str(place / "csd_blender")}
    monkeypatch.setattr(bpy.utils, "extension_path_user", lambda package, path="", create=False: answer[create])
    monkeypatch.chdir(tmp_path)
    preferences.data_folder = ""
    bpy.context.scene.csd.prompt = "red brick"
    with pytest.raises(RuntimeError, match="a file.*cannot be written|cannot be written.*a file"):
        bpy.ops.csd.texture()
    assert [file.name for file in tmp_path.iterdir()] == ["a file"]
