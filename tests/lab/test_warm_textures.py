"""The bundled model's warm start, seen by those who cannot see the prompt: the judge and the measure of alignment."""

from __future__ import annotations

import pytest

from csd_blender.backend.output.texture import load_albedo
from csd_blender.backend.pipelines.prepare import prepare_surface
from csd_blender.backend.render.pictures import turntable_pictures
from csd_blender.backend.support.reporting import Reporter
from csd_blender.job.folder import JobFolder
from tools.lab.compare.on_parts.alignment import AlignmentTask, make_row
from tools.lab.judged.quality_textures import BACKGROUND, JUDGED_SIZE, VIEWS
from tools.lab.mini.readers.judge import load_judge


@pytest.mark.parametrize(("mesh", "color", "least"), [("car", "red", 0.03), ("owl", None, 0.1)])
def test_the_pictures_of_the_start_alone_make_a_texture_that_fits_prompt_and_parts(tmp_path, mesh, color, least):
    """One step of distillation behind them, which changes next to nothing. From gray the excess is below 0.02."""
    task = AlignmentTask("warm", mesh, 0, tmp_path / mesh, {"steps": 1, "learning_rate": 1e-4})
    row = make_row(task)
    assert row["border"] - row["border_chance"] > least
    if color is not None:
        folder = JobFolder.open(task.folder)
        surface = prepare_surface(task.job, folder, Reporter(emit=lambda said: None))
        pictures = turntable_pictures(
            surface, load_albedo(folder, surface), VIEWS, JUDGED_SIZE, background=BACKGROUND, lit=False
        )
        assert load_judge().verdict(pictures).get("color") == color
