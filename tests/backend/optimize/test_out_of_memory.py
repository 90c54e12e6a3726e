"""The ladder that a job steps down when memory runs out, and the rung that it begins on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from csd_blender.backend.diffusion.cost.thrift import Thrift
from csd_blender.backend.optimize import out_of_memory
from csd_blender.backend.optimize.out_of_memory import StepDown
from csd_blender.backend.support.memory import GIB, Load, Network, Saving, needed
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.errors import JobError

WHOLE = Saving()
PICTURES, LAYERS, ROWS = Saving(True), Saving(True, True), Saving(True, True, True)
TURNS = Saving(True, True, True, True)

SD15 = Network({"block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2}, 1_719_000_000, 2)
VAE = Network({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}, 167_000_000, 2)
LOAD = Load(SD15, VAE, 512, 64, views=1, rows=3)


@pytest.fixture
def reporter():
    return Reporter(emit=lambda said: None)


class Net(torch.nn.Linear):
    config = {}


def model(device="cpu", on_pixels=False, control=None, name="sd21-base"):
    unet, vae = (Net(2, 2).requires_grad_(False) for _ in range(2))
    return SimpleNamespace(
        on_pixels=on_pixels,
        thrift=Thrift(),
        device=torch.device(device),
        unet=unet,
        vae=vae,
        control=control,
        name=name,
    )


def run(fits, ladder, network, reporter):
    """Repeat a step until it fits into memory; returns the tried (views, saving)."""
    tried = []
    while True:
        with ladder.guard(network, reporter) as attempt:
            tried.append((attempt.views, network.thrift.saving))
            if not fits(*tried[-1]):
                raise torch.OutOfMemoryError("CUDA out of memory")
        if not attempt.failed:
            return tried


def test_what_changes_no_number_comes_before_views_are_given_up(reporter):
    tried = run(lambda views, saving: views <= 2, StepDown(views=8), model(), reporter)
    assert tried == [(8, WHOLE), (8, PICTURES), (8, LAYERS), (8, ROWS), (4, ROWS), (2, ROWS)]
    assert [w["code"] for w in reporter.warnings] == ["oom_step_down"] * 5
    assert len({w["text"] for w in reporter.warnings}) == 5  # each rung is told by its own sentence


def test_on_a_card_networks_take_turns_before_views_are_given_up(reporter, monkeypatch):
    monkeypatch.setattr(out_of_memory, "Turns", lambda networks, device: SimpleNamespace(networks=networks))
    card = model("cuda")
    tried = run(lambda views, saving: views == 2, StepDown(views=4), card, reporter)
    assert tried == [(4, WHOLE), (4, PICTURES), (4, LAYERS), (4, ROWS), (4, TURNS), (2, TURNS)]
    assert card.thrift.turns.networks == [card.unet, card.vae]


def test_a_model_that_sees_views_together_gives_up_whole_things(reporter):
    found = model()
    found.thrift.least_rows = 4
    assert run(lambda views, saving: views == 4, StepDown(views=12), found, reporter)[-2:] == [(12, ROWS), (4, ROWS)]
    with pytest.raises(JobError) as caught:
        run(lambda views, saving: False, StepDown(views=4), found, reporter)
    assert caught.value.code == "oom"


def test_a_model_on_pixels_has_no_encoder_to_save_at(reporter):
    tried = run(lambda views, saving: views == 1, StepDown(views=2), model(on_pixels=True), reporter)
    assert tried == [(2, WHOLE), (2, Saving(rows=True)), (1, Saving(rows=True))]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (model(control=SimpleNamespace(nets=())), "Set Control to off"),
        (model(name="sdxl-base"), "choose Stable Diffusion"),
        (model("mps", name="a/folder"), "set the device to the CPU"),
        (model(name="a/folder"), "use a smaller model"),
    ],
)
def test_below_the_last_rung_there_is_one_clear_error_that_names_another_way(reporter, found, said):
    with pytest.raises(JobError) as caught:
        run(lambda views, saving: False, StepDown(views=2), found, reporter)
    assert caught.value.code == "oom" and said in caught.value.fix


def test_other_errors_pass_through(reporter):
    with pytest.raises(RuntimeError, match="shape"), StepDown(views=2).guard(model(), reporter):
        raise RuntimeError("shape mismatch")


def test_a_step_that_fits_changes_nothing(reporter):
    ladder = StepDown(views=4)
    assert run(lambda views, saving: True, ladder, model(), reporter) == [(4, WHOLE)]
    assert ladder.views == 4 and not reporter.warnings


# ---- where it begins -------------------------------------------------------------------------------------------------


def begin(monkeypatch, reporter, free, load=LOAD, found=None):
    """Begin with so many bytes free beside the weights, which are loaded."""
    monkeypatch.setattr(out_of_memory, "free_memory", lambda device: free)
    found = found or model()
    StepDown(views=1).begin(found, load, reporter)
    return found.thrift.saving


def test_with_room_enough_a_stage_begins_as_it_always_did(reporter, monkeypatch, caplog):
    caplog.set_level("INFO")
    assert begin(monkeypatch, reporter, 8 * GIB) == WHOLE and not reporter.warnings
    assert "needs about 3.9 GB, 9.8 free" in caplog.text


@pytest.mark.parametrize("saving", [PICTURES, LAYERS])
def test_a_stage_begins_on_the_first_rung_that_fits_and_says_so_once(reporter, monkeypatch, saving):
    room = needed(LOAD, saving) - LOAD.weights
    assert begin(monkeypatch, reporter, room) == saving
    (warning,) = reporter.warnings
    assert warning["code"] == "memory" and "needs about 3.9 GB" in warning["text"]
    assert begin(monkeypatch, reporter, room - 1) != saving  # a byte less is not enough


def test_where_nothing_fits_the_views_stay_and_the_job_is_warned(reporter, monkeypatch):
    ladder = StepDown(views=4)
    monkeypatch.setattr(out_of_memory, "free_memory", lambda device: 0)
    found = model()
    ladder.begin(found, LOAD, reporter)
    assert ladder.views == 4 and found.thrift.saving == ROWS
    assert reporter.warnings[0]["text"].startswith("Memory may run out: a step needs about")


def test_where_nobody_tells_what_is_free_nothing_is_said_or_changed(reporter, monkeypatch):
    assert begin(monkeypatch, reporter, None) == WHOLE
    assert begin(monkeypatch, reporter, 0, load=None) == WHOLE and not reporter.warnings
