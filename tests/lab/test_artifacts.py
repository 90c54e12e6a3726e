"""The table of single pictures: its figures in closed form, what its rows ask for, and that it goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from csd_blender.job.presets.picture import picture_job
from tools.lab.__main__ import main
from tools.lab.compare import artifacts, pictures
from tools.lab.compare.artifacts import OWN, VARIANTS, distance, format_table, ratio, sharpness
from tools.lab.compare.rows import RowFile

NOWHERE = Path("nowhere")


def gray(values: torch.Tensor) -> torch.Tensor:
    return values.expand(3, -1, -1)


def test_what_is_even_or_a_slope_has_neither_edges_nor_grain():
    slope = torch.linspace(0, 1, 32)[None] * torch.ones(32, 1) * 0.5 + torch.linspace(0, 0.5, 32)[:, None]
    for picture in (torch.full((3, 32, 32), 0.7), gray(slope)):
        assert sharpness(picture) == pytest.approx({"edges": 0, "grain": 0}, abs=1e-6)


def test_an_outline_is_an_edge_and_no_grain_and_noise_is_both():
    halves = torch.zeros(32, 32)
    halves[:, 16:] = 0.5
    found = sharpness(gray(halves))
    assert found["edges"] == pytest.approx(2 * 0.25 / 30) and found["grain"] == 0
    board = 0.5 + 0.1 * (torch.arange(32)[:, None] + torch.arange(32) + 1).remainder(2).mul(2).sub(1)
    assert sharpness(gray(board)) == pytest.approx({"edges": 0.64, "grain": 0.8}, rel=1e-5)
    noise = 0.5 + 0.01 * torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    found = sharpness(gray(noise))  # the kernel's squares sum to 20
    assert found["edges"] == pytest.approx(20 * 1e-4, rel=0.02)
    assert found["grain"] == pytest.approx(0.67449 * 20**0.5 * 0.01, rel=0.02)


def row(label: str, prompt: str, edges: float, features: list[float], seed: int = 0) -> dict:
    return {
        "label": label, "prompt": prompt, "seed": seed, "edges": edges, "grain": edges / 10, "features": features,
        "shape_right": True, "material_right": True, "color_right": None, "belief": 0.5, "saturation": 0.3,
        "seconds": 3.0, "network_calls": 1200,
    }  # fmt: skip


def test_figures_are_held_against_the_samples_of_the_same_prompt():
    own = {"a": [row(OWN, "a", 1.0, [1, 0]), row(OWN, "a", 4.0, [0, 1])], "b": [row(OWN, "b", 50.0, [1, 0])]}
    assert ratio(own["a"], own, "edges") == pytest.approx(1)
    assert ratio([row("csd", "a", 4.0, []), row("csd", "b", 100.0, [])], own, "edges") == pytest.approx(2)
    assert ratio([row("csd", "c", 4.0, [])], own, "edges") is None
    assert distance([row("csd", "a", 1, [1, 0])], own) == pytest.approx(0.5)
    assert distance(own["a"], own) == pytest.approx(1), "of a sample to the others, not to itself"
    assert distance(own["b"], own) is None


def test_the_table_prints_from_what_is_there():
    rows = [row(OWN, "a", 1.0, [1, 0]), row(OWN, "a", 1.0, [1, 0], 1), row("csd", "a", 3.0, [0, 1])]
    lines = {line[:34].strip(): line[34:].split() for line in format_table(rows).splitlines()}
    assert lines[OWN][-7:] == ["0.50", "0.30", "1.00x", "1.00x", "0.000", "3.0", "1,200"]
    assert lines["csd"][-5:] == ["3.00x", "3.00x", "1.000", "3.0", "1,200"]
    alone = format_table(rows[2:]).splitlines()[1].split()
    assert alone[-5:-2] == ["–", "–", "–"]


def test_the_plain_row_is_the_paper_s_score_and_each_other_one_changes_what_it_says():
    tasks = {task.label: task for task in artifacts.variant_tasks(NOWHERE) if task.seed == 0 and task.shape == "mug"}
    jobs = {label: task.job for label, task in tasks.items()}
    assert list(jobs) == [variant.label for variant in VARIANTS]
    plain = jobs["csd"]
    assert (plain.method, plain.space, plain.guidance.times) == ("csd", "latents", "uniform")
    assert plain.guidance.generative_weight.at(0) == plain.guidance.generative_weight.at(299) == 0
    falling = jobs["csd, falling times"]
    assert replace(falling, times="uniform", guidance=replace(falling.guidance, times="uniform")) == plain
    prior = jobs["csd + prior 0.7"]
    assert prior.guidance.generative_weight.at(100) == pytest.approx(0.7)
    assert replace(prior, guidance=replace(prior.guidance, generative_weight=plain.guidance.generative_weight)) == plain
    assert replace(jobs["csd, pixels"], space="latents") == plain
    usual = picture_job(plain.prompt, method="csd", count=1, size=64, preview_interval=0)
    assert jobs["csd, falling + prior 0.7"].guidance == usual.guidance
    for name in ("sds", "vsd", "dsd"):
        assert jobs[name] == picture_job(plain.prompt, method=name, count=1, size=64, preview_interval=0)


def test_every_task_has_a_name_a_file_and_a_fingerprint_of_its_own():
    tasks = [*artifacts.sample_tasks(NOWHERE), *artifacts.variant_tasks(NOWHERE)]
    for names in ([t.key for t in tasks], [t.fingerprint for t in tasks], [str(t.file) for t in tasks]):
        assert len(set(names)) == len(tasks)
    chosen = artifacts.variant_tasks(NOWHERE, only=("sds", "dsd"))
    assert {task.method for task in chosen} == {"sds", "dsd"}


def test_a_rehearsal_makes_every_row_once_and_draws_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(artifacts, "VARIANTS", (VARIANTS[0], VARIANTS[7]))
    assert main(["--pictures", "--rehearse", "--out", str(tmp_path)]) == 0
    rows = RowFile(tmp_path / "pictures.jsonl").read()
    assert [row["label"] for row in rows.values()] == [OWN, OWN, "csd", "csd, pixels"]
    samples = sorted((tmp_path / "samples").iterdir())
    read = [pictures.load_picture(path) for path in samples]
    assert not torch.equal(*read) and (tmp_path / "pictures.png").is_file()
    again = artifacts.sample_row(replace(artifacts.sample_tasks(tmp_path, rehearse=True)[0], file=tmp_path / "x.png"))
    assert torch.equal(pictures.load_picture(tmp_path / "x.png"), read[0])
    assert np.allclose(again["features"], next(iter(rows.values()))["features"])
    before = (tmp_path / "pictures.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["--pictures", "--rehearse", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 rows are there" in said and "1.00x" in said
    assert (tmp_path / "pictures.jsonl").read_bytes() == before
