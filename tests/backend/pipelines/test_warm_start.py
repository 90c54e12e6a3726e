"""Textures that begin with pictures of all sides: cameras, painting, agreement, and jobs that are left and go on."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from torch.nn.functional import grid_sample

from csd_blender.backend.fields.texture_field import TextureField
from csd_blender.backend.geometry.mesh import Mesh
from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.pipelines import texture, warm_start
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.pipelines.warm_start import Sides, agree, fit, guided, look, warm_cameras
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.methods import METHODS
from csd_blender.job.spec.texture import TextureJob
from tests.support.no_memory import hungry
from tests.support.tiny_jobs import after, albedo, answer, box, run, stages
from tests.support.tiny_models import write_control

pytestmark = pytest.mark.usefixtures("every_step_tells", "no_models_of_the_user")

SETTINGS = {"steps": 3, "views": 2, "texture_size": 64, "preview_interval": 0, "device": "cpu"}
LAYOUT = (("depth", "normal"),)


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    shape = trimesh.creation.icosphere(3)
    folder = JobFolder.create(tmp_path_factory.mktemp("ball") / "job", texture_job("a ball", texture_size=64))
    save_npz(folder.mesh_path, Mesh(shape.vertices, shape.faces))
    return prepare_surface(folder.spec, folder, Reporter(emit=lambda said: None))


def halves(points):
    """Red where x is positive, else blue."""
    return torch.where(points[:, :1] > 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))


def seen_at(surface, cameras, side, paint):
    white = torch.ones(len(cameras), 3)
    return surface.render(paint, cameras, side, white)


# ---- cameras and painting ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 16])
def test_cameras_stand_evenly_around_the_front_is_the_first_and_all_see_the_whole_mesh(ball, count):
    cameras = warm_cameras(count)
    around = count - (2 if count > 4 else 0)
    assert len(cameras) == count and float(cameras.azimuth[0]) == 0.0
    turned = (cameras.azimuth[:around] % 360).sort().values
    torch.testing.assert_close(turned, torch.arange(around) * (360.0 / around))
    assert (cameras.elevation[around:] > 45).sum() == (cameras.elevation[around:] < -45).sum() == (count > 4)
    sides = look(ball, cameras, LAYOUT, 32)
    edge = torch.ones(32, 32, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert sides.control.shape == (count, 4, 32, 32) and not bool((sides.covered & edge).any())
    assert float(sides.covered.float().mean(dim=(1, 2)).min()) > 0.5


@pytest.fixture(scope="module")
def plank(tmp_path_factory):
    """Four times as long as wide, and thin: along x, the front shows its long side."""
    shape = trimesh.creation.box((4.0, 1.0, 0.2)).subdivide().subdivide()
    folder = JobFolder.create(tmp_path_factory.mktemp("plank") / "job", texture_job("a plank", texture_size=64))
    save_npz(folder.mesh_path, Mesh(shape.vertices, shape.faces))
    return prepare_surface(folder.spec, folder, Reporter(emit=lambda said: None))


def reach(sides):
    """Of each picture, how far the mesh reaches from the middle, in halves of it: left, right, top, bottom."""
    found = []
    for covered in sides.covered:
        rows, columns = covered.any(1).nonzero()[:, 0], covered.any(0).nonzero()[:, 0]
        half = len(covered) / 2
        ends = half - columns[0], columns[-1] + 1 - half, half - rows[0], rows[-1] + 1 - half
        found.append([float(end) / half for end in ends])
    return torch.tensor(found)


def test_cameras_come_as_near_as_the_mesh_lets_them_and_look_at_its_middle(plank):
    around = warm_cameras(8)
    cameras, target = warm_start.frame(around, plank.points)
    near, far = (reach(look(plank, *given)) for given in ((cameras, LAYOUT, 128, target), (around, LAYOUT, 128)))
    nearer = cameras.distance / around.distance
    assert float(near.max()) < 0.96 and bool((nearer <= 1).all()) and bool((nearer >= 0.6 - 1e-6).all())
    free = nearer > 0.61  # the others could come nearer still
    largest = near.max(1).values
    assert bool((largest[free] > 0.86).all()) and bool((largest >= far.max(1).values - 0.02).all())
    end = int((around.azimuth - 60).abs().argmin())  # the plank seen nearly along its length
    assert float(largest[end]) > 1.15 * float(far.max(1).values[end])
    assert float((near[:, 0] - near[:, 1]).abs().max()) < 0.05 and float((near[:, 2] - near[:, 3]).abs().max()) < 0.05


def test_a_ball_is_seen_from_where_it_was(ball):
    around = warm_cameras(8)
    cameras, target = warm_start.frame(around, ball.points)
    assert float(target.abs().max()) < 0.02
    assert float((cameras.distance / around.distance - 1).abs().max()) < 0.04


def test_pixels_count_little_from_the_side_and_beside_an_outline(ball):
    sides = look(ball, warm_cameras(1), LAYOUT, 64)
    weight = torch.zeros(1, 64, 64)
    weight[sides.covered] = sides.weight
    middle = weight[0, 28:36, 28:36]
    row = weight[0, 32][sides.covered[0, 32]]
    assert float(middle.min()) > 0.9 and float(row[0]) < 0.05 and float(row[-1]) < 0.05
    half = row[: len(row) // 2]
    assert bool((half[1:] >= half[:-1] - 1e-3).all())


def test_a_field_is_painted_by_pictures_and_its_finest_levels_stay(ball):
    cameras = warm_cameras(8)
    sides = look(ball, cameras, LAYOUT, 64)
    pictures = seen_at(ball, cameras, 64, halves)
    field = TextureField(levels=5, finest_resolution=128)
    fit(field, sides, pictures, 40, 0.2, finest=64)
    inside = ball.points[ball.points[:, 0].abs() > 0.15]
    off = (field(inside) - halves(inside)).abs().amax(1)
    assert float(off.mean()) < 0.02 and float((off > 0.1).float().mean()) < 0.05
    finest = field.levels[-1]
    assert finest.resolution > 64 and not bool(field.table[finest.offset :].any())
    assert bool(field.table[: finest.offset].any())


def test_sides_that_contradict_each_other_agree_afterwards(ball):
    """The same point of the surface, in two pictures of other colors: before, they differ by all; after, hardly."""
    cameras = warm_cameras(4)
    sides = look(ball, cameras, LAYOUT, 64)
    pictures = torch.ones(4, 3, 64, 64)
    pictures[:2, 1:] = 0.0  # two red ones, two of white
    agreed = agree(TextureField(levels=3, finest_resolution=32), sides, pictures)

    def differs(of):
        clip = cameras.clip(ball.points)
        place = clip[..., :2] / clip[..., 3:]
        colors = grid_sample(of, place[:, :, None], align_corners=False)[..., 0]  # [V, 3, N]
        eyes = cameras.positions()[:, None] - ball.points
        facing = (torch.nn.functional.normalize(eyes, dim=2) * ball.points).sum(2) > 0.25
        both = facing[0] & facing[3]  # neighbors, one red and one white
        assert int(both.sum()) > 20
        return float((colors[0] - colors[3]).abs()[:, both].mean())

    assert differs(pictures) > 0.5 and differs(agreed) < 0.05
    outside = ~sides.covered[:, None].expand_as(pictures)
    assert torch.equal(agreed[outside], pictures[outside])


def test_where_nothing_is_seen_nothing_is_painted(ball):
    sides = look(ball, warm_cameras(2), LAYOUT, 16)
    nothing = replace(sides, covered=torch.zeros_like(sides.covered), points=sides.points[:0], weight=sides.weight[:0])
    field, pictures = TextureField(levels=2, finest_resolution=16), torch.rand(2, 3, 16, 16)
    assert torch.equal(agree(field, nothing, pictures), pictures) and not bool(field.table.any())


# ---- jobs ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nets(tiny_folder, tmp_path_factory):
    return write_control(tmp_path_factory.mktemp("nets") / "depth", tiny_folder, stride=4)


@pytest.fixture
def make_job(tmp_path, tiny_folder, nets):
    def make(name="job", **overrides) -> JobFolder:
        given = {"control": "depth", "control_model": str(nets), "warm_start": 5, "warm_steps": 4}
        job = texture_job("a red mug", model=str(tiny_folder), **SETTINGS | given | overrides)
        folder = JobFolder.create(tmp_path / name, job)
        save_npz(folder.mesh_path, box())
        return folder

    return make


def test_a_job_draws_all_sides_before_it_paints(make_job, models):
    warm, cold = make_job("warm"), make_job("cold", warm_start=0)
    (outcome, events), (other, without) = run(warm, models), run(cold, models)
    assert outcome.type == other.type == "result"
    assert stages(events) == ["prepare", "load", "start", "paint", "finish"]
    assert stages(without) == ["prepare", "load", "paint", "finish"]
    told = [(body["stage"], body["step"], body["total"]) for kind, body in events if kind == "progress"]
    assert told == [("start", i, 4) for i in range(1, 5)] + [("paint", i, 3) for i in range(1, 4)]
    assert not np.array_equal(albedo(warm), albedo(cold))


def test_the_seed_decides_the_pictures(make_job, models):
    same, again, other = make_job("same"), make_job("again"), make_job("other", seed=1)
    for folder in (same, again, other):
        run(folder, models)
    assert np.array_equal(albedo(same), albedo(again)) and not np.array_equal(albedo(same), albedo(other))


@pytest.mark.parametrize("done", [1, 3, 4, 5, 6])
def test_a_job_that_was_left_in_or_after_the_start_comes_out_the_same(make_job, models, monkeypatch, done):
    """After so many strides or steps; from the fourth stride on the start is done, and is not made again."""
    whole, left = make_job("whole"), make_job("left")
    run(whole, models)
    assert answer(run(left, ModelCache(), stop=after(done, "leave"))[0]) == ("error", "interrupted")
    started = []
    monkeypatch.setattr(texture, "warm_start", lambda *a: started.append(1) or warm_start.warm_start(*a))
    outcome, events = run(left, ModelCache(), resume=True)
    assert outcome.type == "result" and np.array_equal(albedo(whole), albedo(left))
    assert len(started) == (done < 4) and ("start" in stages(events)) == (done < 4)


def test_a_cancel_in_the_start_leaves_nothing_and_one_after_it_keeps_the_pictures(make_job, models):
    early, late = make_job("early"), make_job("late")
    outcome, _ = run(early, models, stop=after(2, "cancel"))
    assert outcome.type == "cancelled" and not (early.path / "result" / "albedo.png").exists()
    outcome, _ = run(late, models, stop=after(4, "cancel"))
    assert outcome.type != "error" and len(np.unique(albedo(late).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("on_calls", [range(3), [2]])
def test_memory_that_runs_out_in_the_start_costs_time_and_changes_no_picture(make_job, models, monkeypatch, on_calls):
    whole, poor = make_job("whole", steps=1, views=1), make_job("poor", steps=1, views=1)
    run(whole, models)
    model = models.get(poor.spec.model, "cpu")
    hungry(monkeypatch, model, on_calls=on_calls)
    outcome, events = run(poor, models)
    assert outcome.type == "result"
    assert any(body["code"] == "oom_step_down" for kind, body in events if kind == "warning")
    told = [body["step"] for kind, body in events if kind == "progress" and body["stage"] == "start"]
    assert told == sorted(told), "what was told to be done stays done"
    assert np.abs(albedo(whole).astype(int) - albedo(poor)).max() <= 1


@pytest.mark.parametrize("perp_neg", [0.0, 2.0])
def test_sides_see_their_prompt_and_the_empty_one_under_the_starts_own_control(make_job, models, monkeypatch, perp_neg):
    """Five sides, two at once. Perp-Neg is for the steps alone."""
    folder, asked = make_job(perp_neg=perp_neg, warm_control=0.25, control_strength=1.5, steps=1), []
    model = models.get(folder.spec.model, "cpu")
    predict = model.predict_noise

    def answered(noisy, t, told):
        asked.append((len(noisy), told.control_weight.flatten().tolist()))
        return predict(noisy, t, told)

    monkeypatch.setattr(model, "predict_noise", answered)
    run(folder, models)
    start, step = asked[:-1], asked[-1]
    assert [rows for rows, _ in start] == [4, 4, 2] * 4
    assert all(set(weights) == {0.25} for _, weights in start) and set(step[1]) == {1.5}


def test_the_scale_goes_from_the_empty_prompt_towards_the_prompt():
    x, t = torch.zeros(3, 4, 2, 2), torch.zeros(3)
    told = []

    def predictor(seen, strength, guidance):
        told.append((tuple(seen.names), strength))
        answers = {"positive": 3.0, "null": 1.0}
        return lambda names, noisy, t: {name: torch.full_like(noisy, answers[name]) for name in names}

    cameras = warm_cameras(3)
    sides = Sides(cameras, torch.zeros(3, 1, 8, 8), torch.zeros(3, 8, 8), torch.zeros(0, 3), torch.zeros(0))
    guide = SimpleNamespace(predictor=predictor, guidance=Guidance(perp_neg=2.0))
    found = guided(guide, sides, SimpleNamespace(warm_scale=2.5, warm_control=0.5), 2)(x, t)
    assert torch.equal(found, torch.full_like(x, 1.0 + 2.5 * 2.0))
    assert told == [(("front", "side"), 0.5), (("side",), 0.5)]


def test_pictures_without_valid_numbers_end_the_job_in_one_sentence(make_job, models, monkeypatch):
    folder = make_job()
    model = models.get(folder.spec.model, "cpu")
    monkeypatch.setattr(model, "predict_noise", lambda noisy, t, told: torch.full_like(noisy, float("nan")))
    outcome, _ = run(folder, models)
    assert answer(outcome) == ("error", "model_not_finite")


def test_without_nets_a_start_is_refused_with_what_to_do(make_job, models):
    outcome, _ = run(make_job(control="auto", control_model=""), models)
    assert answer(outcome) == ("error", "bad_setting") and "set warm_start to 0" in json.dumps(outcome.to_json())
    for wrong in (
        lambda: texture_job("a mug", control="off", warm_start=8),
        lambda: edit_job("a mug", "a cup", warm_start=8),
    ):
        with pytest.raises(JobError, match="warm_start to 0"):
            wrong()


# ---- presets -------------------------------------------------------------------------------------------------------


def test_csd_with_the_bundled_model_starts_warm_and_nothing_else_does_by_itself(tiny_folder):
    for quality in ("draft", "normal", "best"):
        warm, cold = texture_job("a mug", quality), texture_job("a mug", quality, warm_start=0)
        assert (warm.warm_start, cold.warm_start) == (8, 0) and warm.steps * 3 < cold.steps + 100
        assert warm.guidance.t_max.at(0) == 0.5 and cold.guidance.t_max.at(0) == 0.98
    for method in METHODS[1:]:
        assert texture_job("a mug", method=method).warm_start == 0
    assert texture_job("a mug", control="off").warm_start == texture_job("a mug", model="sd15").warm_start == 0
    assert edit_job("a mug", "a cup").warm_start == 0


def test_with_a_large_model_it_takes_a_quarter_of_the_networks_calls():
    warm, cold = (texture_job("a mug", model="sd15", warm_start=n) for n in (8, 0))
    calls = 3 * warm.steps * warm.views + 2 * warm.warm_start * warm.warm_steps
    assert calls * 4 <= 3 * cold.steps * cold.views
    times = [warm.guidance.t_max.at(step) for step in range(warm.steps)]
    assert max(times) == 0.5 and times == sorted(times, reverse=True)


def test_jobs_of_before_keep_their_fingerprint():
    plain = texture_job("a mug", control="off").to_json()
    old = {name: value for name, value in plain.items() if not name.startswith("warm_")}
    assert TextureJob.from_json(old).spec_hash() == TextureJob.from_json(plain).spec_hash()
    assert texture_job("a mug").spec_hash() != texture_job("a mug", warm_start=6).spec_hash()
