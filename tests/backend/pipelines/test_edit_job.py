"""Whole edits on a tiny diffusion model with random weights: they begin with the mesh's own colors, and resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from csd_blender.backend.cli import main
from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.diffusion.words import guidance_words
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.distillation.view_prompts import Seen
from csd_blender.backend.geometry.files.colors import Colors, save_colors
from csd_blender.backend.geometry.mesh import merge
from csd_blender.backend.geometry.mesh_io import save_glb, save_npz
from csd_blender.backend.output.texture import bake_parts
from csd_blender.backend.pipelines.edit import edit_prompts, painted_field
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.render.cameras import orbit
from csd_blender.backend.render.pictures import to_bytes
from csd_blender.backend.support.reporting import Reporter
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.files import INPUT_COLORS
from csd_blender.job.folder import JobFolder
from csd_blender.job.kinds import load
from csd_blender.job.presets.edit import edit_job
from csd_blender.job.result import read_result
from tests.backend.pipelines.test_texture_job import albedo, box
from tests.support.tiny_jobs import after, run

QUIET = Reporter(emit=lambda said: None)


def stripes(size: int = 64) -> np.ndarray:
    picture = np.full((size, size, 3), 255, np.uint8)
    picture[:, (np.arange(size) // 4) % 2 == 0] = (200, 30, 30)
    return picture


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    def make(name="job", target="a blue mug", source="a red mug", **overrides) -> JobFolder:
        settings = {"steps": 6, "views": 2, "texture_size": 64, "preview_interval": 0, "device": "cpu"} | overrides
        folder = JobFolder.create(tmp_path / name, edit_job(target, source, model=str(tiny_folder), **settings))
        mesh = box()
        save_npz(folder.mesh_path, mesh)
        colors = Colors(mesh.uv, np.zeros(len(mesh.triangles), np.int32), [stripes()])
        save_colors(folder.path / INPUT_COLORS, colors)
        return folder

    return make


@pytest.fixture(scope="module")
def models():
    return ModelCache()


def test_an_edit_starts_as_the_texture_and_changes_it(make_job, models):
    folder = make_job()
    outcome, _ = run(folder, models)
    assert outcome.type == "result" and read_result(folder.path).kind == "edit"
    surface = prepare_surface(folder.spec, folder, QUIET)
    mesh = box()
    colors = Colors(mesh.uv, np.zeros(len(mesh.triangles), np.int32), [stripes()])
    start = painted_field(colors, surface, 16)
    place = surface.points[surface.triangles.long()].mean(1)
    face = torch.arange(len(surface.triangles))
    assert {tuple(c) for c in (start.at(place, face, True) * 255).round().int().tolist()} <= {
        *((255, 255, 255), (200, 30, 30)),
    }
    assert not np.array_equal(albedo(folder), stripes())


def test_each_part_is_baked_with_its_own_colors(tmp_path):
    mesh = merge([box("a"), box("b", 2.0)])
    folder = JobFolder.create(tmp_path / "job", edit_job("a blue mug", "a red mug"))
    save_npz(folder.mesh_path, mesh)
    plain = [np.array([[color]], np.uint8) for color in ((255, 0, 0), (0, 0, 255))]
    surface = prepare_surface(folder.spec, folder, QUIET)
    field = painted_field(Colors(mesh.uv, mesh.part, plain), surface, 16)
    for texture, color in zip(bake_parts(field, surface, 32), plain, strict=True):
        assert np.array_equal(np.unique(to_bytes(texture).reshape(-1, 3), axis=0), color[0])


def test_a_job_that_was_killed_goes_on_to_the_very_same_texture(make_job, models):
    whole, cut = make_job("whole", alignment=0.3), make_job("cut", alignment=0.3)
    run(whole, models)
    outcome, _ = run(cut, models, stop=after(3, "leave"))
    assert outcome.type == "error" and outcome.code == "interrupted"
    outcome, events = run(cut, models, resume=True)
    assert outcome.type == "result" and min(b["step"] for kind, b in events if kind == "progress") >= 4
    assert np.array_equal(albedo(whole), albedo(cut))


def test_between_two_equal_prompts_there_is_nothing_to_change(tiny_folder):
    """Without alignment the two classifier scores cancel, with the words for the side behind both."""
    model = load_model(str(tiny_folder), torch.device("cpu"))
    words = guidance_words(model, "auto")
    pictures, seen = torch.rand(2, 3, 16, 16), Seen(orbit(2), ["front", "back"])

    def strength(source: str, alignment: float) -> float:
        job = edit_job("a red mug", source, model=str(tiny_folder), alignment=alignment, steps=4)
        guide = Guide(model, {"color": edit_prompts(job, model, words, QUIET)}, job.method, job.guidance, steps=4)
        moment = guide.begin(2, 0, torch.Generator().manual_seed(0))
        return float(guide.gradient(pictures, seen, moment).pictures.abs().max())

    another = strength("a blue owl", 0.0)
    assert strength("a red mug", 0.0) < 1e-4 * another
    assert strength("a red mug", 0.5) > 0.01 * another, "the target counts more than the source"


def test_the_slider_goes_from_the_pure_difference_to_the_target_alone():
    ends = [edit_job("b", "a", alignment=a) for a in (0.0, 0.25, 0.5, 0.75, 1.0)]
    negative = [job.guidance.negative_weight.at(0) for job in ends]
    assert negative[0] == 1.0 and negative[-1] == 0.0 and negative == sorted(negative, reverse=True)
    pull = [job.weight_decay.at(0) for job in ends]
    assert pull == sorted(pull, reverse=True) and pull[0] > 10 * pull[-1] > 0
    assert ends[0].guidance.generative_weight.at(10**6) == 0.0
    assert len({job.spec_hash() for job in ends}) == 5 and all(load(job.to_json()) == job for job in ends)


def test_with_all_alignment_it_looks_at_a_texture_s_own_times():
    """Of a flow, too, whose last levels are of next to no use (0.942 is sigma 0.98 of Stable Diffusion 3)."""
    for model, latest in (("sd35-medium", 0.942), ("sd15", 0.98), ("mini", 0.98)):
        starts = [edit_job("b", "a", model=model, alignment=a).guidance.t_max.at(0) for a in (0.0, 0.5, 1.0)]
        assert starts == pytest.approx([0.7, (0.7 + latest) / 2, latest])


@pytest.mark.parametrize(
    "given",
    [{"source": " "}, {"alignment": 1.5}, {"alignment": "much"}, {"negative_prompt": "blurry"}, {"steps": "many"}],
)
def test_what_cannot_be_is_refused_by_name(given):
    with pytest.raises(JobError) as caught:
        edit_job(**{"prompt": "a blue mug", "source": "a red mug", **given})
    assert caught.value.code == "bad_setting" and next(iter(given)) in caught.value.detail


def test_a_folder_without_colors_or_with_another_mesh_s_is_refused(make_job, models):
    folder = make_job()
    mesh = box()
    save_colors(folder.path / INPUT_COLORS, Colors(mesh.uv[:2], np.zeros(2, np.int32), [stripes()]))
    outcome, _ = run(folder, models)
    assert outcome.type == "error" and outcome.code == "bad_job_folder" and "12 faces" in outcome.detail
    (folder.path / INPUT_COLORS).unlink()
    outcome, _ = run(folder, models)
    assert outcome.type == "error" and outcome.code == "bad_job_folder" and INPUT_COLORS in outcome.detail


def test_the_command_edits_a_finished_glb_and_its_result_is_one_again(tmp_path, tiny_folder, capsys):
    Image.fromarray(stripes()).save(tmp_path / "a.png")
    mesh = box()
    save_glb(tmp_path / "mug.glb", mesh, mesh.uv, tmp_path / "a.png")
    command = ["edit", str(tmp_path / "mug.glb"), "--source", "a red mug", "--target", "a blue mug", "--alignment", "0"]
    command += ["--model", str(tiny_folder), "--steps", "1", "--views", "1", "--resolution", "64", "--device", "cpu"]
    assert main.main([*command, "--out", str(tmp_path / "one")]) == 0
    one = tmp_path / "one" / "result"
    assert {"albedo.png", "mesh.glb", "result.json", "turntable.png", "uv.npz"} <= {p.name for p in one.iterdir()}
    again = [str(one / "mesh.glb") if part.endswith(".glb") else part for part in command]
    assert main.main([*again, "--out", str(tmp_path / "two")]) == 0
    capsys.readouterr()
    assert main.main(["edit", str(one / "mesh.glb"), "--target", "a blue mug", "--out", str(tmp_path / "c")]) == 2
    assert "csd edit needs --source" in capsys.readouterr().err
    (tmp_path / "bare.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    words = ["edit", str(tmp_path / "bare.obj"), "--source", "a", "--target", "b", "--out", str(tmp_path / "d")]
    assert main.main(words) == 1
    said = capsys.readouterr().err
    assert "csd texture" in said and len(said.splitlines()) == 1 and not (tmp_path / "d").exists()


def test_the_command_begins_with_the_colors_of_a_gltf_file_s_vertices(tmp_path, tiny_folder):
    """They are linear: half the light is 188 of 255 as sRGB."""
    cube = trimesh.creation.box()
    cube.visual.vertex_colors = [128, 255, 0, 255]
    cube.export(tmp_path / "cube.glb")
    command = ["edit", str(tmp_path / "cube.glb"), "--source", "a red mug", "--target", "a blue mug"]
    command += ["--model", str(tiny_folder), "--steps", "1", "--views", "1", "--resolution", "64", "--device", "cpu"]
    assert main.main([*command, "--learning-rate", "1e-6", "--out", str(tmp_path / "one")]) == 0
    colors = albedo(JobFolder.open(tmp_path / "one")).reshape(-1, 3)
    near = (np.abs(colors.astype(int) - [188, 255, 0]) <= 1).all(1)
    assert near.mean() > 0.9, np.unique(colors, axis=0)[:5]
