"""Text to 3D: the published systems as tables of values over one job, stretched to its length.

Sources: CSD, Yu et al. 2023 (arXiv 2310.19415), with the values of its public configurations; DreamFusion, Poole et al.
2022 (2209.14988); Magic3D, Lin et al. 2022 (2211.10440); Fantasia3D, Chen et al. 2023 (2303.13873).
"""

from __future__ import annotations

from typing import Any

from .fields import from_json
from .presets import CSD_NEGATIVE_PROMPT, NEGATIVE_PROMPT, falling_decay, rising_prior
from .schedule import Schedule, constant
from .spec_3d import TextTo3DJob

__all__ = ["EXPECTED_SECONDS_3D", "text_to_3d_job", "usual_steps"]

#: Seconds an object takes with the mini model on two CPU cores, for the panel.
EXPECTED_SECONDS_3D = {"draft": 100, "normal": 240, "best": 780}

PUBLISHED_STEPS = 10000  # of either stage, in CSD's configurations

#: Steps of the coarse and of the refine stage.
_MINI_STEPS = {"draft": (240, 100), "normal": (600, 240), "best": (2000, 800)}
_LARGE_STEPS = {"draft": (2000, 1000), "normal": (10000, 10000), "best": (15000, 15000)}


def usual_steps(quality: str, model: str) -> tuple[int, int]:
    """Steps of the coarse and of the refine stage in a preset; Fantasia3D divides their sum in its own way."""
    table = _MINI_STEPS if model == "mini" else _LARGE_STEPS
    return table.get(str(quality), table["normal"])


def text_to_3d_job(
    prompt: str,
    quality: str = "normal",
    model: str = "mini",
    recipe: str = "csd",
    subject: str = "object",
    **overrides: Any,
) -> TextTo3DJob:
    """A job with the recipe's values; ``overrides`` are fields of :class:`TextTo3DJob`, in JSON form too.

    ``coarse`` and ``refine`` may be given in part, as tables; ``coarse_steps`` and ``refine_steps`` set the lengths,
    over which all schedules are stretched. Raises ``JobError('bad_setting')``.
    """
    mini = model == "mini"
    usual = usual_steps(quality, model)
    wanted = [overrides.pop(f"{stage}_steps", n) for stage, n in zip(("coarse", "refine"), usual)]
    steps = [n if isinstance(n, int) and n >= 0 else usual[i] for i, n in enumerate(wanted)]
    method = overrides.get("method", "csd" if recipe == "csd" else "sds")
    make = {"csd": _csd, "dreamfusion": _dreamfusion, "magic3d": _magic3d, "fantasia3d": _fantasia3d}
    values = make.get(str(recipe), _csd)(subject, *steps)
    if mini:
        _for_mini(values, str(recipe), str(subject), method)
    for i, stage in enumerate(("coarse", "refine")):
        if wanted[i] != steps[i]:  # no number of steps; the job's own check says so
            values[stage]["steps"] = wanted[i]
        given = overrides.pop(stage, {})
        values[stage] = _merge(values[stage], given) if isinstance(given, dict) else given
    values |= {"prompt": prompt, "quality": quality, "model": model, "recipe": recipe, "subject": subject}
    values |= {"method": method}
    values.setdefault("negative_prompt", NEGATIVE_PROMPT if mini else CSD_NEGATIVE_PROMPT)
    if not mini:
        values["extra_words"] = ""  # none of the published systems adds any
    return from_json(TextTo3DJob, values | overrides)


def _merge(table: dict, given: dict) -> dict:
    """``table`` with the values of ``given``, tables within tables included."""
    merged = dict(table)
    for name, value in given.items():
        tables = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if tables else value
    return merged


def _stretched(factor: float, start: float, first: float, last: float, end: float) -> Schedule:
    """A published schedule over a job that is ``factor`` times as long; a hard switch stays one."""
    if end - start == 1:
        return Schedule(start * factor, first, last, start * factor + min(factor, 1.0))
    return Schedule(start, first, last, end).scaled(factor)


def _csd(subject: str, coarse_steps: int, refine_steps: int) -> dict:
    """CSD: a field under a pixel-space model at 64 x 64, then a mesh under a latent one at 512 x 512."""
    c, r = coarse_steps / PUBLISHED_STEPS, refine_steps / PUBLISHED_STEPS
    character = subject == "character"
    falling = _stretched(c, 0, 10.0, 1.0, 5000)
    coarse = {
        "steps": coarse_steps,
        "views": 1 if character else 4,
        "radius": 1.0 if character else 2.0,
        "levels": 12 if character else 16,
        "finest_resolution": 512 if character else 2048,
        "ambient_only_steps": round((5001 if character else 2001) * c),
        "orientation": _stretched(c, 0, 1, 100, 5000) if character else _stretched(c, 5000, 1, 20, 5001),
        "sparsity": constant(1.0) if subject == "object" else falling,
        "cameras": {
            "elevation": (-10.0, 45.0 if character else 90.0),
            "front_back_steps": round(1000 * c) if character else 0,
        },
        "guidance": {
            "negative_weight": _stretched(c, 0, 0.0, 1.0, 5000),
            "t_max": _stretched(c, 5000, 0.98, 0.5, 5001),
            "grad_normalize": True,
            "perp_neg": 3.0 if character else 0.0,
        },
    }
    refine = {
        "steps": refine_steps,
        "guidance": {
            "negative_weight": _stretched(r, 0, 1.0, 0.5, 10000),
            "weighting": "sds",
            "t_max": constant(0.5),
        },
    }
    return {"coarse": coarse, "refine": refine}


def _dreamfusion(subject: str, coarse_steps: int, refine_steps: int) -> dict:
    """DreamFusion: the field alone, lit by a lamp; it is then turned into a mesh as it is."""
    c = coarse_steps / PUBLISHED_STEPS
    values = _csd(subject, coarse_steps, refine_steps)
    values["coarse"] |= {
        "views": 1,
        "learning_rate": 0.01,
        "radius": 2.0,
        "levels": 16,
        "finest_resolution": 2048,
        "ambient_only_steps": round(2001 * c),
        "shaded_share": 0.75,
        "textureless_share": 0.5,
        "textureless_normals": False,
        "orientation": _stretched(c, 0, 10.0, 1000.0, 5000),
        "sparsity": constant(1.0),
        "cameras": {"elevation": (-10.0, 90.0)},
        "guidance": {"guidance_scale": 20.0, "weighting": "sds", "t_max": constant(0.98)},
    }
    values["refine"]["steps"] = 0
    return values


def _magic3d(subject: str, coarse_steps: int, refine_steps: int) -> dict:
    """Magic3D: as DreamFusion, then a lit mesh under a latent model."""
    values = _dreamfusion(subject, coarse_steps, refine_steps)
    values["coarse"]["guidance"]["weighting"] = "uniform"
    values["refine"] = {
        "steps": refine_steps,
        "learning_rate": 0.01,
        "color_rate": 0.01,
        "tet_resolution": 128,
        "normals_share": 0.0,
        "shaded_share": 0.75,
        "textureless_share": 0.5,
        "normal_consistency": 10000.0,
        "cameras": {"fov_y": (30.0, 45.0), "distance": (2.4, 3.2)},
        "guidance": {"guidance_scale": 100.0, "weighting": "sds", "t_max": constant(0.5)},
    }
    return values


def _fantasia3d(subject: str, coarse_steps: int, refine_steps: int) -> dict:
    """Fantasia3D: geometry by its normals from an ellipsoid or a mesh, then appearance on the finished shape."""
    steps = coarse_steps + refine_steps
    shape_steps = round(steps * 2 / 3)
    values = _csd(subject, 0, steps)
    values["start"] = "ellipsoid"
    values["refine"] = {
        "steps": steps,
        "tet_resolution": 128,
        "color_rate": 0.01,
        "normals_share": 0.0,
        "normals_only_steps": shape_steps,
        "fixed_shape_after": shape_steps,
        "appearance_weighting": "sds",
        "cameras": {"distance": (3.0, 3.0), "fov_y": (25.0, 45.0)},
        "guidance": {"guidance_scale": 100.0, "weighting": "fantasia3d", "t_max": constant(0.5)},
    }
    return values


def _for_mini(values: dict, recipe: str, subject: str, method: str) -> None:
    """What the bundled model needs: its picture size, its distances, and larger steps, since there are few of them."""
    cameras = {"distance": (2.3, 2.9), "fov_y": (40.0, 50.0), "elevation": (-10.0, 50.0)}
    coarse, refine = values["coarse"], values["refine"]
    weighting = "uniform" if method == "csd" else "sds"
    coarse |= {
        "views": 4,
        "render_size": 0,
        "learning_rate": 0.03,
        "radius": 1.0,
        "levels": 4,
        "base_resolution": 8,
        "finest_resolution": 64,
        "ray_samples": 110,
        # From a large start it carves, which keeps hats and ears; from a small one it also lets narrow feet grow.
        "blob_std": 0.75 if subject == "character" else 0.5,
        "random_background": 1.0,
        # It has seen lit objects in plenty, but no picture of normals.
        "textureless_share": 0.0,
        "textureless_normals": False,
        "orientation": constant(0.0),
    }
    coarse["cameras"] = coarse["cameras"] | cameras
    coarse["guidance"] = coarse["guidance"] | {"weighting": weighting, "grad_normalize": False}
    refine |= {"views": 4, "render_size": 0, "tet_resolution": 64, "learning_rate": 0.03, "color_rate": 0.04}
    refine |= {"random_background": 1.0, "threshold": 0.0, "textureless_share": 0.0}
    refine["normal_consistency"] = 1000.0 if recipe == "fantasia3d" else 150.0  # shapes from white pictures get lumpy
    refine["normals_share"] = min(refine.get("normals_share", 0.5), 0.25)  # few steps, and it is the others that paint
    refine["color_decay"] = falling_decay(refine["steps"])
    refine["cameras"] = cameras | {"distance": (1.7, 2.9)}  # from nearer, the surface gets sharper
    refine["guidance"] = refine["guidance"] | {"weighting": weighting}
    if recipe == "csd":
        # As for textures (presets.guidance): noisy times that end little by little, and at last some of the prior.
        for stage, noisiest in ((coarse, 0.98), (refine, 0.9)):
            steps = stage["steps"]
            t_max = Schedule(0, noisiest, 0.5, 0.83 * steps)
            stage["guidance"] |= {"t_max": t_max, "generative_weight": rising_prior(steps)}
    if method == "sds":
        for stage in (coarse, refine):
            stage["guidance"] = stage["guidance"] | {"guidance_scale": 7.5}
