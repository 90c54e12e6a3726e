"""Edits with a free shape: they begin as the mesh in its colors, leave an object, and resume; none of open meshes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from csd_blender.backend.cli import main
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation.view_prompts import Seen
from csd_blender.backend.fields.nearest_colors import NearestColors
from csd_blender.backend.geometry.files.colors import Colors, save_colors
from csd_blender.backend.geometry.mesh import Mesh, merge
from csd_blender.backend.geometry.mesh_io import load_mesh, save_glb, save_npz
from csd_blender.backend.pipelines import edit_shape
from csd_blender.backend.pipelines.edit import paint
from csd_blender.backend.pipelines.edit_shape import given_shape, read_given
from csd_blender.backend.pipelines.text_to_3d.job import refine_guide
from csd_blender.backend.pipelines.text_to_3d.refine import mesh_size
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.support.clock import StepClock
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.files import INPUT_COLORS, PREVIEW_MESH
from csd_blender.job.folder import JobFolder
from csd_blender.job.kinds import load
from csd_blender.job.presets.edit import edit_job, shape_stage
from csd_blender.job.result import is_complete, read_result
from tests.backend.pipelines.test_edit_job import stripes
from tests.backend.pipelines.test_texture_job import box
from tests.support.tiny_jobs import after, albedo, mesh_of, run, same_result, stages

QUIET = Reporter(emit=lambda said: None)
RED, WHITE = (200, 30, 30), (255, 255, 255)


def quiet() -> Reporter:
    return Reporter(emit=lambda said: None)


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    def make(name="job", mesh=None, target="a blue mug", source="a red mug", **overrides) -> JobFolder:
        settings = {"steps": 6, "views": 1, "texture_size": 64, "render_size": 16, "shape_resolution": 16}
        settings |= {"preview_interval": 0, "device": "cpu", "shape": "free"} | overrides
        folder = JobFolder.create(tmp_path / name, edit_job(target, source, model=str(tiny_folder), **settings))
        mesh = mesh or box()
        save_npz(folder.mesh_path, mesh)
        save_colors(folder.path / INPUT_COLORS, Colors(mesh.uv, np.zeros(len(mesh.triangles), np.int32), [stripes()]))
        return folder

    return make


@pytest.fixture(scope="module")
def models():
    return ModelCache()


def test_it_begins_as_the_mesh_where_it_was_with_its_own_colors(make_job):
    mesh = box()
    mesh.positions += np.float32([3, -2, 7])
    folder = make_job(mesh=mesh, shape_resolution=32)
    stage = shape_stage(folder.spec)
    given = read_given(stage, folder, quiet())
    vertices, triangles = given_shape(stage, given, quiet())()
    placed = given.place(vertices.detach().numpy())
    # Corners of a cube are cut off by half a cube of the grid; its faces are where they were, above the foot.
    off = np.abs(np.abs(placed - [0, 0, 0.5]).max(1) - 0.5)
    assert np.median(off) < 1e-4 and off.max() < 0.06 and len(triangles) > 100

    size = mesh_size(stage) / stage.coarse.radius
    corners = given.points[given.triangles.long()] * size
    colors = Colors(mesh.uv, np.zeros(12, np.int32), [stripes()])
    field = NearestColors(paint(colors, corners, 16))
    normals = torch.nn.functional.normalize(
        torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    )
    beside = corners.mean(1) + 0.05 * normals  # where the shape may have moved to
    assert torch.allclose(field(beside, exact=True), field(corners.mean(1), exact=True), atol=1e-5)
    assert {tuple(c) for c in (field(beside, exact=True) * 255).round().int().tolist()} <= {RED, WHITE}


def test_what_comes_out_is_an_object_of_its_own_with_new_uvs_and_the_mesh_s_size(make_job, models):
    folder = make_job(preview_interval=0.001)
    outcome, events = run(folder, models)
    assert outcome.type == "result" and stages(events) == ["prepare", "load", "refine", "finish"]
    record = read_result(folder.path)
    assert record.kind == "edit" and record.makes_object and record.complete and is_complete(folder.path)
    assert record.watertight and record.settings["source"] == "a red mug" and record.parts[0].uv_source == "new"
    made = mesh_of(folder)
    assert np.ptp(made.positions, axis=0) == pytest.approx([1, 1, 1], abs=0.25)
    assert made.positions[:, 2].min() == pytest.approx(0, abs=0.12) and record.faces == len(made.triangles)
    off = np.abs(np.abs(made.positions - [0, 0, 0.5]).max(1) - 0.5)
    assert np.median(off) > 1e-3, "the sides have moved"
    assert len(np.unique(albedo(folder).reshape(-1, 3), axis=0)) > 10
    assert (folder.path / PREVIEW_MESH).is_file() and {"mesh", "arrays", "film", "turntable"} <= set(outcome.files)


def test_where_next_to_nothing_moves_the_mesh_comes_back_in_its_own_sharp_colors(make_job, models):
    still = {"steps": 1, "shape_rate": 1e-6, "learning_rate": 1e-6, "shape_resolution": 32, "texture_size": 512}
    folder = make_job(**still)
    fine = Colors(box().uv, np.zeros(12, np.int32), [stripes(256)])  # finer than the pictures of a step
    save_colors(folder.path / INPUT_COLORS, fine)
    assert run(folder, models)[0].type == "result"
    made, mesh = mesh_of(folder), box()
    middle = made.positions[made.triangles].mean(1) - [0, 0, 0.5]
    assert np.abs(np.abs(middle).max(1) - 0.5).max() < 0.05
    corners = torch.tensor(mesh.positions[mesh.triangles])
    before = NearestColors(paint(fine, corners, 16))
    wanted = before(torch.tensor(middle, dtype=torch.float32), exact=True).detach().numpy()
    texture = albedo(folder) / 255
    u, v = (made.uv.mean(1) * 512).astype(int).clip(0, 511).T
    off = np.abs(texture[511 - v, u] - wanted).max(1)
    assert np.median(off) < 0.02 and (off < 0.1).mean() > 0.6, "the borders of stripes alone are mixed"


def test_source_and_target_have_the_same_words_for_side_and_light(make_job, models, monkeypatch):
    made = []
    real = edit_shape.refine_guide
    monkeypatch.setattr(edit_shape, "refine_guide", lambda *given, **more: made.append(real(*given, **more)) or made[0])
    run(make_job(source="a blue mug", steps=1), models)
    for kind in ("color", "lit", "normal"):
        branches = made[0].prompts[kind].branches
        for view in ("", "front", "back"):
            one, other = (branches[name].find(view).text for name in ("positive", "negative"))
            assert torch.equal(one, other)
        assert not torch.equal(branches["positive"].find("front").text, branches["positive"].find("").text)


def test_a_killed_edit_goes_on_to_the_very_same_object(make_job, models):
    whole, cut = make_job("whole", alignment=0.3), make_job("cut", alignment=0.3)
    run(whole, models)
    outcome, _ = run(cut, models, stop=after(3, "leave"))
    assert outcome.type == "error" and outcome.code == "interrupted"
    outcome, events = run(cut, models, resume=True)
    assert outcome.type == "result" and min(b["step"] for kind, b in events if kind == "progress") >= 4
    assert same_result(whole, cut)


def test_a_cancelled_edit_keeps_what_there_is(make_job, models):
    folder = make_job()
    outcome, _ = run(folder, models, stop=after(2, "cancel"))
    assert outcome.type == "cancelled" and outcome.kept and not read_result(folder.path).complete


def test_a_mesh_with_a_hole_is_refused_before_a_model_is_loaded(make_job, models):
    mesh = box()
    folder = make_job(mesh=Mesh(mesh.positions, mesh.triangles[1:], mesh.uv[1:]))
    outcome, events = run(folder, models)
    assert outcome.type == "error" and outcome.code == "mesh_open" and "3 edges" in outcome.detail
    assert stages(events) == ["prepare"] and "closed" in outcome.text and "Fill" in outcome.fix


def test_colors_of_another_mesh_are_refused(make_job, models):
    folder = make_job()
    mesh = box()
    save_colors(folder.path / INPUT_COLORS, Colors(mesh.uv[:2], np.zeros(2, np.int32), [stripes()]))
    outcome, _ = run(folder, models)
    assert outcome.type == "error" and outcome.code == "bad_job_folder" and "12 faces" in outcome.detail


def test_what_is_too_thin_for_the_grid_is_said(make_job):
    plate = trimesh.creation.box((1, 1, 0.1))
    uv = np.zeros((12, 3, 2))
    both = merge([box(), Mesh(plate.vertices + [2, 0, 0], plate.faces, uv, part_names=("plate",))])

    def warnings(mesh: Mesh, name: str) -> list[str]:
        folder, reporter = make_job(name, mesh=mesh, shape_resolution=8), quiet()
        stage = shape_stage(folder.spec)
        given_shape(stage, read_given(stage, folder, reporter), reporter)
        return [w["text"] for w in reporter.warnings if w["code"] == "thin_parts"]

    assert warnings(box(), "a") == []
    assert "8 now" in warnings(both, "b")[0] and "shape resolution" in warnings(both, "b2")[0]


def test_between_two_equal_prompts_nothing_moves_however_the_shape_is_shown(tiny_folder):
    model = load_model(str(tiny_folder), torch.device("cpu"))
    pictures = torch.rand(2, 3, 16, 16)

    def strength(source: str, kind: str) -> float:
        job = edit_job("a red mug", source, model=str(tiny_folder), alignment=0.0, steps=4, shape="free")
        guide = refine_guide(model, shape_stage(job), quiet(), StepClock(), negative_views=True)
        moment = guide.begin(2, 0, torch.Generator().manual_seed(0))
        return float(
            guide.gradient(pictures, Seen(orbit(2), ["front", "back"], kind=kind), moment).pictures.abs().max()
        )

    for kind in ("color", "lit", "normal"):
        assert strength("a red mug", kind) < 1e-4 * strength("a blue owl", kind)


def test_the_slider_lets_the_shape_move_more_and_a_frozen_edit_is_the_job_that_it_was():
    rates = [edit_job("b", "a", alignment=a, shape="free").shape_rate for a in (0.0, 0.5, 1.0)]
    assert rates[0] > 0 and rates == sorted(rates) and rates[2] == pytest.approx(4 * rates[0]) == 0.03
    assert edit_job("b", "a", shape="free", shape_rate=0.01).shape_rate == 0.01
    as_before = partial(edit_job, "a blue striped mug", "a red striped mug", control="off")
    frozen, free = as_before(), as_before(shape="free")
    assert frozen.spec_hash() == "a9a978459aa9a534" == as_before(shape="frozen").spec_hash()
    assert free.spec_hash() != frozen.spec_hash() and load(free.to_json()) == free and free.is_free
    assert free.guidance == frozen.guidance and shape_stage(free).refine.guidance == free.guidance
    assert shape_stage(free).steps == free.steps
    with pytest.raises(JobError, match="shape is 'soft', allowed is one of frozen, free"):
        edit_job("b", "a", shape="soft")


def test_the_command_makes_an_object_of_a_finished_glb_which_is_edited_again(tmp_path, tiny_folder, capsys):
    Image.fromarray(stripes()).save(tmp_path / "a.png")
    mesh = box()
    save_glb(tmp_path / "mug.glb", mesh, mesh.uv, tmp_path / "a.png")
    command = ["edit", str(tmp_path / "mug.glb"), "--source", "a red mug", "--target", "a blue mug", "--shape", "free"]
    command += ["--model", str(tiny_folder), "--steps", "1", "--views", "1", "--resolution", "64", "--device", "cpu"]
    command += ["--shape-resolution", "16", "--settings", '{"render_size": 16}']
    assert main.main([*command, "--out", str(tmp_path / "one")]) == 0
    one = tmp_path / "one" / "result"
    assert {"albedo.png", "mesh.glb", "mesh.npz", "result.json", "turntable.gif"} <= {p.name for p in one.iterdir()}
    assert np.ptp(load_mesh(one / "mesh.glb").positions, axis=0) == pytest.approx([1, 1, 1], abs=0.1)
    again = [str(one / "mesh.glb") if part.endswith(".glb") else part for part in command]
    assert main.main([*again, "--out", str(tmp_path / "two")]) == 0
    capsys.readouterr()
    bowl = Mesh(mesh.positions, mesh.triangles[2:], mesh.uv[2:])
    save_glb(tmp_path / "bowl.glb", bowl, bowl.uv, tmp_path / "a.png")
    opened = [str(tmp_path / "bowl.glb") if part.endswith(".glb") else part for part in command]
    assert main.main([*opened, "--out", str(tmp_path / "three")]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(said) == 1 and "not closed" in said[0]
