"""An object from a prompt: the panel, the operator, the API, and whole jobs with a worker process."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.blender import ROOT, bpy, cube, module, select, start_job, turn_pump
from tests.support.by_hand import HandJob, ObjectHandJob, census, growing, temporary
from tests.support.fake_layout import FakeLayout, panel_text

session = module("addon.session").session
SPEC = module("job.spec.text_to_3d").TextTo3DJob
WORKER = ROOT / "tests" / "support" / "fake_object_worker.py"


@pytest.fixture
def by_hand(monkeypatch):
    def make(**settings):
        return ObjectHandJob(monkeypatch, **settings)

    return make


@pytest.fixture
def worker(monkeypatch):
    """Let the next backend process be the fake one for objects."""

    def use(mode):
        backend = module("addon.process.backend")
        backend.stop()
        monkeypatch.setattr(backend, "command", lambda: [sys.executable, str(WORKER), mode])

    use("happy")
    return use


def test_the_job_folder_is_complete_without_a_mesh(by_hand):
    bpy.context.scene.cursor.location = (1, 2, 3)
    job = by_hand(subject="character", recipe="magic3d", max_faces=5000, height=1.8, texture_size="512")
    plain = json.loads((job.job.folder / "job.json").read_text())
    assert plain["kind"] == "text-to-3d" and plain["start"] == "blob" and plain["method"] == "sds"
    assert (plain["subject"], plain["recipe"], plain["max_faces"], plain["height"]) == (
        "character",
        "magic3d",
        5000,
        1.8,
    )
    assert plain["texture_size"] == 512 and not (job.job.folder / "mesh.npz").exists()
    assert json.loads((job.job.folder / "target.json").read_text())["place"] == [1, 2, 3]
    assert job.client.sent == [("submit", job.job.id, False)]


def test_start_from_mesh_writes_the_selected_shape_as_it_is_seen(by_hand):
    select(cube())
    cube().location.x = 5
    cube().modifiers.new("Subdivision", "SUBSURF").levels = 1
    cube().data.uv_layers.remove(cube().data.uv_layers[0])
    job = by_hand(start_from_mesh=True)
    with np.load(job.job.folder / "mesh.npz", allow_pickle=False) as file:
        assert len(file["triangles"]) == 48 and list(file["part_names"]) == ["Cube"]
        assert 4 < file["positions"][:, 0].mean() < 6
    assert job.job.spec.start == "mesh" and "Subdivision" in cube().modifiers


def test_start_from_mesh_without_a_mesh_is_refused_with_a_sentence():
    cube().select_set(False)
    bpy.context.scene.csd.kind = "text-to-3d"
    with pytest.raises(RuntimeError, match="No mesh object is selected"):
        bpy.ops.csd.text_to_3d(prompt="small robot", start_from_mesh=True)


def test_the_shape_of_a_finished_object_is_refined_anew_with_other_settings(by_hand):
    first = by_hand(subject="character", seed=1, coarse={"blob_std": 0.6})
    assert "Refine Again …" not in panel_text()
    write_coarse(first.job.folder)
    first.finish()
    assert "Refine Again …" in panel_text()
    second = by_hand(prompt="golden robot", seed=2, refine_from=str(first.job.folder))
    assert (second.job.folder / "stages/coarse.safetensors").read_bytes() == b"a coarse shape"
    spec = second.job.spec
    assert (spec.start, spec.prompt, spec.seed) == ("coarse", "golden robot", 2)
    assert spec.coarse == first.job.spec.coarse and spec.steps == spec.refine.steps
    assert not spec.keep_colors  # those of another prompt
    second.finish()
    assert "Refine Again …" in panel_text()
    third = by_hand(prompt="golden robot ", refine_from=str(second.job.folder))
    assert third.job.spec.start == "coarse" and third.job.spec.keep_colors


def test_refining_what_has_no_coarse_stage_is_refused_with_a_sentence(by_hand, tmp_path):
    job = by_hand()
    job.say("cancelled")
    with pytest.raises(RuntimeError, match="no finished coarse stage"):
        bpy.ops.csd.text_to_3d(prompt="small robot", refine_from=str(job.job.folder))
    with pytest.raises(RuntimeError, match="no readable job.json"):
        bpy.ops.csd.text_to_3d(prompt="small robot", refine_from=str(tmp_path))
    write_coarse(job.job.folder)
    select(cube())
    with pytest.raises(RuntimeError, match="not with both"):
        bpy.ops.csd.text_to_3d(prompt="small robot", refine_from=str(job.job.folder), start_from_mesh=True)


def write_coarse(folder):
    (folder / "stages").mkdir()
    (folder / "stages/coarse.safetensors").write_bytes(b"a coarse shape")


def test_the_panel_offers_what_suits_the_selection():
    bpy.context.scene.csd.prompt = "small robot"
    select(cube())
    assert "Generate Texture" in panel_text() and "Generate Object" not in panel_text()
    cube().select_set(False)
    bpy.context.scene.csd.kind = "text-to-3d"
    text = panel_text()
    assert {"Generate Object", "Subject", "Approach", "Method", "Max Faces", "Height"} <= set(text)
    assert [t for t in text if t.startswith("Takes about")]
    assert not {"Generate Texture", "Steps", "Modifiers", "UV Map"} & set(text)
    bpy.context.scene.csd.recipe = "dreamfusion"
    text = panel_text()
    assert text[text.index("Method") + 1] == "SDS by DreamFusion"
    bpy.context.scene.csd.prompt = ""
    assert "Write a prompt" in panel_text()
    bpy.context.scene.csd.property_unset("recipe")


def test_a_model_that_cannot_draw_several_views_is_refused_before_there_is_a_folder(worker, tmp_path, monkeypatch):
    worker("happy")
    monkeypatch.setattr(module("job.models.places"), "BUNDLED_VIEWS", tmp_path)
    jobs = module("addon.preferences").jobs_folder()
    before = set(jobs.iterdir()) if jobs.is_dir() else set()
    csd = bpy.context.scene.csd
    csd.prompt, csd.recipe = "a robot", "csd-mvdream"
    with pytest.raises(RuntimeError, match="the bundled model draws one view at a time"):
        bpy.ops.csd.text_to_3d()
    assert (set(jobs.iterdir()) if jobs.is_dir() else set()) == before and session.active_job() is None
    csd.property_unset("recipe")


def test_a_running_job_shows_stage_bar_time_left_and_cancel_whatever_is_selected(by_hand):
    select(cube())
    bpy.context.scene.csd.prompt = "red brick"
    job = by_hand()
    shares = [share for _, share in job.job.spec.stages()]
    assert np.isclose(sum(shares), 1)
    job.say("stage", name="load", label="Loading the model", index=0, count=4)
    job.say("stage", name="coarse", label="Shaping", index=1, count=4)
    job.say("progress", stage="coarse", step=300, total=600, seconds_left=80.0)
    text = panel_text()
    assert {"Shaping", "1 min 20 s left", "Cancel"} <= set(text)
    assert not {"Generate Object", "Generate Texture"} & set(text)
    before = job.job.fraction()
    job.say("stage", name="load", label="Loading the model", index=0, count=4)  # the refine stage's own
    assert before <= job.job.fraction() < 1
    job.say("stage", name="refine", label="Refining", index=2, count=4)
    assert before < job.job.fraction() < 1
    assert not bpy.ops.csd.text_to_3d.poll()
    with pytest.raises(RuntimeError, match="An object is being generated"):
        bpy.ops.csd.texture(prompt="x")
    job.finish()
    assert {"Accept", "Discard", "Reuse Settings", "The result above stays in Results"} <= set(panel_text())


def test_every_setting_has_a_tooltip_and_the_operator_a_sentence():
    about, named = bpy.ops.csd.text_to_3d.get_rna_type(), module("addon.kinds.common").names(SPEC)
    assert about.name == "Generate Object" and len(about.description.split()) > 5
    assert set(named) <= {item.identifier for item in about.properties}
    for item in about.properties:
        if item.identifier in named:
            assert item.description and not item.description.endswith("."), item.identifier
    for name in ("subject", "recipe"):
        assert all(len(item.description.split()) > 4 for item in about.properties[name].enum_items)


def test_the_add_menu_and_its_dialog_lead_to_the_same_operator():
    operators = module("addon.ui.generate")
    assert operators.draw_in_menu in bpy.types.VIEW3D_MT_mesh_add._dyn_ui_initialize()
    texts = []
    layout = FakeLayout(texts)
    object.__setattr__(layout, "separator", lambda: None)
    operators.draw_in_menu(SimpleNamespace(layout=layout), SimpleNamespace(mode="EDIT_MESH"))
    assert texts == []
    operators.draw_in_menu(SimpleNamespace(layout=layout), SimpleNamespace(mode="OBJECT"))
    assert texts == ["Generate Object …"]


def test_reuse_settings_fills_the_settings_of_the_right_kind(by_hand):
    csd = bpy.context.scene.csd
    values = {"prompt": "red chair", "seed": 99, "subject": "sparse", "recipe": "csd", "method": "sds"}
    values |= {"quality": "best", "max_faces": 777, "height": 2.5, "texture_size": "512"}
    job = by_hand(**values)
    job.finish()
    bpy.ops.csd.accept()
    for name in (*values, "object_method", "use_texture_size"):
        csd.property_unset(name)
    csd.use_steps, csd.steps = True, 33  # of textures
    bpy.ops.csd.reuse_settings()
    held = {name: getattr(csd, "object_method" if name == "method" else name) for name in values}
    assert held == values and csd.use_texture_size
    assert csd.use_steps and csd.steps == 33
    settings = module("addon.kinds.object.settings")
    assert settings.make_spec(
        {k: v for k, v in settings.gather(bpy.context.scene, {}).items() if k != "modifiers"}
    ) == (job.job.spec)


def test_lengths_of_the_stages_can_be_set_in_the_panel(by_hand):
    csd = bpy.context.scene.csd
    cube().select_set(False)
    bpy.context.scene.csd.kind = "text-to-3d"
    csd.prompt, csd.quality = "small robot", "draft"
    text = panel_text()
    for name, steps in {"Coarse Steps": "40", "Refine Steps": "60"}.items():
        heading = text.index(name)
        assert text[heading : heading + 3] == [name, "", steps]  # the box to tick is between
    csd.use_refine_steps, csd.refine_steps = True, 70
    assert not [t for t in panel_text() if t.startswith("Takes about")]
    spec = by_hand(coarse_steps=50).job.spec
    assert (spec.coarse.steps, spec.refine.steps) == (50, 70)
    csd.use_refine_steps = False
    csd.recipe = "dreamfusion"
    text = panel_text()
    assert text[text.index("Refine Steps") + 1] == "DreamFusion has none" and "Coarse Steps" in text
    for name in ("recipe", "quality", "refine_steps"):
        csd.property_unset(name)


@pytest.mark.parametrize("recipe", ["csd", "fantasia3d"])
def test_reused_lengths_give_the_same_job(recipe, by_hand):
    csd = bpy.context.scene.csd
    job = by_hand(prompt="small robot", recipe=recipe, coarse_steps=30, refine_steps=20)
    job.finish()
    bpy.ops.csd.accept()
    bpy.ops.csd.reuse_settings()
    settings = module("addon.kinds.object.settings")
    values = {k: v for k, v in settings.gather(bpy.context.scene, {}).items() if k != "modifiers"}
    assert settings.make_spec(values) == job.job.spec
    usual = settings.text_to_3d_job("small robot").to_json()
    settings.reuse(bpy.context.scene, usual)
    assert not csd.use_coarse_steps and not csd.use_refine_steps


@pytest.mark.parametrize(
    ("recipe", "negative"), [("csd", "oversaturated color, ugly, tiling, low quality, noisy"), ("magic3d", "")]
)
def test_a_negative_prompt_as_it_comes_is_the_recipe_s_and_a_written_one_the_artist_s(recipe, negative):
    settings, textures = module("addon.kinds.object.settings"), module("addon.kinds.texture.settings")
    csd = bpy.context.scene.csd

    def spec(**overrides):
        overrides = {"prompt": "small robot", "model": "some/model", "recipe": recipe} | overrides
        values = settings.gather(bpy.context.scene, overrides)
        return settings.make_spec({k: v for k, v in values.items() if k != "modifiers"})

    assert spec().negative_prompt == negative
    assert spec(model="mini").negative_prompt == "blurry, noisy, low quality"
    assert spec(negative_prompt="rust").negative_prompt == "rust"
    csd.negative_prompt = "rust"
    assert spec().negative_prompt == "rust"
    csd.negative_prompt = ""
    assert spec().negative_prompt == negative
    csd.use_negative_prompt = False
    assert spec().negative_prompt == ""
    csd.property_unset("use_negative_prompt")
    values = textures.gather(bpy.context.scene, {"prompt": "brick", "model": "some/model"})
    texture = textures.make_spec({k: v for k, v in values.items() if k != "modifiers"})
    assert texture.negative_prompt == "oversaturated color, ugly, tiling, low quality, noisy"


def test_the_object_grows_with_a_worker_and_is_offered(worker):
    job = start_job({"prompt": "small robot"}, kind="text-to-3d")
    turn_pump(lambda: growing() is not None)
    turn_pump(lambda: job.phase == "finished" and growing().data.uv_layers and job.has_view)
    assert job.stage == "finish"
    bpy.ops.csd.accept()
    assert bpy.context.view_layer.objects.active.name == "Small robot" and temporary() == []


def test_the_operator_runs_to_the_end_and_the_function_gives_the_same(worker):
    assert bpy.ops.csd.text_to_3d(prompt="small robot", seed=3, subject="character") == {"FINISHED"}
    first = bpy.context.view_layer.objects.active
    image = first.data.materials[0].node_tree.nodes.active.image
    seen = first["csd_settings"], image.packed_file.data, len(first.data.polygons)
    bpy.ops.ed.undo()
    assert "Small robot" not in bpy.data.objects
    second = module("addon.api").text_to_3d("small robot", seed=3, subject="character")
    image = second.data.materials[0].node_tree.nodes.active.image
    assert second.name == "Small robot" and second == bpy.context.view_layer.objects.active
    assert (second["csd_settings"], image.packed_file.data, len(second.data.polygons)) == seen
    bpy.ops.ed.undo()
    assert "Small robot" not in bpy.data.objects, "the function makes one undo step as well"


def test_a_script_may_set_fields_of_the_job_that_the_panel_does_not_show(worker):
    obj = module("addon.api").text_to_3d("small robot", coarse={"steps": 12}, refine={"views": 2}, keep="all")
    plain = json.loads(obj["csd_settings"])
    assert plain["coarse"]["steps"] == 12 and plain["refine"]["views"] == 2 and plain["keep"] == "all"
    with pytest.raises(TypeError, match="colour"):
        module("addon.api").text_to_3d("small robot", colour="red")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"prompt": " "}, "prompt is empty"), ({"recipe": "alchemy"}, "recipe"), ({"height": -1.0}, "height")],
)
def test_bad_settings_are_refused_with_a_sentence_before_anything_starts(settings, sentence):
    errors = (module("addon.scene.export").SceneError, module("job.errors").JobError)
    with pytest.raises(errors, match=sentence):
        module("addon.api").text_to_3d(**({"prompt": "small robot"} | settings))
    assert session.client is None or not session.client.job


@pytest.mark.parametrize("mode", ["crash", "oom", "exit-before-hello"])
def test_a_failure_reaches_a_script_as_one_sentence_and_leaves_the_file_as_it_was(mode, worker):
    worker(mode)
    before = census()
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.csd.text_to_3d(prompt="small robot")
    assert "Traceback" not in str(caught.value) and census() == before


def test_cancelling_a_worker_keeps_what_there_is(worker):
    worker("slow")
    job = start_job({"prompt": "small robot"}, kind="text-to-3d")
    turn_pump(lambda: job.step > 4)
    bpy.ops.csd.cancel()
    turn_pump(lambda: not job.active)
    assert job.phase == "finished" and job.stopped_early
    assert bpy.ops.csd.accept() == {"FINISHED"}


def test_a_crashed_job_is_resumed_in_a_later_session_at_the_same_place(worker):
    bpy.context.scene.cursor.location = (1, 2, 3)
    jobs, results = module("addon.run.lifecycle"), module("addon.run.results")
    worker("crash")
    job = start_job({"prompt": "small robot"}, kind="text-to-3d")
    turn_pump(lambda: not job.active)
    assert job.phase == "failed" and "Resume" in panel_text()
    session.job = None  # Blender was closed
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    results.refresh(now=True)
    assert session.results[0].prompt == "small robot" and "Resume “small robot”" in panel_text()
    worker("happy")
    resumed = jobs.resume(job.folder)
    turn_pump(lambda: resumed.phase == "finished")
    bpy.ops.csd.accept()
    assert tuple(bpy.context.view_layer.objects.active.location) == (1, 2, 3)
    results.refresh(now=True)
    assert [entry.state for entry in session.results] == ["accepted"] and results.waiting() == []


def test_a_finished_job_of_an_earlier_session_is_shown_again(by_hand):
    job = by_hand()
    job.finish()
    session.job = None
    module("addon.run.showing").forget_pictures()
    module("addon.scene.preview.cover").uncover_all()
    assert job.jobs.resume(job.job.folder).phase == "finished"
    turn_pump(lambda: growing() is not None)
    bpy.ops.csd.discard()
    assert growing() is None


def test_a_texture_job_follows_on_the_new_object(by_hand, monkeypatch):
    job = by_hand()
    job.finish()
    bpy.ops.csd.accept()
    assert "Generate Texture" in panel_text()
    texture = HandJob(monkeypatch, prompt="blue steel")
    texture.preview()
    texture.finish()
    bpy.ops.csd.accept()
    assert bpy.data.objects["Small robot"].data.materials[0].name == "Blue steel"


@pytest.mark.parametrize("mode", ["EDIT", "SCULPT"])
def test_a_script_outside_of_object_mode_is_refused_before_anything_is_computed(by_hand, mode, tmp_path):
    job = by_hand()
    job.jobs.end_without_result(job.job, "cancelled")
    bpy.ops.object.mode_set(mode=mode)
    with pytest.raises(RuntimeError, match="not in Object Mode"):
        bpy.ops.csd.text_to_3d(prompt="small robot")
    with pytest.raises(RuntimeError, match="Edit Mode" if mode == "EDIT" else "not in Object Mode"):
        bpy.ops.csd.resume(folder=str(job.job.folder))
    bpy.ops.object.mode_set(mode="OBJECT")
    assert len(job.client.sent) == 1 and len(list(job.job.folder.parent.iterdir())) == 1
