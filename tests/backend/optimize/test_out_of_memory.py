"""The ladder that a job steps down when memory runs out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from csd_blender.backend.optimize.out_of_memory import StepDown
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.errors import JobError


@pytest.fixture
def reporter():
    return Reporter(emit=lambda said: None)


def model():
    return SimpleNamespace(on_pixels=False, encodes_one_by_one=False)


def run(fits, ladder, network, reporter):
    """Repeat a step until it fits into memory; returns the tried (views, slicing)."""
    tried = []
    while True:
        with ladder.guard(network, reporter) as attempt:
            tried.append((attempt.views, network.encodes_one_by_one))
            if not fits(*tried[-1]):
                raise torch.OutOfMemoryError("CUDA out of memory")
        if not attempt.failed:
            return tried


def test_pictures_are_encoded_one_by_one_before_views_are_given_up(reporter):
    tried = run(lambda views, slicing: views <= 2, StepDown(views=8), model(), reporter)
    assert tried == [(8, False), (8, True), (4, True), (2, True)]
    assert [w["code"] for w in reporter.warnings] == ["oom_step_down"] * 3


def test_below_the_last_rung_there_is_one_clear_error(reporter):
    with pytest.raises(JobError) as caught:
        run(lambda views, slicing: False, StepDown(views=2), model(), reporter)
    assert caught.value.code == "oom"


def test_other_errors_pass_through(reporter):
    with pytest.raises(RuntimeError, match="shape"), StepDown(views=2).guard(model(), reporter):
        raise RuntimeError("shape mismatch")


def test_a_step_that_fits_changes_nothing(reporter):
    ladder = StepDown(views=4)
    assert run(lambda views, slicing: True, ladder, model(), reporter) == [(4, False)]
    assert ladder.views == 4 and not reporter.warnings
