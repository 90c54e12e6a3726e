"""What a pipeline tells the outside, as messages of the contract."""

import numpy as np
import pytest

from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from csd_blender.job.presets.texture import texture_job
from csd_blender.job.process.bodies import CheckpointStored, Preview, Progress, StageBegun, Warned, read
from csd_blender.job.spec.stages import LOAD, REFINE, UNWRAP, object_plan


@pytest.fixture
def told():
    return []


@pytest.fixture
def reporter(told):
    return Reporter(emit=told.append)


def test_a_stage_is_counted_in_its_plan_and_one_that_comes_again_counts_as_what_it_is_for(reporter, told):
    plan = object_plan(300, 100)
    reporter.stage(LOAD, plan)
    reporter.stage(LOAD, plan, of=REFINE)
    reporter.stage(UNWRAP, plan)
    assert told == [
        StageBegun("load", "Loading the model", 0, 4),
        StageBegun("load", "Loading the model", 2, 4),
        StageBegun("finish", "Unwrapping and baking", 3, 4),
    ]
    with pytest.raises(ValueError):
        reporter.stage(REFINE, ((LOAD, 1.0),))


def test_the_first_and_the_last_step_are_always_told_and_metrics_that_are_no_numbers_never(reporter, told):
    reporter.stage(LOAD, object_plan(1, 1))
    for step in range(1, 51):
        reporter.progress(step, 50, {"loss": 0.25, "broken": float("nan")})
    steps = [said for said in told if isinstance(said, Progress)]
    assert steps[0].step == 1 and steps[-1].step == steps[-1].total == 50 and len(steps) < 10
    assert all(said.stage == "load" and said.metrics == {"loss": 0.25} for said in steps)


def test_previews_lie_where_they_are_announced_and_have_the_announced_size(reporter, told, tmp_path):
    folder = JobFolder.create(tmp_path / "job", texture_job("a mug"))
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0] = 9  # its top row
    reporter.preview(folder, "texture", picture, part=1, step=5)
    reporter.preview(folder, "view", picture, part=0, step=5)
    triangle = np.zeros((3, 3)), np.zeros((1, 3), int), np.zeros((3, 3), np.uint8)
    reporter.preview_mesh(folder, *triangle, step=6)
    assert told == [
        Preview("preview/texture_1.rgba", "texture", 1, 5, 3, 2),
        Preview("preview/view.rgba", "view", 0, 5, 3, 2),
        Preview("preview/mesh.npz", "mesh", 0, 6),
    ]
    data = (folder.path / told[0].path).read_bytes()
    assert len(data) == 3 * 2 * 4 and data[:4] == bytes((0, 0, 0, 255)) and data[-4:] == bytes((9, 9, 9, 255))


def test_a_warning_is_told_once_and_every_event_can_be_read_by_the_other_side(reporter, told):
    for _ in range(2):
        reporter.warn("holes", "It has holes.")
    reporter.checkpoint("checkpoint/step_000003.json", 3)
    assert told == [Warned("It has holes.", "holes"), CheckpointStored("checkpoint/step_000003.json", 3)]
    assert [read(said.message("job")) for said in told] == told
    assert reporter.warnings == [{"code": "holes", "text": "It has holes."}]
