"""Whole picture jobs on a tiny diffusion model with random weights: what they write, and that they survive anything."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from csd_blender.backend.cli import main
from csd_blender.backend.distillation import methods as rows
from csd_blender.backend.distillation.state import Prepared
from csd_blender.backend.output.pictures import film_steps, sheet
from csd_blender.backend.pipelines.picture import random_numbers, set_rate
from csd_blender.backend.worker.run_job import ModelCache
from csd_blender.job.errors import JobError
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.picture import picture_job
from csd_blender.job.result import is_complete, read_result
from csd_blender.job.spec.methods import METHODS
from csd_blender.job.spec.picture import PictureJob
from tests.support.no_memory import hungry
from tests.support.tiny_jobs import after, first_step, run, warnings_but_terms

ROOT = Path(__file__).resolve().parents[3]
STEPS, SIDE = 6, 32  # the tiny model's own size
ENDLESS = 1200  # seconds after which a test gives up; no machine that works comes near it


@pytest.fixture
def make_job(tmp_path, tiny_folder):
    def make(name="job", **overrides) -> JobFolder:
        settings = {"steps": STEPS, "count": 3, "batch": 2, "start": "noise", "preview_interval": 0, "device": "cpu"}
        settings |= overrides
        return JobFolder.create(tmp_path / name, picture_job("a red mug", model=str(tiny_folder), **settings))

    return make


@pytest.fixture(scope="module")
def models():
    return ModelCache()


def pictures(folder) -> list[np.ndarray]:
    names = [part.albedo for part in read_result(folder.path).parts]
    return [np.asarray(Image.open(folder.path / name)).astype(int) for name in names]


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(pictures(one), pictures(other), strict=True))


@pytest.mark.parametrize("space", ["latents", "pixels"])
@pytest.mark.parametrize("method", ["csd", "sds"])
def test_a_job_writes_pictures_that_differ_a_sheet_a_film_and_a_record(make_job, models, space, method):
    folder = make_job(space=space, method=method, preview_interval=0.001)
    outcome, events = run(folder, models)
    assert outcome.type == "result", outcome
    found, record = pictures(folder), read_result(folder.path)
    assert [p.shape for p in found] == [(SIDE, SIDE, 3)] * 3
    assert all(np.abs(a - b).mean() > 0.5 for i, a in enumerate(found) for b in found[:i])
    assert record.complete and record.kind == "image" and record.timings["steps"] == STEPS
    assert set(outcome.files) == {"picture_01", "picture_02", "picture_03", "sheet", "film", "result"}
    film = Image.open(folder.path / "result" / "film.gif")
    assert film.n_frames == len(film_steps(STEPS)) == STEPS + 1
    previews = [body for kind, body in events if kind == "preview"]
    assert {p["kind"] for p in previews} == {"texture", "view"}
    for p in previews:
        assert (folder.path / p["path"]).stat().st_size == p["width"] * p["height"] * 4
    assert all(p["width"] == p["height"] for p in previews if p["kind"] == "view")


def test_all_methods_make_a_row_each_from_the_same_starts(make_job, models):
    folder, alone = make_job("all", method="all", count=2), make_job("sds", method="sds", count=2)
    # The row's own weighting of times is a preset's; here both are asked for the same.
    for job in (folder, alone):
        assert run(job, models)[0].type == "result"
    names = [part.albedo for part in read_result(folder.path).parts]
    assert names == [f"result/picture_{method}_0{k}.png" for method in METHODS for k in (1, 2)]
    found, first = pictures(folder), METHODS.index("sds") * 2
    assert all(np.abs(a - b).max() <= 1 for a, b in zip(found[first : first + 2], pictures(alone), strict=True))
    assert not np.array_equal(found[0], found[first])
    width, height = Image.open(folder.path / "result" / "sheet.png").size
    assert width > 2 * 128 + 30 and height > len(METHODS) * 128, "names beside the rows"


def test_another_seed_gives_other_pictures_and_the_same_one_the_same(make_job, models):
    a, b, c = make_job("a"), make_job("b"), make_job("c", seed=1)
    for folder in (a, b, c):
        run(folder, models)
    assert same(a, b) and not any(np.array_equal(x, y) for x, y in zip(pictures(a), pictures(c), strict=True))


@pytest.mark.parametrize("space", ["latents", "pixels"])
def test_how_many_there_are_and_how_many_go_at_once_does_not_change_a_picture(make_job, models, space):
    """But for the rounding of a network that sees more of them in one call."""
    three, one, four = (make_job(f"{n}{space}", count=n, batch=b, space=space) for n, b in ((3, 2), (1, 1), (4, 4)))
    for folder in (three, one, four):
        assert run(folder, models)[0].type == "result"
    for folder in (one, four):
        for a, b in zip(pictures(three), pictures(folder), strict=False):
            assert np.abs(a - b).max() <= 2 and np.abs(a - b).mean() < 0.05


def test_random_numbers_are_those_of_seed_picture_and_step_alone():
    drawn = {
        (s, k, n): torch.randn(4, generator=random_numbers(s, k, n)) for s in (0, 1) for k in (0, 1) for n in (0, 1)
    }
    values = [tuple(v.tolist()) for v in drawn.values()]
    assert len(set(values)) == 8
    assert torch.equal(torch.randn(4, generator=random_numbers(1, 0, 1)), drawn[1, 0, 1])


@pytest.mark.parametrize("step", [4])
def test_a_job_that_was_left_resumes_to_the_same_pictures_and_the_same_film(make_job, models, step):
    whole, left = (make_job(name, method="all", count=1, space="latents") for name in ("whole", "left"))
    run(whole, models)
    outcome, _ = run(left, models, stop=after(step, "leave"))
    assert (outcome.type, outcome.code) == ("error", "interrupted") and not is_complete(left.path)
    outcome, events = run(left, models, resume=True)
    assert outcome.type == "result" and first_step(events) == step + 1
    assert same(whole, left)
    films = [(f.path / "result" / "film.gif").read_bytes() for f in (whole, left)]
    assert films[0] == films[1]


KILLED = """
import os, signal, sys
from csd_blender.backend.cli.main import main
from csd_blender.job.folder import JobFolder

append = JobFolder.append_event

def deadly(self, event):
    append(self, event)
    if event["type"] == "checkpoint":
        os.kill(os.getpid(), signal.SIGKILL)

JobFolder.append_event = deadly
sys.exit(main(["image", "--resume", sys.argv[1]]))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_after_a_checkpoint_a_job_resumes_to_the_same_pictures(make_job, models):
    settings = {"steps": 30, "count": 2}
    whole, other = make_job("whole", **settings), make_job("killed", **settings)
    run(whole, models)
    command = [sys.executable, "-c", KILLED, str(other.path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=ENDLESS).returncode == -signal.SIGKILL
    outcome, events = run(other, models, resume=True)
    assert outcome.type == "result" and first_step(events) > 1
    assert same(whole, other)
    films = [(f.path / "result" / "film.gif").read_bytes() for f in (whole, other)]
    assert films[0] == films[1]


class Counting:
    """A method that keeps something: how often it has learned decides how far it pushes."""

    def __init__(self, model, seed, guidance):
        self.count = torch.zeros(())

    def prepare(self, batch):
        return Prepared(batch.noise, {"null": batch.noisy * (1 + 0.1 * self.count)})

    def learn(self, batch, predictions):
        self.count = self.count + 1

    def tensors(self):
        return {"count": self.count}

    def restore(self, tensors, step):
        if set(tensors) != {"count"}:
            raise ValueError("it is another method's")
        self.count = tensors["count"].clone()


def test_what_a_method_keeps_is_stored_for_each_row(make_job, models, monkeypatch):
    for method in ("csd", "sds"):
        row = rows.ROWS[method]
        monkeypatch.setitem(rows.ROWS, method, rows.Row(row.weights, Counting))
    settings = {"method": "all", "count": 2, "negative_prompt": ""}
    whole, left = make_job("whole", **settings), make_job("left", **settings)
    run(whole, models)
    run(left, models, stop=after(3, "leave"))
    assert run(left, models, resume=True)[0].type == "result"
    assert same(whole, left)


def test_cancel_keeps_what_there_is_and_the_job_can_still_be_resumed(make_job, models):
    folder, whole = make_job(), make_job("whole")
    outcome, _ = run(folder, models, stop=after(3, "cancel"))
    assert outcome.type == "cancelled" and outcome.kept
    assert len(pictures(folder)) == 3 and not is_complete(folder.path)
    assert Image.open(folder.path / "result" / "film.gif").n_frames == 4
    run(whole, models)
    assert run(folder, models, resume=True)[0].type == "result" and same(whole, folder)


def test_cancel_before_the_first_step_keeps_nothing(make_job, models):
    outcome, _ = run(make_job(), models, stop=after(0, "cancel"))
    assert outcome.type == "cancelled" and not outcome.kept


def test_memory_that_runs_out_once_costs_a_warning_not_the_job(make_job, models, monkeypatch):
    folder, usual = make_job(), make_job("usual")
    run(usual, models)
    model = models.get(folder.spec.model, "cpu")
    hungry(monkeypatch, model, {0, 1})
    outcome, events = run(folder, models)
    assert outcome.type == "result"
    assert warnings_but_terms(events) == ["oom_step_down"] * 2
    assert all(np.abs(a - b).max() <= 2 for a, b in zip(pictures(folder), pictures(usual), strict=True))


def test_another_size_than_the_model_s_own_is_made(make_job, models):
    for space in ("latents", "pixels"):
        folder = make_job(space, space=space, size=48, count=1, steps=2)
        assert run(folder, models)[0].type == "result" and pictures(folder)[0].shape == (48, 48, 3)


def test_latents_that_do_not_divide_the_size_are_refused_in_a_sentence(make_job, models):
    outcome, _ = run(make_job(size=50), models)
    assert (outcome.type, outcome.code) == ("error", "bad_setting") and "a multiple of 4" in outcome.detail
    assert "Traceback" not in json.dumps(outcome.to_json())


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"count": 65}, "count"), ({"count": 0}, "count"), ({"size": 2000}, "size is 2000"), ({"size": 64.5}, "size"),
        ({"space": "voxels"}, "space"), ({"method": "alchemy"}, "method"), ({"steps": 0}, "steps"),
        ({"learning_rate": 0}, "learning_rate"), ({"start": []}, "start"), ({"uv": "keep"}, "uv"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_named(given, word):
    with pytest.raises(JobError) as caught:
        picture_job("a red mug", **given)
    assert caught.value.code == "bad_setting" and word in caught.value.detail


def test_a_job_comes_back_from_its_json_and_its_fingerprint_is_of_what_counts():
    job = picture_job("a red mug", method="all", space="pixels", size=40)
    assert PictureJob.from_json(json.loads(json.dumps(job.to_json()))) == job
    assert job.methods == METHODS and picture_job("a red mug").methods == ("csd",)
    plain = job.to_json()
    assert PictureJob.from_json(plain | {"preview_interval": 9.0}).spec_hash() == job.spec_hash()
    assert PictureJob.from_json(plain | {"count": 5}).spec_hash() != job.spec_hash()


def test_the_rate_rises_over_the_warm_up_and_falls_by_a_cosine():
    job = picture_job("a red mug", steps=1000, model="sd15")
    published = (0.1, 100, 1.5, 0.0)  # for 1000 steps
    assert (job.learning_rate, job.warm_up, job.cosine_steps, job.weight_decay) == published
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = []
    for step in range(1000):
        set_rate(optimizer, job, step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.001) and rates[99] == pytest.approx(0.1) and rates[800] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.05 + 0.05 * math.cos(math.pi * 899 / 1400))
    assert sorted(rates[100:], reverse=True) == rates[100:]
    job = picture_job("a red mug", steps=1000)
    set_rate(optimizer, job, 550)
    assert (job.cosine_steps, optimizer.param_groups[0]["lr"]) == (1.0, pytest.approx(0.05))
    set_rate(optimizer, job, 999)
    assert optimizer.param_groups[0]["lr"] < 1e-5


def test_a_sheet_never_grows_beyond_what_is_asked_for():
    for count, names in ((64, ["CSD"]), (1, ["CSD"]), (22, [f"Method {i}" for i in range(11)])):
        page = sheet(torch.rand(count, 3, 20, 20), names, 768)
        assert page.dtype == np.uint8 and page.shape[0] <= 768 and page.shape[1] <= 768 + 120
    one = sheet(torch.full((1, 3, 128, 128), 0.5), ["CSD"], 2048)
    assert one.shape == (136, 136, 3) and one[4, 4, 0] == 128 and one[3, 3, 0] == 255


def said(*arguments) -> tuple[int, str]:
    stderr = io.StringIO()
    with redirect_stderr(stderr):
        return main.main(arguments), stderr.getvalue()


def test_the_command_line_makes_them_and_says_what_is_missing(tmp_path, tiny_folder, capsys):
    usual = ("--model", str(tiny_folder), "--steps", "2", "--count", "2", "--size", "32", "--device", "cpu")
    out = tmp_path / "job"
    code = [sys.executable, str(ROOT / "csd_blender" / "launch.py"), "image"]
    done = subprocess.run(
        [*code, "--prompt", "a red mug", "--method", "sds", *usual, "--out", str(out)],
        capture_output=True, text=True, timeout=ENDLESS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("picture_01.png", "picture_02.png", "sheet.png", "film.gif", "result.json"):
        assert (out / "result" / name).stat().st_size > 0 and name in done.stdout
    assert not (out / "result" / "picture_03.png").exists()
    assert said("image", "--method", "csd") == (2, "Error: csd image needs --prompt, --out (or --resume DIR alone).\n")
    status, text = said("image", "--prompt", "x", "--size", "2000", "--out", str(tmp_path / "b"))
    assert status == 1 and "size is 2000" in text and not (tmp_path / "b").exists()
    status, text = said("texture", "--resume", str(out))
    assert status == 2 and "makes a picture" in text and "csd image --resume" in text


def test_times_are_the_preset_s_until_somebody_says_otherwise():
    assert picture_job("x").guidance.times == picture_job("x", times="usual").guidance.times == "falling"
    assert picture_job("x", model="sd15").guidance.times == "uniform"
    assert picture_job("x", times="uniform").guidance.times == "uniform"
    assert picture_job("x", guidance={"times": "uniform"}).guidance.times == "uniform"
    assert picture_job("x", method="all").guidance.bridge_start == 150, "what only some of the methods read is there"


def test_pictures_in_which_nothing_is_random_are_told_of(make_job, models):
    """As those of ISM and CSM are from gray at given times."""
    settings = {"count": 2, "start": "gray", "times": "falling", "steps": 2}
    for method, alike in (("ism", True), ("sds", False)):
        folder = make_job(method, method=method, **settings)
        outcome, events = run(folder, models)
        assert outcome.type == "result"
        said = [body["text"] for kind, body in events if kind == "warning" and body["code"] == "alike"]
        assert bool(said) == alike and all("ISM" in text for text in said)
        first, second = pictures(folder)
        assert np.array_equal(first, second) == alike
