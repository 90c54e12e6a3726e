"""The negative prompt that a job gets when nobody touched the field: what the field shows in gray is what is used."""

from __future__ import annotations

import functools

import bpy

from ..job.presets import texture_job
from ..job.presets_3d import text_to_3d_job
from .properties import CONTEXT

NONE = "none"


def placeholder(owner, csd, new_object: bool) -> str:
    """What stands in gray in the empty field of ``owner``, the panel's settings or an operator.

    Args:
        csd: the scene's settings, of which the operators' dialogs have the model and the approach, if not told others.
    """
    if owner.is_property_set("negative_prompt"):
        return NONE  # it was emptied on purpose
    names = ("model", "recipe") if new_object else ("model",)
    return usual(*(getattr(owner if owner.is_property_set(n) else csd, n) for n in names)) or NONE


@functools.cache
def usual(model: str, recipe: str = "") -> str:
    """The negative prompt of the recipe, or of a texture when empty, for a model."""
    if recipe:
        return text_to_3d_job("any", model=model or "mini", recipe=recipe).negative_prompt
    return texture_job("any", model=model or "mini").negative_prompt


class CSD_OT_usual_negative_prompt(bpy.types.Operator):
    """Leave the negative prompt to the model and the approach again"""

    bl_translation_context = CONTEXT
    bl_idname = "csd.usual_negative_prompt"
    bl_label = "Set Usual Negative Prompt"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        context.scene.csd.property_unset("negative_prompt")
        return {"FINISHED"}


def register() -> None:
    bpy.utils.register_class(CSD_OT_usual_negative_prompt)


def unregister() -> None:
    bpy.utils.unregister_class(CSD_OT_usual_negative_prompt)
