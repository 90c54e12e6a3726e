"""Settings in files that an earlier version saved: they go on to mean what they meant there.

A file does not hold a setting that nobody touched, so one whose default has changed since is written down here.
"""

import bpy

from ...job.presets.texture import NEGATIVE_PROMPT
from ..properties import USE

#: How a scene's settings are meant; 0 is version 0.1, and a scene that was not saved yet.
FORM = 1

#: Version 0.1's defaults of what a preset decides unless its box is ticked, where today's are others.
DEFAULTS_OF_0 = {"steps": 400, "coarse_steps": 600, "refine_steps": 240, "extra_words": ""}


def stamp() -> None:
    """Before a file is saved: its settings are meant as they are today."""
    for scene in bpy.data.scenes:
        if scene.is_editable:
            scene.csd.form = FORM


def upgrade() -> None:
    """After a file was read: bring settings of an earlier version to today's."""
    for scene in bpy.data.scenes:
        if scene.is_editable and scene.csd.form < FORM:
            _from_0(scene.csd)
            scene.csd.form = FORM


def _from_0(csd) -> None:
    for name, value in DEFAULTS_OF_0.items():
        if getattr(csd, USE + name) and not csd.is_property_set(name):
            setattr(csd, name, value)
    # The negative prompt had no box: an empty one meant none, and the mini model's own stood for any preset's.
    if csd.is_property_set("negative_prompt"):
        csd.use_negative_prompt = bool(csd.negative_prompt)
        if csd.negative_prompt == NEGATIVE_PROMPT:
            csd.negative_prompt = ""
