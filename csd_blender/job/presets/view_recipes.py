"""The recipes of models that draw several views of a thing at once, as tables of values like those of :mod:`recipes`.

CSD's branch for MVDream (configuration csd of CSD-MVDream; Yu et al. 2023, arXiv 2310.19415), which is MVDream's own
(Shi et al. 2023, 2308.16512) but for the guidance.
"""

from __future__ import annotations

from ..spec.cameras import VIEWS_AT_ONCE
from ..spec.schedule import Schedule, constant

#: Their names, without and with a second stage.
ALONE, REFINED = "csd-mvdream", "csd-mvdream-refine"

#: threestudio's export: what is left of the second stage in a recipe without one.
EXPORT = {"steps": 0, "tet_resolution": 128, "threshold": 25.0, "adam_beta2": 0.99}

_NEGATIVE_PROMPT = (
    "ugly, bad anatomy, blurry, pixelated obscure, unnatural colors, poor lighting, dull, and unclear, cropped, "
    "lowres, low quality, artifacts, duplicate, morbid, mutilated, poorly drawn face, deformed, dehydrated, bad "
    "proportions"
)
_CAMERAS = {
    "ring": VIEWS_AT_ONCE,
    "distance_unit": "frame",
    "distance": (0.8, 1.0),
    "fov_y": (15.0, 60.0),
    "elevation": (0.0, 30.0),
    "elevation_law": "csd",
}


def csd_mvdream(csd: dict, coarse_steps: int, refined: bool) -> dict:
    """The recipe's values.

    Args:
        csd: those of CSD's own recipe, which the second stage has. refined: whether there is one.
    """
    c = coarse_steps / 10000
    coarse = csd["coarse"] | {
        "steps": coarse_steps,
        "views": 2 * VIEWS_AT_ONCE,
        "later_views": VIEWS_AT_ONCE,
        "render_size": 64,
        "later_size": 256,
        "later_size_step": round(5000 * c),
        "learning_rate": 0.01,
        "network_rate": 1e-3,
        "adam_beta2": 0.99,
        "decay": 0.01,
        "radius": 1.0,
        "levels": 16,
        "finest_resolution": 4096,
        "ambient_only_steps": round(5000 * c),
        "shaded_share": 0.75,
        "textureless_share": 0.5,
        "textureless_normals": False,
        "lamp": "dreamfusion",
        "soft_shading": True,
        "orientation": Schedule(0, 10.0, 1000.0, 5000).scaled(c),
        "sparsity": constant(0.0),
        "cameras": _CAMERAS,
        "guidance": {
            "t_min": Schedule(0, 0.98, 0.02, 8000).scaled(c),
            "t_max": Schedule(0, 0.98, 0.5, 8000).scaled(c),
            "perp_neg_from": "negative",
            # Of MVDream's own method.
            "guidance_scale": 50.0,
            "rescale": 0.5,
        },
    }
    refine = csd["refine"]
    if refined:
        refine |= {"geometry_method": "csd"}  # the second model draws one view at a time
    else:
        refine |= EXPORT  # whoever asks for steps of it gets them by the same model
        refine |= {"views": VIEWS_AT_ONCE, "render_size": 256, "cameras": _CAMERAS}
    return csd | {"coarse": coarse, "refine": refine, "negative_prompt": _NEGATIVE_PROMPT}
