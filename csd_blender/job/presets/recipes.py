"""The published text-to-3D systems as tables of values over one job, stretched to its length.

Every value is listed with its source in ``docs/methods.md``. They are those of public configurations: CSD's own (Yu et
al. 2023, arXiv 2310.19415), and threestudio's for DreamFusion (Poole et al. 2022, 2209.14988), Magic3D (Lin et al.
2022, 2211.10440), Fantasia3D (Chen et al. 2023, 2303.13873), which differ between DeepFloyd IF and Stable Diffusion,
ProlificDreamer (Wang et al. 2023, 2305.16213) and SJC (Wang et al. 2022, 2212.00774), and those of DSD (Xu et al. 2024,
2412.06780). Those with a model that draws several views, or after a picture, are in modules of their own.
"""

from __future__ import annotations

from ..spec.methods import METHODS
from ..spec.schedule import Schedule, constant
from . import picture_recipe, view_recipes

PUBLISHED_STEPS = 10000  # of the stages that have schedules, in all these configurations

#: The method of each recipe.
RECIPE_METHODS = {
    "csd": "csd", "dreamfusion": "sds", "magic3d": "sds", "fantasia3d": "sds", "prolificdreamer": "vsd", "sjc": "sjc",
    "dsd": "dsd", "dsd-low": "dsd", view_recipes.ALONE: "csd-mvdream", view_recipes.REFINED: "csd-mvdream",
    picture_recipe.ALONE: "sds", picture_recipe.REFINED: "sds",
}  # fmt: skip
#: Those without a refine stage.
COARSE_ALONE = ("dreamfusion", "sjc", "dsd", "dsd-low", view_recipes.ALONE, picture_recipe.ALONE)
#: Those whose first stage wants a model that draws several views of a thing at once.
OF_VIEWS = (view_recipes.ALONE, view_recipes.REFINED)
#: Those whose first stage wants a model that is told a picture.
OF_PICTURES = (picture_recipe.ALONE, picture_recipe.REFINED)

SCALE_ON_PIXELS, SCALE_ON_LATENTS = 20.0, 100.0  # guidance of SDS

#: threestudio's cameras are not held quite still, where a configuration does not say that they are.
_UNSTEADY = {"elevation_law": "batch", "position_noise": 0.1, "center_noise": 0.2, "up_noise": 0.02}
#: Fantasia3D's cameras: they see a solid shape whole.
_SHAPE_CAMERAS = {"distance": (3.0, 3.0), "fov_y": (25.0, 45.0)}
_NO_NOISE = {"position_noise": 0.0, "center_noise": 0.0, "up_noise": 0.0}


def sees_several(recipe: object, method: object, coarse_model: object, alone: bool = False) -> bool:
    """Whether a job's coarse stage goes by a model that draws several views of a thing at once.

    The bundled model has a network for that, which CSD's own recipe then uses, too: with the method that it was
    measured for, CSD.

    Args:
        alone: there is no coarse stage, or it looks at one view at a time.
    """
    own = recipe == "csd" and method == METHODS[0] and coarse_model == "mini" and not alone
    return own or recipe in OF_VIEWS


def usual_method(recipe: object, model: object, coarse_model: object = "") -> str:
    """The recipe's method; empty for an unknown one. With the bundled model's network for several views it is plain
    CSD: the pull of that recipe's own, as long in each channel as in the others, makes colors of few steps too strong.
    """
    name = recipe if isinstance(recipe, str) else ""
    return "csd" if name in OF_VIEWS and (coarse_model or model) == "mini" else RECIPE_METHODS.get(name, "")


def published(
    recipe: str, subject: str, coarse_steps: int, refine_steps: int, coarse_pixels: bool, refine_pixels: bool
) -> dict:
    """The recipe's values, as tables in tables by the fields of :class:`TextTo3DJob`; CSD's for an unknown recipe.

    Args:
        coarse_pixels, refine_pixels: the stage's model is one like DeepFloyd IF.
    """
    if recipe == "dreamfusion":
        return _dreamfusion(subject, coarse_steps, refine_steps, coarse_pixels)
    if recipe == "magic3d":
        return _magic3d(subject, coarse_steps, refine_steps, coarse_pixels, refine_pixels)
    if recipe == "fantasia3d":
        return _fantasia3d(subject, coarse_steps, refine_steps, refine_pixels)
    if recipe == "prolificdreamer":
        return _prolificdreamer(subject, coarse_steps, refine_steps)
    if recipe == "sjc":
        return _sjc(subject, coarse_steps, refine_steps, coarse_pixels)
    if recipe in ("dsd", "dsd-low"):
        return _dsd(subject, coarse_steps, refine_steps, large=recipe == "dsd")
    if recipe in OF_VIEWS:
        own = _csd("object", coarse_steps, refine_steps)
        return view_recipes.csd_mvdream(own, coarse_steps, refined=recipe == view_recipes.REFINED)
    if recipe in OF_PICTURES:
        own = _csd("object", coarse_steps, refine_steps)
        return picture_recipe.zero123(own, coarse_steps, refined=recipe == picture_recipe.REFINED)
    return _csd(subject, coarse_steps, refine_steps)


def begin_with_shape(values: dict) -> None:
    """Change a recipe's values for a job that begins with an ellipsoid or a mesh: its cameras are Fantasia3D's, the
    system that does so. The others would see it cut off, or from inside."""
    values["coarse"]["radius"] = 1.0
    values["refine"]["fit_start"] = True
    values["refine"]["cameras"] = values["refine"].get("cameras", {}) | _SHAPE_CAMERAS | _NO_NOISE


def stretched(factor: float, start: float, first: float, last: float, end: float) -> Schedule:
    """A published schedule over a job that is ``factor`` times as long; a hard switch stays one."""
    if end - start == 1:
        return Schedule(start * factor, first, last, start * factor + min(factor, 1.0))
    return Schedule(start, first, last, end).scaled(factor)


def _csd(subject: str, coarse_steps: int, refine_steps: int) -> dict:
    """CSD: a field under a pixel-space model at 64 x 64, then a mesh under a latent one at 512 x 512.

    Configurations csd-if, csd-if-object, csd-if-object-sparse, csd-sd-refine and csd-sd-refine-object.
    """
    c, r = coarse_steps / PUBLISHED_STEPS, refine_steps / PUBLISHED_STEPS
    character = subject == "character"
    falling = stretched(c, 0, 10.0, 1.0, 5000)
    scene = {"network_width": 64, "normals": "analytic"}
    common = {"learning_rate": 1e-3, "adam_beta2": 0.999, "background": "learned", "background_rate": 1e-3}
    common["random_background"] = 0.5
    coarse = {
        **scene,
        **common,
        "steps": coarse_steps,
        "views": 1 if character else 4,
        "radius": 1.0 if character else 2.0,
        "levels": 12 if character else 16,
        "finest_resolution": 512 if character else 2048,
        "ambient_only_steps": round((5001 if character else 2001) * c),
        "orientation": stretched(c, 0, 1, 100, 5000) if character else stretched(c, 5000, 1, 20, 5001),
        "sparsity": constant(1.0) if subject == "object" else falling,
        "cameras": {
            "elevation": (-10.0, 45.0 if character else 90.0),
            "elevation_law": "csd",
            "front_back_steps": round(1000 * c) if character else 0,
            "front_angle": 30.0,
        },
        "guidance": {
            "negative_weight": stretched(c, 0, 0.0, 1.0, 5000),
            "t_max": stretched(c, 5000, 0.98, 0.5, 5001),
            "grad_normalize": True,
            "perp_neg": 3.0 if character else 0.0,
            "perp_neg_from": "negative",
        },
    }
    refine = {
        **common,
        "steps": refine_steps,
        "rates_fall": False,
        "cameras": {"elevation_law": "csd"},
        "guidance": {
            "negative_weight": stretched(r, 0, 1.0, 0.5, 10000),
            "weighting": "sds",
            "t_max": constant(0.5),
            "perp_neg_from": "negative",
        },
    }
    return {"coarse": coarse, "refine": refine}


def _sds(weighting: str, t_max: float, on_pixels: bool) -> dict:
    """Guidance of threestudio's SDS configurations."""
    return {
        "guidance_scale": SCALE_ON_PIXELS if on_pixels else SCALE_ON_LATENTS,
        "scale_convention": "1+s",
        "weighting": weighting,
        "t_max": constant(t_max),
        "perp_neg_from": "negative",
    }


def _dreamfusion(subject: str, coarse_steps: int, refine_steps: int, on_pixels: bool) -> dict:
    """DreamFusion: the field alone, lit by a lamp; it is then turned into a mesh as it is. dreamfusion-if and -sd."""
    c = coarse_steps / PUBLISHED_STEPS
    values = _csd(subject, coarse_steps, refine_steps)
    values["negative_prompt"] = ""
    values["coarse"] |= {
        "views": 1,
        "learning_rate": 0.01,
        "adam_beta2": 0.99,
        "radius": 2.0,
        "levels": 16,
        "finest_resolution": 4096,
        "start_level": 8,
        "level_start": round(2000 * c),
        "level_interval": max(1, round(500 * c)),
        "color_activation": "linear" if on_pixels else "sigmoid",
        "random_background": 0.0,
        "ambient_only_steps": round(2001 * c),
        "shaded_share": 0.75,
        "textureless_share": 0.5,
        "textureless_normals": False,
        "lamp": "dreamfusion",
        "orientation": stretched(c, 0, 10.0, 1000.0, 5000),
        "sparsity": constant(1.0),
        "cameras": {"elevation": (-10.0, 90.0 if on_pixels else 45.0), **_UNSTEADY},
        "guidance": _sds("sds", 0.98, on_pixels),
    }
    values["refine"] |= view_recipes.EXPORT
    return values


def _magic3d(subject: str, coarse_steps: int, refine_steps: int, on_pixels: bool, refine_on_pixels: bool) -> dict:
    """Magic3D: a field nearly as DreamFusion's, then a lit mesh. magic3d-coarse-if, -sd and magic3d-refine-sd."""
    values = _dreamfusion(subject, coarse_steps, refine_steps, on_pixels)
    light = {"lamp": "magic3d", "soft_shading": True}
    for name in ("start_level", "level_start", "level_interval", "color_activation"):
        del values["coarse"][name]  # all levels from the beginning, and colors through a sigmoid
    values["coarse"] |= light
    values["coarse"]["guidance"] = _sds("uniform", 0.98, on_pixels)
    values["refine"] = {
        **light,
        "steps": refine_steps,
        "learning_rate": 0.01,
        "color_rate": 0.01,
        "background_rate": 0.01,
        "rates_fall": False,
        "tet_resolution": 128,
        "threshold": 0.0,
        "mean_threshold": True,
        "background": "learned",
        "random_background": 0.0,
        "normals_share": 0.0,
        "shaded_share": 0.75,
        "textureless_share": 0.5,
        "normal_consistency": 10000.0,
        "cameras": {"fov_y": (30.0, 45.0), **_UNSTEADY},
        "guidance": _sds("sds", 0.5, refine_on_pixels),
    }
    return values


def _fantasia3d(subject: str, coarse_steps: int, refine_steps: int, on_pixels: bool) -> dict:
    """Fantasia3D: geometry by its normals from an ellipsoid or a mesh, then appearance on the finished shape.

    fantasia3d and fantasia3d-texture, one after the other; the coarse stage only says what grid holds the colors.
    """
    steps = coarse_steps + refine_steps
    shape_steps = round(steps * 2 / 3)
    values = _csd(subject, 0, steps)
    values |= {"start": "ellipsoid", "negative_prompt": ""}
    values["coarse"] |= {"levels": 16, "finest_resolution": 4096}
    values["refine"] = {
        "steps": steps,
        "tet_resolution": 128,
        "shape": "network",
        "learning_rate": 1e-3,
        "color_rate": 0.01,
        "rates_fall": False,
        "shape_decay": 0.01,
        "color_decay": constant(0.01),
        "normals_share": 0.0,
        "normals_only_steps": shape_steps,
        # Normals and a mask are four channels, as many as Stable Diffusion's latents have, and not three.
        "latent_steps": 0 if on_pixels else round(1000 * shape_steps / PUBLISHED_STEPS),
        "normals_background": "black",
        "background": "white",
        "random_background": 0.0,
        "fixed_shape_after": shape_steps,
        "normal_consistency": 0.0,
        "appearance_weighting": "sds",
        "cameras": {"elevation_law": "batch"},
        "guidance": _sds("fantasia3d", 0.5, on_pixels),
    }
    begin_with_shape(values)
    return values


def _prolificdreamer(subject: str, coarse_steps: int, refine_steps: int) -> dict:
    """ProlificDreamer (Wang et al. 2023, 2305.16213): a field by VSD, then its shape by SDS on pictures of normals,
    then its colors by VSD. prolificdreamer, prolificdreamer-geometry and prolificdreamer-texture of threestudio.

    A third of the refine stage's steps are the geometry's, as of 15,000 and 30,000.
    """
    c, r, shape_steps = coarse_steps / 25000, refine_steps / 45000, round(refine_steps / 3)
    values = _csd(subject, coarse_steps, refine_steps)
    values |= {"negative_prompt": "", "keep_colors": False}
    vsd = {"guidance_scale": 7.5, "weighting": "sds", "lora_rate": 1e-4, "perp_neg_from": "negative"}
    cameras = {"distance": (1.0, 1.5), "elevation": (-10.0, 45.0), "elevation_law": "batch", **_NO_NOISE}
    values["coarse"] |= {
        "views": 1,
        "render_size": 64,
        "later_size": 512,
        "later_size_step": round(5000 * c),
        "learning_rate": 0.01,
        "network_rate": 1e-3,
        "adam_beta2": 0.99,
        "decay": 0.01,
        "radius": 1.0,
        "levels": 16,
        "finest_resolution": 4096,
        "random_background": 0.5,
        "ambient_only_steps": coarse_steps,
        "shaded_share": 0.0,
        "orientation": constant(0.0),
        "sparsity": constant(10.0),
        "opaque": stretched(c, 10000, 0.0, 1000.0, 10001),
        "cameras": cameras | {"front_angle": 30.0},
        "guidance": vsd | {"t_max": stretched(c, 5000, 0.98, 0.5, 5001)},
    }
    values["refine"] = {
        "steps": refine_steps,
        "tet_resolution": 128,
        "threshold": 25.0,
        "learning_rate": 5e-3,
        "color_rate": 0.01,
        "color_network_rate": 1e-3,
        "background_rate": 1e-3,
        "rates_fall": False,
        "color_decay": constant(0.01),
        "normals_share": 0.0,
        "normals_only_steps": shape_steps,
        "fixed_shape_after": shape_steps,
        "geometry_method": "sds",
        "appearance_scale": 7.5,
        "appearance_front_angle": 30.0,
        "times_restart": True,
        "normals_background": "black",
        "background": "learned",
        "random_background": 0.0,
        "normal_consistency": 10000.0,
        "laplacian": 10000.0,
        "cameras": cameras,
        "guidance": vsd
        | {
            "guidance_scale": SCALE_ON_LATENTS,
            "scale_convention": "1+s",
            "t_max": stretched(r, 5000, 0.98, 0.5, 5001),
        },
    }
    return values


def _sjc(subject: str, coarse_steps: int, refine_steps: int, on_pixels: bool) -> dict:
    """SJC (Wang et al. 2022, 2212.00774) with the flags of D-SDS's repository: cameras at 1.5 with 60 degrees, scale
    100, all noise levels alike. Its field is a grid of latents; ours is DreamFusion's, on pictures."""
    values = _dreamfusion(subject, coarse_steps, refine_steps, on_pixels)
    values["coarse"] |= {"ambient_only_steps": coarse_steps, "shaded_share": 0.0, "orientation": constant(0.0)}
    values["coarse"]["cameras"] |= {"distance": (1.5, 1.5), "fov_y": (60.0, 60.0), **_NO_NOISE}
    values["coarse"]["guidance"] |= {"weighting": "uniform", "guidance_scale": SCALE_ON_LATENTS}
    return values


def _dsd(subject: str, coarse_steps: int, refine_steps: int, large: bool) -> dict:
    """DSD (Xu et al. 2024, 2412.06780): DreamFusion's field, drawn to the path of one fixed noise. dsd and dsd_low_res;
    the large one grows its pictures from 128 to 512 at half time."""
    values = _dreamfusion(subject, coarse_steps, refine_steps, on_pixels=False)
    c = coarse_steps / (10000 if large else 5000)
    values["coarse"] |= {
        "level_start": round(2000 * c),
        "level_interval": max(1, round(500 * c)),
        "render_size": 128,
        "later_size": 512 if large else 0,
        "later_size_step": round(5000 * c) if large else 0,
        "ambient_only_steps": round(1000 * c),
        "shaded_share": 0.3,
        "textureless_share": 0.75,
        "random_background": 0.5,
        "orientation": constant(0.1),
        "sparsity": stretched(c, 0, 0.15, 0.0, 3000),
        "opaque": constant(0.1),
        "convexity": constant(1.0),
        "z_variance": constant(1.0),
        "guidance": {
            "guidance_scale": 7.5,
            "weighting": "sds",
            "perp_neg": 7.5,
            "perp_neg_from": "negative",
        },
    }
    return values
