"""The recipe of an object after one picture, as tables of values like those of :mod:`recipes`.

threestudio's configuration zero123, for Zero-1-to-3 (Liu et al. 2023, arXiv 2303.11328): the score of a model that is
told the picture and the way from its camera, in turns with a comparison with the picture itself.
"""

from __future__ import annotations

from ..spec.schedule import Schedule, constant
from .view_recipes import EXPORT

#: Their names, without and with a second stage.
ALONE, REFINED = "zero123", "zero123-refine"

#: What the bundled model's variant was trained with.
MINI_CAMERAS = {"elevation": (-10.0, 50.0), "distance": (2.3, 2.9), "fov_y": (45.0, 45.0)}

_CAMERAS = {
    "elevation": (-10.0, 60.0),
    "elevation_law": "batch",
    "distance": (3.2, 3.3),
    "fov_y": (20.0, 20.0),
    "after_picture": True,
}


def zero123(csd: dict, coarse_steps: int, refined: bool) -> dict:
    """The recipe's values.

    Args:
        csd: those of CSD's own recipe, which the second stage has. refined: whether there is one.
    """
    c = coarse_steps / 10000
    coarse = csd["coarse"] | {
        "steps": coarse_steps,
        "views": 2,
        "render_size": 128,
        "learning_rate": 0.01,
        "adam_beta2": 0.99,
        "decay": 1e-5,
        "radius": 2.0,
        "levels": 16,
        "finest_resolution": 4096,
        "start_level": 8,
        "level_start": round(2000 * c),
        "level_interval": max(1, round(500 * c)),
        # The model knows things on white alone.
        "background": "white",
        "random_background": 0.5,
        "ambient_only_steps": coarse_steps,
        "shaded_share": 0.0,
        "orientation": Schedule(0, 1.0, 20.0, 5000).scaled(c),
        "sparsity": constant(2.0),
        "opaque": constant(0.5),
        "score_weight": 0.003,
        "picture_every": 2,
        "picture_size": 192,
        "picture_color": 200.0,
        "picture_mask": 50.0,
        "cameras": _CAMERAS,
        "guidance": {"guidance_scale": 3.0, "weighting": "sds", "t_max": constant(0.98)},
    }
    refine = csd["refine"]
    if refined:
        refine |= {"geometry_method": "csd"}  # the second model is told the prompt
    else:
        refine |= EXPORT | {"cameras": _CAMERAS}
    return csd | {"coarse": coarse, "refine": refine} | ({} if refined else {"negative_prompt": ""})
