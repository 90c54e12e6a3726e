"""`build.py bench --cuda`: without a card it says so, and a section that fails does not take the others along."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import bench
from tools.lab import bench_cuda

ROOT = Path(__file__).resolve().parents[2]
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the backend's Python")


@needs_torch
def test_without_a_card_it_says_so_in_a_sentence():
    command = [sys.executable, "-m", "tools.lab.bench_cuda"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.strip() == "Nothing was measured: there is no CUDA card here that torch can use."


def test_the_door_passes_its_options_on(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(bench.environments, "ensure", lambda name, *_: Path(f"/{name}"))
    monkeypatch.setattr(bench.environments, "with_check_tools", lambda check: {"lent": str(check)})
    monkeypatch.setattr(bench.subprocess, "call", lambda command, **settings: seen.append((command, settings)) or 3)
    monkeypatch.chdir(tmp_path)
    assert bench.run(["--cuda", "--out", "here", "--nvdiffrast=there", "--only", "--out-of"], None) == 3
    command, settings = seen[0]
    places = ["--out", str(tmp_path / "here"), f"--nvdiffrast={tmp_path / 'there'}"]
    assert command == [str(Path("/backend")), "-m", "tools.lab.bench_cuda", *places, "--only", "--out-of"]
    assert settings["cwd"] == ROOT and settings["env"] == {"lent": str(Path("/check"))}


@needs_torch
def test_a_section_that_fails_is_told_and_the_others_go_on(tmp_path):
    from tools.lab.lab_report import LabReport

    report = LabReport(tmp_path / "new" / "report.md", time.monotonic() + 100)
    report.begin("# Head")

    def broken() -> str:
        raise ValueError("no such thing\nand more")

    report.section("One", broken)
    assert "## One" in report.path.read_text("utf-8")  # already now: a run that is cut off leaves what it had
    report.section("Two", lambda: "fine")
    report.end = 0.0
    report.section("Three", lambda: pytest.fail("the time was up"))
    text = report.path.read_text("utf-8")
    assert re.search(r"## One\n\n\*\*Failed\*\*: ValueError no such thing \(test_bench_cuda.py, line \d+\)", text)
    assert "## Two\n\nfine\n" in text and "## Three\n\nNot measured: the time was up." in text
    assert report.failed == ["One", "Three"]


@needs_torch
def test_cells_have_three_digits():
    from tools.lab.lab_report import table

    rows = table(["a", "b"], [["x", 0.01234], [None, 123.4], ["y", 12.0], [500_000, 9.999]]).splitlines()[2:]
    assert rows == ["| x | 0.0123 |", "| – | 123 |", "| y | 12.0 |", "| 500,000 | 10.0 |"]


LOG = """....F.s
=========================== short test summary info ============================
SKIPPED [1] tests/a.py:3: needs more
FAILED tests/a.py::test_one[x] - assert 1 == 2
ERROR tests/b.py::test_two - RuntimeError: CUDA
1 failed, 5 passed, 1 skipped, 1 error in 3.21s
"""


def test_failures_of_the_tests_are_listed():
    text = bench_cuda.told(LOG, ["/usr/bin/python", "-m", "pytest", "tests/a b"], "")
    assert text == (
        "`python -m pytest 'tests/a b'`\n\n1 failed, 5 passed, 1 skipped, 1 error in 3.21s.\n\n"
        "* FAILED tests/a.py::test_one[x] - assert 1 == 2\n* ERROR tests/b.py::test_two - RuntimeError: CUDA"
    )
    assert "pytest said nothing" in bench_cuda.told("", ["python"], "")


def test_tests_that_take_too_long_are_stopped_and_still_told(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_cuda, "TESTS_NEED", 0.0)
    place = tmp_path / "test_slow.py"
    place.write_text("import time\n\ndef test_bad():\n    assert 0\n\ndef test_slow():\n    time.sleep(300)\n")
    started = time.monotonic()
    text = bench_cuda.tests([str(place)], tmp_path, started + 8)
    assert time.monotonic() - started < 60
    assert "They were stopped after" in text and "test_bad" in text


@needs_torch
@pytest.mark.parametrize(("version", "weights"), [("1.5", 859_520_964), ("2.1", 865_910_724), ("xl", 2_562_218_244)])
def test_random_networks_have_the_sizes_of_the_real_ones(version, weights):
    import torch

    from csd_blender.backend.bench import random_stable_diffusion

    model = random_stable_diffusion(torch.device("meta"), version)
    assert sum(p.numel() for p in model.unet.parameters()) == weights
    assert model.native_size == (1024 if version == "xl" else 512) and model.latent_factor == 8


@needs_torch
def test_the_published_step_and_ours_pull_the_same_way():
    """On the same latents, noise and weights both leave the same gradient at the picture."""
    import torch

    from csd_blender.backend.diffusion.loading import load_model
    from csd_blender.backend.distillation.score import Coefficients, PromptEmbeddings, distillation_loss, score_gradient
    from tools.lab.official_step import official_distill

    model = load_model("mini", torch.device("cpu"))
    seed = torch.Generator().manual_seed(3)
    pictures, t = torch.rand(2, 3, 64, 64, generator=seed), torch.tensor([300, 500])
    embeddings = model.encode_prompts(["rust", "blurry", ""]).repeat_interleave(2, dim=0)
    weights = Coefficients(1.0, -0.6, -0.4, 0.0)

    theirs = pictures.clone().requires_grad_()
    torch.manual_seed(7)
    official_distill(model, theirs, t, embeddings, weights)

    ours = pictures.clone().requires_grad_()
    torch.manual_seed(7)
    latents = model.vae.encode(ours * 2 - 1).latent_dist.sample() * model.vae.config.scaling_factor
    noise, (positive, negative, null) = torch.randn_like(latents), embeddings.chunk(3)
    branches = PromptEmbeddings(positive, negative, null)
    grad = score_gradient(model, latents.detach(), t, noise, branches, weights, weighting="sds").grad
    distillation_loss(latents, grad).backward()
    assert ours.grad.norm() > 0
    assert torch.allclose(theirs.grad, ours.grad, rtol=1e-3, atol=1e-6 * float(ours.grad.abs().max()) + 1e-9)
