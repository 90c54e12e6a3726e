"""Every recipe from the command line on models with the layout and sizes of Stable Diffusion 1.5 and DeepFloyd IF."""

from __future__ import annotations

import json

import pytest

from csd_blender.backend.cli.main import main
from csd_blender.backend.distillation.guide import Guide
from csd_blender.backend.fields import sdf_network
from csd_blender.backend.pipelines.text_to_3d import coarse as coarse_stage
from csd_blender.backend.pipelines.text_to_3d import refine as refine_stage
from tests.support.tiny_models import write_if, write_sd15

SMALL = {
    "coarse": {"levels": 2, "finest_resolution": 32, "ray_samples": 16, "views": 1},
    "refine": {"tet_resolution": 12},
    "max_faces": 5000,  # none are taken away: that is tested elsewhere
    "preview_interval": 0,
}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    return {"sd": str(write_sd15(folder / "sd")), "if": str(write_if(folder / "if"))}


@pytest.fixture(autouse=True)
def short_fit(monkeypatch):
    """Fantasia3D's network takes the shape to start from on with less care."""
    monkeypatch.setattr(sdf_network, "POOL", 20_000)
    monkeypatch.setattr(sdf_network, "FIT_STEPS", 60)


@pytest.fixture
def seen(monkeypatch):
    """What the networks were asked about: (shape of a batch, guidance)."""
    found = []
    known = Guide.score

    def recording(guide, batch, *rest):
        found.append((tuple(batch.latents.shape), guide.guidance_at(batch.step)))
        return known(guide, batch, *rest)

    monkeypatch.setattr(Guide, "score", recording)
    return found


@pytest.fixture
def angles(monkeypatch):
    """Within how many degrees of the front a picture was called so, step by step."""
    found = []
    for stage in (coarse_stage, refine_stage):
        known = stage.view_names

        def recording(azimuth, elevation, front_angle, known=known):
            found.append(front_angle)
            return known(azimuth, elevation, front_angle)

        monkeypatch.setattr(stage, "view_names", recording)
    return found


LATENTS, PIXELS = (1, 4, 64, 64), (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("recipe", "subject", "coarse", "expected"),
    [
        ("csd", "character", "sd", [LATENTS] * 2),
        ("csd", "object", "if", [PIXELS, LATENTS]),
        ("dreamfusion", "sparse", "if", [PIXELS]),
        ("magic3d", "character", "sd", [LATENTS] * 2),
        ("fantasia3d", "object", "sd", [LATENTS] * 2),
    ],
)
def test_a_recipe_runs_through_and_latents_are_64_by_64(
    large, seen, angles, tmp_path, recipe, subject, coarse, expected
):
    arguments = ["--prompt", "a red mug", "--recipe", recipe, "--subject", subject, "--model", large["sd"]]
    arguments += ["--coarse-model", large[coarse], "--coarse-steps", "1", "--refine-steps", "1"]
    arguments += ["--resolution", "64", "--device", "cpu", "--settings", json.dumps(SMALL)]
    assert main(["text-to-3d", *arguments, "--out", str(tmp_path / "job")]) == 0
    assert [shape for shape, _ in seen] == expected
    result = json.loads((tmp_path / "job" / "result" / "result.json").read_text())
    settings = result["settings"]
    assert result["complete"] and settings["recipe"] == recipe
    assert {f"model {large[name]}" for name in ("sd", coarse)} <= set(result["licences"]), "of both stages"
    assert bool(settings["negative_prompt"]) == (recipe == "csd")
    assert all(asked.perp_neg_from == "negative" for _, asked in seen)
    assert angles == [30.0 if recipe == "csd" and i == 0 else 45.0 for i in range(len(expected))]
    assert [asked.perp_neg for _, asked in seen][:1] == [3.0 if (recipe, subject) == ("csd", "character") else 0.0]
