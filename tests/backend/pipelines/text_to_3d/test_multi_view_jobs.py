"""Whole jobs whose coarse stage goes by a model that sees four views at once."""

from __future__ import annotations

import json

import pytest
import torch

from csd_blender.backend.cli.generate import with_lasting_names
from csd_blender.backend.diffusion.small_encoder import SmallEncoder
from csd_blender.backend.diffusion.views.mvdream import MVDream, camera_numbers
from csd_blender.backend.pipelines.text_to_3d.coarse import draw_cameras, draw_look, view_count
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.result import read_result
from csd_blender.job.spec.cameras import SceneCameras
from csd_blender.job.spec.scene_stages import CoarseStage, RefineStage
from tests.support.ldm import write_folder
from tests.support.tiny_encoders import write_small_encoder
from tests.support.tiny_jobs import COARSE, TINY, after, answer, merged, run, same_result, told, warnings_but_terms

SIDE = 64


@pytest.fixture(scope="module")
def mvdream(tmp_path_factory):
    """A tiny one for small pictures."""
    folder = write_folder(tmp_path_factory.mktemp("views") / "mvdream", "mvdream")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": SIDE // 8}))
    return str(folder)


@pytest.fixture
def make(tmp_path, mvdream):
    def make(name="job", recipe="csd-mvdream", **overrides) -> JobFolder:
        settings = merged(TINY, {"coarse": {"views": 8, "later_size": 16, "later_size_step": 2}, "model": mvdream})
        settings = settings | {"refine": settings["refine"] | {"views": 4}}
        del settings["refine_steps"]
        return JobFolder.create(
            tmp_path / name, text_to_3d_job("a red mug", recipe=recipe, **merged(settings, overrides))
        )

    return make


def test_a_job_of_one_stage_tells_the_model_its_rings_of_cameras(make, models, monkeypatch):
    asked, folder = told(monkeypatch, MVDream), make()
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    assert len(asked) == COARSE and read_result(folder.path).timings["network_calls"] == 2 * (8 + 8 + 4 + 4)
    stage, generator = folder.spec.coarse, torch.Generator().manual_seed(folder.spec.seed)
    first = draw_cameras(stage.cameras, 8, 0, generator)
    expected = camera_numbers(first.axes(), first.positions())
    for step, (noisy, t, conditions) in enumerate(asked):
        views = 8 if step < 2 else 4
        assert len(noisy) == 2 * views and len(t.unique()) == 1  # the prompt and the negative one
        cameras = conditions.cameras
        assert torch.equal(cameras[:views], cameras[views:]), "both prompts are for the same views"
        places = cameras.view(-1, 4, 4, 4)[..., :3, 3]
        torch.testing.assert_close(places.norm(dim=-1), torch.ones(len(places), 4))
        assert places[..., 2].std(1).max() < 1e-6, "a ring is of one height"
        across = places[:, :2, :2] + places[:, 2:, :2]
        torch.testing.assert_close(across, torch.zeros_like(across), atol=1e-6, rtol=0)
    torch.testing.assert_close(asked[0][2].cameras[:8], expected)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_job_that_was_left_resumes_to_exactly_the_same_object(make, models, steps):
    whole, left = make("whole"), make("left")
    assert run(whole, models)[0].type == "result"
    assert answer(run(left, models, stop=after(steps, "leave"))[0]) == ("error", "interrupted")
    assert run(left, models, resume=True)[0].type == "result"
    assert same_result(whole, left)


def test_a_job_of_two_stages_has_the_second_by_csd_and_an_ordinary_model(
    make, models, mvdream, tiny_folder, monkeypatch
):
    asked = told(monkeypatch, MVDream)
    folder = make(recipe="csd-mvdream-refine", model=str(tiny_folder), coarse_model=mvdream, refine_steps=3)
    assert run(folder, models)[0].type == "result"
    assert len(asked) == COARSE
    job = folder.spec
    assert (job.method, job.refine.geometry_method, job.tells) == (
        "csd-mvdream", "csd", {"coarse_model": "views", "model": "prompt"},
    )  # fmt: skip
    # CSD asks an ordinary model with three prompts, at first with two, and four pictures a step.
    assert read_result(folder.path).timings["network_calls"] == 2 * (8 + 8 + 4 + 4) + (2 + 3 + 3) * 4


def test_whoever_asks_for_a_second_stage_of_the_same_model_gets_it_in_rings(make, models, monkeypatch):
    asked = told(monkeypatch, MVDream)
    assert run(make(refine={"steps": 2}), models)[0].type == "result"
    assert [len(noisy) for noisy, _, _ in asked[COARSE:]] == [8, 8]


@pytest.mark.parametrize(
    ("recipe", "names", "said"),
    [
        ("csd-mvdream", {"model": "plain"}, "Choose an MVDream"),
        ("csd-mvdream-refine", {"model": "views"}, "draws several views at once"),
        ("csd-mvdream-refine", {"model": "plain", "coarse_model": "plain"}, "Choose an MVDream"),
        ("csd", {"model": "views"}, "draws several views at once"),
        ("csd", {"model": "plain", "coarse_model": "views"}, "draws several views at once"),
    ],
)
def test_a_model_of_the_other_sort_is_refused_before_anything_is_loaded(
    make, models, mvdream, tiny_folder, monkeypatch, recipe, names, said
):
    known = {"views": mvdream, "plain": str(tiny_folder)}
    folder = make(recipe=recipe, **{name: known.get(value, value) for name, value in names.items()})
    monkeypatch.setattr("csd_blender.backend.worker.run_job.load_model", lambda *a, **k: pytest.fail("loaded"))
    outcome, _ = run(folder, models)
    assert outcome.type == "error" and said in f"{outcome.detail} {outcome.fix}"
    with pytest.raises(JobError, match=said):
        with_lasting_names(folder.spec)


def test_lasting_names_find_a_model_of_several_views(make, mvdream):
    assert with_lasting_names(make().spec).model == mvdream


def test_no_controlnets_are_for_a_model_of_several_views(make, models):
    outcome, _ = run(make(control="depth", refine={"steps": 1}), models)
    assert outcome.type == "error" and "there are no ControlNets for" in outcome.detail


def test_what_has_no_effect_on_an_object_of_one_stage_is_neither_looked_for_nor_told(make, models):
    outcome, events = run(make(control="depth", debias_prompt="mini"), models)
    assert outcome.type == "result" and warnings_but_terms(events) == []


def test_a_small_encoder_serves_a_model_of_several_views(make, models, monkeypatch):
    small = write_small_encoder(make().path.parent / "small")
    used, ask = [], SmallEncoder.encode
    monkeypatch.setattr(SmallEncoder, "encode", lambda self, *given: used.append(1) or ask(self, *given))
    assert run(make("other", encoder=str(small)), models)[0].type == "result" and used
    outcome, _ = run(make("published", encoder="small"), models)
    assert answer(outcome) == ("error", "encoder_missing") and "taesd" in outcome.detail


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("csd-mvdream-refine", {"model": "plain"}),
        ("csd-mvdream", {"model": "views", "coarse": {"cameras": {"ring": 1}}}),
    ],
)
def test_a_first_stage_without_a_model_for_it_is_refused_before_there_is_a_folder(
    make, mvdream, tiny_folder, recipe, names
):
    known = {"views": mvdream, "plain": str(tiny_folder)}
    folder = make(recipe=recipe, **names | {"model": known[names["model"]]})
    with pytest.raises(JobError):
        with_lasting_names(folder.spec)


# ---- what goes around in a ring ------------------------------------------------------------------------------------


def ring_stage(kind, **settings):
    return kind(views=8, cameras=SceneCameras(ring=4), **settings)


@pytest.mark.parametrize("lamp", ["studio", "dreamfusion", "magic3d"])
def test_a_ring_has_one_lamp_and_all_pictures_of_a_step_one_background(lamp):
    stage = ring_stage(CoarseStage, lamp=lamp, ambient_only_steps=0, shaded_share=1.0, textureless_share=0.0)
    look = draw_look(stage, 8, 0, torch.Generator().manual_seed(3))
    assert len(look.background.unique(dim=0)) == 1
    drawn = look.light if look.lamps is None else look.lamps.offset
    rings = drawn.view(2, 4, 3)
    assert (rings == rings[:, :1]).all() and not torch.equal(rings[0], rings[1])


def test_later_pictures_are_fewer():
    stage = CoarseStage(views=8, later_views=4, later_size_step=5)
    assert [view_count(stage, step) for step in (0, 4, 5, 9)] == [8, 8, 4, 4]
    assert view_count(CoarseStage(views=8, later_size_step=5), 9) == 8


@pytest.mark.parametrize("kind", [CoarseStage, RefineStage])
def test_settings_that_do_not_go_together_are_refused_by_name(kind):
    field = "coarse" if kind is CoarseStage else "refine"
    for given, said in (
        ({"views": 6, "cameras": {"ring": 4}}, f"{field}.views is 6, allowed is a multiple of {field}.cameras.ring, 4"),
        ({"views": 8, "cameras": {"ring": 2}}, f"{field}.cameras.ring is 2, allowed is 4"),
        ({"views": 8, "cameras": {"ring": 8}}, f"{field}.cameras.ring is 8, allowed is 4"),
        ({"views": 8, "cameras": {"ring": 4, "front_back_steps": 3}}, f"set {field}.cameras.ring or"),
    ):
        with pytest.raises(JobError, match=said):
            text_to_3d_job("a mug", **{field: given})
