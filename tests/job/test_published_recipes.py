"""The recipes against the published configurations, whose numbers are written down here once more.

CSD: CVMI-Lab/Classifier-Score-Distillation at 5c65ca7, configurations csd-if, csd-if-object, csd-if-object-sparse,
csd-sd-refine and csd-sd-refine-object. The others: threestudio at 28d9d80, configurations dreamfusion-if, -sd,
magic3d-coarse-if, -sd, magic3d-refine-sd, fantasia3d and fantasia3d-texture, prolificdreamer, -geometry and -texture,
with its defaults where they are silent. DSD: BillyXYB/Diverse-Score-Distillation at 169c35a, configurations dsd and
dsd_low_res. CSD-MVDream: configuration csd of CSD's branch CSD-MVDream at 481536c.
``docs/methods.md`` says what is ours.
"""

from __future__ import annotations

import dataclasses
import json

import pytest

from csd_blender.backend.distillation.methods import ROWS
from csd_blender.job.presets.text_to_3d import text_to_3d_job, usual_steps
from csd_blender.job.spec.cameras import SceneCameras
from csd_blender.job.spec.guidance import Guidance
from csd_blender.job.spec.scene_stages import CoarseStage, RefineStage
from csd_blender.job.spec.schedule import Schedule
from csd_blender.job.spec.text_to_3d import SUBJECTS

CSD_NEGATIVE = "oversaturated color, ugly, tiling, low quality, noisy"
FAMILIES = ("if", "sd")
STEPS = (0, 1250, 2500, 5000, 5001, 7500, 9999)  # at which schedules are compared


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders that look like the two families from outside."""
    folders = {}
    for name, index in {
        "if": {"_class_name": "IFPipeline", "text_encoder": ["transformers", "T5EncoderModel"]},
        "sd": {"text_encoder": ["transformers", "CLIPTextModel"], "vae": ["diffusers", "AutoencoderKL"]},
    }.items():
        folders[name] = tmp_path_factory.mktemp(name)
        (folders[name] / "model_index.json").write_text(json.dumps(index | {"unet": ["diffusers", "X"]}))
    return {name: str(folder) for name, folder in folders.items()}


def ramp(start, first, last, end):
    """What threestudio's lists of four numbers mean."""
    return [first + (last - first) * min(max((step - start) / (end - start), 0), 1) for step in STEPS]


def always(value):
    return [value] * len(STEPS)


# One camera, its distance as it is, and a prompt.
ALONE = {"cameras.ring": 0, "cameras.distance_unit": "scene", "cameras.after_picture": False}
STEADY = ALONE | {"cameras.position_noise": 0, "cameras.center_noise": 0, "cameras.up_noise": 0}
UNSTEADY = ALONE | {"cameras.position_noise": 0.1, "cameras.center_noise": 0.2, "cameras.up_noise": 0.02}
BASE_CAMERAS = {"cameras.distance": (1.5, 2), "cameras.fov_y": (40, 70), "cameras.front_back_steps": 0}
NO_PERP_NEG = {"guidance.perp_neg": 0, "guidance.perp_neg_from": "negative"}
BASE_GUIDANCE = {
    "guidance.t_min": always(0.02), "guidance.grad_clip": None, "guidance.generative_weight": always(0),
    "guidance.positive_weight": always(1), "guidance.noise": "fresh", "guidance.times": "uniform",
    "guidance.rescale": 0,
}  # fmt: skip
NERF = {  # of all configurations
    "steps": 10000, "render_size": 64, "base_resolution": 16, "network_width": 64, "normals": "analytic",
    "ray_samples": 512, "blob_scale": 10, "blob_std": 0.5, "background": "learned", "background_rate": 0.001,
    "opaque": always(0), "z_variance": always(0), "convexity": always(0),
    "later_size": 0, "later_views": 0, "network_rate": 0, "decay": 0,
    "score_weight": 1, "picture_every": 0, **BASE_CAMERAS, **BASE_GUIDANCE,
}  # fmt: skip


def csd_coarse(subject):
    character = subject == "character"
    falling = ramp(0, 10, 1, 5000)
    return NERF | STEADY | {
        "learning_rate": 0.001, "adam_beta2": 0.999, "views": 1 if character else 4,
        "radius": 1 if character else 2, "levels": 12 if character else 16,
        "finest_resolution": 512 if character else 2048, "start_level": 0, "color_activation": "sigmoid",
        "ambient_only_steps": 5001 if character else 2001, "shaded_share": 0.5, "textureless_share": 1,
        "textureless_normals": True, "random_background": 0.5,
        "orientation": ramp(0, 1, 100, 5000) if character else ramp(5000, 1, 20, 5001),
        "sparsity": {"character": falling, "object": always(1), "sparse": falling}[subject],
        "cameras.elevation": (-10, 45) if character else (-10, 90), "cameras.elevation_law": "csd",
        "cameras.front_back_steps": 1000 if character else 0, "cameras.front_angle": 30,
        "guidance.weighting": "uniform", "guidance.grad_normalize": True, "guidance.t_max": ramp(5000, 0.98, 0.5, 5001),
        "guidance.negative_weight": ramp(0, 0, 1, 5000), "guidance.perp_neg": 3 if character else 0,
        "guidance.perp_neg_from": "negative",
    }  # fmt: skip


def csd_refine(subject):
    return STEADY | BASE_CAMERAS | BASE_GUIDANCE | NO_PERP_NEG | {
        "steps": 10000, "views": 1, "render_size": 512, "tet_resolution": 256, "shape": "vertices",
        "threshold": 10, "mean_threshold": False, "learning_rate": 0.001, "color_rate": 0.001, "adam_beta2": 0.999,
        "rates_fall": False, "color_decay": always(0), "shape_decay": 0, "normals_share": 0.5, "normals_only_steps": 0,
        "latent_steps": 0, "normals_background": "other", "shaded_share": 0, "background": "learned",
        "background_rate": 0.001, "random_background": 0.5, "normal_consistency": 1000, "laplacian": 0,
        "appearance_weighting": "", "cameras.elevation": (-10, 45), "cameras.elevation_law": "csd",
        "cameras.front_angle": 45, "guidance.weighting": "sds", "guidance.grad_normalize": False,
        "guidance.t_max": always(0.5), "guidance.negative_weight": ramp(0, 1, 0.5, 10000),
    }  # fmt: skip


def sds(family, weighting, t_max):
    return BASE_GUIDANCE | NO_PERP_NEG | {
        "guidance.guidance_scale": 20 if family == "if" else 100, "guidance.scale_convention": "1+s",
        "guidance.weighting": weighting, "guidance.t_max": always(t_max), "guidance.grad_normalize": False,
    }  # fmt: skip


def dreamfusion_coarse(family):
    return NERF | UNSTEADY | sds(family, "sds", 0.98) | {
        "views": 1, "learning_rate": 0.01, "adam_beta2": 0.99, "radius": 2, "levels": 16, "finest_resolution": 4096,
        "start_level": 8, "level_start": 2000, "level_interval": 500,
        "color_activation": "linear" if family == "if" else "sigmoid", "random_background": 0,
        "ambient_only_steps": 2001, "shaded_share": 0.75, "textureless_share": 0.5, "textureless_normals": False,
        "lamp": "dreamfusion", "soft_shading": False, "orientation": ramp(0, 10, 1000, 5000), "sparsity": always(1),
        "cameras.elevation": (-10, 90) if family == "if" else (-10, 45), "cameras.elevation_law": "batch",
        "cameras.front_angle": 45,
    }  # fmt: skip


def magic3d_coarse(family):
    without = {k: v for k, v in dreamfusion_coarse(family).items() if k not in ("level_start", "level_interval")}
    return without | sds(family, "uniform", 0.98) | {
        "start_level": 0, "color_activation": "sigmoid", "lamp": "magic3d", "soft_shading": True,
    }  # fmt: skip


def magic3d_refine(family):
    return BASE_CAMERAS | UNSTEADY | sds(family, "sds", 0.5) | {
        "steps": 5000, "views": 1, "render_size": 512, "tet_resolution": 128, "shape": "vertices", "threshold": 0,
        "mean_threshold": True, "learning_rate": 0.01, "color_rate": 0.01, "background_rate": 0.01, "adam_beta2": 0.99,
        "rates_fall": False, "color_decay": always(0), "shape_decay": 0, "normals_share": 0, "normals_only_steps": 0,
        "latent_steps": 0, "shaded_share": 0.75, "textureless_share": 0.5, "lamp": "magic3d", "soft_shading": True,
        "background": "learned", "random_background": 0, "normal_consistency": 10000, "laplacian": 0,
        "appearance_weighting": "", "cameras.fov_y": (30, 45), "cameras.elevation": (-10, 45),
        "cameras.elevation_law": "batch", "cameras.front_angle": 45,
    }  # fmt: skip


def fantasia3d_refine(family):
    return STEADY | sds(family, "fantasia3d", 0.5) | {
        "steps": 15000, "views": 1, "render_size": 512, "tet_resolution": 128, "shape": "network",
        "learning_rate": 0.001, "color_rate": 0.01, "adam_beta2": 0.99, "rates_fall": False,
        "color_decay": always(0.01), "shape_decay": 0.01,  # AdamW's own, which the configuration leaves as it is
        "normals_only_steps": 10000, "fixed_shape_after": 10000, "latent_steps": 1000 if family == "sd" else 0,
        "normals_background": "black", "background": "white", "random_background": 0, "shaded_share": 0,
        "normals_share": 0, "normal_consistency": 0, "laplacian": 0, "appearance_weighting": "sds",
        "cameras.distance": (3, 3), "cameras.fov_y": (25, 45), "cameras.elevation": (-10, 45),
        "cameras.elevation_law": "batch", "cameras.front_angle": 45, "cameras.front_back_steps": 0,
    }  # fmt: skip


def vsd(t_max):
    return BASE_GUIDANCE | NO_PERP_NEG | {
        "guidance.guidance_scale": 7.5, "guidance.scale_convention": "s", "guidance.weighting": "sds",
        "guidance.t_max": t_max, "guidance.lora_rate": 1e-4, "guidance.grad_normalize": False,
    }  # fmt: skip


PROLIFIC_CAMERAS = STEADY | {
    "cameras.distance": (1, 1.5), "cameras.fov_y": (40, 70), "cameras.elevation": (-10, 45),
    "cameras.elevation_law": "batch", "cameras.front_back_steps": 0,
}  # fmt: skip


def prolificdreamer_coarse():
    return NERF | vsd(ramp(5000, 0.98, 0.5, 5001)) | PROLIFIC_CAMERAS | {
        "steps": 25000, "views": 1, "render_size": 64, "later_size": 512, "later_size_step": 5000,
        "learning_rate": 0.01, "network_rate": 0.001, "decay": 0.01, "adam_beta2": 0.99, "radius": 1, "levels": 16,
        "finest_resolution": 4096, "start_level": 0, "color_activation": "sigmoid", "ambient_only_steps": 25000,
        "shaded_share": 0, "textureless_normals": True, "random_background": 0.5, "orientation": always(0),
        "sparsity": always(10), "opaque": ramp(10000, 0, 1000, 10001), "cameras.front_angle": 30,
    }  # fmt: skip


def prolificdreamer_refine():
    return vsd(ramp(5000, 0.98, 0.5, 5001)) | PROLIFIC_CAMERAS | {
        "times_restart": True, "cameras.front_angle": 45, "appearance_front_angle": 30, "color_network_rate": 0.001,
        "normals_background": "black", "threshold": 25, "background_rate": 0.001,
        "steps": 45000, "views": 1, "render_size": 512, "tet_resolution": 128, "shape": "vertices",
        "learning_rate": 0.005, "color_rate": 0.01, "adam_beta2": 0.99, "rates_fall": False,
        "color_decay": always(0.01), "shape_decay": 0, "normals_share": 0, "normals_only_steps": 15000,
        "fixed_shape_after": 15000, "latent_steps": 0, "geometry_method": "sds", "appearance_scale": 7.5,
        "appearance_weighting": "", "shaded_share": 0, "background": "learned", "random_background": 0,
        "normal_consistency": 10000, "laplacian": 10000, "guidance.guidance_scale": 100,
        "guidance.scale_convention": "1+s",
    }  # fmt: skip


def sjc_coarse(family):
    return dreamfusion_coarse(family) | STEADY | sds(family, "uniform", 0.98) | {
        "ambient_only_steps": 10000, "shaded_share": 0, "orientation": always(0), "cameras.distance": (1.5, 1.5),
        "cameras.fov_y": (60, 60), "guidance.guidance_scale": 100,
    }  # fmt: skip


def dsd_coarse(large):
    return dreamfusion_coarse("sd") | BASE_GUIDANCE | {
        "steps": 10000 if large else 5000, "render_size": 128, "later_size": 512 if large else 0,
        "later_size_step": 5000 if large else 0, "ambient_only_steps": 1000, "shaded_share": 0.3,
        "textureless_share": 0.75, "random_background": 0.5, "orientation": always(0.1), "opaque": always(0.1),
        "sparsity": ramp(0, 0.15, 0, 3000), "level_start": 2000, "level_interval": 500,
        "guidance.guidance_scale": 7.5, "guidance.scale_convention": "s", "guidance.weighting": "sds",
        "guidance.perp_neg": 7.5, "guidance.t_max": always(0.98), "guidance.grad_normalize": False,
        "convexity": ramp(0, 1, 1, 5000), "z_variance": always(1),
    }  # fmt: skip


def csd_mvdream_coarse():
    return NERF | STEADY | NO_PERP_NEG | {
        "views": 8, "later_views": 4, "render_size": 64, "later_size": 256, "later_size_step": 5000,
        "learning_rate": 0.01, "network_rate": 0.001, "decay": 0.01, "adam_beta2": 0.99, "radius": 1, "levels": 16,
        "finest_resolution": 4096, "start_level": 0, "color_activation": "sigmoid", "ambient_only_steps": 5000,
        "shaded_share": 0.75, "textureless_share": 0.5, "textureless_normals": False, "lamp": "dreamfusion",
        "soft_shading": True, "random_background": 0.5, "orientation": ramp(0, 10, 1000, 5000), "sparsity": always(0),
        "cameras.ring": 4, "cameras.distance_unit": "frame", "cameras.distance": (0.8, 1), "cameras.fov_y": (15, 60),
        "cameras.elevation": (0, 30), "cameras.elevation_law": "csd", "cameras.front_angle": 45,
        "guidance.weighting": "uniform", "guidance.grad_normalize": False, "guidance.t_min": ramp(0, 0.98, 0.02, 8000),
        "guidance.t_max": ramp(0, 0.98, 0.5, 8000),
        "guidance.guidance_scale": 50, "guidance.rescale": 0.5,  # of MVDream's own method
    }  # fmt: skip


def zero123_coarse():
    return NERF | STEADY | NO_PERP_NEG | {
        "views": 2, "render_size": 128, "learning_rate": 0.01, "decay": 1e-5, "adam_beta2": 0.99, "radius": 2,
        "levels": 16, "finest_resolution": 4096, "start_level": 8, "level_start": 2000, "level_interval": 500,
        "color_activation": "sigmoid", "ambient_only_steps": 10000, "shaded_share": 0, "textureless_normals": True,
        "background": "white", "random_background": 0.5, "orientation": ramp(0, 1, 20, 5000), "sparsity": always(2),
        "opaque": always(0.5), "score_weight": 0.003, "picture_every": 2, "picture_size": 192, "picture_color": 200,
        "picture_mask": 50, "cameras.after_picture": True, "cameras.distance": (3.2, 3.3), "cameras.fov_y": (20, 20),
        "cameras.elevation": (-10, 60), "cameras.elevation_law": "batch", "cameras.front_angle": 45,
        "guidance.weighting": "sds", "guidance.grad_normalize": False, "guidance.t_max": always(0.98),
        "guidance.guidance_scale": 3, "guidance.scale_convention": "s", "guidance.perp_neg_from": "empty",
    }  # fmt: skip


EXPORT = {"steps": 0, "tet_resolution": 128, "threshold": 25, "mean_threshold": False}
TABLES = {
    "csd": (lambda subject, family: csd_coarse(subject), lambda subject, family: csd_refine(subject)),
    "dreamfusion": (
        lambda subject, family: dreamfusion_coarse(family),
        lambda subject, family: EXPORT,
    ),
    "magic3d": (lambda subject, family: magic3d_coarse(family), lambda subject, family: magic3d_refine(family)),
    "fantasia3d": (
        lambda subject, family: {"steps": 0, "radius": 1, "levels": 16, "base_resolution": 16, "network_width": 64,
                                 "finest_resolution": 4096},
        lambda subject, family: fantasia3d_refine(family),
    ),
    "prolificdreamer": (
        lambda subject, family: prolificdreamer_coarse(),
        lambda subject, family: prolificdreamer_refine(),
    ),
    "sjc": (lambda subject, family: sjc_coarse(family), lambda subject, family: EXPORT),
    "dsd": (lambda subject, family: dsd_coarse(True), lambda subject, family: EXPORT),
    "dsd-low": (lambda subject, family: dsd_coarse(False), lambda subject, family: EXPORT),
    "csd-mvdream": (lambda subject, family: csd_mvdream_coarse(), lambda subject, family: EXPORT),
    "csd-mvdream-refine": (
        lambda subject, family: csd_mvdream_coarse(),
        lambda subject, family: csd_refine(subject) | {"geometry_method": "csd"},
    ),
    "zero123": (lambda subject, family: zero123_coarse(), lambda subject, family: EXPORT),
    "zero123-refine": (
        lambda subject, family: zero123_coarse(),
        # CSD's own for things without a front: the picture's is where its camera is.
        lambda subject, family: csd_refine("object") | {"geometry_method": "csd"},
    ),
}  # fmt: skip
# Fields that mean nothing where others have the values they have: a stage is complete without them.
IDLE = {
    "guidance.guidance_scale", "guidance.scale_convention", "guidance.negative_weight", "level_start", "level_interval",
    "lamp", "soft_shading", "textureless_share", "normals_background", "fixed_shape_after", "threshold",
    "mean_threshold", "fit_start", "background_rate", "later_size_step", "guidance.bridge_start", "guidance.lora_rate",
    "picture_size", "picture_color", "picture_mask",
    "guidance.lora_rank", "guidance.lora_network", "appearance_scale", "geometry_method", "appearance_front_angle",
    "times_restart", "color_network_rate",
}  # fmt: skip


def value_at(stage, path):
    for name in path.split("."):
        stage = getattr(stage, name)
    return [stage.at(step) for step in STEPS] if isinstance(stage, Schedule) else stage


def differences(stage, table):
    """By name: (found, published)."""
    found = {path: value_at(stage, path) for path in table}
    return {path: (found[path], table[path]) for path in table if found[path] != pytest.approx(table[path], abs=1e-9)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("recipe", TABLES)
def test_every_value_of_a_recipe_is_the_published_one(models, recipe, subject, family):
    job = text_to_3d_job("a mug", "normal", models[family], recipe, subject)
    for stage, table in zip((job.coarse, job.refine), TABLES[recipe], strict=True):
        assert differences(stage, table(subject, family)) == {}


@pytest.mark.parametrize("recipe", TABLES)
def test_no_value_of_a_stage_that_runs_is_left_to_chance(recipe):
    """A field that is added later must be given its published value here, too."""
    for kind, table in zip((CoarseStage, RefineStage), TABLES[recipe], strict=True):
        stage_table = table("object", "sd")
        if not stage_table["steps"]:
            continue
        names = {f.name for f in dataclasses.fields(kind)} - {"cameras", "guidance"}
        names |= {f"cameras.{f.name}" for f in dataclasses.fields(SceneCameras)}
        names |= {f"guidance.{f.name}" for f in dataclasses.fields(Guidance)}
        assert names - set(stage_table) - IDLE == set()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_systems_by_sds_have_no_negative_prompt_unless_one_is_given(models, subject, family):
    for recipe in ("dreamfusion", "magic3d", "fantasia3d"):
        job = text_to_3d_job("a mug", "normal", models[family], recipe, subject)
        assert (job.method, job.negative_prompt) == ("sds", "")
        assert text_to_3d_job("a mug", model=models[family], recipe=recipe, negative_prompt="x").negative_prompt == "x"
    job = text_to_3d_job("a mug", "normal", models[family], "csd", subject)
    assert (job.method, job.negative_prompt) == ("csd", CSD_NEGATIVE)


def test_scales_act_as_published(models):
    """Of the predictions for the prompt, the negative and the empty prompt, and of the noise: eps + s (eps - eps_0)."""
    for family, scale in (("if", 20), ("sd", 100)):
        job = text_to_3d_job("a mug", model=models[family], recipe="dreamfusion")
        found = ROWS[job.method].weights(job.coarse.guidance, 0, bool(job.negative_prompt))
        assert found == {"positive": 1 + scale, "negative": 0, "null": -scale, "noise": -1}


@pytest.mark.parametrize("recipe", ["dreamfusion", "magic3d"])
def test_each_stage_has_its_own_model_s_values(models, recipe):
    both = text_to_3d_job("a mug", model=models["sd"], coarse_model=models["if"], recipe=recipe)
    assert both.coarse == text_to_3d_job("a mug", model=models["if"], recipe=recipe).coarse
    assert both.refine == text_to_3d_job("a mug", model=models["sd"], recipe=recipe).refine


def test_the_bundled_model_may_find_the_shape_for_a_large_one(models):
    both = text_to_3d_job("a mug", model=models["sd"], coarse_model="mini", recipe="csd")
    assert both.coarse == text_to_3d_job("a mug", model="mini").coarse
    assert both.refine == text_to_3d_job("a mug", model=models["sd"]).refine
    assert both.negative_prompt == CSD_NEGATIVE


@pytest.mark.parametrize("recipe", ["csd", "dreamfusion", "magic3d", "prolificdreamer"])
@pytest.mark.parametrize("large", ["coarse", "refine"])
def test_a_large_model_hears_the_recipe_s_words_beside_the_bundled_one(models, recipe, large):
    names = {"coarse": (models["sd"], "mini"), "refine": ("mini", models["sd"])}[large]
    job = text_to_3d_job("a mug", model=names[1], coarse_model=names[0], recipe=recipe)
    assert job.negative_prompt == text_to_3d_job("a mug", model=models["sd"], recipe=recipe).negative_prompt


@pytest.mark.parametrize("steps", [2000, 15000])
def test_courses_are_stretched_over_jobs_of_another_length(models, steps):
    factor = steps / 10000
    job = text_to_3d_job("a mug", model=models["if"], recipe="dreamfusion", coarse_steps=steps)
    c = job.coarse
    assert (c.level_start, c.level_interval) == (round(2000 * factor), round(500 * factor))
    assert c.orientation.at(2500 * factor) == pytest.approx(505) and c.ambient_only_steps == round(2001 * factor)
    job = text_to_3d_job("a mug", model=models["sd"], recipe="fantasia3d", coarse_steps=steps, refine_steps=steps // 2)
    r = job.refine
    assert (r.normals_only_steps, r.fixed_shape_after, r.steps) == (steps, steps, steps * 3 // 2)
    assert r.latent_steps == round(1000 * factor)


def test_a_textured_prolificdreamer_is_painted_anew(models):
    assert not text_to_3d_job("a mug", model=models["sd"], recipe="prolificdreamer").keep_colors
    assert text_to_3d_job("a mug", model="mini", recipe="prolificdreamer").keep_colors


def test_a_normal_job_has_the_published_length():
    lengths = {"csd": (10000, 10000), "dreamfusion": (10000, 10000), "magic3d": (10000, 5000)}
    lengths["fantasia3d"] = (10000, 5000)
    for recipe, expected in lengths.items():
        assert usual_steps("normal", "some/model", recipe) == expected
    assert usual_steps("normal", "mini", "magic3d") == usual_steps("normal", "mini", "csd") == (600, 240)
    assert usual_steps("normal", "some/model", "csd", "mini") == (600, 10000)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("recipe", ["csd", "magic3d", "fantasia3d"])
@pytest.mark.parametrize("start", ["ellipsoid", "mesh"])
def test_a_job_that_begins_with_a_shape_sees_it_as_fantasia3d_does(models, start, recipe, subject, family):
    job = text_to_3d_job("a mug", model=models[family], recipe=recipe, subject=subject, start=start)
    cameras = job.refine.cameras
    assert job.coarse.radius == 1 and job.refine.fit_start
    assert (cameras.distance, cameras.fov_y, cameras.elevation) == ((3, 3), (25, 45), (-10, 45))
    assert (cameras.position_noise, cameras.center_noise, cameras.up_noise) == (0, 0, 0)
