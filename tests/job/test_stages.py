"""The stages that a job goes through, as the panel's bar and the backend have them."""

import pytest

from csd_blender.job.presets.edit import edit_job
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.spec.stages import COARSE, REFINE

JOBS = {
    "texture": texture_job("a mug"),
    "object": text_to_3d_job("a mug"),
    "object from a mesh": text_to_3d_job("a mug", start="mesh"),
    "edit": edit_job("a blue mug", "a red mug"),
    "edit of a shape": edit_job("a blue mug", "a red mug", shape="free"),
}


@pytest.mark.parametrize("name", JOBS)
def test_the_shares_of_a_jobs_stages_make_one_whole_and_no_name_comes_twice(name):
    plan = JOBS[name].stages()
    assert sum(share for _, share in plan) == pytest.approx(1) and all(share >= 0 for _, share in plan)
    names = [stage.name for stage, _ in plan]
    assert len(set(names)) == len(names) and any(stage.long for stage, _ in plan)
    assert all(stage.label for stage, _ in plan)


def test_the_two_stages_of_an_object_share_the_time_by_their_steps():
    job = text_to_3d_job("a mug", coarse_steps=300, refine_steps=100)
    shares = dict(job.stages())
    assert shares[COARSE] == pytest.approx(3 * shares[REFINE])
    assert dict(JOBS["object from a mesh"].stages())[COARSE] == 0
