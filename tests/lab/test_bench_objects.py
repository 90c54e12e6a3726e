"""The text-to-3D figures of `bench`, at sizes that take no time."""

from __future__ import annotations

import math

import pytest
import torch

from csd_blender.backend.diffusion.loading import load_model
from csd_blender.backend.fields.radiance_field import RadianceField
from csd_blender.job.presets.text_to_3d import text_to_3d_job
from tools.lab.bench_object_parts import make_ball, milliseconds, print_coarse_cost, print_refine_cost
from tools.lab.bench_objects import SECTIONS, measure_coarse, measure_refine, print_splits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def job(tiny_folder):
    coarse = {"views": 1, "levels": 2, "finest_resolution": 16, "ray_samples": 24, "render_size": 16, "radius": 1.0}
    refine = {"views": 1, "tet_resolution": 8, "render_size": 16, "threshold": 0.0}
    return text_to_3d_job("a red mug", model=str(tiny_folder), coarse=coarse, refine=refine, device="cpu")


def test_shares_of_both_stages(job, tiny_folder, capsys):
    model = load_model(str(tiny_folder), CPU)
    splits = [measure(job, model, warm=1, steps=2) for measure in (measure_coarse, measure_refine)]
    for split in splits:
        assert tuple(split.shares) == SECTIONS
        assert sum(split.shares.values()) == pytest.approx(1)
        assert all(split.shares[name] > 0 for name in SECTIONS[:4])
        assert 0 < split.rest < 1
        assert 0 < split.seconds < 60
        assert split.peak is None or 0.01 < split.peak < 1000
    print_splits("tiny", splits)
    printed = capsys.readouterr().out
    assert "coarse" in printed and "refine" in printed and "nan" not in printed


def test_costs_of_parts(job, capsys):
    coarse = print_coarse_cost(job, CPU, sizes=(4, 8, 16), samples=(16, 24, 48), repeats=1)
    refine = print_refine_cost(job, 16, CPU, resolutions=(8, 16), repeats=1)
    assert len(coarse) == 5 and len(refine) == 2  # the middle row is shared
    assert all(math.isfinite(x) and x > 0 for row in coarse + refine for x in row.values())
    assert coarse[0]["kept"] < coarse[1]["kept"] < coarse[2]["kept"]
    assert coarse[3]["kept"] < coarse[1]["kept"] < coarse[4]["kept"]
    assert refine[0]["faces"] < refine[1]["faces"]
    assert len(capsys.readouterr().out.strip().splitlines()) == 12


def test_the_ball_is_solid_and_empty_around():
    field = make_ball(RadianceField(levels=3, base_resolution=8, finest_resolution=32, log2_table_size=17))
    points = torch.tensor([[0.0, 0, 0], [0, 0.5, 0], [0.3, 0.3, 0.3], [0.75, 0, 0], [0, 0.5, 0.5]])
    density = field.density(points)
    assert (density[:3] > 20).all() and (density[3:] < 1e-3).all()


def test_time_is_the_median_without_the_first_run():
    calls = []
    assert milliseconds(lambda: calls.append(0), CPU, repeats=3) >= 0
    assert len(calls) == 4
