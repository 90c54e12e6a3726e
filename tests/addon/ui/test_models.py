"""The *Models* panel and its operators, with a child that says what ``csd models get`` says."""

import json
import sys

import pytest

from tests.support.blender import bpy, module, turn_pump
from tests.support.fake_layout import FakeLayout

session = module("addon.session").session
store = module("job.models.store")
state = module("addon.ui.poll")
models = module("addon.run.models")
downloads = module("addon.process.downloads")

CHILD = """
import json, sys, time
def say(**news): print(json.dumps(news), flush=True)
say(type="progress", text="Asking the Hugging Face hub", done=0, total=0, rate=0, seconds_left=None, free=10**11)
say(type="progress", text="Downloading unet", done=250, total=1000, rate=5e6, seconds_left=12.0, free=10**11)
print("not a line of ours", flush=True)
mode = sys.argv[1]
if mode == "slow":
    word = sys.stdin.read().strip()
    say(type="cancelled" if word == "cancel" else "paused")
    sys.exit(130)
if mode == "gated":
    say(type="error", code="model_gated", text="The publisher wants more.", detail="tiny/sd15", fix="Log in.")
    sys.exit(1)
if mode == "crash": sys.exit(9)
say(type="done", folder="x", note="")
"""


def preferences():
    return bpy.context.preferences.addons[module("").__name__].preferences


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """Blender may go online, and jobs have a backend; nothing here does go online."""
    monkeypatch.setattr(state, "bpy", Online(True))
    yield
    downloads.stop()
    session.models = []


class Online:
    """What ``poll`` looks at of bpy."""

    def __init__(self, access: bool, forced: bool = False):
        self.app = type("App", (), {"online_access": access, "online_access_override": forced})


@pytest.fixture
def child(monkeypatch):
    def use(mode):
        monkeypatch.setattr(downloads, "command", lambda model: [sys.executable, "-c", CHILD, mode])

    return use


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder of models on a disk with room, and an empty cache."""
    monkeypatch.setattr(models, "free_bytes", lambda root: 10**12)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    preferences().models_folder = str(tmp_path / "models")
    preferences().commercial_only = True
    models.refresh(now=True)
    yield tmp_path / "models"
    preferences().models_folder = ""
    preferences().commercial_only = True


def start(model="sd15"):
    session.download = downloads.start(models.entry_named(model))
    turn_pump(lambda: session.download is None or session.download.done == 250)


def panel_text():
    texts = []
    module("addon.ui.models_panel").draw_models(FakeLayout(texts), bpy.context)
    return texts


def half(folder, name="tiny/sd15"):
    """A download of which some came."""
    part = store.part_folder(name, folder)
    part.mkdir(parents=True)
    files = (store.StoredFile("a.safetensors", 1000), store.StoredFile("b.json", 100))
    record = store.Record(name, name, "c" * 40, "openrail", files)
    (part / store.PLAN).write_text(json.dumps(record.to_json()))
    (part / "a.safetensors.partial").write_bytes(b"x" * 550)
    models.refresh(now=True)


def test_the_panel_lists_what_jobs_can_use_with_licence_size_and_state():
    text = panel_text()
    for said in ("Stable Diffusion 1.5", "2.1 GB", "Get", "In Use", "bundled"):
        assert any(said in t for t in text), said
    joined = " ".join(text)
    assert "Licence: CreativeML-OpenRAIL-M Commercial use: permitted, with rules" in joined
    assert "Licence: DeepFloyd IF License Commercial use: forbidden" in joined and "free for models" in joined
    assert "DeepFloyd" in joined and "TAESD" in joined and "Not usable yet" not in joined


def test_what_jobs_cannot_use_yet_is_named_and_no_more(monkeypatch):
    monkeypatch.setattr(module("job.models.catalogue"), "DRIVEN_ROLES", ("model", "control"))
    module("addon.run.models").refresh(now=True)
    usable, _, later = " ".join(panel_text()).partition("Not usable yet")
    assert "DeepFloyd" in usable and "TAESD" not in usable and "taesd" in later


def test_the_same_list_stands_in_the_preferences():
    assert module("addon.preferences").sections == [module("addon.ui.models_panel").draw_models]


def test_the_dialog_tells_terms_size_and_room_before_anything_begins():
    lines = module("addon.ui.model_operators").about("if-xl")
    joined = " ".join(lines)
    for said in ("DeepFloyd IF License", "not for commercial use", "18.2 GB", "free in", "huggingface.co/DeepFloyd/"):
        assert said in joined, said


def test_a_download_shows_its_progress_and_its_end(child):
    child("happy")
    session.download = downloads.start(models.entry_named("sd15"))
    turn_pump(lambda: session.download is None)
    assert session.problem is None and session.notice == "Stable Diffusion 1.5 is here."


def test_a_running_one_can_be_paused_and_shows_how_far_it_is(child):
    child("slow")
    start()
    joined = " ".join(panel_text())
    for said in ("Downloading unet", "25%, 12 s left", "Pause", "Cancel", "5 MB a second"):
        assert said in joined, said
    with pytest.raises(RuntimeError, match="Another model is being downloaded"):
        bpy.ops.csd.model_get(model="sd21-base")
    assert bpy.ops.csd.model_pause() == {"FINISHED"}
    turn_pump(lambda: session.download is None)
    assert "paused" in session.notice and session.problem is None


def test_one_that_is_not_in_the_list_shows_its_progress_too(child):
    child("slow")
    start("owner/name")
    joined = " ".join(panel_text())
    assert "owner/name" in joined and "25%, 12 s left" in joined and "see its page" in joined


def test_a_running_one_can_be_cancelled_also_twice(child):
    child("slow")
    start()
    assert bpy.ops.csd.model_cancel() == {"FINISHED"}
    if session.download is not None:
        session.download.stop()
    turn_pump(lambda: session.download is None)
    assert "cancelled" in session.notice


@pytest.mark.parametrize(("mode", "sentence"), [("gated", "The publisher wants more"), ("crash", "could not be downl")])
def test_a_failed_one_is_one_sentence_and_can_be_repeated(child, mode, sentence):
    child(mode)
    with pytest.raises(RuntimeError, match=sentence):
        bpy.ops.csd.model_get(model="sd15")
    assert session.download is None
    child("happy")
    assert bpy.ops.csd.model_get(model="sd15") == {"FINISHED"}


def test_a_half_one_is_offered_to_be_resumed_or_dropped(child, here):
    half(here)
    joined = " ".join(panel_text())
    assert "tiny/sd15" in joined and "Paused at 50%" in joined and "Resume" in joined
    child("happy")
    assert bpy.ops.csd.model_get(model="tiny/sd15") == {"FINISHED"}
    assert bpy.ops.csd.model_remove(model="tiny/sd15") == {"FINISHED"}
    assert not store.part_folder("tiny/sd15", here).exists() and models.find("tiny/sd15") is None


@pytest.mark.parametrize("name", ["..", "", "no such model", "../..", "sd15"])
def test_only_a_models_own_folder_is_ever_removed(here, name):
    beside = here.parent / "beside"
    beside.mkdir()
    with pytest.raises(RuntimeError, match="no such model"):
        bpy.ops.csd.model_remove(model=name)
    assert beside.is_dir() and here.parent.is_dir()


def test_without_online_access_nothing_begins_and_the_reason_is_shown(child, monkeypatch):
    monkeypatch.setattr(downloads, "start", None)
    for access, word in ((Online(False), "Allow Online Access"), (Online(False, True), "--offline-mode")):
        monkeypatch.setattr(state, "bpy", access)
        assert word in state.why_not_download() and any(word in t for t in panel_text())
        with pytest.raises(RuntimeError, match=word):
            bpy.ops.csd.model_get(model="sd15")


@pytest.mark.parametrize("name", ["", "no such model", "a/b/c"])
def test_names_of_no_model_get_a_sentence(name):
    with pytest.raises(RuntimeError, match="no name of a model"):
        bpy.ops.csd.model_get(model=name)


def test_what_is_not_cleared_for_commercial_use_is_neither_got_nor_used_until_the_preference_says_so(child, here):
    child("happy")
    with pytest.raises(RuntimeError, match="permits no commercial use"):
        bpy.ops.csd.model_get(model="if-xl")
    with pytest.raises(RuntimeError, match="may not be used commercially"):
        bpy.ops.csd.texture(prompt="red brick", model="if-xl")
    preferences().commercial_only = False
    assert bpy.ops.csd.model_get(model="if-xl") == {"FINISHED"}
    assert bpy.ops.csd.texture(prompt="red brick", model="if-xl") == {"FINISHED"}
    (folder,) = (here.parent / "data" / "jobs").iterdir()
    assert json.loads((folder / "job.json").read_text())["allow_noncommercial"]


def test_too_little_space_is_told_before(monkeypatch):
    monkeypatch.setattr(session, "models_free", 10**9)
    assert "2.1 GB, 1.0 GB are free" in state.why_not_get(models.entry_named("sd15"))
    assert state.why_not_get(models.entry_named("sd15"), done=2 * 10**9) == ""


def test_use_makes_it_the_next_jobs_model():
    assert bpy.ops.csd.model_use(model="sd15") == {"FINISHED"}
    assert bpy.context.scene.csd.model == "sd15"


def test_the_child_is_the_backends_python_and_alone_may_go_online(monkeypatch, here):
    monkeypatch.setattr(module("addon.process.backend"), "command", lambda: ["/the/python", "serve"])
    words = downloads.command("sd15")
    assert words[0] == "/the/python" and words[-6:] == ["models", "get", "sd15", "--lines", "--folder", str(here)]
    started = {}

    def popen(*_words, **wishes):
        started.update(wishes)
        raise OSError

    monkeypatch.setattr(downloads.subprocess, "Popen", popen)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(OSError):
        downloads.start(models.entry_named("sd15"))
    assert started["env"]["HF_HUB_OFFLINE"] == "0" and started["env"]["CSD_MODELS"] == str(here)
    assert module("addon.process.backend").environment()["HF_HUB_OFFLINE"] == "1"


def test_looking_at_the_disk_never_happens_while_drawing(monkeypatch):
    monkeypatch.setattr(models, "look_at_all", None)
    assert panel_text()
    session.models = []
    assert "Show Models" in panel_text()
