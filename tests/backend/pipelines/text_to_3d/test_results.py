"""What a text-to-3D job writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from csd_blender.backend.geometry.mesh_io import load_mesh
from csd_blender.backend.pipelines.text_to_3d import output
from csd_blender.backend.texture.unwrap import check_uv
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.result import Part, is_complete, read_result
from tests.support.tiny_jobs import (
    COARSE,
    REFINE,
    albedo,
    mesh_of,
    run,
    same_result,
    stages,
)


def test_a_job_writes_object_pictures_and_record(whole):
    folder, events = whole
    record = read_result(folder.path)
    assert record.makes_object and record.complete and is_complete(folder.path)
    assert record.settings == folder.spec.to_json() and record.seed == 0
    assert record.parts == (Part("object", {"albedo": "result/albedo.png"}, "new"),)
    assert record.timings["steps"] == COARSE + REFINE == folder.spec.steps
    assert set(record.timings["time_shares"]) == {"coarse", "refine"}
    mesh = mesh_of(folder)
    assert record.faces == len(mesh.triangles) and record.watertight is True
    assert trimesh.Trimesh(mesh.positions, mesh.triangles, process=False).is_watertight
    assert albedo(folder).shape == (64, 64, 3) and albedo(folder).std() > 1.0
    textured = load_mesh(folder.path / "result" / "mesh.glb")
    assert len(textured.triangles) == len(mesh.triangles) and textured.uv is not None
    assert Image.open(folder.path / "result" / "turntable.png").size == (1024, 512)
    film = Image.open(folder.path / "result" / "turntable.gif")
    assert film.n_frames > 30 and film.size == (224, 224)
    assert Image.open(folder.path / "stages" / "coarse.png").size == (768, 384)
    assert (folder.path / "stages" / "coarse.safetensors").stat().st_size > 0
    assert not list(folder.path.rglob("*.tmp"))


def test_the_outcome_names_the_files_it_wrote(make_job, models):
    folder = make_job(coarse_steps=1, refine_steps=0)
    outcome, _ = run(folder, models)
    assert outcome.type == "result" and is_complete(folder.path)
    assert {"albedo", "mesh", "arrays", "turntable", "film", "result", "uv"} <= set(outcome.files)
    assert all((folder.path / name).stat().st_size > 0 for name in outcome.files.values())


def test_stages_are_announced_in_order(whole):
    _, events = whole
    announced = [body for kind, body in events if kind == "stage"]
    names = list(dict.fromkeys(body["name"] for body in announced))
    assert [n for n in names if n in ("load", "coarse", "refine", "finish")] == ["load", "coarse", "refine", "finish"]
    indices = [body["index"] for body in announced]
    assert indices == sorted(indices) and {body["count"] for body in announced} == {4}
    last = {body["stage"]: (body["step"], body["total"]) for kind, body in events if kind == "progress"}
    assert last == {"coarse": (COARSE, COARSE), "refine": (REFINE, REFINE)}


def test_the_object_stands_on_the_floor_as_high_as_asked(make_job, models):
    folder = make_job(height=2.5, coarse_steps=1, refine_steps=0)
    assert run(folder, models)[0].type == "result"
    low, high = mesh_of(folder).positions.min(0), mesh_of(folder).positions.max(0)
    assert low[2] == pytest.approx(0, abs=1e-5) and high[2] == pytest.approx(2.5, abs=1e-4)
    assert (low + high)[:2] == pytest.approx(0, abs=1e-4)


def test_the_new_uv_map_can_carry_the_texture(whole):
    folder, _ = whole
    mesh = mesh_of(folder)
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    check = check_uv(mesh, 0)
    assert check.reason == "" and check.overlap < 1e-3 and check.outside == 0 and check.coverage > 0.2


def test_faces_outside_the_budget_are_simplified_away(make_job, models):
    folder = make_job(max_faces=100, coarse_steps=1, refine_steps=0)
    assert run(folder, models)[0].type == "result"
    record = read_result(folder.path)
    assert 4 <= record.faces <= 100 and record.watertight is True


def test_the_same_seed_gives_the_same_object_and_another_one_does_not(whole, make_job, models):
    again, other = make_job("again"), make_job("other", seed=1)
    for folder in (again, other):
        assert run(folder, models)[0].type == "result"
    assert same_result(whole[0], again)
    assert not np.array_equal(albedo(whole[0]), albedo(other))
    one, two = mesh_of(again).positions, mesh_of(other).positions
    assert one.shape != two.shape or not np.array_equal(one, two)


def test_previews_show_a_view_and_in_the_end_the_mesh_and_change_nothing(whole, make_job, models):
    folder = make_job(preview_interval=0.001)
    _, events = run(folder, models)
    previews = [body for kind, body in events if kind == "preview"]
    kinds = [body["kind"] for body in previews]
    assert "mesh" in kinds and kinds[0] == "view" and set(kinds) == {"view", "mesh"}
    view = next(body for body in reversed(previews) if body["kind"] == "view")
    assert (folder.path / view["path"]).stat().st_size == view["width"] * view["height"] * 4
    with np.load(folder.path / "preview" / "mesh.npz", allow_pickle=False) as arrays:
        positions, triangles, colors = arrays["positions"], arrays["triangles"], arrays["colors"]
    assert positions.dtype == np.float32 and triangles.dtype == np.int32 and colors.dtype == np.uint8
    assert positions.shape == colors.shape and triangles.max() < len(positions)
    assert positions[:, 2].min() == pytest.approx(0, abs=1e-5) and np.ptp(positions[:, 2]) == pytest.approx(1, abs=1e-5)
    steps = [body["step"] for body in previews]
    assert steps == sorted(steps) and steps[-1] == COARSE + REFINE
    assert same_result(whole[0], folder)


def test_a_preview_is_light_enough_to_land_quickly(make_job, models, monkeypatch):
    monkeypatch.setattr(output, "PREVIEW_FACES", 150)
    folder = make_job(preview_interval=0.001)
    assert run(folder, models)[0].type == "result"
    with np.load(folder.path / "preview" / "mesh.npz", allow_pickle=False) as arrays:
        assert 50 < len(arrays["triangles"]) <= 160
    assert len(mesh_of(folder).triangles) > 160


def test_checkpoints_are_few_and_count_the_steps_of_both_stages(whole):
    folder, events = whole
    written = [body["step"] for kind, body in events if kind == "checkpoint"]
    assert written == sorted(set(written)) and written[-1] < COARSE + REFINE
    assert COARSE in written  # the one between the stages
    kept = sorted(p.name for p in (folder.path / "checkpoint").glob("*.json"))
    assert kept == [f"step_{step:06d}.json" for step in written[-2:]]


def test_sds_is_one_setting_away_and_gives_another_object(whole, make_job, models):
    folder = make_job(method="sds")
    assert run(folder, models)[0].type == "result"
    assert not np.array_equal(albedo(whole[0]), albedo(folder))


@pytest.mark.parametrize("recipe", ["dreamfusion", "magic3d", "fantasia3d"])
@pytest.mark.parametrize("subject", ["character", "sparse"])
def test_every_recipe_runs_through(make_job, models, recipe, subject):
    """Lit, white and normal pictures, Perp-Neg, orientation loss: whatever the recipe asks for."""
    coarse = {} if recipe == "fantasia3d" else {"ambient_only_steps": 0, "shaded_share": 1.0}
    folder = make_job(recipe=recipe, subject=subject, coarse_steps=2, refine_steps=2, coarse=coarse)
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    assert ("coarse" in stages(events)) == (recipe != "fantasia3d")
    assert read_result(folder.path).complete


def test_the_published_recipe_runs_with_normals_and_perp_neg(make_job, models):
    folder = make_job(subject="character", coarse={"ambient_only_steps": 0, "shaded_share": 1.0})
    assert folder.spec.coarse.guidance.perp_neg == 3 and folder.spec.coarse.textureless_normals
    outcome, _ = run(folder, models)
    assert outcome.type == "result", outcome


def test_a_shape_that_is_fixed_is_still_painted(make_job, models):
    """Pictures of the shape alone would teach nothing any more; the job must not fall over them."""
    fixed = make_job("fixed", refine={"fixed_shape_after": 0, "normals_share": 1.0})
    unrefined = make_job("unrefined", refine_steps=0)
    for folder in (fixed, unrefined):
        outcome, _ = run(folder, models)
        assert outcome.type == "result", outcome
    assert np.array_equal(mesh_of(fixed).positions, mesh_of(unrefined).positions)
    assert not np.array_equal(albedo(fixed), albedo(unrefined))


def test_a_coarse_model_of_its_own_is_loaded_for_the_coarse_stage_only(whole, make_job, models, tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "other")
    loaded = []
    cache = ModelCache()
    get = cache.get
    cache.get = lambda name, *rest: loaded.append(Path(name).name) or get(name, *rest)
    folder = make_job(coarse_model=str(tmp_path / "other"))
    outcome, _ = run(folder, cache)
    assert outcome.type == "result" and loaded == ["other", tiny_folder.name]
    assert same_result(whole[0], folder)  # the copy has the same weights
