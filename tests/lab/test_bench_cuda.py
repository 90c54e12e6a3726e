"""The measurements on a graphics card: without one they say so, and a section that fails takes no other along."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.distillation import gradient_for_predictions
from csd_blender.backend.distillation.methods import csd_weights
from csd_blender.backend.distillation.score import distillation_loss
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.schedule import constant
from tools.lab.bench import random_stable_diffusion
from tools.lab.cuda import __main__ as bench_cuda
from tools.lab.cuda.official_step import official_distill
from tools.lab.cuda.report import LabReport, table

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def test_without_a_card_it_says_so_in_a_sentence():
    command = [sys.executable, "-m", "tools.lab.cuda"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.strip() == "Nothing was measured: there is no CUDA card here that torch can use."


def test_a_section_that_fails_is_told_and_the_others_go_on(tmp_path):
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


def test_cells_have_three_digits():
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
    """Their time is up when the slow test is under way, however long the machine took to come so far."""
    under_way = tmp_path / "under_way"
    place = tmp_path / "test_slow.py"
    slow = f"import pathlib, time\n    pathlib.Path({str(under_way)!r}).touch()\n    time.sleep(3600)"
    # whoever started us in the background had Ctrl+C ignored, which children inherit
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    place.write_text(heard + f"def test_bad():\n    assert 0\n\ndef test_slow():\n    {slow}\n")

    class Patient(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout == pytest.approx(1e6, rel=0.1):
                while not under_way.exists() and self.poll() is None:
                    time.sleep(0.05)
                raise subprocess.TimeoutExpired(self.args, timeout)
            return super().wait()  # it is asked to end, and does

    monkeypatch.setattr(bench_cuda.subprocess, "Popen", Patient)
    text = bench_cuda.tests([str(place)], tmp_path, time.monotonic() + 1e6)
    assert "They were stopped after" in text and "test_bad" in text


@pytest.mark.parametrize(("version", "weights"), [("1.5", 859_520_964), ("2.1", 865_910_724), ("xl", 2_562_218_244)])
def test_random_networks_have_the_sizes_of_the_real_ones(version, weights):
    model = random_stable_diffusion(torch.device("meta"), version)
    assert sum(p.numel() for p in model.unet.parameters()) == weights
    assert model.native_size == (1024 if version == "xl" else 512) and model.latent_factor == 8


def test_the_published_step_and_ours_pull_the_same_way():
    """On the same latents, noise and weights both leave the same gradient at the picture."""
    model = load_model("mini", CPU)
    seed = torch.Generator().manual_seed(3)
    pictures, t = torch.rand(2, 3, 64, 64, generator=seed), torch.tensor([300, 500])
    conditions = model.encode_prompts(["rust", "blurry", ""]).repeat(2)

    theirs = pictures.clone().requires_grad_()
    torch.manual_seed(7)
    official_distill(model, theirs, t, conditions.text, csd_weights(1.0, 0.6))

    ours = pictures.clone().requires_grad_()
    torch.manual_seed(7)
    latents = model.vae.encode(ours * 2 - 1).latent_dist.sample() * model.vae.config.scaling_factor
    noise = torch.randn_like(latents)
    noisy = model.schedule.add_noise(latents.detach(), noise, t)
    eps = model.predict_noise(noisy.repeat(3, 1, 1, 1), t.repeat(3), conditions).chunk(3)
    guidance = Guidance(positive_weight=constant(1.0), negative_weight=constant(0.6), weighting="sds")
    branches = dict(zip(("positive", "negative", "null"), eps, strict=True))
    alpha = model.schedule.alpha_sigma(t)[0]
    grad = gradient_for_predictions("csd", guidance, branches, noise, t, alpha=alpha.flatten()).grad
    distillation_loss(latents, grad).backward()
    assert ours.grad.norm() > 0
    assert torch.allclose(theirs.grad, ours.grad, rtol=1e-3, atol=1e-6 * float(ours.grad.abs().max()) + 1e-9)
