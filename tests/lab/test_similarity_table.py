"""``bench --similarity`` on finished jobs: a texture that was painted as asked is nearest to its prompt."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from csd_blender.backend.geometry.mesh_io import save_npz
from csd_blender.backend.output import texture as output
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from tools.lab.demo_meshes import demo_mesh
from tools.lab.judged import similarity_table
from tools.lab.mini.materials import make_material


class Painted:
    """A field of colors, as a job's; by points alone."""

    def __init__(self, material, color):
        self.paint = make_material(material, color, np.random.default_rng(0))

    def __call__(self, points):
        return self.paint(points, torch.nn.functional.normalize(points, dim=1))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two mugs as a finished job leaves them, painted with the procedural materials themselves."""
    folders = []
    for color, material in (("blue", "striped"), (None, "brick")):
        prompt = f"a {' '.join(word for word in (color, material) if word)} mug"
        job = texture_job(prompt, texture_size=128, device="cpu")
        folder = JobFolder.create(tmp_path_factory.mktemp(material) / "job", job)
        save_npz(folder.mesh_path, demo_mesh("mug"))
        reporter = Reporter(emit=lambda said: None)
        surface = prepare_surface(job, folder, reporter)
        model = type("Model", (), {"name": "mini", "control": None, "small_encoder": None})()
        output.write_results(Painted(material, color), surface, job, folder, reporter, {"steps": job.steps}, model)
        folders.append(folder.path)
    return folders


def test_what_was_painted_as_asked_is_nearest_to_its_prompt(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(similarity_table, "FRAMES", 6)
    assert similarity_table.run_similarity_table(results, out=tmp_path / "out") == 0
    rows = json.loads((tmp_path / "out" / "similarity.json").read_text())
    assert [row["prompt"] for row in rows] == ["a blue striped mug", "a brick mug"]
    assert all(row["first"] and row["similarity"] > 0.3 and row["flicker"] > 0 for row in rows)
    said = capsys.readouterr().out
    assert "csd " in said and "100%" in said and "R-precision" in said


def test_a_texture_of_something_else_is_not(results, tmp_path, monkeypatch):
    monkeypatch.setattr(similarity_table, "FRAMES", 2)
    monkeypatch.setattr(similarity_table, "prompt_of", lambda path: ("a leopard mug", "csd"))
    similarity_table.run_similarity_table(results[1:], out=tmp_path)
    row = json.loads((tmp_path / "similarity.json").read_text())[0]
    assert not row["first"] and "brick" in row["nearest"]


def test_single_pictures_have_no_orbit(results, tmp_path, monkeypatch):
    folder = JobFolder.create(tmp_path / "job", texture_job("a red plain ball"))
    picture = np.full((64, 64, 3), 150, np.uint8)
    picture[16:48, 16:48] = (200, 20, 20)
    (folder.path / "result").mkdir(exist_ok=True)
    for number in range(2):
        Image.fromarray(picture).save(folder.path / "result" / f"picture_{number:02d}.png")
    similarity_table.run_similarity_table([folder.path], out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "similarity.json").read_text())[0]["flicker"] is None


def test_folders_without_a_result_get_a_sentence(tmp_path, capsys):
    assert similarity_table.run_similarity_table([tmp_path / "nothing"]) == 2
    JobFolder.create(tmp_path / "job", texture_job("a mug"))
    assert similarity_table.run_similarity_table([tmp_path / "job"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(line.startswith("Error: ") for line in said) and "no result" in said[1]
