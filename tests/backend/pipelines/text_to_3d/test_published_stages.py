"""Whole jobs with the published fields: stopped anywhere they come to the same end, and refined anew they go on."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file

from csd_blender.backend.fields import sdf_network
from csd_blender.job.files import COARSE_SHAPE
from csd_blender.job.folder import read_coarse
from csd_blender.job.result import read_result
from tests.support.tiny_jobs import (
    COARSE,
    REFINE,
    after,
    albedo,
    answer,
    mesh_of,
    run,
    same_result,
)

NETWORKS = {
    "coarse": {
        "network_width": 8,
        "start_level": 1,
        "level_start": 0,
        "level_interval": 2,
        "normals": "analytic",
        "background": "learned",
        "random_background": 0.5,
        "orientation": 1.0,
    },
    "refine": {"background": "learned", "random_background": 0.5, "normals_share": 0.5},
}
SHAPE = {
    "recipe": "fantasia3d",
    "refine": {"shape": "network", "latent_steps": 2, "normals_background": "black", "background": "white"},
    "coarse": {"network_width": 8},
}


@pytest.fixture(autouse=True)
def quick_fit(monkeypatch):
    for name, value in {"FIT_STEPS": 40, "FIT_POINTS": 1000, "FIT_RATE": 1e-2, "POOL": 10000}.items():
        monkeypatch.setattr(sdf_network, name, value)


@pytest.mark.parametrize("settings", [NETWORKS, SHAPE], ids=["networks", "shape"])
def test_a_job_that_was_left_in_either_stage_resumes_to_exactly_the_same_object(make_job, models, settings):
    whole = make_job("whole", **settings)
    outcome, _ = run(whole, models)
    assert outcome.type == "result", outcome
    left = make_job("left", **settings)
    for resume, steps in ((False, 3), (True, 1), (True, COARSE)):
        assert answer(run(left, models, resume=resume, stop=after(steps, "leave"))[0]) == ("error", "interrupted")
    assert run(left, models, resume=True)[0].type == "result"
    assert read_result(left.path).timings["steps"] == COARSE + REFINE
    assert same_result(whole, left) and len(mesh_of(left).triangles) > 10


def test_a_network_s_coarse_stage_is_refined_anew_with_its_colors(make_job, models):
    first = make_job("first", **NETWORKS)
    assert run(first, models)[0].type == "result"
    stored = load_file(first.path / COARSE_SHAPE)
    assert int(stored["network._extra_state"]) == 2  # of the levels that counted at the last step
    again = make_job("again", start="coarse", **NETWORKS)
    again.write_bytes(COARSE_SHAPE, read_coarse(first))
    assert run(again, models)[0].type == "result"
    assert same_result(first, again) and np.ptp(albedo(again)) > 0


def test_a_coarse_stage_of_another_kind_of_field_is_refused_with_a_sentence(make_job, models):
    first = make_job("first", refine_steps=0)
    assert run(first, models)[0].type == "result"
    other = make_job("other", start="coarse", **NETWORKS)
    other.write_bytes(COARSE_SHAPE, read_coarse(first))
    assert answer(run(other, models)[0]) == ("error", "bad_job_folder")
