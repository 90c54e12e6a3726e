"""Objects that begin with rings of views: what pictures tell of a shape, and jobs that are left and go on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from csd_blender.backend.diffusion.views.mvdream import MVDream
from csd_blender.backend.pipelines.text_to_3d import job as pipeline
from csd_blender.backend.pipelines.text_to_3d import warm_rings
from csd_blender.backend.pipelines.text_to_3d.warm_rings import fit, guided, make_ring, ring_cameras
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.effects import without_effect
from csd_blender.job.presets.text_to_3d import text_to_3d_job, usual_steps
from csd_blender.job.result import read_result
from csd_blender.job.spec.cameras import SceneCameras
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.text_to_3d import TextTo3DJob
from tests.support.ldm import write_folder
from tests.support.no_memory import hungry
from tests.support.tiny_jobs import TINY, after, answer, merged, run, same_result, stages, told

pytestmark = pytest.mark.usefixtures("every_step_tells", "no_models_of_the_user")

SIZE = 48
RANGES = SceneCameras(distance=(2.3, 2.9), fov_y=(40.0, 50.0))


def test_rings_look_from_between_each_other_at_the_recipes_distances():
    first, second = ring_cameras(RANGES, 0), ring_cameras(RANGES, 1)
    assert sorted(first.azimuth.tolist()) == [-180, -90, 0, 90] and first.azimuth[0] == 0
    assert sorted((second.azimuth % 90).unique().tolist()) == [45]
    assert first.distance.unique().tolist() == pytest.approx([2.6]) and first.fov_y.unique().tolist() == [45]
    in_frames = ring_cameras(SceneCameras(distance=(0.8, 1.0), fov_y=(15.0, 60.0), distance_unit="frame"), 0)
    half = torch.tan(torch.deg2rad(in_frames.fov_y) / 2)
    torch.testing.assert_close(in_frames.distance * half, torch.full((4,), 0.9))


def test_the_scale_goes_from_the_empty_prompt_towards_the_prompt_without_perp_neg():
    asked = []

    def predictor(seen, strength, guidance):
        asked.append((len(seen.cameras), strength, guidance.perp_neg))
        answers = {"positive": 3.0, "null": 1.0}
        return lambda names, noisy, t: {name: torch.full_like(noisy, answers[name]) for name in names}

    guide = SimpleNamespace(predictor=predictor, guidance=Guidance(perp_neg=2.0))
    x = torch.zeros(4, 4, 2, 2)
    assert torch.equal(guided(guide, ring_cameras(RANGES, 0), 2.5)(x, x[:, 0, 0, 0]), torch.full_like(x, 6.0))
    assert asked == [(4, 0.0, 0.0)]


# ---- jobs ----------------------------------------------------------------------------------------------------------


def test_pictures_that_show_nothing_end_the_job_with_what_to_do(make, models, monkeypatch):
    folder = make()
    plain = torch.full((4, 3, 32, 32), 0.4)
    monkeypatch.setattr(warm_rings, "HULL_STEPS", 60)
    monkeypatch.setattr(warm_rings, "SOLID", 0.5)
    monkeypatch.setattr(warm_rings, "decode", lambda model, latents, at_once: plain)
    outcome, _ = run(folder, models)
    assert answer(outcome) == ("error", "empty_scene") and "set warm_start to 0" in json.dumps(outcome.to_json())


@pytest.fixture(scope="module")
def mvdream(tmp_path_factory):
    """A tiny one for small pictures."""
    folder = write_folder(tmp_path_factory.mktemp("views") / "mvdream", "mvdream")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": 4}))
    return str(folder)


@pytest.fixture
def make(tmp_path, mvdream, monkeypatch):
    monkeypatch.setattr(warm_rings, "HULL_STEPS", 4)
    monkeypatch.setattr(warm_rings, "FIT_SMALL", 2)
    monkeypatch.setattr(warm_rings, "FIT_LARGE", 2)
    monkeypatch.setattr(warm_rings, "is_hidden", lambda ring: False)  # a random network draws noise
    monkeypatch.setattr(warm_rings, "SOLID", 0.0)  # and few steps make nothing solid of it

    def make(name="job", **overrides) -> JobFolder:
        settings = merged(TINY, {"coarse": {"views": 4, "later_views": 4}, "model": mvdream, "coarse_steps": 2})
        settings |= {"refine": settings["refine"] | {"views": 4}, "warm_start": 8, "warm_steps": 3}
        del settings["refine_steps"]
        given = merged(settings, overrides)
        return JobFolder.create(tmp_path / name, text_to_3d_job("a red mug", recipe="csd-mvdream", **given))

    return make


def test_a_job_draws_its_rings_before_it_finds_the_shape(make, models, monkeypatch):
    asked, folder = told(monkeypatch, MVDream), make()
    outcome, events = run(folder, models)
    assert outcome.type == "result" and stages(events) == ["load", "start", "coarse", "load", "refine", "finish"]
    said = [(body["stage"], body["step"], body["total"]) for kind, body in events if kind == "progress"]
    assert said == [("start", i, 6) for i in range(1, 7)] + [("coarse", i, 2) for i in range(1, 3)]
    assert [len(noisy) for noisy, _, _ in asked[:6]] == [8] * 6, "the prompt and the empty one"
    assert read_result(folder.path).timings["network_calls"] == 6 * 8 + 2 * 2 * 4
    times = [int(t[0]) for _, t, _ in asked[:6]]
    assert times[0] > times[1] > times[2] and times[3] == round(0.7 * times[0]), "the second begins half covered"
    cold = make("cold", warm_start=0)
    run(cold, models)
    assert not same_result(folder, cold)


def test_a_hidden_ring_is_drawn_again_twice_at_most_and_the_bar_stands_meanwhile(make, models, monkeypatch):
    asked, hidden = told(monkeypatch, MVDream), []
    monkeypatch.setattr(warm_rings, "is_hidden", lambda ring: hidden.append(ring) or True)
    outcome, events = run(make(), models)
    assert outcome.type == "result" and len(hidden) == 2
    times = [int(t[0]) for _, t, _ in asked[:12]]
    assert times[3] == times[6] == round(0.85 * times[0]) and times[9] == round(0.7 * times[0])
    assert [body["step"] for kind, body in events if kind == "progress"][:12] == [1, 2, *[3] * 7, 4, 5, 6]


def test_rings_are_whole(make, models):
    six, eight = make("six", warm_start=6), make("eight")
    run(six, models)
    run(eight, models)
    assert same_result(six, eight)


def test_the_seed_decides_the_rings(make, models):
    same, again, other = make("same"), make("again"), make("other", seed=1)
    for folder in (same, again, other):
        run(folder, models)
    assert same_result(same, again) and not same_result(same, other)


@pytest.mark.parametrize("done", [1, 4, 6, 7])
def test_a_job_that_was_left_in_or_after_the_start_comes_out_the_same(make, models, monkeypatch, done):
    """After so many strides or steps; after the sixth stride it is left in the fit, from the first step on the start is
    done, and is not made again."""
    whole, left = make("whole"), make("left")
    run(whole, models)
    assert answer(run(left, ModelCache(), stop=after(done, "leave"))[0]) == ("error", "interrupted")
    started = []
    monkeypatch.setattr(pipeline, "warm_start", lambda *a: started.append(1) or warm_rings.warm_start(*a))
    outcome, events = run(left, ModelCache(), resume=True)
    assert outcome.type == "result" and same_result(whole, left)
    assert len(started) == (done < 7) and ("start" in stages(events)) == (done < 7)


def test_a_cancel_in_the_start_leaves_nothing_and_one_after_it_keeps_the_shape(make, models):
    for strides in (2, 6):  # the last is in the fit to all pictures, which takes seconds
        early = make(f"early{strides}")
        assert run(early, models, stop=after(strides, "cancel"))[0].type == "cancelled"
        assert not (early.path / "result" / "mesh.npz").exists()
    late = make("late")
    assert run(late, models, stop=after(7, "cancel"))[0].type != "error"
    assert (late.path / "result" / "mesh.npz").exists()


def test_memory_that_runs_out_in_the_start_costs_time_and_changes_no_picture(make, models, monkeypatch):
    """Only the first ring is compared: which pixel is the thing may hang on a rounding, and so what comes after."""
    drawn = []
    monkeypatch.setattr(warm_rings, "make_ring", lambda *a: drawn.append(a[1]) or make_ring(*a))
    whole, poor = make("whole"), make("poor")
    run(whole, models)
    hungry(monkeypatch, models.get(poor.spec.model, "cpu", told="views"), on_calls=[1])
    outcome, events = run(poor, models)
    assert outcome.type == "result"
    assert len(drawn) == 4
    torch.testing.assert_close(drawn[0], drawn[2], atol=1e-3, rtol=0)
    assert any(body["code"] == "oom_step_down" for kind, body in events if kind == "warning")


def test_pictures_without_valid_numbers_end_the_job_in_one_sentence(make, models, monkeypatch):
    folder = make()
    model = models.get(folder.spec.model, "cpu", told="views")
    monkeypatch.setattr(model, "predict_noise", lambda noisy, t, told: torch.full_like(noisy, float("nan")))
    assert answer(run(folder, models)[0]) == ("error", "model_not_finite")


# ---- settings ------------------------------------------------------------------------------------------------------


def test_memory_that_runs_out_in_the_fit_begins_it_again_from_where_the_field_was(make, models, monkeypatch):
    whole, poor, calls = make("whole"), make("poor"), []

    def starving(state, stage, rings, check):
        calls.append(len(rings))
        fit(state, stage, rings, check)
        if len(calls) == 2:
            raise MemoryError("out of memory")

    run(whole, models)
    monkeypatch.setattr(warm_rings, "fit", starving)
    outcome, events = run(poor, models)
    assert outcome.type == "result" and calls == [1, 2, 2] and same_result(whole, poor)
    assert any(body["code"] == "oom_step_down" for kind, body in events if kind == "warning")
    told = [body["step"] for kind, body in events if kind == "progress" and body["stage"] == "start"]
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"warm_start": 8, "method": "sds"}, "set warm_start to 0, or the recipe to csd-mvdream"),
        ({"recipe": "csd-mvdream", "start": "mesh", "warm_start": 8}, "one that can begin with a mesh"),
        ({"recipe": "csd-mvdream-refine", "start": "mesh", "warm_start": 8}, "set warm_start to 0"),
        ({"recipe": "csd-mvdream", "warm_start": "many"}, "warm_start"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(given, said):
    with pytest.raises(JobError, match=said):
        text_to_3d_job("a mug", **given)


@pytest.mark.parametrize("recipe", ["csd", "csd-mvdream-refine"])
@pytest.mark.parametrize("given", [{"start": "mesh"}, {"start": "coarse"}, {"start": "ellipsoid"}])
def test_where_the_shape_is_given_there_is_no_start_that_one_could_ask_for(recipe, given):
    assert text_to_3d_job("a mug", recipe=recipe, **given).warm_start == 0


@pytest.mark.parametrize(
    "coarse", [{"views": 2}, {"later_views": 6}, {"cameras": {"front_back_steps": 5}}, {"cameras": {"ring": 0}}]
)
def test_a_stage_that_is_no_ring_sees_one_view_at_a_time_as_before(coarse):
    job = text_to_3d_job("a mug", coarse=coarse)
    assert (job.warm_start, job.tells["coarse_model"], job.coarse.steps) == (0, "prompt", 600)


def test_the_bundled_model_starts_warm_where_it_draws_several_views_and_nowhere_else():
    for quality in ("draft", "normal", "best"):
        warm, cold = (text_to_3d_job("a mug", quality, recipe="csd-mvdream", **own) for own in ({}, {"warm_start": 0}))
        assert (warm.warm_start, cold.warm_start) == (8, 0) and warm.coarse.steps * 3 <= cold.coarse.steps
        highest = [warm.coarse.guidance.t_max.at(step) for step in range(warm.coarse.steps)]
        assert highest == sorted(highest, reverse=True) and highest[0] < 0.98
    job = text_to_3d_job("a mug")
    assert job.warm_start == 8 and job.tells == {"coarse_model": "views", "model": "prompt"}, "CSD's own recipe, too"
    for alone in ({"method": "sds"}, {"start": "mesh"}, {"recipe": "magic3d"}, {"coarse": {"cameras": {"ring": 0}}}):
        job = text_to_3d_job("a mug", **alone)
        assert job.warm_start == 0 and job.tells["coarse_model"] == "prompt"
    assert text_to_3d_job("a mug", model="some/folder", recipe="csd-mvdream").warm_start == 0


def test_a_published_recipe_stays_as_it_is_and_takes_a_quarter_of_the_calls_with_a_warm_start():
    cold, warm = (
        text_to_3d_job("a mug", model="some/folder", recipe="csd-mvdream", **own) for own in ({}, {"warm_start": 8})
    )
    assert cold.coarse.steps == usual_steps("normal", "some/folder", "csd-mvdream")[0] == 10000
    assert 4 * warm.coarse.steps <= cold.coarse.steps
    assert warm.coarse.guidance.t_max.at(0) < cold.coarse.guidance.t_max.at(0)


def test_why_it_has_no_effect_is_said_in_its_place():
    for alone in ({"recipe": "magic3d"}, {"method": "sds"}, {"model": "sd15"}, {"coarse_model": "sd15"}):
        assert without_effect(TextTo3DJob, alone)["warm_start"] == "One view at a time"
    for several in ({}, {"recipe": "csd"}, {"recipe": "csd-mvdream"}, {"model": "sd15", "coarse_model": "mini"}):
        assert "warm_start" not in without_effect(TextTo3DJob, several)
    assert without_effect(TextTo3DJob, {"recipe": "csd-mvdream", "warm_start": 0})["warm_scale"] == "No warm start"
    given = {"recipe": "csd-mvdream-refine", "start_from_mesh": True}
    assert without_effect(TextTo3DJob, given)["warm_start"] == "The shape is given"


def test_jobs_of_before_keep_their_fingerprint():
    plain = text_to_3d_job("a mug", recipe="magic3d").to_json()
    old = {name: value for name, value in plain.items() if not name.startswith("warm_")}
    assert TextTo3DJob.from_json(old).spec_hash() == TextTo3DJob.from_json(plain).spec_hash()
